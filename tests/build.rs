//! Tells the tests whether they run as root and may have mounts of their own, whether libxl's headers, systemd's checker of
//! units, Python and scrypt are here, and on which file systems whose files share blocks they can work: those that need what is not
//! there are then shown as ignored, not as passed.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "a build script talks to cargo")]

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

const LIBXL: &str = "/usr/include/libxl.h";
const SYSTEMD: &str = "/usr/bin/systemd-analyze";
const PYTHON: &str = "/usr/bin/python3";
const SCRYPT: &str = "/usr/bin/scrypt";

fn main() {
    println!("cargo::rustc-check-cfg=cfg(root, qube, libxl, systemd, scrypt, xfs, btrfs)");
    println!("cargo::rerun-if-env-changed=USER");
    println!("cargo::rerun-if-env-changed=HOME");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={LIBXL}");
    println!("cargo::rerun-if-changed={SYSTEMD}");
    println!("cargo::rerun-if-changed={PYTHON}");
    println!("cargo::rerun-if-changed={SCRYPT}");
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    if is_root {
        println!("cargo::rustc-cfg=root");
    }
    if Path::new(PYTHON).exists() && has_own_mounts() {
        println!("cargo::rustc-cfg=qube");
    }
    for kind in ["xfs", "btrfs"].into_iter().filter(|kind| is_root && can_mount(kind)) {
        println!("cargo::rustc-cfg={kind}");
    }
    if Path::new(LIBXL).exists() {
        println!("cargo::rustc-cfg=libxl");
    }
    if Path::new(SYSTEMD).exists() {
        println!("cargo::rustc-cfg=systemd");
    }
    if Path::new(SCRYPT).exists() {
        println!("cargo::rustc-cfg=scrypt");
    }
}

/// Whether a process may have mounts that nobody else sees.
fn has_own_mounts() -> bool {
    let tried = Command::new("unshare").args(["--mount", "true"]).output();
    tried.is_ok_and(|output| output.status.success())
}

/// Whether there are loop devices, the kernel knows a file system, and the program that makes it is where
/// `tests::loops` looks.
fn can_mount(kind: &str) -> bool {
    let kernel = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let is_known = kernel.lines().any(|line| line.split_whitespace().last() == Some(kind));
    let makers =
        ["/usr/sbin", "/sbin", "../.cache/xen/tree/sbin"].map(|folder| format!("{folder}/mkfs.{kind}"));
    let maker = makers.iter().find(|maker| Path::new(maker).exists());
    // A path that is not there would have everything built anew each time.
    println!("cargo::rerun-if-changed={}", maker.map_or("/usr/sbin", String::as_str));
    is_known && maker.is_some() && Path::new("/dev/loop-control").exists()
}

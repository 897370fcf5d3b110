//! Tells the tests whether they run as root and whether libxl's headers and systemd's checker of units are here: those
//! that need either are then shown as ignored, not as passed.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "a build script talks to cargo")]

use std::os::unix::fs::MetadataExt;

const LIBXL: &str = "/usr/include/libxl.h";
const SYSTEMD: &str = "/usr/bin/systemd-analyze";

fn main() {
    println!("cargo::rustc-check-cfg=cfg(root, libxl, systemd)");
    println!("cargo::rerun-if-env-changed=USER");
    println!("cargo::rerun-if-env-changed=HOME");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={LIBXL}");
    println!("cargo::rerun-if-changed={SYSTEMD}");
    if std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0) {
        println!("cargo::rustc-cfg=root");
    }
    if std::path::Path::new(LIBXL).exists() {
        println!("cargo::rustc-cfg=libxl");
    }
    if std::path::Path::new(SYSTEMD).exists() {
        println!("cargo::rustc-cfg=systemd");
    }
}

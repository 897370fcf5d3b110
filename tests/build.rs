//! Tells the tests whether they run as root: those that need it are then shown as ignored, not as passed.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "a build script talks to cargo")]

use std::os::unix::fs::MetadataExt;

fn main() {
    println!("cargo::rustc-check-cfg=cfg(root)");
    println!("cargo::rerun-if-env-changed=USER");
    println!("cargo::rerun-if-env-changed=HOME");
    println!("cargo::rerun-if-changed=build.rs");
    if std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0) {
        println!("cargo::rustc-cfg=root");
    }
}

//! Compiles the shim where this machine has libxl's headers. Elsewhere the executable has the simulated hypervisor alone.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "a build script talks to cargo")]

use std::path::Path;

#[path = "../link.rs"]
mod link;

const HEADER: &str = "/usr/include/libxl.h";

fn main() -> std::io::Result<()> {
    println!("cargo::rustc-check-cfg=cfg(libxl)");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../link.rs");
    println!("cargo::rerun-if-changed=src/libxl");
    println!("cargo::rerun-if-changed={HEADER}");
    let is_static = std::env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|environment| environment == "musl");
    if is_static || !Path::new(HEADER).exists() {
        return link::link(&[]);
    }
    cc::Build::new().file("src/libxl/shim.c").warnings_into_errors(true).extra_warnings(true).compile("shim");
    println!("cargo::rustc-link-lib=xenlight");
    println!("cargo::rustc-link-lib=xenstore");
    println!("cargo::rustc-cfg=libxl");
    link::link(&[])
}

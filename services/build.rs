//! Links the executables small and for a fast start: the unwinder inside, packed relocations, no unwinding tables.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "a build script talks to cargo")]

use std::path::PathBuf;

/// The linker finds this script under the shared library's name and takes the static parts instead.
const UNWINDER: &str = "INPUT ( -lgcc_eh -lgcc )\n";
/// A release build ends at a panic, and logs where it stands without these tables (`common::trace`).
const NO_TABLES: &str = "SECTIONS { /DISCARD/ : { *(.eh_frame) *(.gcc_except_table .gcc_except_table.*) } } INSERT AFTER .text;\n";

fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    if variable("CARGO_CFG_TARGET_ENV") != "gnu" {
        return Ok(());
    }
    let folder = PathBuf::from(variable("OUT_DIR"));
    std::fs::write(folder.join("libgcc_s.so"), UNWINDER)?;
    println!("cargo::rustc-link-search=native={}", folder.display());
    println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    if variable("PROFILE") == "release" {
        let script = folder.join("no-tables.ld");
        std::fs::write(&script, NO_TABLES)?;
        println!("cargo::rustc-link-arg-bins=-Wl,--no-eh-frame-hdr,-T,{}", script.display());
    }
    Ok(())
}

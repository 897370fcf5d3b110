//! Links the program that writes backups.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "a build script talks to cargo")]

#[path = "../link.rs"]
mod link;

fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../link.rs");
    link::link(&["11miniz_oxide[0-9]"]) // which compresses here
}

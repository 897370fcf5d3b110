//! The workspace's real executables, built once and found beside the tests.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

static FOLDER: OnceLock<PathBuf> = OnceLock::new();

/// Path of an executable of the workspace, brought up to date first.
pub fn executable(name: &str) -> PathBuf {
    FOLDER.get_or_init(build).join(name)
}

/// Path of the executable that serves a method; any family's for an unknown one.
pub fn serving(method: &str) -> PathBuf {
    let serves = |family: &&&common::call::Family| family.calls.iter().any(|call| call.row.name == method);
    let family = services::FAMILIES.iter().find(serves).unwrap_or(&services::FAMILIES[0]);
    executable(family.name)
}

fn build() -> PathBuf {
    let here = std::env::current_exe().unwrap();
    let folder = here.ancestors().find(|path| path.file_name().is_some_and(|name| name == "deps")).unwrap();
    let profile = folder.parent().unwrap();
    // A store opened before has changed our umask; the executables are for everybody.
    let mut cargo = Command::new("sh");
    cargo.args(["-c", "umask 022 && exec \"$0\" \"$@\""]);
    cargo.arg(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.args(["build", "--quiet", "--workspace", "--bins", "--offline"]);
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).env("CARGO_TARGET_DIR", profile.parent().unwrap());
    if profile.file_name().is_some_and(|name| name == "release") {
        cargo.arg("--release");
    }
    assert!(cargo.status().unwrap().success(), "the executables do not build");
    profile.to_path_buf()
}

//! The workspace's real executables, built once and found beside the tests.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
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

/// Copies an executable, by a process of its own: what this one writes, a child of another test may have open when it is to
/// run.
pub fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").args([from, to]).status().unwrap().success());
}

/// Writes a program with the folders above it, in the place of any other; likewise.
pub fn script(path: &Path, text: &str) {
    let mut install = Command::new("install");
    let install = install.args(["-D", "-m", "755", "/dev/stdin"]).arg(path).stdin(Stdio::piped());
    let mut child = install.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

/// Folder of the executables as they are installed, brought up to date first.
pub fn released() -> PathBuf {
    let target = profile_folder().parent().unwrap().to_path_buf();
    cargo_build(
        &target,
        &["--release", "-p", "services", "-p", "qubes-admin", "-p", "backup", "-p", "domain"],
    );
    target.join("release")
}

fn build() -> PathBuf {
    let profile = profile_folder();
    let released = profile.file_name().is_some_and(|name| name == "release");
    let options: &[&str] = if released { &["--workspace", "--release"] } else { &["--workspace"] };
    cargo_build(profile.parent().unwrap(), options);
    profile
}

/// The folder below `target` that holds what this test was built with.
fn profile_folder() -> PathBuf {
    let here = std::env::current_exe().unwrap();
    let folder = here.ancestors().find(|path| path.file_name().is_some_and(|name| name == "deps")).unwrap();
    folder.parent().unwrap().to_path_buf()
}

fn cargo_build(target: &Path, options: &[&str]) {
    // A store opened before has changed our umask; the executables are for everybody.
    let mut cargo = Command::new("sh");
    cargo.args(["-c", "umask 022 && exec \"$0\" \"$@\""]);
    cargo.arg(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.args(["build", "--quiet", "--bins", "--locked"]).args(options);
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).env("CARGO_TARGET_DIR", target);
    assert!(cargo.status().unwrap().success(), "the executables do not build");
}

//! `policy.*`: the policy's files read and changed, and its decisions told, as qrexec starts the calls (spec 50 §15.2, §17).
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code"
)]

use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Output};

use tests::Fixture;

mod files;
mod questions;
mod refusals;
mod trouble;

const DIRECTORY: &str = "/etc/qubes/policy.d";
const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const UNKNOWN: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// A system whose policy lets `test-vm1` do everything with it.
fn system() -> Fixture {
    let fixture = Fixture::new();
    std::fs::create_dir_all(fixture.path(DIRECTORY).join("include")).unwrap();
    fixture.policy("10-access.policy", "* * test-vm1 @adminvm allow\n!include include/used\n");
    put(&fixture, "include/used", "");
    fixture
}

fn put(fixture: &Fixture, name: &str, content: &str) {
    std::fs::write(path(fixture, name), content).unwrap();
}

fn path(fixture: &Fixture, name: &str) -> PathBuf {
    fixture.path(DIRECTORY).join(name)
}

/// A call as qrexec starts it, with its payload in a file.
fn command(fixture: &Fixture, caller: &str, target: &str, call: &str, payload: &[u8]) -> Command {
    std::fs::write(fixture.path("/request"), payload).unwrap();
    let (method, argument) = call.split_once('+').unwrap_or((call, ""));
    let mut command = fixture.command(method);
    command.env("QREXEC_REMOTE_DOMAIN", caller).env("QREXEC_SERVICE_ARGUMENT", argument);
    command.env("QREXEC_REQUESTED_TARGET_TYPE", "name").env("QREXEC_REQUESTED_TARGET", target);
    command.stdin(File::open(fixture.path("/request")).unwrap());
    command
}

fn call_as(fixture: &Fixture, caller: &str, call: &str, payload: impl AsRef<[u8]>) -> Output {
    command(fixture, caller, "dom0", call, payload.as_ref()).output().unwrap()
}

fn ok(fixture: &Fixture, call: &str, payload: impl AsRef<[u8]>) -> String {
    let output = call_as(fixture, "test-vm1", call, payload);
    assert_eq!(output.status.code(), Some(0), "{call}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Exit status and text of a refusal, which stands on both outputs.
fn refused(fixture: &Fixture, call: &str, payload: impl AsRef<[u8]>) -> String {
    let output = call_as(fixture, "test-vm1", call, payload);
    assert!(!output.stdout.is_empty() && output.stderr.ends_with(&output.stdout), "{call}: {output:?}");
    format!("{} {}", output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

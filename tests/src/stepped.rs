//! Calls and watchers that are killed at one of their stops.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use crate::startable::until;
use crate::{Fixture, executables};

/// A call from a file, so that nobody has to write while it is traced.
pub fn from_file(fixture: &Fixture, call: &str, qube: &str) -> Command {
    let mut command = fixture.command(method(call));
    command.stdin(request(fixture, call, qube));
    command
}

fn method(call: &str) -> &str {
    call.split('+').next().unwrap()
}

fn request(fixture: &Fixture, call: &str, qube: &str) -> File {
    let file = fixture.path("/request");
    std::fs::write(&file, format!("{call} dom0 name {qube}\0")).unwrap();
    File::open(file).unwrap()
}

/// Every 23rd place, `EVERY=1` for all of them.
pub fn stops() -> impl Iterator<Item = usize> {
    (0..).step_by(if std::env::var_os("EVERY").is_some() { 1 } else { 23 })
}

/// Executables of which the watcher can be killed at a stop.
pub struct Stepped(tempfile::TempDir);

impl Stepped {
    #[allow(clippy::new_without_default, reason = "it makes files")]
    pub fn new() -> Self {
        let real = executables::executable("qubes-domain").parent().unwrap().to_owned();
        let folder = tempfile::tempdir_in(&real).unwrap();
        for (name, place) in [
            ("admin-vm-start", "admin-vm-start"),
            ("admin-vm-lifecycle", "admin-vm-lifecycle"),
            ("qubes-run", "qubes-run"),
            ("qubes-domain", "qubes-domain-itself"),
            ("killed-watcher", "qubes-domain"),
        ] {
            std::fs::hard_link(real.join(name), folder.path().join(place)).unwrap();
        }
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Has the next watcher killed at a stop.
    pub fn kill_next(&self, stop: usize) {
        std::fs::write(self.path("stop"), stop.to_string()).unwrap();
    }

    /// Whether the watcher came as far as the stop, once that is known.
    pub fn was_killed(&self) -> bool {
        let told = self.path("met");
        until("a watcher goes on", || told.exists());
        let met = std::fs::read_to_string(&told).unwrap() == "true";
        std::fs::remove_file(told).unwrap();
        met
    }

    /// The answer of a call that is served by these executables.
    pub fn call(&self, fixture: &Fixture, call: &str, qube: &str) -> Vec<u8> {
        let service = executables::serving(method(call));
        let mut command = Command::new(self.path(service.file_name().unwrap().to_str().unwrap()));
        command.arg0(method(call)).env_clear().env("QUBES_ADMIN_ROOT", fixture.path("/"));
        command.stdin(request(fixture, call, qube)).output().unwrap().stdout
    }
}

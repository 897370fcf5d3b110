//! Members of one group, as in dom0, and what belongs to the group. Becoming them needs root.
#![allow(unsafe_code, reason = "a child gets its umask between fork and exec")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::Fixture;

pub const GROUP: u32 = 65_100;
pub const ONE: User = User { uid: 65_001, gid: GROUP, umask: 0o077 };
pub const OTHER: User = User { uid: 65_002, gid: GROUP, umask: 0 };
pub const STRANGER: User = User { uid: 65_003, gid: 65_003, umask: 0o022 };

/// Who makes a call.
#[derive(Clone, Copy)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    pub umask: u32,
}

impl User {
    pub fn becomes(self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
        // SAFETY: umask is one system call that cannot fail and touches no memory.
        unsafe {
            command.pre_exec(move || {
                libc::umask(self.umask);
                Ok(())
            });
        }
    }

    /// A call as this user; its request lies in a file.
    pub fn command(self, fixture: &Fixture, (call, destination, payload): (&str, &str, &str)) -> Command {
        let call = if call.contains('+') { call.to_owned() } else { format!("{call}+") };
        let method = call.split('+').next().unwrap();
        let request = fixture.path(&format!("/request-{}", self.uid));
        fs::write(&request, format!("{call} dom0 name {destination}\0{payload}")).unwrap();
        let mut command = fixture.command(method);
        self.becomes(&mut command);
        command.stdin(fs::File::open(request).unwrap());
        command
    }

    pub fn call(self, fixture: &Fixture, call: (&str, &str, &str)) -> Output {
        self.command(fixture, call).output().unwrap()
    }

    /// The content of an OK reply.
    pub fn ok(self, fixture: &Fixture, call: (&str, &str, &str)) -> String {
        let output = self.call(fixture, call);
        let content = output.stdout.strip_prefix(b"0\0");
        let content = content.unwrap_or_else(|| panic!("{} as {}: {output:?}", call.0, self.uid));
        String::from_utf8(content.to_vec()).unwrap()
    }
}

/// Gives a root to the group, as the installer leaves it.
pub fn share(fixture: &Fixture) {
    for path in all_below(&fixture.path("/")) {
        chown(&path, None, Some(GROUP)).unwrap();
        let mode = match (path.is_dir(), path.starts_with(fixture.path("/etc"))) {
            (true, true) => 0o755,
            (true, false) => 0o2770,
            (false, true) => 0o644,
            (false, false) => 0o660,
        };
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
    fs::set_permissions(fixture.path("/"), Permissions::from_mode(0o755)).unwrap();
}

/// Files and directories below one, links left out.
pub fn all_below(directory: &Path) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            paths.extend(all_below(&path));
        }
        if !path.is_symlink() {
            paths.push(path);
        }
    }
    paths
}

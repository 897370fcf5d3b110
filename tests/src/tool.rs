//! `qubes-admin` as an operator starts it.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Output, Stdio};

use crate::{Fixture, executables};

/// `qubes-admin` on a root, with nothing on its standard input.
pub fn command(fixture: &Fixture, arguments: &[&str]) -> Command {
    let mut command = Command::new(executables::executable("qubes-admin"));
    command.env_clear().arg("--root").arg(fixture.path("/")).args(arguments).stdin(Stdio::null());
    command
}

/// The same, run to its end.
pub fn tool(fixture: &Fixture, arguments: &[&str]) -> Output {
    command(fixture, arguments).output().unwrap()
}

/// What the tool prints on a terminal of that width.
pub fn on_terminal(fixture: &Fixture, columns: u16, arguments: &[&str]) -> String {
    shown(columns, |terminal| command(fixture, arguments).stdout(terminal).spawn().unwrap())
}

/// What a child shows on a terminal of that width.
pub fn shown(columns: u16, start: impl FnOnce(OwnedFd) -> Child) -> String {
    let size = nix::pty::Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let terminal = nix::pty::openpty(&size, None).unwrap();
    let mut child = start(terminal.slave);
    let mut bytes = Vec::new();
    // A terminal whose other side is gone answers with an error.
    let _ = File::from(terminal.master).read_to_end(&mut bytes);
    child.wait().unwrap();
    String::from_utf8(bytes).unwrap().replace("\r\n", "\n")
}

/// Links the executables the way the installer does.
pub fn install(fixture: &Fixture) {
    let rpc = fixture.path("/etc/qubes-rpc");
    std::fs::create_dir_all(&rpc).unwrap();
    for family in services::FAMILIES {
        for call in family.calls.iter().filter(|call| !call.row.is_internal()) {
            std::os::unix::fs::symlink(executables::executable(family.name), rpc.join(call.row.name))
                .unwrap();
        }
    }
}

/// What a command printed.
pub fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What a command that failed said.
pub fn error(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr.clone()).unwrap()
}

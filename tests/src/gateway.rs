//! A real gateway, and calls at its sockets.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::startable::until;
use crate::{Fixture, executables};

/// A gateway with sockets of its own, which ends with this.
pub struct Gateway {
    process: Child,
    folder: PathBuf,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.kill();
    }
}

/// `qubes-admin gateway` below a root.
pub fn command(fixture: &Fixture) -> Command {
    let mut command = Command::new(executables::executable("qubes-admin"));
    command.arg("--root").arg(fixture.path("/")).arg("gateway").stdin(Stdio::null());
    command
}

impl Gateway {
    pub fn of(fixture: &Fixture) -> Self {
        let folder = fixture.path("/sockets");
        std::fs::create_dir_all(&folder).unwrap();
        let process = command(fixture).arg("--dir").arg(&folder).spawn().unwrap();
        let gateway = Self { process, folder };
        until("the gateway listens", || gateway.try_connect("qubesd.misc.sock").is_some());
        gateway
    }

    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub fn path(&self, socket: &str) -> PathBuf {
        self.folder.join(socket)
    }

    fn try_connect(&self, socket: &str) -> Option<UnixStream> {
        UnixStream::connect(self.path(socket)).ok()
    }

    pub fn connect(&self, socket: &str) -> UnixStream {
        self.try_connect(socket).unwrap()
    }

    /// The whole answer to a request.
    pub fn ask(&self, socket: &str, request: &[u8]) -> Vec<u8> {
        let mut connection = self.connect(socket);
        // One that is refused before its end may not be taken in whole.
        let _ = connection.write_all(request);
        finish(connection)
    }

    /// Processes that serve somebody now.
    pub fn serving(&self) -> usize {
        let id = self.process.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        children.split_ascii_whitespace().count()
    }

    /// Page faults of all copies that have ended: no process is without any.
    pub fn faults_of_ended_copies(&self) -> u64 {
        let line = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        let (_, fields) = line.rsplit_once(") ").unwrap();
        fields.split(' ').nth(8).unwrap().parse().unwrap()
    }
}

/// Ends a request, and reads the answer to its end.
pub fn finish(mut connection: UnixStream) -> Vec<u8> {
    let _ = connection.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let _ = connection.read_to_end(&mut answer);
    answer
}

//! A real `admin.Events` or `admin.vm.Stats` process, and what it has sent so far.

use std::io::{BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Fixture;
use crate::fixture::readable;

/// How long anything may take before a test gives up on it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A listening process whose messages are read by a thread.
pub struct Listener {
    child: Child,
    messages: Receiver<Vec<u8>>,
}

impl Listener {
    /// Starts a listener and waits until it is established.
    pub fn to(fixture: &Fixture, method: &str, source: &str, destination: &str) -> Self {
        let listener = Self::starting(fixture.command(method), method, source, destination);
        assert_eq!(listener.next().unwrap(), "1··connection-established··");
        listener
    }

    /// `admin.Events` for dom0, of everything.
    pub fn to_all(fixture: &Fixture) -> Self {
        Self::to(fixture, "admin.Events", "dom0", "dom0")
    }

    /// Starts a listener; its first message may be anything.
    pub fn starting(mut command: Command, method: &str, source: &str, destination: &str) -> Self {
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let request = format!("{method}+ {source} name {destination}\0");
        child.stdin.take().unwrap().write_all(request.as_bytes()).unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let (send, messages) = channel();
        std::thread::spawn(move || {
            while let Some(message) = message(&mut output) {
                if send.send(message).is_err() {
                    return;
                }
            }
        });
        Self { child, messages }
    }

    /// The next message, NUL as `·`; nothing once the stream has ended.
    pub fn next(&self) -> Option<String> {
        self.next_bytes().map(|message| readable(&message))
    }

    /// The next message's bytes; nothing once the stream has ended.
    pub fn next_bytes(&self) -> Option<Vec<u8>> {
        match self.messages.recv_timeout(PATIENCE) {
            Ok(message) => Some(message),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => None,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("no message and no end of the stream"),
        }
    }

    /// All messages up to the one whose event has this name, which is left out.
    pub fn until(&self, name: &str) -> Vec<String> {
        let mut messages = Vec::new();
        loop {
            let message = self.next().expect("the stream ended");
            if message.split('·').nth(2) == Some(name) {
                return messages;
            }
            messages.push(message);
        }
    }

    /// Sends a signal to the process.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    /// Waits for the process, whose stream has ended, and gives back what it logged.
    pub fn log(mut self) -> String {
        let mut log = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut log).unwrap();
        }
        assert!(self.child.wait().unwrap().success());
        log
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One message: an event up to its empty key, anything else to the end.
pub fn message(output: &mut impl Read) -> Option<Vec<u8>> {
    let mut message = Vec::new();
    let mut byte = [0];
    let mut fields = 0;
    let mut start = 0;
    while output.read(&mut byte).unwrap() == 1 {
        message.push(byte[0]);
        if byte[0] != 0 {
            continue;
        }
        // Kind, subject and name come first; then keys and values, where an empty key is the end.
        fields += 1;
        let is_key = fields > 3 && fields % 2 == 0;
        if message[0] == b'1' && is_key && message.len() - start == 1 {
            return Some(message);
        }
        start = message.len();
    }
    (!message.is_empty()).then_some(message)
}

/// A listener whose standard output is one end of a socket pair, as under qrexec; the other end is given back.
pub fn over_socket(fixture: &Fixture) -> (Child, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut command = fixture.command("admin.Events");
    let mut child = command.stdin(Stdio::piped()).stdout(OwnedFd::from(theirs)).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"admin.Events+ dom0 name dom0\0").unwrap();
    (child, ours)
}

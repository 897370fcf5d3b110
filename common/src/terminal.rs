//! A terminal that a caller is joined with: what comes in on standard input goes to it, what it shows goes to standard
//! output, as it is, until either side is gone.

use std::ffi::c_int;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::opened::{self, Purpose};
use crate::{log, standard, store};

/// The exit status for a terminal that another caller is joined with.
const BUSY: c_int = 200;
/// Bytes moved at once: a pipe that is ready takes so many without a wait.
const BLOCK: usize = 4096;
/// How long a terminal may be silent, in milliseconds, once there is no more input: what came last may have an answer.
const SILENCE_MS: u16 = 500;

/// An open terminal.
#[derive(Debug)]
pub struct Terminal(File);

impl Terminal {
    /// Opens a terminal, as root where we may not ourselves.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &Path) -> io::Result<Self> {
        opened::open(path, Purpose::Talking).map(Self)
    }

    /// Joins standard input and output with it, unless somebody else is: that is who holds the lock at `path`. Gives the
    /// exit status.
    pub fn join_alone(self, path: &Path) -> c_int {
        let joined = match store::lock_file_if_free(path) {
            Ok(Some(_held)) => join(&self.0).map_err(|error| error.to_string()),
            Ok(None) => return BUSY,
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = &joined {
            log::line(&format!("joining a terminal: {error}"));
        }
        c_int::from(joined.is_err())
    }
}

/// Moves bytes both ways until the terminal or who reads standard output is gone, or until the terminal is silent after
/// the input's end.
fn join(terminal: &File) -> io::Result<()> {
    let (input, output) = (standard::input(), standard::output());
    let mut ways = [Way::new(&input, terminal), Way::new(terminal, &output)];
    loop {
        let [typed, shown] = &ways;
        let timeout = if typed.is_through() { PollTimeout::from(SILENCE_MS) } else { PollTimeout::NONE };
        let listener = || PollFd::new(output.as_fd(), PollFlags::empty());
        let mut polled =
            [Some(listener()), shown.wish(), typed.wish()].map(|end| end.unwrap_or_else(listener));
        match poll(&mut polled, timeout) {
            Err(Errno::EINTR) => continue,
            Ok(0) => return Ok(()),
            polled => polled?,
        };
        let [listener, shown, typed] = polled.map(|end| end.any().unwrap_or(true));
        for (way, is_ready) in ways.iter_mut().zip([typed, shown]) {
            if is_ready && !way.is_through() {
                way.step();
            }
        }
        if listener || is_over(&ways) {
            return Ok(());
        }
    }
}

/// All that the terminal showed is out, or nobody wants it.
fn is_over([_, shown]: &[Way<'_>; 2]) -> bool {
    shown.is_through()
}

/// One direction: bytes that were read wait until they can be written.
struct Way<'a> {
    from: &'a File,
    to: &'a File,
    waiting: Vec<u8>,
    is_at_end: bool,
}

impl<'a> Way<'a> {
    fn new(from: &'a File, to: &'a File) -> Self {
        Self { from, to, waiting: Vec::new(), is_at_end: false }
    }

    fn is_through(&self) -> bool {
        self.is_at_end && self.waiting.is_empty()
    }

    /// What there is to wait for; nothing once all is through.
    fn wish(&self) -> Option<PollFd<'a>> {
        match (self.waiting.is_empty(), self.is_at_end) {
            (false, _) => Some(PollFd::new(self.to.as_fd(), PollFlags::POLLOUT)),
            (true, false) => Some(PollFd::new(self.from.as_fd(), PollFlags::POLLIN)),
            (true, true) => None,
        }
    }

    /// Reads some bytes, or writes some of those.
    fn step(&mut self) {
        let done = if self.waiting.is_empty() { self.read() } else { self.write() };
        match done {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            // A terminal says so where others say that they are at their end.
            Err(_) => (self.waiting, self.is_at_end) = (Vec::new(), true),
            Ok(()) => {}
        }
    }

    fn read(&mut self) -> io::Result<()> {
        let mut block = vec![0; BLOCK];
        let read = self.from.read(&mut block)?;
        block.truncate(read);
        self.is_at_end = read == 0;
        self.waiting = block;
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        let written = self.to.write(&self.waiting)?;
        self.waiting.drain(..written);
        Ok(())
    }
}

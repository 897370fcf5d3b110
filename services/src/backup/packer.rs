//! The program that writes a backup, as its run talks with it.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use common::failure::Failure;
use common::hypervisor::Connection;
use common::packing::{Begin, Fault, Order, PROGRAM, Piece, Told};
use common::root::Root;
use common::run::{self, Process, Stream};

use super::profile::refused;
use super::run::cancelled;

/// How long nothing may be heard of it: whatever it waits for stands still then.
const DEADLINE: Duration = Duration::from_secs(3600);

/// Why a backup is not written on.
pub(super) enum Trouble {
    /// What the caller is told.
    Failure(Failure),
    /// What went wrong where, in the program's words.
    Fault(Fault, String),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// The program that runs; it ends with this.
pub(super) struct Packer<'s> {
    process: Process,
    other: Connection,
    stop: BorrowedFd<'s>,
}

impl<'s> Packer<'s> {
    /// Starts it.
    ///
    /// # Errors
    /// If it cannot be started or begin.
    pub(super) fn begin(
        root: &Root,
        output: BorrowedFd<'_>,
        begin: Begin,
        stop: BorrowedFd<'s>,
    ) -> Result<Self, Trouble> {
        let started = || {
            let (other, theirs) = Connection::pair()?;
            let given = [theirs.as_fd(), output].map(|open| Stream::Given(open.as_raw_fd()));
            let [input, output] = given;
            let process = run::ours_with(root, PROGRAM, &[], [input, output, Stream::Ours])?;
            Ok(Self { process, other, stop })
        };
        let packer = started().map_err(|error: io::Error| refused(format!("Starting {PROGRAM}: {error}")))?;
        packer.ask(&Order::Begin(begin), None, &mut |_| ())?;
        Ok(packer)
    }

    /// Has a file written, and is told how much of it was read.
    ///
    /// # Errors
    /// If that fails, or is to stop.
    pub(super) fn pack(
        &self,
        piece: Piece,
        content: Option<BorrowedFd<'_>>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), Trouble> {
        self.ask(&Order::Pack(piece), content, progress)
    }

    /// Has what is left written.
    ///
    /// # Errors
    /// As [`Packer::pack`].
    pub(super) fn finish(self) -> Result<(), Trouble> {
        self.ask(&Order::Finish, None, &mut |_| ())
    }

    fn ask(
        &self,
        order: &Order,
        content: Option<BorrowedFd<'_>>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), Trouble> {
        match content {
            Some(content) => self.other.send_with(order, content),
            None => self.other.send(order),
        }
        .map_err(ended)?;
        loop {
            if !self.other.is_heard_unless(self.stop, DEADLINE).map_err(ended)? {
                return Err(refused("Nothing of the backup was written for an hour").into());
            }
            match self.other.receive().map_err(ended)? {
                Some(Told::Read(length)) => progress(length),
                Some(Told::Done) => return Ok(()),
                Some(Told::Failed(fault, text)) => return Err(Trouble::Fault(fault, text)),
                None => return Err(ended(ErrorKind::UnexpectedEof.into())),
            }
        }
    }
}

impl Drop for Packer<'_> {
    /// All that it has written is where it should be.
    fn drop(&mut self) {
        let _ = self.process.kill_group();
        let _ = self.process.wait();
    }
}

fn ended(error: io::Error) -> Trouble {
    match error.kind() {
        ErrorKind::Interrupted => cancelled().into(),
        _ => refused("The program that writes the backup ended early").into(),
    }
}

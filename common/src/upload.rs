//! The payload of a streaming call: bytes that another qube still sends, which go nowhere but into a volume.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::failure::Failure;
use crate::filling::{BLOCK, Filling};
use crate::stream;
use crate::untrusted::Untrusted;

/// Images of disks have whole ones.
const SECTOR: u64 = 512;
/// How long a stream that has all its bytes may stay open without ending.
const END_DEADLINE: Duration = Duration::from_secs(10);
/// How long a stream may stand still from one byte to the next. A sender needs no more than seconds, where its own disk is
/// slow or a person looks at what it asks; one that is silent for longer would keep the volume's qube from everybody else.
const SILENCE: Duration = Duration::from_secs(600);

/// Standard input of a streaming call. Nothing in it is ever looked at but a first line, which stays untrusted: there is
/// no way to read, print or keep the rest.
pub struct Upload(());

/// Why a volume did not get its bytes; the texts are the client's (spec 20 §5.1).
#[derive(Debug, thiserror::Error)]
pub enum Short {
    /// The bytes could not be read or written.
    #[error("error copying data")]
    Failed(#[from] io::Error),
    /// The stream ended too early.
    #[error("not enough data (copied {copied} bytes, expected {size} bytes)")]
    TooLittle {
        /// Bytes that came.
        copied: u64,
        /// Bytes that were announced.
        size: u64,
    },
    /// More bytes came than were announced.
    #[error("too much data (expected {size} bytes)")]
    TooMuch {
        /// Bytes that were announced.
        size: u64,
    },
    /// No byte came for longer than any sender needs.
    #[error("no data came for {} seconds", SILENCE.as_secs())]
    Silent {
        /// Bytes that came before.
        copied: u64,
    },
    /// Nobody waits for the answer any more: what came may not be all.
    #[error("the caller went away")]
    Abandoned,
}

impl Upload {
    /// Standard input, which nothing else may read.
    pub(crate) fn of_standard_input() -> Self {
        Self(())
    }

    /// The bytes up to the first LF, without it; nothing if the stream ends or falls silent before it, or one of them is not
    /// `accepted`, or there are more than `most` with it.
    ///
    /// # Errors
    /// What the system says.
    pub fn line(&self, most: usize, accepted: fn(u8) -> bool) -> io::Result<Option<Untrusted>> {
        let mut line = Vec::new();
        let mut byte = [0];
        while line.len() < most && read(&mut byte)? == Some(1) {
            match byte {
                [b'\n'] => return Ok(Some(Untrusted::new(line))),
                [byte] if accepted(byte) => line.push(byte),
                _ => break,
            }
        }
        Ok(None)
    }

    /// Moves exactly `size` bytes into a file of zeros, durably, but for what is zero. A stream that falls silent is taken
    /// for one that has ended.
    ///
    /// # Errors
    /// [`Short`].
    pub fn pour(&self, into: &File, size: u64) -> Result<(), Short> {
        widen_pipe();
        let copied = match copy(&mut Filling::of(into), 0, size) {
            Err(Short::Silent { copied }) => copied,
            copied => copied?,
        };
        if copied < size {
            return Err(Short::TooLittle { copied, size });
        }
        into.sync_data()?;
        if is_at_end()? { Ok(()) } else { Err(Short::TooMuch { size }) }
    }

    /// Moves all that comes into a file of zeros that has room for `room` bytes and is given more as they come, durably.
    /// Gives their number. A stream is not told from one that was cut, but for what it must be: an image of whole
    /// sectors, whose sender still waits for an answer.
    ///
    /// # Errors
    /// [`Short`], and what `grow` says.
    pub fn pour_all(
        &self,
        into: &File,
        mut room: u64,
        mut grow: impl FnMut(u64) -> Result<(), Failure>,
    ) -> Result<u64, Failure> {
        widen_pipe();
        let mut filling = Filling::of(into);
        let mut copied = 0;
        loop {
            copied = copy(&mut filling, copied, room)?;
            if copied < room {
                break;
            }
            room = room.saturating_mul(2).max(SECTOR);
            grow(room)?;
        }
        into.sync_data().map_err(Short::from)?;
        let size = copied.max(1).checked_next_multiple_of(SECTOR).unwrap_or(copied);
        if size != copied {
            return Err(Short::TooLittle { copied, size }.into());
        }
        if stream::has_caller_gone() { Err(Short::Abandoned.into()) } else { Ok(copied) }
    }
}

/// Moves bytes to their place in a file, from one position up to another, or to where the stream ends. Gives the
/// position it came to; [`Short::Silent`] tells the position too.
fn copy(into: &mut Filling<'_>, from: u64, to: u64) -> Result<u64, Short> {
    let mut block = vec![0; BLOCK];
    let mut copied = from;
    while copied < to {
        let left = usize::try_from(to.saturating_sub(copied)).unwrap_or(usize::MAX);
        let room = block.get_mut(..left.min(BLOCK)).unwrap_or_default();
        let Filled { bytes, is_silent } = read_full(room)?;
        into.put(room.get(..bytes).unwrap_or_default(), copied)?;
        copied = copied.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        if is_silent {
            return Err(Short::Silent { copied });
        } else if bytes < room.len() {
            break;
        }
    }
    Ok(copied)
}

/// Lets a pipe hold as much as the system gives anybody, so that its sender works on while we write. A socket has no such
/// thing.
fn widen_pipe() {
    const MOST: i32 = 1 << 20;
    let _ = fcntl(io::stdin(), FcntlArg::F_SETPIPE_SZ(MOST));
}

/// Whether standard input has bytes, or its end, before a deadline.
fn is_ready(deadline: Duration) -> io::Result<bool> {
    let stdin = io::stdin();
    let mut waiting = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
    let patience = PollTimeout::try_from(deadline).unwrap_or(PollTimeout::MAX);
    loop {
        match poll(&mut waiting, patience) {
            Err(Errno::EINTR) => {}
            ready => return Ok(ready? > 0),
        }
    }
}

/// One read without a buffer that could take more than was asked for; none if the stream is silent.
fn read(into: &mut [u8]) -> io::Result<Option<usize>> {
    if !is_ready(SILENCE)? {
        return Ok(None);
    }
    loop {
        match nix::unistd::read(io::stdin(), into) {
            Err(Errno::EINTR) => {}
            result => return Ok(Some(result?)),
        }
    }
}

/// What came of a block.
struct Filled {
    bytes: usize,
    is_silent: bool,
}

/// Fills a block, but for the end of the stream or its silence.
fn read_full(block: &mut [u8]) -> io::Result<Filled> {
    let mut bytes = 0_usize;
    while let Some(rest) = block.get_mut(bytes..).filter(|rest| !rest.is_empty()) {
        match read(rest)? {
            None => return Ok(Filled { bytes, is_silent: true }),
            Some(0) => break,
            Some(more) => bytes = bytes.saturating_add(more),
        }
    }
    Ok(Filled { bytes, is_silent: false })
}

/// Whether nothing more comes. A sender that stays silent has sent all it wanted.
fn is_at_end() -> io::Result<bool> {
    Ok(!is_ready(END_DEADLINE)? || read(&mut [0])? == Some(0))
}

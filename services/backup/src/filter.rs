//! Compression: what one side makes goes through a filter to the other side, on another thread or in another process.

use std::io::{self, BufWriter, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use common::run::{self, Process};
use flate2::Compression;
use flate2::read::{GzEncoder, MultiGzDecoder};

use crate::archive::Put;
use crate::map::PIECE;
use crate::{Error, Result};

/// Pieces on their way to a filter of ours.
const PIECES: usize = 4;

/// Programs that expand what they have compressed when told `-d`.
const KNOWN: [&str; 6] = ["bzip2", "lzma", "pbzip2", "xz", "zstd", "zstdmt"];

/// What a stream goes through.
pub(crate) enum Filter<'a> {
    /// Ours, which compresses as `gzip` does.
    Gzip,
    /// Ours, which expands what that made.
    Gunzip,
    /// A program, by its name, with its arguments.
    Program(&'a str, &'static [&'static str]),
}

impl<'a> Filter<'a> {
    /// The one that compresses.
    pub(crate) fn compressing(name: &'a str) -> Self {
        if name == "gzip" { Self::Gzip } else { Self::Program(name, &[]) }
    }

    /// The one that expands what the named one made: it is one that is known, or a chosen one takes its place.
    ///
    /// # Errors
    /// If it is neither.
    pub(crate) fn expanding(chosen: Option<&'a str>, named: &'a str) -> Result<Self> {
        match chosen.unwrap_or(named) {
            "gzip" | "pigz" => Ok(Self::Gunzip),
            name if chosen.is_some() || KNOWN.contains(&name) => Ok(Self::Program(name, &["-d"])),
            _ => Err(Error::Header("names a compression filter that is not known")),
        }
    }

    /// Runs it. What comes out is for `take`, which does not get an end to see unless all that was to go in did.
    ///
    /// # Errors
    /// Those of both sides, and of the filter.
    pub(crate) fn run<T: Send>(
        &self,
        make: impl FnOnce(Put<'_>) -> Result<()>,
        take: impl FnOnce(&mut dyn Read) -> Result<T> + Send,
    ) -> Result<T> {
        match self {
            Self::Gzip => {
                let (input, output) = channel();
                joined(input, || GzEncoder::new(output, Compression::default()), make, take)
            }
            Self::Gunzip => {
                let (input, output) = channel();
                // It reads as soon as it is made.
                joined(input, || MultiGzDecoder::new(output), make, take)
            }
            Self::Program(name, arguments) => {
                let mut process = run::filter(name, arguments).map_err(Error::Filter)?;
                let missing = || Error::Filter(io::ErrorKind::BrokenPipe.into());
                let input = process.input().ok_or_else(missing)?;
                let output = process.output().ok_or_else(missing)?;
                let done = joined(input, || output, make, take);
                ended(&process, done.is_ok())?;
                done
            }
        }
    }
}

/// Waits for a program, which has nothing left to do or is ended.
fn ended(process: &Process, must_succeed: bool) -> Result<()> {
    if !must_succeed {
        process.kill().map_err(Error::Filter)?;
    }
    let succeeded = process.succeeds().map_err(Error::Filter)?;
    if must_succeed && !succeeded {
        return Err(Error::Filter(io::Error::other("it did not succeed")));
    }
    Ok(())
}

/// Lets both sides work at once, each with its end.
fn joined<R: Read, T: Send>(
    input: impl Write,
    output: impl FnOnce() -> R + Send,
    make: impl FnOnce(Put<'_>) -> Result<()>,
    take: impl FnOnce(&mut dyn Read) -> Result<T> + Send,
) -> Result<T> {
    let is_whole = AtomicBool::new(false);
    let (made, taken) = thread::scope(|scope| {
        let whole = &is_whole;
        let taking = scope.spawn(move || take(&mut Whole { output: output(), is_whole: whole }));
        let made = fill(input, make, whole);
        (made, taking.join())
    });
    let taken = taken.unwrap_or_else(|_| Err(Error::Filter(io::Error::other("a thread ended early"))));
    match (made, taken) {
        // One side's error is that the other one stopped.
        (Err(Error::Filter(_)), Err(taken)) => Err(taken),
        (made, taken) => made.and(taken),
    }
}

fn fill(input: impl Write, make: impl FnOnce(Put<'_>) -> Result<()>, is_whole: &AtomicBool) -> Result<()> {
    let mut input = BufWriter::with_capacity(PIECE, input);
    let made = make(&mut |bytes| input.write_all(bytes).map_err(Error::Filter));
    let made = made.and_then(|()| input.flush().map_err(Error::Filter));
    is_whole.store(made.is_ok(), Ordering::Release);
    // Nothing more is written, whatever is left.
    drop(input.into_parts());
    made
}

/// What comes out, whose end is one only if all went in.
struct Whole<'a, R> {
    output: R,
    is_whole: &'a AtomicBool,
}

impl<R: Read> Read for Whole<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.output.read(buffer)?;
        if length == 0 && !buffer.is_empty() && !self.is_whole.load(Ordering::Acquire) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(length)
    }
}

/// Both ends of a filter of ours.
fn channel() -> (Sending, Receiving) {
    let (sender, receiver) = sync_channel(PIECES);
    (Sending(sender), Receiving { receiver, piece: Vec::new(), taken: 0 })
}

/// The end of our filter that is written to.
struct Sending(SyncSender<Vec<u8>>);

impl Write for Sending {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(bytes.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The end that it reads from.
struct Receiving {
    receiver: Receiver<Vec<u8>>,
    piece: Vec<u8>,
    taken: usize,
}

impl Read for Receiving {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.piece.len() {
            let Ok(piece) = self.receiver.recv() else { return Ok(0) };
            (self.piece, self.taken) = (piece, 0);
        }
        let length = self.piece.get(self.taken..).unwrap_or_default().read(buffer)?;
        self.taken = self.taken.saturating_add(length);
        Ok(length)
    }
}

//! Compression: what one side makes goes through a filter to the other side, on other threads or in another process.

use std::io::{self, BufWriter, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use common::run::{self, Process};
use flate2::read::MultiGzDecoder;

use crate::archive::Put;
use crate::gzip;
use crate::map::PIECE;
use crate::queue::{Giving, Taking, queue};
use crate::{Error, Result};

/// Pieces on their way to a filter of ours.
const PIECES: usize = 4;

/// Programs that expand what they have compressed when told `-d`.
const KNOWN: [&str; 6] = ["bzip2", "lzma", "pbzip2", "xz", "zstd", "zstdmt"];

/// What compresses a stream.
pub(crate) enum Compression<'a> {
    /// Ours, as `gzip` does.
    Gzip,
    /// A program, by its name.
    Program(&'a str),
}

impl<'a> Compression<'a> {
    pub(crate) fn by(name: &'a str) -> Self {
        if name == "gzip" { Self::Gzip } else { Self::Program(name) }
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
            Self::Gzip => gzip::with_workers(|input, output| joined(input, || output, make, take)),
            Self::Program(name) => through(name, &[], make, take),
        }
    }
}

/// What expands one again. It is apart, as whoever writes needs none of it.
pub(crate) enum Expansion<'a> {
    /// Ours, of what `gzip` made.
    Gunzip,
    /// A program, by its name.
    Program(&'a str),
}

impl<'a> Expansion<'a> {
    /// The one for what the named filter made: that is one that is known, or a chosen one takes its place.
    ///
    /// # Errors
    /// If it is neither.
    pub(crate) fn of(chosen: Option<&'a str>, named: &'a str) -> Result<Self> {
        match chosen.unwrap_or(named) {
            "gzip" | "pigz" => Ok(Self::Gunzip),
            name if chosen.is_some() || KNOWN.contains(&name) => Ok(Self::Program(name)),
            _ => Err(Error::Header("names a compression filter that is not known")),
        }
    }

    /// Runs it, as [`Compression::run`].
    ///
    /// # Errors
    /// As there.
    pub(crate) fn run<T: Send>(
        &self,
        make: impl FnOnce(Put<'_>) -> Result<()>,
        take: impl FnOnce(&mut dyn Read) -> Result<T> + Send,
    ) -> Result<T> {
        match self {
            Self::Gunzip => {
                let (input, output) = channel();
                // It reads as soon as it is made.
                joined(input, || MultiGzDecoder::new(output), make, take)
            }
            Self::Program(name) => through(name, &["-d"], make, take),
        }
    }
}

/// Runs a program between both sides.
fn through<T: Send>(
    name: &str,
    arguments: &[&str],
    make: impl FnOnce(Put<'_>) -> Result<()>,
    take: impl FnOnce(&mut dyn Read) -> Result<T> + Send,
) -> Result<T> {
    let mut process = run::filter(name, arguments).map_err(Error::Filter)?;
    let missing = || Error::Filter(io::ErrorKind::BrokenPipe.into());
    let input = process.input().ok_or_else(missing)?;
    let output = process.output().ok_or_else(missing)?;
    let done = joined(input, || output, make, take);
    ended(&process, done.is_ok())?;
    done
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
    let (giving, taking) = queue(PIECES);
    (Sending(giving), Receiving { taking, piece: Vec::new(), taken: 0 })
}

/// The end of our filter that is written to.
struct Sending(Giving<Vec<u8>>);

impl Write for Sending {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.give(bytes.to_vec()).ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The end that it reads from.
struct Receiving {
    taking: Taking<Vec<u8>>,
    piece: Vec<u8>,
    taken: usize,
}

impl Read for Receiving {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.piece.len() {
            let Some(piece) = self.taking.take() else { return Ok(0) };
            (self.piece, self.taken) = (piece, 0);
        }
        let length = self.piece.get(self.taken..).unwrap_or_default().read(buffer)?;
        self.taken = self.taken.saturating_add(length);
        Ok(length)
    }
}

//! Unpacks the archive of a single file, as ours and GNU's `tar` make it.

use std::io::{self, Read};

use crate::block::{BLOCK, padding};
use crate::entry::{self, Entry, decimal, field, number};
use crate::map::{PIECE, Run, piece_length};
use crate::{Error, Result};

/// What may stand after an archive's end: zeros, as much as programs write at once.
const MOST_PADDING: u64 = 1 << 20;
const MALFORMED: Error = Error::Altered("an archive in it is malformed");

/// Where a file is unpacked to. What it gets is of use only once the whole file has been: [`Complete`].
pub trait Sink {
    /// Begins the file, which has this size and no data yet.
    ///
    /// # Errors
    /// If it cannot be made, or is too large.
    fn begin(&mut self, size: u64) -> io::Result<()>;

    /// Writes data.
    ///
    /// # Errors
    /// If it cannot be written.
    fn data(&mut self, offset: u64, data: Verified<'_>) -> io::Result<()>;
}

/// Data from a chunk that was proven.
#[derive(Clone, Copy)]
pub struct Verified<'a>(&'a [u8]);

impl<'a> Verified<'a> {
    /// The data.
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }
}

/// Says that a whole file was unpacked, and all of it proven.
#[must_use = "what was unpacked is of use only with this"]
#[derive(Debug, PartialEq, Eq)]
pub struct Complete {
    size: u64,
}

impl Complete {
    /// The file's size.
    pub fn size(&self) -> u64 {
        self.size
    }
}

/// Unpacks an archive that has one file, of this name.
pub(crate) fn image(
    input: &mut dyn Read,
    name: &str,
    most_runs: u64,
    sink: &mut dyn Sink,
) -> Result<Complete> {
    let first = entry::block(input)?.ok_or(Error::Truncated)?;
    let entry = entry::entry(first, input)?;
    let unpacked = Unpacked::new(&entry, most_runs, input)?;
    if unpacked.name != name.as_bytes() {
        return Err(Error::Altered("a file in it has another name than its chunks"));
    }
    sink.begin(unpacked.size).map_err(Error::Sink)?;
    let mut piece = vec![0; PIECE];
    for run in &unpacked.runs {
        write_run(*run, &mut piece, input, sink)?;
    }
    let data = unpacked.data();
    zeros(input, padding(data, BLOCK))?;
    Ok(Complete { size: unpacked.size })
}

pub(crate) fn write_run(run: Run, piece: &mut [u8], input: &mut dyn Read, sink: &mut dyn Sink) -> Result<()> {
    let mut done = 0;
    while done < run.length {
        let length = piece_length(run.length.saturating_sub(done));
        let piece = piece.get_mut(..length).unwrap_or_default();
        input.read_exact(piece).map_err(Error::reading)?;
        sink.data(run.offset.saturating_add(done), Verified(piece)).map_err(Error::Sink)?;
        done = done.saturating_add(length as u64);
    }
    Ok(())
}

/// Reads up to the end, where there is nothing but zeros.
pub(crate) fn end(input: &mut dyn Read) -> Result<()> {
    let mut rest = Vec::new();
    input.take(MOST_PADDING).read_to_end(&mut rest).map_err(Error::reading)?;
    let is_end = (rest.len() as u64) < MOST_PADDING && rest.iter().all(|byte| *byte == 0);
    if is_end { Ok(()) } else { Err(Error::Altered("a file in it goes on after its end")) }
}

pub(crate) fn zeros(input: &mut dyn Read, length: u64) -> Result<()> {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
    input.read_exact(&mut bytes).map_err(Error::reading)
}

/// What an entry says about its file.
pub(crate) struct Unpacked {
    name: Vec<u8>,
    pub(crate) size: u64,
    pub(crate) runs: Vec<Run>,
}

impl Unpacked {
    pub(crate) fn new(entry: &Entry, most_runs: u64, input: &mut dyn Read) -> Result<Self> {
        let mut runs = Runs { runs: Vec::new(), most: most_runs };
        let name = entry.whole_name().to_vec();
        let (size, stored) = match (entry.kind, entry.sparse("major"), entry.sparse("minor")) {
            (b'S', None, None) => (old_map(entry, &mut runs, input)?, entry.length),
            (b'0' | 0, Some("1"), Some("0")) => {
                let lines = new_map(&mut runs, input)?;
                let size = entry.sparse("realsize").and_then(decimal).ok_or(MALFORMED)?;
                (size, entry.length.checked_sub(lines).ok_or(MALFORMED)?)
            }
            (b'0' | 0 | b'7', None, None) if entry.sparse.is_empty() => {
                runs.add(0, entry.length)?;
                (entry.length, entry.length)
            }
            _ => return Err(Error::Altered("an archive in it has no plain file")),
        };
        let unpacked = Self { name, size, runs: runs.runs };
        let end = unpacked.runs.last().map_or(0, |run| run.offset.saturating_add(run.length));
        if end > size || unpacked.data() != stored { Err(MALFORMED) } else { Ok(unpacked) }
    }

    pub(crate) fn data(&self) -> u64 {
        self.runs.iter().fold(0, |sum, run| sum.saturating_add(run.length))
    }
}

/// Runs, in order.
struct Runs {
    runs: Vec<Run>,
    most: u64,
}

impl Runs {
    fn add(&mut self, offset: u64, length: u64) -> Result<()> {
        let end = self.runs.last().map_or(0, |run| run.offset.saturating_add(run.length));
        if offset < end || offset.checked_add(length).is_none() {
            return Err(MALFORMED);
        } else if self.runs.len() as u64 >= self.most {
            return Err(Error::Limit("a file in it has too many runs of data"));
        }
        self.runs.push(Run { offset, length });
        Ok(())
    }
}

/// The map of GNU's own form: four runs in the header, and blocks of twenty-one. Gives the file's size.
fn old_map(entry: &Entry, runs: &mut Runs, input: &mut dyn Read) -> Result<u64> {
    let size = number(field(&entry.block, 483, 12)).ok_or(MALFORMED)?;
    add_old(field(&entry.block, 386, 96), runs)?;
    let mut goes_on = field(&entry.block, 482, 1) != [0];
    while goes_on {
        let block = entry::block(input)?.ok_or(Error::Truncated)?;
        add_old(field(&block, 0, 504), runs)?;
        goes_on = field(&block, 504, 1) != [0];
    }
    Ok(size)
}

/// Adds runs up to the first that is none.
fn add_old(fields: &[u8], runs: &mut Runs) -> Result<()> {
    let used = fields.chunks_exact(24).take_while(|run| field(run, 0, 1) != [0]);
    for run in used {
        let offset = number(field(run, 0, 12)).ok_or(MALFORMED)?;
        runs.add(offset, number(field(run, 12, 12)).ok_or(MALFORMED)?)?;
    }
    Ok(())
}

/// The map of form 1.0: lines of numbers before the data. Gives the length of what they take.
fn new_map(runs: &mut Runs, input: &mut dyn Read) -> Result<u64> {
    let mut lines = Lines { input, block: Vec::new(), blocks: 0 };
    let count = lines.next()?;
    for _ in 0..count {
        let offset = lines.next()?;
        runs.add(offset, lines.next()?)?;
    }
    Ok(lines.blocks.saturating_mul(BLOCK))
}

/// Numbers in lines, in whole blocks.
struct Lines<'a> {
    input: &'a mut dyn Read,
    /// What is left of the present block, from its end.
    block: Vec<u8>,
    blocks: u64,
}

impl Lines<'_> {
    fn next(&mut self) -> Result<u64> {
        let mut digits = String::new();
        loop {
            match self.byte()? {
                b'\n' => return decimal(&digits).ok_or(MALFORMED),
                digit if digits.len() < 20 => digits.push(digit.into()),
                _ => return Err(MALFORMED),
            }
        }
    }

    fn byte(&mut self) -> Result<u8> {
        if self.block.is_empty() {
            self.block = entry::block(self.input)?.ok_or(Error::Truncated)?.into();
            self.block.reverse();
            self.blocks = self.blocks.saturating_add(1);
        }
        self.block.pop().ok_or(MALFORMED)
    }
}

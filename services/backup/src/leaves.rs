//! Unpacks the archive of a tree, as ours and GNU's `tar` make it. What its names and links say is of foreign origin.

use std::io::{self, Read};

use crate::block::{BLOCK, padding};
use crate::entry::{self, Entry};
use crate::map::PIECE;
use crate::unpack::{Unpacked, write_run, zeros};
use crate::{Error, Result, Sink};

/// What a member of a tree is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeafKind {
    /// A file, whose content follows.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// Another name of a file that came before.
    SecondName,
    /// A pipe, a device, or something that nobody knows.
    Other,
}

/// A member of a tree.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// Its name, whole, whatever its bytes.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: LeafKind,
    /// Its permissions and more, as they stand there.
    pub mode: u32,
    /// Seconds since 1970 of its last change.
    pub time: u64,
    /// Where a link leads, or which file has a second name.
    pub target: Vec<u8>,
}

/// Where a tree is unpacked to.
pub trait Leaves: Sink {
    /// Begins a member. A file's size and data follow, as those of any file.
    ///
    /// # Errors
    /// If nothing more shall be unpacked.
    fn leaf(&mut self, leaf: Leaf) -> io::Result<()>;

    /// Ends a file, all of whose data came.
    ///
    /// # Errors
    /// As [`Leaves::leaf`].
    fn end(&mut self) -> io::Result<()>;
}

/// Unpacks all members, up to the blocks of zeros that the archive ends with.
pub(crate) fn tree(input: &mut dyn Read, most_runs: u64, into: &mut dyn Leaves) -> Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let block = entry::block(input)?.ok_or(Error::Truncated)?;
        if block.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        let entry = entry::entry(block, input)?;
        let kind = kind(&entry);
        let leaf = Leaf {
            name: entry.whole_name().to_vec(),
            kind,
            mode: entry::number(entry::field(&entry.block, 100, 8))
                .and_then(|mode| u32::try_from(mode).ok())
                .unwrap_or_default(),
            time: entry::number(entry::field(&entry.block, 136, 12)).unwrap_or_default(),
            target: entry.target.clone(),
        };
        into.leaf(leaf).map_err(Error::Sink)?;
        match kind {
            LeafKind::File => file(&entry, most_runs, &mut piece, input, into)?,
            _ => pass(&entry, input)?,
        }
    }
}

fn kind(entry: &Entry) -> LeafKind {
    match entry.kind {
        b'0' | 0 | b'7' | b'S' => LeafKind::File,
        b'1' => LeafKind::SecondName,
        b'2' => LeafKind::Link,
        b'5' => LeafKind::Directory,
        _ => LeafKind::Other,
    }
}

fn file(
    entry: &Entry,
    most_runs: u64,
    piece: &mut [u8],
    input: &mut dyn Read,
    into: &mut dyn Leaves,
) -> Result<()> {
    let unpacked = Unpacked::new(entry, most_runs, input)?;
    into.begin(unpacked.size).map_err(Error::Sink)?;
    for run in &unpacked.runs {
        write_run(*run, piece, input, into)?;
    }
    zeros(input, padding(unpacked.data(), BLOCK))?;
    into.end().map_err(Error::Sink)
}

/// Passes over what follows a member that has no content of ours. What is linked or a directory has none.
fn pass(entry: &Entry, input: &mut dyn Read) -> Result<()> {
    let length = match entry.kind {
        b'1'..=b'6' => 0,
        _ => entry.length.saturating_add(padding(entry.length, BLOCK)),
    };
    let passed = io::copy(&mut input.take(length), &mut io::sink()).map_err(Error::reading)?;
    if passed == length { Ok(()) } else { Err(Error::Truncated) }
}

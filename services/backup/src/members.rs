//! The members of a backup, one after the other. Nothing of what they say has been proven.

use std::io::Read;

use crate::block::{BLOCK, padding};
use crate::entry::{self, Block};
use crate::outer::{DEVICE_END, RECORD};
use crate::{Error, Result};

/// A member that begins.
#[derive(Clone)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) length: u64,
}

/// Reads members.
pub(crate) struct Members<R> {
    input: Counted<R>,
    /// What is left of the present one, then of its last block.
    left: u64,
    padding: u64,
    is_first: bool,
}

impl<R: Read> Members<R> {
    pub(crate) fn new(input: R) -> Self {
        Self { input: Counted { input, count: 0 }, left: 0, padding: 0, is_first: true }
    }

    /// Goes on to the next one. Each is an archive of its own, which ends with blocks of zeros.
    pub(crate) fn next(&mut self) -> Result<Option<Member>> {
        let rest = std::mem::take(&mut self.left);
        self.pass(rest, false)?;
        let padding = std::mem::take(&mut self.padding);
        self.pass(padding, true)?;
        let Some(block) = self.header()? else { return Ok(None) };
        let entry = entry::entry(block, &mut self.input)?;
        if !matches!(entry.kind, b'0' | 0) || !entry.sparse.is_empty() {
            return Err(Error::Altered("it has a member that is no plain file"));
        }
        (self.left, self.padding) = (entry.length, padding_of(entry.length));
        let name = String::from_utf8(entry.name).map_err(|_| Error::Name)?;
        Ok(Some(Member { name, length: entry.length }))
    }

    /// The next block that is not of zeros.
    fn header(&mut self) -> Result<Option<Block>> {
        let mut zeros = if std::mem::take(&mut self.is_first) { 2 } else { 0_u64 };
        // Whether it may have ended here, or further zeros came since.
        let mut is_end = false;
        while let Some(block) = entry::block(&mut self.input)? {
            if block.iter().any(|byte| *byte != 0) {
                let has_end = zeros >= 2;
                return if has_end {
                    Ok(Some(block))
                } else {
                    Err(Error::Altered("an archive in it has no end"))
                };
            }
            zeros = zeros.saturating_add(1);
            is_end |= zeros >= 2 && padding(self.input.count, RECORD) == 0;
            if is_end && zeros.saturating_mul(BLOCK) >= DEVICE_END {
                return Ok(None);
            }
        }
        if is_end { Ok(None) } else { Err(Error::Truncated) }
    }

    /// Reads on in the present member, as far as it goes.
    pub(crate) fn read(&mut self, piece: &mut [u8]) -> Result<()> {
        let left = self.left.checked_sub(piece.len() as u64);
        self.left = left.ok_or(Error::Altered("a member is too short"))?;
        self.input.read_exact(piece).map_err(Error::reading)
    }

    /// All of the present member, if it is not too long.
    pub(crate) fn whole(&mut self, most: u64) -> Result<Vec<u8>> {
        if self.left > most {
            return Err(Error::Limit("a member is too long"));
        }
        let mut content = vec![0; usize::try_from(self.left).unwrap_or_default()];
        self.read(&mut content)?;
        Ok(content)
    }

    /// Passes over bytes, which may have to be zeros.
    fn pass(&mut self, mut length: u64, must_be_zero: bool) -> Result<()> {
        let mut block = [0; 16 * BLOCK as usize];
        while length > 0 {
            let most = usize::try_from(length).unwrap_or(block.len()).min(block.len());
            let piece = block.get_mut(..most).unwrap_or_default();
            self.input.read_exact(piece).map_err(Error::reading)?;
            if must_be_zero && piece.iter().any(|byte| *byte != 0) {
                return Err(Error::Altered("there is something between its members"));
            }
            length = length.saturating_sub(most as u64);
        }
        Ok(())
    }
}

fn padding_of(length: u64) -> u64 {
    padding(length, BLOCK)
}

/// Counts what is read.
struct Counted<R> {
    input: R,
    count: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.input.read(buffer)?;
        self.count = self.count.saturating_add(length as u64);
        Ok(length)
    }
}

//! Where a file has data: all but the blocks of zeros.

use std::fs::File;
use std::ops::ControlFlow;

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};

use crate::block::BLOCK;
use crate::{Error, Result};

/// What is read at once.
pub(crate) const PIECE: usize = 128 << 10;
/// More runs than these would take too much memory: small holes become data then.
const MOST: usize = 1 << 20;

/// A run of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

impl Run {
    fn end(self) -> u64 {
        self.offset.saturating_add(self.length)
    }
}

/// The runs of data in a file, in order.
#[derive(Debug)]
pub(crate) struct Map {
    pub(crate) runs: Vec<Run>,
    /// Holes that are smaller than this are data.
    smallest_hole: u64,
    most: usize,
}

impl Map {
    /// Finds them in bytes.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Self {
        let mut map = Self::empty(MOST);
        map.add(0, bytes);
        map.end(bytes.len() as u64);
        map
    }

    /// Finds them in a file, by reading all that it does not say to be a hole.
    pub(crate) fn of_file(
        file: &File,
        size: u64,
        read: &dyn Fn(u64, &mut [u8]) -> Result<()>,
        watch: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<Self> {
        let (mut map, mut piece, mut offset) = (Self::empty(MOST), vec![0; PIECE], 0);
        let seek = |from: u64, whence| lseek(file, i64::try_from(from).unwrap_or(i64::MAX), whence);
        while let Some(data) = next_data(&seek, offset, size) {
            offset = data.offset;
            while offset < data.end() {
                if watch(0).is_break() {
                    return Err(Error::Cancelled);
                }
                let length = piece_length(data.end().saturating_sub(offset));
                let piece = piece.get_mut(..length).unwrap_or_default();
                read(offset, piece)?;
                map.add(offset, piece);
                offset = offset.saturating_add(length as u64);
            }
        }
        map.end(size);
        Ok(map)
    }

    fn empty(most: usize) -> Self {
        Self { runs: Vec::new(), smallest_hole: 0, most }
    }

    /// Looks at what stands at an offset, a multiple of a block.
    fn add(&mut self, mut offset: u64, bytes: &[u8]) {
        for block in bytes.chunks(BLOCK as usize) {
            if !is_zero(block) {
                self.add_run(Run { offset, length: block.len() as u64 });
            }
            offset = offset.saturating_add(block.len() as u64);
        }
    }

    fn add_run(&mut self, run: Run) {
        if !self.joins(run) {
            self.runs.push(run);
            if self.runs.len() >= self.most {
                self.coarsen();
            }
        }
    }

    /// Whether the run only makes the last one longer.
    fn joins(&mut self, run: Run) -> bool {
        let smallest_hole = self.smallest_hole;
        let Some(last) = self.runs.last_mut() else { return false };
        let joins = run.offset == last.end() || run.offset.saturating_sub(last.end()) < smallest_hole;
        if joins {
            last.length = run.end().saturating_sub(last.offset);
        }
        joins
    }

    /// Takes out small holes until half of the runs are left.
    fn coarsen(&mut self) {
        while self.runs.len() > self.most / 2 {
            self.smallest_hole = self.smallest_hole.max(BLOCK).saturating_mul(2);
            for run in std::mem::take(&mut self.runs) {
                if !self.joins(run) {
                    self.runs.push(run);
                }
            }
        }
    }

    /// A hole at the end is told of by a run without data.
    fn end(&mut self, size: u64) {
        if self.runs.last().is_none_or(|last| last.end() != size) {
            self.runs.push(Run { offset: size, length: 0 });
        }
    }

    /// How much data there is.
    pub(crate) fn data(&self) -> u64 {
        self.runs.iter().fold(0, |sum, run| sum.saturating_add(run.length))
    }

    /// The lines that tell of the runs: their number, then where each begins and how long it is.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        let runs = self.runs.iter().map(|run| format!("{}\n{}\n", run.offset, run.length));
        std::iter::once(format!("{}\n", self.runs.len())).chain(runs)
    }
}

/// How much of this is read at once.
pub(crate) fn piece_length(length: u64) -> usize {
    usize::try_from(length).unwrap_or(PIECE).min(PIECE)
}

fn is_zero(block: &[u8]) -> bool {
    // Most blocks of data begin with some.
    let (start, rest) = block.split_at(block.len().min(16));
    start.iter().all(|byte| *byte == 0) && rest.iter().fold(0, |any, byte| any | byte) == 0
}

/// Where the file itself says that data is, at or after an offset. What cannot tell has data everywhere.
fn next_data(seek: &dyn Fn(u64, Whence) -> nix::Result<i64>, offset: u64, size: u64) -> Option<Run> {
    if offset >= size {
        return None;
    }
    let start = match seek(offset, Whence::SeekData) {
        Ok(start) => u64::try_from(start).unwrap_or(offset),
        Err(Errno::ENXIO) => return None,
        Err(_) => return Some(Run { offset, length: size.saturating_sub(offset) }),
    };
    let end = seek(start, Whence::SeekHole).ok().and_then(|end| u64::try_from(end).ok()).unwrap_or(size);
    // Blocks are counted from the beginning of the file.
    let start = start.saturating_sub(start.checked_rem(BLOCK).unwrap_or(0));
    // There may be a hole by now. What comes after its first block is asked for next.
    let end = end.max(start.saturating_add(BLOCK)).checked_next_multiple_of(BLOCK).unwrap_or(size).min(size);
    (start < end).then(|| Run { offset: start, length: end.saturating_sub(start) })
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "test code")]
mod tests {
    use super::{BLOCK, Errno, Run, Whence, next_data};

    /// All that is found in a file whose data begins at some blocks and goes on to the next hole, told by its block.
    fn found(data: &[u64], hole_after: &dyn Fn(u64) -> u64, size: u64) -> Vec<(u64, u64)> {
        let seek = |from: u64, whence: Whence| match whence {
            Whence::SeekData => data.iter().map(|block| block * BLOCK).find(|at| *at >= from),
            _ => Some(hole_after(from / BLOCK) * BLOCK),
        };
        let seek = |from, whence| seek(from, whence).map(|at| at as i64).ok_or(Errno::ENXIO);
        let mut offset = 0;
        let next = || {
            let run: Run = next_data(&seek, offset, size)?;
            offset = run.end();
            Some((run.offset, run.length))
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn a_hole_made_meanwhile_ends_nothing_else() {
        let size = 12 * BLOCK + 100;
        let all = found(&[0, 4, 12], &|block| block + 2, size);
        assert_eq!(all, [(0, 2 * BLOCK), (4 * BLOCK, 2 * BLOCK), (12 * BLOCK, 100)]);
        // Where there was data a moment ago there is none: in the second place, then everywhere.
        let second = |block| if block == 4 { block } else { block + 2 };
        let all = found(&[0, 4, 12], &second, size);
        assert_eq!(all, [(0, 2 * BLOCK), (4 * BLOCK, BLOCK), (12 * BLOCK, 100)]);
        let all = found(&[0, 4, 12], &|block| block, size);
        assert_eq!(all, [(0, BLOCK), (4 * BLOCK, BLOCK), (12 * BLOCK, 100)]);
        // What has become longer has nothing that was asked for behind its former end.
        assert_eq!(found(&[0, 12], &|block| block + 2, 2 * BLOCK), [(0, 2 * BLOCK)]);
    }
}

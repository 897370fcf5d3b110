//! Filling a file or block device of zeros: what is zero is left out, so that what is sparse stays sparse, and the disk
//! writes while more comes.
#![allow(unsafe_code, reason = "sync_file_range has no wrapper in nix")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

/// Bytes moved at once: few enough to stay in the processor's cache between reading and writing.
pub(crate) const BLOCK: usize = 128 << 10;
/// What is left out where all of it is zero.
const GRAIN: usize = 64 << 10;
/// Bytes after which the disk is told to begin with them: enough for long extents, which make later clones quick.
const WINDOW: u64 = 64 << 20;

/// A file that is being filled from its beginning to its end.
pub(crate) struct Filling<'f> {
    file: &'f File,
    /// The disk was told of everything before.
    told: u64,
}

impl<'f> Filling<'f> {
    pub(crate) fn of(file: &'f File) -> Self {
        Self { file, told: 0 }
    }

    /// Puts what comes next, which begins at a byte behind all that came before.
    pub(crate) fn put(&mut self, mut data: &[u8], mut at: u64) -> io::Result<()> {
        while !data.is_empty() {
            let (hole, rest) = split(data, true);
            let (run, rest) = split(rest, false);
            at = after(at, hole);
            self.file.write_all_at(run, at)?;
            at = after(at, run);
            data = rest;
        }
        self.tell(at);
        Ok(())
    }

    /// Has the disk begin. That it does is no more than a wish: what must be on the disk is synced in the end.
    fn tell(&mut self, end: u64) {
        let length = end.saturating_sub(self.told);
        let (Ok(start), Ok(bytes)) = (i64::try_from(self.told), i64::try_from(length)) else { return };
        if length >= WINDOW {
            // SAFETY: sync_file_range takes plain numbers; the descriptor is open for as long as we borrow the file.
            unsafe {
                libc::sync_file_range(self.file.as_raw_fd(), start, bytes, libc::SYNC_FILE_RANGE_WRITE)
            };
            self.told = end;
        }
    }
}

fn after(at: u64, data: &[u8]) -> u64 {
    at.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX))
}

/// Cuts behind the grains at the beginning that are all zero, or behind those that are not.
fn split(data: &[u8], zero: bool) -> (&[u8], &[u8]) {
    let grains = data.chunks(GRAIN).take_while(|grain| is_zero(grain) == zero);
    data.split_at(grains.map(<[u8]>::len).sum::<usize>().min(data.len()))
}

fn is_zero(data: &[u8]) -> bool {
    let (words, rest) = data.as_chunks::<8>();
    words.iter().all(|word| u64::from_ne_bytes(*word) == 0) && rest.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_cut_into_holes_and_runs() {
        let lengths = |data: &[u8]| {
            let (hole, rest) = split(data, true);
            let (run, rest) = split(rest, false);
            [hole.len(), run.len(), rest.len()]
        };
        let mut data = vec![0; 4 * GRAIN + 3];
        assert_eq!(lengths(&data), [4 * GRAIN + 3, 0, 0]);
        data[GRAIN] = 1;
        data[3 * GRAIN - 1] = 1;
        assert_eq!(lengths(&data), [GRAIN, 2 * GRAIN, GRAIN + 3]);
        data[4 * GRAIN + 2] = 1;
        assert_eq!(lengths(&data[3 * GRAIN..]), [GRAIN, 3, 0]);
        assert_eq!(lengths(&[]), [0, 0, 0]);
    }
}

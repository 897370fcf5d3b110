//! Compression as `gzip` does it, on all processors: what comes is cut into blocks, and each becomes a member of its own, which
//! every reader takes for one stream (RFC 1952, §2.2).

use std::io::{self, Read, Write};
use std::thread;

use flate2::Compression;
use flate2::read::GzEncoder;

use crate::queue::{Giving, Taking, queue};

/// Length of a block: members that begin anew so rarely are hardly longer together.
const BLOCK: usize = 512 << 10;
/// A worker has at most four blocks at a time.
const MOST_WORKERS: usize = 8;

/// Lends both ends of a compressor, whose workers end with them.
pub(crate) fn with_workers<T>(lend: impl FnOnce(Dealing, Collecting) -> T) -> T {
    let count = thread::available_parallelism().map_or(1, |count| count.get().min(MOST_WORKERS));
    thread::scope(|scope| {
        let (mut dealt, mut made) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let (giving, blocks) = queue::<Vec<u8>>(1);
            let (members, taking) = queue(1);
            scope.spawn(
                move || while blocks.take().and_then(|block| members.give(member(&block))).is_some() {},
            );
            dealt.push(giving);
            made.push(taking);
        }
        let input = Dealing { workers: dealt, next: 0, block: Vec::new() };
        lend(input, Collecting { workers: made, next: 0, member: Vec::new(), taken: 0 })
    })
}

fn member(block: &[u8]) -> io::Result<Vec<u8>> {
    let mut member = Vec::new();
    GzEncoder::new(block, Compression::default()).read_to_end(&mut member).map(|_| member)
}

/// The end that is written to: workers get blocks in turn.
pub(crate) struct Dealing {
    workers: Vec<Giving<Vec<u8>>>,
    next: usize,
    block: Vec<u8>,
}

impl Write for Dealing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = BLOCK.saturating_sub(self.block.len());
        let bytes = bytes.get(..room).unwrap_or(bytes);
        self.block.extend_from_slice(bytes);
        if self.block.len() == BLOCK {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    /// Gives the block away as it is.
    fn flush(&mut self) -> io::Result<()> {
        let block = std::mem::take(&mut self.block);
        let given = self.workers.get(self.next).and_then(|worker| worker.give(block));
        self.next = turn(self.next, self.workers.len());
        given.ok_or(io::ErrorKind::BrokenPipe.into())
    }
}

/// The end that is read from: members come in the same turn.
pub(crate) struct Collecting {
    workers: Vec<Taking<io::Result<Vec<u8>>>>,
    next: usize,
    member: Vec<u8>,
    taken: usize,
}

impl Read for Collecting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.member.len() {
            let Some(member) = self.workers.get(self.next).and_then(Taking::take) else { return Ok(0) };
            self.next = turn(self.next, self.workers.len());
            (self.member, self.taken) = (member?, 0);
        }
        let length = self.member.get(self.taken..).unwrap_or_default().read(buffer)?;
        self.taken = self.taken.saturating_add(length);
        Ok(length)
    }
}

fn turn(number: usize, count: usize) -> usize {
    let next = number.saturating_add(1);
    if next < count { next } else { 0 }
}

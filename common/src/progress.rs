//! How far a long copy is, told to whoever started this process and asked for it.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use crate::{environment, files};

/// Name of the variable that holds the path of a pipe to tell progress to. Ignored in a process with raised privileges
/// and after `sudo`, where the caller may have chosen it.
pub const VARIABLE: &str = "QUBES_ADMIN_PROGRESS";

/// Bytes between two lines.
const STEP: u64 = 4 << 20;

/// Tells, line by line, how many bytes of how many are done. A reader that is slow or gone misses lines.
pub(crate) struct Progress {
    pipe: Option<File>,
    total: u64,
    next: u64,
}

impl Progress {
    /// The progress of a copy of so many bytes.
    pub(crate) fn of(total: u64) -> Self {
        let path = environment::variable(VARIABLE).filter(|_| !environment::is_privileged_by_another());
        Self { pipe: path.and_then(|path| files::open_pipe(Path::new(&path)).ok()), total, next: 0 }
    }

    /// Tells that all bytes before `done` are done.
    pub(crate) fn tell(&mut self, done: u64) {
        if done < self.next.min(self.total) {
            return;
        }
        self.next = done.saturating_add(STEP);
        if let Some(pipe) = &mut self.pipe {
            // Short enough to be written as a whole or not at all.
            let _ = pipe.write(format!("{done} {}\n", self.total).as_bytes());
        }
    }
}

/// The two numbers of a line.
pub fn parse(line: &str) -> Option<(u64, u64)> {
    let (done, total) = line.trim_end().split_once(' ')?;
    Some((done.parse().ok()?, total.parse().ok()?))
}

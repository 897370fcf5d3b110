//! Following the event log: everything published after a moment, in order, or word that something was missed.
#![allow(clippy::disallowed_methods, reason = "reads open segments while writers append to them")]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

use super::events::{CLOSED, FOLDER, Segment};
use super::{LoggedEvent, StoreError, View};
use crate::event::Event;
use crate::files;

/// How much of a segment is read at a time, bytes; more only for a longer line.
const CHUNK: usize = 16 << 10;

/// Why a follower cannot go on. What it gave out until then was complete.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// Events were trimmed, or the log was cut, before this follower had read them.
    #[error("events were lost before they were read")]
    Behind,
    /// The system refused.
    #[error("following the event log: {0}")]
    Io(#[from] io::Error),
}

/// A place in the event log, and the means to hear when it grows.
pub struct Follower {
    folder: PathBuf,
    inotify: Inotify,
    watch: WatchDescriptor,
    segment: Segment,
    file: File,
    offset: u64,
    buffer: Vec<u8>,
}

/// A segment opened, and watched from before it was opened: for growing, and for being removed.
fn open(inotify: &Inotify, path: &Path) -> io::Result<(WatchDescriptor, File)> {
    let watch = inotify.add_watch(path, AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_ATTRIB)?;
    Ok((watch, files::open(path)?))
}

impl Follower {
    /// Begins behind the newest event of a locked view: what commits after it is not missed.
    ///
    /// # Errors
    /// [`StoreError::Listeners`] or [`StoreError::Watches`] where the user has no inotify instance or watch left, or
    /// [`StoreError::Io`].
    pub fn behind(view: &View<'_>) -> Result<Self, StoreError> {
        let store = view.store;
        let segment = store.newest_segment()?;
        let inotify = match Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK) {
            Err(Errno::EMFILE) => return Err(StoreError::Listeners),
            result => result.map_err(|error| StoreError::io("listening")(error.into()))?,
        };
        let opened = open(&inotify, &store.segment_path(segment))
            .and_then(|(watch, file)| file.metadata().map(|metadata| (watch, file, metadata.len())));
        let (watch, file, offset) = opened.map_err(|error| match error.kind() {
            io::ErrorKind::StorageFull => StoreError::Watches,
            _ => StoreError::io("following the event log")(error),
        })?;
        let folder = store.run.join(FOLDER);
        Ok(Self { folder, inotify, watch, segment, file, offset, buffer: Vec::new() })
    }

    /// Hands out every event that is there now, in order.
    ///
    /// # Errors
    /// [`Lost`]; the follower is of no more use then.
    pub fn read(&mut self, mut take: impl FnMut(Event)) -> Result<(), Lost> {
        self.forget_wakes()?;
        loop {
            let metadata = self.file.metadata()?;
            if metadata.len() < self.offset {
                return Err(Lost::Behind);
            }
            let length = self.fill()?;
            let chunk = self.buffer.get(..length).unwrap_or_default();
            let Some(end) = chunk.iter().rposition(|byte| *byte == b'\n') else {
                if length < self.buffer.len() {
                    // Nobody appends any more to a segment that was removed without being closed.
                    return if metadata.nlink() == 0 { Err(Lost::Behind) } else { Ok(()) };
                }
                self.buffer.resize(length.saturating_mul(2), 0);
                continue;
            };
            let lines = chunk.get(..end).unwrap_or_default();
            let used = end.saturating_add(1);
            if hand_out(lines, &mut take)? {
                self.go_on()?;
                continue;
            }
            self.offset = self.offset.saturating_add(u64::try_from(used).unwrap_or_default());
            // Whatever was appended since has its own wake-up.
            if used == length && length < self.buffer.len() && metadata.nlink() > 0 {
                return Ok(());
            }
        }
    }

    /// Reads what follows the offset; gives back how much that was.
    fn fill(&mut self) -> io::Result<usize> {
        if self.buffer.is_empty() {
            self.buffer.resize(CHUNK, 0);
        }
        loop {
            match self.file.read_at(&mut self.buffer, self.offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// Takes the pending wake-ups off: what they tell of is read right after.
    fn forget_wakes(&self) -> Result<(), Lost> {
        match self.inotify.read_events() {
            Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => Ok(()),
            Err(error) => Err(Lost::Io(error.into())),
        }
    }

    /// Goes on in the next segment, if it is still there.
    fn go_on(&mut self) -> Result<(), Lost> {
        self.segment = self.segment.next();
        let path = self.folder.join(self.segment.file());
        let Some((watch, file)) = files::present(open(&self.inotify, &path))? else {
            return Err(Lost::Behind);
        };
        // The old watch is gone already where the old segment was removed.
        let _ = self.inotify.rm_watch(self.watch);
        (self.watch, self.file, self.offset) = (watch, file, 0);
        self.buffer = Vec::new();
        Ok(())
    }
}

/// Hands out the events of whole lines; tells whether the segment ends there.
fn hand_out(lines: &[u8], take: &mut impl FnMut(Event)) -> Result<bool, Lost> {
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        if line == CLOSED {
            return Ok(true);
        }
        let logged: LoggedEvent = serde_json::from_slice(line).map_err(|_| Lost::Behind)?;
        take(logged.event);
    }
    Ok(false)
}

/// Readable when there may be more to read.
impl AsFd for Follower {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

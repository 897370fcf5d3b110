//! Waking one process that waits for a moment to come: it holds a lock, and others write to the locked file.
#![allow(clippy::disallowed_methods, reason = "writes to a file that another process watches")]

use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::StoreError;
use super::lock::{self, LifecycleGuard};
use crate::files;

const FILE_MODE: u32 = 0o660;

/// The place of the one process that waits.
pub struct Alarm {
    path: PathBuf,
    lock: LifecycleGuard,
    rings: Inotify,
}

impl Alarm {
    /// Rings; then takes the place if nobody has it. Who has it then hears the ring before it gives the place up.
    pub(super) fn take(path: &Path) -> Result<Option<Self>, StoreError> {
        let io = || StoreError::io("ringing");
        files::open_or_create(path, FILE_MODE).and_then(|file| file.write_all_at(b"!", 0)).map_err(io())?;
        let Some(lock) = lock::lifecycle_if_free(path)? else { return Ok(None) };
        let rings = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK);
        let rings = rings.map_err(|error| io()(error.into()))?;
        // A file that goes away loses its last link, which is an attribute.
        let watched = rings.add_watch(path, AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_ATTRIB);
        watched.map_err(|error| io()(error.into()))?;
        Ok(Some(Self { path: path.to_owned(), lock, rings }))
    }

    /// Waits until someone rings, at most so long.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] where all this is gone, or what the system says.
    pub fn wait(&self, most: Duration) -> io::Result<()> {
        // Rounded up, so that the moment has come then.
        let wait = PollTimeout::try_from(most.as_millis().saturating_add(1)).unwrap_or(PollTimeout::MAX);
        poll(&mut [PollFd::new(self.rings.as_fd(), PollFlags::POLLIN)], wait)?;
        // What was rung for is looked at right after.
        let _ = self.rings.read_events();
        if files::exists(&self.path) { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    /// Gives the place up; tells whether someone rang who found it taken.
    pub fn give_up(self) -> bool {
        let Self { lock, rings, .. } = self;
        drop(lock);
        rings.read_events().is_ok()
    }
}

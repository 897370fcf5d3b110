//! Where calls come in, and what wakes a watcher for them.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;

use common::hypervisor::{Connection, Listener};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

pub(crate) struct Door {
    listener: Listener,
    wakes: Epoll,
}

/// Who has something to ask, or is gone.
pub(crate) enum Came {
    New(Connection),
    /// One that was heeded, by its number.
    Known(u64),
}

impl Door {
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        let door =
            Self { listener: Listener::at(path)?, wakes: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)? };
        door.heed(&door.listener)?;
        Ok(door)
    }

    /// Wakes for this end, too.
    pub(crate) fn heed(&self, end: &impl AsFd) -> io::Result<()> {
        Ok(self.wakes.add(end, EpollEvent::new(EpollFlags::EPOLLIN, number(end)))?)
    }

    /// Wakes for this end no more. Closing it does not suffice where another process has it too, as `sudo` has what it
    /// gave us: it would go on to wake us, under a number that is another's by then.
    pub(crate) fn leave(&self, end: &impl AsFd) {
        let _ = self.wakes.delete(end);
    }

    /// Some of those who came since.
    pub(crate) fn came(&self) -> Vec<Came> {
        let mut ready = [EpollEvent::empty(); 16];
        let count = self.wakes.wait(&mut ready, EpollTimeout::ZERO).unwrap_or_default();
        let known = |event: &EpollEvent| match event.data() {
            end if end == number(&self.listener) => self.listener.accept().map(Came::New),
            end => Some(Came::Known(end)),
        };
        ready.iter().take(count).filter_map(known).collect()
    }
}

impl AsFd for Door {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wakes.0.as_fd()
    }
}

/// What an end is known by while it is open.
pub(crate) fn number(end: &impl AsFd) -> u64 {
    u64::try_from(end.as_fd().as_raw_fd()).unwrap_or(u64::MAX)
}

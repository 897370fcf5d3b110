//! The console of a simulated guest: it shows its name, then whatever is typed at it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use common::files;
use nix::fcntl::OFlag;
use nix::pty::{PtyMaster, grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};

pub(super) struct Console {
    ours: PtyMaster,
    path: PathBuf,
    /// Kept open, as a terminal that nobody has open counts as hung up.
    _theirs: File,
}

impl Console {
    /// A new one, that passes on every byte as it is.
    pub(super) fn open(name: &str) -> io::Result<Self> {
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let ours = posix_openpt(flags)?;
        grantpt(&ours)?;
        unlockpt(&ours)?;
        let path = PathBuf::from(ptsname_r(&ours)?);
        let theirs = files::open_terminal(&path)?;
        let mut attributes = tcgetattr(&theirs)?;
        cfmakeraw(&mut attributes);
        tcsetattr(&theirs, SetArg::TCSANOW, &attributes)?;
        let console = Self { ours, path, _theirs: theirs };
        console.show(format!("{name} (simulated)\r\n").as_bytes());
        Ok(console)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Shows what was typed.
    pub(super) fn give_back(&self) {
        let mut typed = [0; 1024];
        let read = (&self.ours).read(&mut typed).unwrap_or_default();
        self.show(typed.get(..read).unwrap_or_default());
    }

    /// What nobody reads is lost once there is too much of it, as on any console.
    fn show(&self, bytes: &[u8]) {
        let _ = (&self.ours).write(bytes);
    }
}

impl AsFd for Console {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ours.as_fd()
    }
}

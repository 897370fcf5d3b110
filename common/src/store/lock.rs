//! The store's lock and the qubes' lifecycle locks: the only user of fs2, whose names std now shadows.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::StoreError;
use crate::files;

/// How long a call waits for the store, whose lock is held for milliseconds.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long a call waits for another start, stop, creation or removal of the same qube.
const LIFECYCLE_DEADLINE: Duration = Duration::from_secs(120);
const FILE_MODE: u32 = 0o660;

/// The store's lock; given back when dropped.
#[derive(Debug)]
pub struct Guard {
    _file: File,
}

/// A qube's lifecycle lock; given back when dropped.
#[derive(Debug)]
pub struct LifecycleGuard {
    file: File,
}

/// Whoever has the descriptor has the lock, as long as any has it.
impl AsFd for LifecycleGuard {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

pub(super) fn shared(state: &Path) -> Result<Guard, StoreError> {
    wait(open(state)?, DEADLINE, fs2::FileExt::try_lock_shared).map(|file| Guard { _file: file })
}

pub(super) fn exclusive(state: &Path) -> Result<Guard, StoreError> {
    wait(open(state)?, DEADLINE, fs2::FileExt::try_lock_exclusive).map(|file| Guard { _file: file })
}

/// Waits for the lock on a directory, which programs that change what is in it share.
///
/// # Errors
/// What the system says, or that it took too long.
pub fn lock_directory(path: &Path) -> Result<Guard, StoreError> {
    let directory = files::open(path).map_err(StoreError::io("opening a directory to lock it"))?;
    wait(directory, DEADLINE, fs2::FileExt::try_lock_exclusive).map(|file| Guard { _file: file })
}

pub(crate) fn lifecycle(path: &Path) -> Result<LifecycleGuard, StoreError> {
    let file = files::open_or_create(path, FILE_MODE).map_err(StoreError::io("opening a lifecycle lock"))?;
    wait(file, LIFECYCLE_DEADLINE, fs2::FileExt::try_lock_exclusive).map(|file| LifecycleGuard { file })
}

/// A lifecycle lock that nobody holds now.
pub(crate) fn lifecycle_if_free(path: &Path) -> Result<Option<LifecycleGuard>, StoreError> {
    let locking = || StoreError::io("locking");
    let file = files::open_or_create(path, FILE_MODE).map_err(locking())?;
    match fs2::FileExt::try_lock_exclusive(&file) {
        Ok(()) => Ok(Some(LifecycleGuard { file })),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(locking()(error)),
    }
}

/// Opens the lock file, which is made with the store and never renamed nor removed.
fn open(state: &Path) -> Result<File, StoreError> {
    files::open_or_create(&state.join("lock"), FILE_MODE).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => StoreError::Missing,
        _ => StoreError::Io { what: "opening the store's lock".to_owned(), source: error },
    })
}

/// Tries again with growing pauses until the lock is ours or the deadline is over.
fn wait(file: File, deadline: Duration, attempt: fn(&File) -> io::Result<()>) -> Result<File, StoreError> {
    // The clock is read only where there is something to wait for.
    let mut started = None;
    let mut pause = Duration::from_micros(100);
    loop {
        match attempt(&file) {
            Ok(()) => return Ok(file),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(StoreError::Io { what: "locking".to_owned(), source: error }),
        }
        if started.get_or_insert_with(Instant::now).elapsed() > deadline {
            return Err(StoreError::Busy);
        }
        std::thread::sleep(pause);
        pause = pause.saturating_mul(2).min(Duration::from_millis(4));
    }
}

/// A file that tells something for as long as its writer lives: locked from its first instant, and replaced as a whole.
#[derive(Debug)]
pub struct LiveFile {
    file: File,
    path: PathBuf,
}

impl LiveFile {
    /// Writes it in the place of any other, whose writer is gone. The umask is the store's (see [`super::Disk`]).
    ///
    /// # Errors
    /// What the system says.
    pub fn write(path: &Path, content: &[u8]) -> io::Result<Self> {
        let temporary = files::beside(path, ".new");
        let mut file = files::create_plain(&temporary, FILE_MODE)?;
        fs2::FileExt::try_lock_exclusive(&file)?;
        file.write_all(content)?;
        files::rename_plainly(&temporary, path)?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Replaces its content; the old one stays where that fails.
    ///
    /// # Errors
    /// What the system says.
    pub fn replace(&mut self, content: &[u8]) -> io::Result<()> {
        self.file = Self::write(&self.path, content)?.file;
        Ok(())
    }

    /// Removes it.
    ///
    /// # Errors
    /// What the system says.
    pub fn remove(self) -> io::Result<()> {
        files::remove(&self.path)
    }
}

/// Whether another process holds an exclusive lock on a file: how a live watcher is told from a dead one's file. A file
/// that cannot be asked counts as locked.
pub fn is_locked_by_another(path: &Path) -> bool {
    loop {
        let Ok(file) = files::present(files::open(path)) else { return true };
        let Some(file) = file else { return false };
        if let Some(is_locked) = is_locked(&file, path) {
            return is_locked;
        }
    }
}

/// A live file's content, and whether its writer lives; nothing if there is no such file.
///
/// # Errors
/// What the system says, but for absence.
pub fn read_live(path: &Path) -> io::Result<Option<(Vec<u8>, bool)>> {
    loop {
        let Some(mut file) = files::present(files::open(path))? else { return Ok(None) };
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        if let Some(is_locked) = is_locked(&file, path) {
            return Ok(Some((content, is_locked)));
        }
    }
}

/// Nothing for a file that was replaced before it was looked at: its writer has given up its lock. One that cannot be
/// locked for another reason than a lock is left alone all the same.
fn is_locked(file: &File, path: &Path) -> Option<bool> {
    match fs2::FileExt::try_lock_shared(file) {
        Err(_) => Some(true),
        Ok(()) => files::is_at(file, path).then_some(false),
    }
}

//! Long work, one at a time by its path, which others may ask to stop: a named pipe that is locked, and open for reading, for
//! as long as the work goes on, whatever ends it. Whoever writes to it asks. What nobody has read goes with the last reader.

use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::files;
use crate::store::{LifecycleGuard, StoreError, lock_file_if_free};

const MODE: u32 = 0o660;

/// The turn to do some work, as long as any process has its descriptor. That is readable once someone asked to stop.
#[derive(Debug)]
pub struct Work(LifecycleGuard);

impl Work {
    /// Begins, unless the same goes on already.
    ///
    /// # Errors
    /// What the system says.
    pub fn begin(path: &Path) -> Result<Option<Self>, StoreError> {
        files::make_pipe(path, MODE).map_err(StoreError::io("beginning long work"))?;
        Ok(lock_file_if_free(path)?.map(Self))
    }
}

impl AsFd for Work {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Whether someone asks work to stop, or does within that time. Its descriptor may be a copy.
pub fn is_asked(work: BorrowedFd<'_>, patience: Duration) -> bool {
    let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
    let mut asked = [PollFd::new(work, PollFlags::POLLIN)];
    // What cannot be looked at shall not go on for ever.
    !matches!(poll(&mut asked, patience), Ok(0) | Err(Errno::EINTR))
}

/// Whether some work goes on.
pub fn goes_on(path: &Path) -> bool {
    // Without a reader there is nothing to open.
    files::open_pipe(path).is_ok()
}

/// Asks work to stop; tells whether it goes on.
///
/// # Errors
/// What the system says.
pub fn stop(path: &Path) -> io::Result<bool> {
    match files::open_pipe(path).and_then(|mut pipe| pipe.write_all(b"!")) {
        Ok(()) => Ok(true),
        // It was asked often enough.
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(true),
        Err(error) if is_over(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether the path of some work shows that nobody does it. One that is too long is nobody's.
fn is_over(error: &io::Error) -> bool {
    let over =
        [ErrorKind::NotFound, ErrorKind::InvalidFilename, ErrorKind::InvalidInput, ErrorKind::BrokenPipe];
    over.contains(&error.kind()) || error.raw_os_error() == Some(libc::ENXIO)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a folder of the test's own")]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn work_goes_on_while_any_has_its_descriptor_and_hears_who_asks() {
        let path = std::env::temp_dir().join(format!("work-{}", std::process::id()));
        assert!(!goes_on(&path));
        assert!(!stop(&path).unwrap());
        let work = Work::begin(&path).unwrap().unwrap();
        assert!(goes_on(&path));
        assert!(Work::begin(&path).unwrap().is_none());
        let other = work.as_fd().try_clone_to_owned().unwrap();
        drop(work);
        assert!(Work::begin(&path).unwrap().is_none());
        assert!(!is_asked(other.as_fd(), Duration::ZERO));
        assert!(stop(&path).unwrap());
        assert!(is_asked(other.as_fd(), Duration::ZERO));
        let mut said = [0];
        std::fs::File::from(other.try_clone().unwrap()).read_exact(&mut said).unwrap();
        assert_eq!(said, *b"!");
        drop(other);
        assert!(!stop(&path).unwrap());
        assert!(Work::begin(&path).unwrap().is_some());
        std::fs::remove_file(&path).unwrap();
    }
}

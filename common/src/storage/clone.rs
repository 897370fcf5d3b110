//! Copies of image files that share their blocks where the file system can.
#![allow(unsafe_code, reason = "FICLONE has no wrapper in nix")]

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::unistd::{Whence, lseek};

use crate::files;
use crate::filling::{BLOCK, Filling};

// SAFETY: FICLONE takes the source's descriptor by value and reads or writes no memory of ours; both descriptors
// are open for as long as the call lasts, because the caller borrows both files.
nix::ioctl_write_int_bad!(ficlone, libc::FICLONE);

/// Makes `to`, all zeros and as long as `from`, hold what that holds: by sharing blocks, else by copying the data and
/// leaving holes, while `progress` is told up to which byte that is done.
pub(super) fn copy(from: &File, to: &File, progress: &mut dyn FnMut(u64)) -> io::Result<()> {
    if share(from, to) { Ok(()) } else { copy_data(from, to, progress) }
}

pub(super) fn share(from: &File, to: &File) -> bool {
    let source = libc::c_int::from(from.as_raw_fd());
    // SAFETY: both descriptors are open, see above; an unsupported file system answers with an error.
    unsafe { ficlone(to.as_raw_fd(), source) }.is_ok()
}

/// Copies the parts that hold data, but for what is zero in them.
fn copy_data(from: &File, to: &File, progress: &mut dyn FnMut(u64)) -> io::Result<()> {
    // A wish: that it is read ahead.
    let _ = posix_fadvise(from, 0, 0, PosixFadviseAdvice::POSIX_FADV_SEQUENTIAL);
    let mut block = vec![0; BLOCK];
    let mut filling = Filling::of(to);
    let mut position = 0;
    while let Some((start, end)) = next_data(from, position)? {
        position = start;
        while position < end {
            let room = usize::try_from(end.saturating_sub(position)).unwrap_or(BLOCK).min(BLOCK);
            let read = from.read_at(block.get_mut(..room).unwrap_or_default(), position)?;
            if read == 0 {
                return Ok(());
            }
            filling.put(block.get(..read).unwrap_or_default(), position)?;
            position = position.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
            progress(position);
        }
    }
    Ok(())
}

/// The first part from here on that holds data, if there is any: its first byte, and the one after it. Where the system
/// cannot tell, all is data.
pub(super) fn next_data(file: &File, from: u64) -> io::Result<Option<(u64, u64)>> {
    let seek = |whence, from: u64| match lseek(file, i64::try_from(from).unwrap_or(i64::MAX), whence) {
        Ok(found) => Ok(u64::try_from(found).ok()),
        Err(Errno::ENXIO) => Ok(None),
        Err(error) => Err(io::Error::from(error)),
    };
    let whole = |length: u64| (from < length).then_some((from, length));
    let start = match seek(Whence::SeekData, from) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return Ok(whole(files::length(file)?)),
        start => start?,
    };
    let Some(start) = start else { return Ok(None) };
    Ok(seek(Whence::SeekHole, start)?.map(|end| (start, end)))
}

/// Whether files in a directory can share blocks.
pub fn supports_clone(directory: &Path) -> bool {
    let (from, to) = (directory.join(".clone-test-from"), directory.join(".clone-test-to"));
    let shared = (|| -> io::Result<bool> {
        let mut source = files::create(&from, 0o600)?;
        source.write_all(b"abc")?;
        Ok(share(&files::open(&from)?, &files::create(&to, 0o600)?))
    })();
    let _ = files::remove(&from).and_then(|()| files::remove(&to));
    shared.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom};

    use super::*;

    #[test]
    fn a_copy_equals_its_source_and_keeps_holes() {
        use std::os::unix::fs::MetadataExt;
        let folder = std::env::temp_dir().join(format!("clone-test-{}", std::process::id()));
        files::make_directories(&folder, 0o700).unwrap();
        let mut source = files::create(&folder.join("a"), 0o600).unwrap();
        source.set_len(1 << 24).unwrap();
        source.seek(SeekFrom::Start(1 << 20)).unwrap();
        source.write_all(b"data").unwrap();
        let target = files::create(&folder.join("b"), 0o600).unwrap();
        copy_data(&files::open(&folder.join("a")).unwrap(), &target, &mut |_| {}).unwrap();
        target.set_len(1 << 24).unwrap();
        let (a, b) = (files::read(&folder.join("a")).unwrap(), files::read(&folder.join("b")).unwrap());
        assert!(a == b);
        assert!(target.metadata().unwrap().blocks() * 512 < 1 << 20);
        files::remove_tree(&folder).unwrap();
    }
}

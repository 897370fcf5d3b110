//! Copies of image files that share their blocks where the file system can.
#![allow(unsafe_code, reason = "FICLONE has no wrapper in nix")]

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::path::Path;

use crate::files;

// SAFETY: FICLONE takes the source's descriptor by value and reads or writes no memory of ours; both descriptors
// are open for as long as the call lasts, because the caller borrows both files.
nix::ioctl_write_int_bad!(ficlone, libc::FICLONE);

/// Makes `to`, all zeros and as long as `from`, hold what that holds: by sharing blocks, else by copying the data and
/// leaving holes, while `progress` is told up to which byte that is done.
pub(super) fn copy(from: &File, to: &mut File, progress: &mut dyn FnMut(u64)) -> io::Result<()> {
    if share(from, to) { Ok(()) } else { copy_data(from, to, progress) }
}

fn share(from: &File, to: &File) -> bool {
    let source = libc::c_int::from(from.as_raw_fd());
    // SAFETY: both descriptors are open, see above; an unsupported file system answers with an error.
    unsafe { ficlone(to.as_raw_fd(), source) }.is_ok()
}

/// Copies block by block, seeking over blocks of zeros.
fn copy_data(mut from: &File, to: &mut File, progress: &mut dyn FnMut(u64)) -> io::Result<()> {
    const BLOCK: usize = 1 << 17;
    let mut block = vec![0; BLOCK];
    let mut position = next_data(from, 0)?;
    while let Some(start) = position {
        from.seek(SeekFrom::Start(start))?;
        let read = from.read(&mut block)?;
        let data = block.get(..read).unwrap_or_default();
        if data.is_empty() {
            break;
        }
        if data.iter().any(|byte| *byte != 0) {
            to.seek(SeekFrom::Start(start))?;
            to.write_all(data)?;
        }
        let after = start.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        progress(after);
        position = next_data(from, after)?;
    }
    Ok(())
}

/// Where the next data begins, if there is any.
pub(super) fn next_data(file: &File, from: u64) -> io::Result<Option<u64>> {
    let offset = i64::try_from(from).unwrap_or(i64::MAX);
    match nix::unistd::lseek(file, offset, nix::unistd::Whence::SeekData) {
        Ok(found) => Ok(u64::try_from(found).ok()),
        Err(nix::errno::Errno::ENXIO) => Ok(None),
        Err(nix::errno::Errno::EINVAL) => Ok((from < files::length(file)?).then_some(from)),
        Err(error) => Err(error.into()),
    }
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
        let mut target = files::create(&folder.join("b"), 0o600).unwrap();
        copy_data(&files::open(&folder.join("a")).unwrap(), &mut target, &mut |_| {}).unwrap();
        target.set_len(1 << 24).unwrap();
        let (a, b) = (files::read(&folder.join("a")).unwrap(), files::read(&folder.join("b")).unwrap());
        assert!(a == b);
        assert!(target.metadata().unwrap().blocks() * 512 < 1 << 20);
        files::remove_tree(&folder).unwrap();
    }
}

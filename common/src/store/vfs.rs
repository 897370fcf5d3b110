//! The few file operations the store is made of, so that tests can stand a failing disk in.
#![allow(clippy::disallowed_methods, reason = "one of the two places that touch the file system")]

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use nix::sys::stat::Mode;

use crate::files;

/// Mode of the store's files: calls run as members of the group `qubes` (see the architecture's F1).
const FILE_MODE: u32 = 0o660;
/// Mode of its directories: the group is inherited by what is made inside.
pub const DIRECTORY_MODE: u32 = 0o2770;
/// Most files are shorter than this many bytes. Those are read at once, and nobody asks the system for their length first.
const SHORT: usize = 4096;

/// File operations of the store. Every method may fail with what the system says.
#[allow(clippy::missing_errors_doc, reason = "said once for all")]
pub trait Vfs {
    /// Whole content, or nothing if there is no such file.
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>>;
    /// No more than the first bytes of a file, or nothing if there is none.
    fn read_start(&self, path: &Path, most: usize) -> io::Result<Option<Vec<u8>>>;
    /// Overwrites the first bytes of a file, if it is there, with what `next` makes of them, if anything.
    fn renew_start(&self, path: &Path, most: usize, next: Next<'_>) -> io::Result<()>;
    /// Whether the file exists.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// How long a file is; 0 if there is none.
    fn length(&self, path: &Path) -> io::Result<u64>;
    /// Makes a file of its own, in the place of any other, and writes it; `durable` adds an fsync.
    fn create(&self, path: &Path, content: &[u8], durable: bool) -> io::Result<()>;
    /// Adds to the end of a file, making it if need be.
    fn append(&self, path: &Path, content: &[u8]) -> io::Result<()>;
    /// Cuts a file to a length.
    fn truncate(&self, path: &Path, length: u64) -> io::Result<()>;
    /// Renames over whatever is there.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Exchanges two files; where the file system cannot, the first takes the place of the second.
    fn exchange(&self, one: &Path, other: &Path) -> io::Result<()>;
    /// Removes a file; absence is fine.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes a directory's entries durable.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;
    /// Names in a directory, sorted.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Makes a directory with its parents.
    fn make_directory(&self, path: &Path) -> io::Result<()>;
}

/// What becomes of bytes that are there.
pub type Next<'a> = &'a mut dyn FnMut(&[u8]) -> Option<Vec<u8>>;

/// The real file system.
#[derive(Debug, Clone, Copy)]
pub struct Disk(());

impl Disk {
    /// The real file system, where from here on this process makes files for its group and nobody else. The umask sees
    /// to that from a file's first moment: a call killed right after making one leaves nothing that others cannot use.
    pub fn shared_by_group() -> Self {
        nix::sys::stat::umask(Mode::S_IRWXO);
        Self(())
    }
}

impl Vfs for Disk {
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let Some(mut file) = files::present(File::open(path))? else { return Ok(None) };
        let mut content = vec![0; SHORT];
        let length = file.read(&mut content)?;
        content.truncate(length);
        if length == SHORT {
            file.read_to_end(&mut content)?;
        }
        Ok(Some(content))
    }

    fn read_start(&self, path: &Path, most: usize) -> io::Result<Option<Vec<u8>>> {
        let Some(file) = files::present(File::open(path))? else { return Ok(None) };
        let mut start = vec![0; most];
        let length = file.read_at(&mut start, 0)?;
        start.truncate(length);
        Ok(Some(start))
    }

    fn renew_start(&self, path: &Path, most: usize, next: Next<'_>) -> io::Result<()> {
        let file = OpenOptions::new().read(true).write(true).open(path);
        let Some(file) = files::present(file)? else { return Ok(()) };
        let mut start = vec![0; most];
        let length = file.read_at(&mut start, 0)?;
        match start.get(..length).and_then(next) {
            Some(renewed) => file.write_all_at(&renewed, 0),
            None => Ok(()),
        }
    }

    fn length(&self, path: &Path) -> io::Result<u64> {
        Ok(files::present(files::about(path))?.map_or(0, |about| about.len()))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        use nix::unistd::AccessFlags;
        match nix::unistd::access(path, AccessFlags::F_OK) {
            Ok(()) => Ok(true),
            Err(nix::errno::Errno::ENOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn create(&self, path: &Path, content: &[u8], durable: bool) -> io::Result<()> {
        let mut file = files::create_plain(path, FILE_MODE)?;
        file.write_all(content)?;
        if durable { file.sync_all() } else { Ok(()) }
    }

    fn append(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().append(true).create(true).mode(FILE_MODE).open(path)?;
        file.write_all(content)
    }

    fn truncate(&self, path: &Path, length: u64) -> io::Result<()> {
        OpenOptions::new().write(true).open(path)?.set_len(length)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn exchange(&self, one: &Path, other: &Path) -> io::Result<()> {
        match files::exchange(one, other) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS)) => {
                self.rename(one, other)
            }
            exchanged => exchanged,
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        files::remove(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        files::list(path)
    }

    fn make_directory(&self, path: &Path) -> io::Result<()> {
        files::make_directories(path, DIRECTORY_MODE)
    }
}

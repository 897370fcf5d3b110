//! Files outside the store's own protocol: the only module besides `store::vfs` that opens them.
#![allow(clippy::disallowed_methods, reason = "one of the two places that touch the file system")]
#![allow(unsafe_code, reason = "renameat2 has no wrapper in nix for every C library")]

use std::ffi::{CString, OsString};
use std::fs;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::Mode;
use nix::unistd::{linkat, mkfifo};

const SET_GROUP_ID: u32 = 0o2000;

/// The whole content of a file.
///
/// # Errors
/// What the system says.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    fs::read(path)
}

/// The beginning of a file, as far as one read gives it: for files that are shorter than a page.
///
/// # Errors
/// What the system says.
pub fn read_once(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = vec![0; 4096];
    let length = io::Read::read(&mut fs::File::open(path)?, &mut content)?;
    content.truncate(length);
    Ok(content)
}

/// The whole content of a file, or nothing if there is none.
///
/// # Errors
/// What the system says, but for absence.
pub fn read_if_present(path: &Path) -> io::Result<Option<Vec<u8>>> {
    present(fs::read(path))
}

/// Turns "there is none" into nothing.
///
/// # Errors
/// All others.
pub fn present<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What the system knows of a file.
///
/// # Errors
/// What the system says.
pub fn about(path: &Path) -> io::Result<fs::Metadata> {
    fs::metadata(path)
}

/// Bytes a file takes on its disk, which holes in it do not.
pub fn allocated(about: &fs::Metadata) -> u64 {
    const BLOCK: u64 = 512;
    about.blocks().saturating_mul(BLOCK)
}

/// The same of a folder with all that is in it. What cannot be looked at counts nothing.
pub fn allocated_below(path: &Path) -> u64 {
    let Ok(about) = fs::symlink_metadata(path) else { return 0 };
    let inside = if about.is_dir() { entries(path).unwrap_or_default() } else { Vec::new() };
    let inside = inside.iter().map(|name| allocated_below(&path.join(name)));
    inside.fold(allocated(&about), u64::saturating_add)
}

/// A file in memory alone, which holds some bytes and is about to be read. It goes with its last descriptor.
///
/// # Errors
/// What the system says.
pub fn in_memory(content: &[u8]) -> io::Result<fs::File> {
    let mut file = fs::File::from(memfd_create(c"", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(content)?;
    file.rewind()?;
    Ok(file)
}

/// A path without links on its way.
///
/// # Errors
/// What the system says.
pub fn real_path(path: &Path) -> io::Result<PathBuf> {
    fs::canonicalize(path)
}

/// Gives a file a second name, durably.
///
/// # Errors
/// What the system says.
pub fn hard_link(file: &Path, name: &Path) -> io::Result<()> {
    fs::hard_link(file, name)?;
    sync_directory(name)
}

/// Opens a file for reading.
///
/// # Errors
/// What the system says.
pub fn open(path: &Path) -> io::Result<fs::File> {
    fs::File::open(path)
}

/// Opens an existing file or block device for writing, its content as it is.
///
/// # Errors
/// What the system says.
pub fn open_to_write(path: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new().write(true).open(path)
}

/// Opens a pipe for writing that never waits: what finds no room in it, or no reader, is an error.
///
/// # Errors
/// What the system says.
pub fn open_pipe(path: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(path)
}

/// Makes a named pipe of the given mode, whatever the umask, unless there is something in its place.
///
/// # Errors
/// What the system says.
pub fn make_pipe(path: &Path, mode: u32) -> io::Result<()> {
    match mkfifo(path, Mode::from_bits_truncate(mode)) {
        Ok(()) => set_mode(path, mode),
        Err(Errno::EEXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Opens a terminal, whose session this process does not become part of, and which it never waits for.
///
/// # Errors
/// What the system says.
pub fn open_terminal(path: &Path) -> io::Result<fs::File> {
    let flags = libc::O_NOCTTY | libc::O_NONBLOCK;
    fs::OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)
}

/// Opens a log to write at its end; made if it is not there.
///
/// # Errors
/// What the system says.
pub fn open_log(path: &Path, mode: u32) -> io::Result<fs::File> {
    fs::OpenOptions::new().append(true).create(true).mode(mode).open(path)
}

/// Whether a file is the one that has this path now.
pub fn is_at(file: &fs::File, path: &Path) -> bool {
    let same =
        |there: fs::Metadata, open: fs::Metadata| (there.dev(), there.ino()) == (open.dev(), open.ino());
    fs::metadata(path).is_ok_and(|there| file.metadata().is_ok_and(|open| same(there, open)))
}

/// Bytes in a file or block device. Moves its position to the beginning.
///
/// # Errors
/// What the system says.
pub fn length(mut file: &fs::File) -> io::Result<u64> {
    let length = file.seek(SeekFrom::End(0))?;
    file.rewind()?;
    Ok(length)
}

/// Whether there is such a file, of any kind, that we can reach.
pub fn exists(path: &Path) -> bool {
    path.exists()
}

/// Whether there is anything of that name, be it a link that leads nowhere.
///
/// # Errors
/// What the system says, but for absence.
pub fn is_taken(path: &Path) -> io::Result<bool> {
    Ok(present(fs::symlink_metadata(path))?.is_some())
}

/// Gives a file its mode.
///
/// # Errors
/// What the system says.
pub fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Makes a file of the given mode, whatever the umask, in the place of any other.
///
/// # Errors
/// What the system says.
pub fn create(path: &Path, mode: u32) -> io::Result<fs::File> {
    let file = create_plain(path, mode)?;
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    Ok(file)
}

/// Makes an empty file of the given mode, whatever the umask, unless there is something in its place. Others may do the same
/// at the same time.
///
/// # Errors
/// What the system says.
pub fn touch(path: &Path, mode: u32) -> io::Result<()> {
    match fs::OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(file) => file.set_permissions(PermissionsExt::from_mode(mode)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes a file of the given mode that has no name yet, on the disk of a directory. It goes with its descriptor.
///
/// # Errors
/// What the system says, and where the file system has no such files.
pub fn create_unnamed(directory: &Path, mode: u32) -> io::Result<fs::File> {
    let file = fs::OpenOptions::new().write(true).custom_flags(libc::O_TMPFILE).open(directory)?;
    file.set_permissions(PermissionsExt::from_mode(mode))?;
    Ok(file)
}

/// Makes such a file to keep something in that is read again, for us alone.
///
/// # Errors
/// As [`create_unnamed`].
pub fn scratch(directory: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new().read(true).write(true).mode(0o600).custom_flags(libc::O_TMPFILE).open(directory)
}

/// Gives a file without a name one, in the place of any other, durably.
///
/// # Errors
/// What the system says.
pub fn give_name(file: &fs::File, path: &Path) -> io::Result<()> {
    remove(path)?;
    let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
    linkat(AT_FDCWD, unnamed.as_str(), AT_FDCWD, path, AtFlags::AT_SYMLINK_FOLLOW)?;
    sync_directory(path)
}

/// Makes a file of its own in the place of any other: what a killed call of another user left behind is not ours to
/// write to or to give a mode. The umask takes from the mode.
///
/// # Errors
/// What the system says.
pub fn create_plain(path: &Path, mode: u32) -> io::Result<fs::File> {
    let make = || fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    match make() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => remove(path).and_then(|()| make()),
        made => made,
    }
}

/// Opens a file for reading and writing, an empty new one if there is none. The umask takes from the mode.
///
/// # Errors
/// What the system says.
pub fn open_or_create(path: &Path, mode: u32) -> io::Result<fs::File> {
    fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(mode).open(path)
}

/// Replaces a file as a whole and durably: temporary, fsync, rename, fsync of the directory.
///
/// # Errors
/// What the system says; the old content is then still there.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    put_in_place(&write_as(path, content, mode, |_| {})?, path)
}

/// The same for the group of the directory, as far as that is ours to give.
///
/// # Errors
/// As [`replace`].
pub fn replace_for_group(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    put_in_place(&write_beside(path, content, mode)?, path)
}

/// Writes what shall replace a file beside it, durably, for the group of the directory; gives its name.
///
/// # Errors
/// What the system says.
pub fn write_beside(path: &Path, content: &[u8], mode: u32) -> io::Result<PathBuf> {
    let group = path.parent().map(fs::metadata).transpose()?.map(|about| about.gid());
    write_as(path, content, mode, |file| drop(std::os::unix::fs::fchown(file, None, group)))
}

fn write_as(path: &Path, content: &[u8], mode: u32, prepare: impl FnOnce(&fs::File)) -> io::Result<PathBuf> {
    let temporary = beside(path, ".new");
    let written = create(&temporary, mode).and_then(|mut file| {
        prepare(&file);
        file.write_all(content)?;
        file.sync_all()
    });
    written.inspect_err(|_| drop(fs::remove_file(&temporary))).map(|()| temporary)
}

/// Has a file that was written beside another one take its place, durably.
///
/// # Errors
/// What the system says; the old file is then still there unless only that was not made durable.
pub fn put_in_place(temporary: &Path, path: &Path) -> io::Result<()> {
    fs::rename(temporary, path).inspect_err(|_| drop(fs::remove_file(temporary)))?;
    sync_directory(path)
}

/// The same of what need not survive a power loss.
///
/// # Errors
/// As [`replace`].
pub fn replace_plainly(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let temporary = beside(path, ".new");
    let written = create(&temporary, mode).and_then(|mut file| file.write_all(content));
    written.and_then(|()| fs::rename(&temporary, path)).inspect_err(|_| drop(fs::remove_file(&temporary)))
}

/// Renames durably.
///
/// # Errors
/// What the system says.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_directory(to)
}

/// Renames what need not survive a power loss.
///
/// # Errors
/// What the system says.
pub fn rename_plainly(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)
}

/// Exchanges two files by one operation.
///
/// # Errors
/// What the system says: the file system cannot, for example.
pub fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    rename_so(one, other, libc::RENAME_EXCHANGE)
}

/// Gives a file or directory another name, unless there is something of that name.
///
/// # Errors
/// What the system says.
pub fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    rename_so(from, to, libc::RENAME_NOREPLACE)
}

fn rename_so(one: &Path, other: &Path, flags: libc::c_uint) -> io::Result<()> {
    let [one, other] = [one, other].map(|path| CString::new(path.as_os_str().as_bytes()));
    let (one, other) = (one?, other?);
    let here = libc::AT_FDCWD;
    // SAFETY: both texts end with a NUL and outlive the call, which keeps neither.
    let done = unsafe { libc::syscall(libc::SYS_renameat2, here, one.as_ptr(), here, other.as_ptr(), flags) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes the directory that holds `path` durable.
///
/// # Errors
/// What the system says.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |parent| fs::File::open(parent)?.sync_all())
}

/// A hidden name beside `path`.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    path.with_file_name(format!(".{name}{suffix}"))
}

/// Removes a file; absence is fine, also that of a directory on its way.
///
/// # Errors
/// What the system says, but for absence.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(()),
        result => present(result).map(drop),
    }
}

/// Removes a file; false if another process did so first.
///
/// # Errors
/// What the system says, but for absence.
pub fn take_away(path: &Path) -> io::Result<bool> {
    Ok(present(fs::remove_file(path))?.is_some())
}

/// Makes a symbolic link, replacing an older one.
///
/// # Errors
/// What the system says.
pub fn link(target: &str, path: &Path) -> io::Result<()> {
    remove(path)?;
    std::os::unix::fs::symlink(target, path)
}

/// Where a symbolic link points.
///
/// # Errors
/// What the system says: it is no link, for example.
pub fn link_target(path: &Path) -> io::Result<PathBuf> {
    fs::read_link(path)
}

/// Removes an empty directory; absence is fine.
///
/// # Errors
/// What the system says, but for absence.
pub fn remove_directory(path: &Path) -> io::Result<()> {
    present(fs::remove_dir(path)).map(drop)
}

/// Removes a directory with all it holds; absence is fine.
///
/// # Errors
/// What the system says, but for absence.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    present(fs::remove_dir_all(path)).map(drop)
}

/// Makes a directory and its parents, durably, with the given mode whatever the umask; the set-group-ID bit is
/// inherited, so that what is made inside belongs to the same group.
///
/// # Errors
/// What the system says.
pub fn make_directories(path: &Path, mode: u32) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_directories(parent, mode)?;
    }
    make_directory(path, mode).map(drop)
}

/// Makes one directory likewise, in a parent that is there. False if it was there before.
///
/// # Errors
/// What the system says.
pub fn make_directory(path: &Path, mode: u32) -> io::Result<bool> {
    match fs::DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => return Ok(false),
        made => made?,
    }
    let inherited = fs::metadata(path)?.permissions().mode() & SET_GROUP_ID;
    fs::set_permissions(path, fs::Permissions::from_mode(mode | inherited))?;
    sync_directory(path)?;
    Ok(true)
}

/// The path without symbolic links, as far as it is there.
pub fn real_path_so_far(path: &Path) -> PathBuf {
    match (real_path(path), path.parent(), path.file_name()) {
        (Ok(real), ..) => real,
        (Err(_), Some(parent), Some(name)) => real_path_so_far(parent).join(name),
        (Err(_), ..) => path.to_owned(),
    }
}

/// Names in a directory that are UTF-8, as all of ours are, sorted; none if there is no such directory.
///
/// # Errors
/// What the system says, but for absence.
pub fn list(path: &Path) -> io::Result<Vec<String>> {
    Ok(entries(path)?.into_iter().filter_map(|name| name.into_string().ok()).collect())
}

/// Names in a directory, whatever their bytes, sorted; none if there is no such directory.
///
/// # Errors
/// What the system says, but for absence.
pub fn entries(path: &Path) -> io::Result<Vec<OsString>> {
    let Some(entries) = present(fs::read_dir(path))? else { return Ok(Vec::new()) };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry?.file_name());
    }
    names.sort_unstable();
    Ok(names)
}

//! Files below a directory that no name leads out of: no `..`, no absolute path, no link on the way is followed. What makes
//! them is of foreign origin; nothing that is there is ever opened, replaced or changed.
#![allow(clippy::disallowed_methods, reason = "one of the places that touch the file system")]

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{Gid, Uid, fchown, fchownat, geteuid, linkat, symlinkat, syncfs};

use crate::files;

/// The bits of a mode that are given: none that would run a file as somebody else.
const PERMISSIONS: u32 = 0o777;

/// A directory that is made here, and becomes what its name says once it is complete.
pub struct Beneath {
    top: OwnedFd,
    temporary: PathBuf,
    path: PathBuf,
    /// Whose everything becomes, where that is not us.
    owner: Option<(Uid, Gid)>,
}

impl Beneath {
    /// Makes an empty directory beside the one that it becomes, which must not be there. It belongs to whom the directory above
    /// belongs to.
    ///
    /// # Errors
    /// What the system says.
    pub fn begin(path: &Path) -> io::Result<Self> {
        if std::fs::symlink_metadata(path).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let temporary = Self::temporary(path);
        let above =
            temporary.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let about = std::fs::metadata(above)?;
        let owner = geteuid().is_root().then(|| (Uid::from_raw(about.uid()), Gid::from_raw(about.gid())));
        std::fs::DirBuilder::new().mode(0o700).create(&temporary)?;
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let top = nix::fcntl::open(&temporary, flags, Mode::empty())?;
        let made = Self { top, temporary, path: path.to_owned(), owner };
        made.give(made.top.as_fd())?;
        Ok(made)
    }

    /// Where it is until it is complete.
    pub fn temporary(path: &Path) -> PathBuf {
        let name = path.file_name().unwrap_or_default();
        path.with_file_name([OsStr::new("."), name, OsStr::new("~")].join(OsStr::new("")))
    }

    /// Gives it its name, unless there is something of that name by now. All that is in it is on the disk before; its name
    /// is, once the directory above is.
    ///
    /// # Errors
    /// What the system says.
    pub fn finish(&self) -> io::Result<()> {
        syncfs(&self.top)?;
        files::rename_new(&self.temporary, &self.path)
    }

    /// Makes a directory, for us alone until [`Beneath::settle`]. Its first directory is itself.
    ///
    /// # Errors
    /// What the system says; also if there is something of that name.
    pub fn directory(&self, path: &Path) -> io::Result<()> {
        let (above, name) = self.place(path)?;
        mkdirat(&above, name, Mode::S_IRWXU)?;
        self.give_at(above.as_fd(), name)
    }

    /// Makes a file, for us alone until [`Beneath::complete`].
    ///
    /// # Errors
    /// As [`Beneath::directory`].
    pub fn file(&self, path: &Path) -> io::Result<File> {
        let (above, name) = self.place(path)?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(openat(&above, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?.into())
    }

    /// Gives a file its mode and the time of its last change.
    ///
    /// # Errors
    /// What the system says.
    pub fn complete(&self, file: &File, mode: u32, time: u64) -> io::Result<()> {
        self.give(file.as_fd())?;
        file.set_permissions(PermissionsExt::from_mode(mode & PERMISSIONS))?;
        file.set_modified(
            SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(time)).unwrap_or(SystemTime::UNIX_EPOCH),
        )
    }

    /// The same of a directory, in which nothing is made any more.
    ///
    /// # Errors
    /// What the system says.
    pub fn settle(&self, path: &Path, mode: u32, time: u64) -> io::Result<()> {
        let directory = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let directory = File::from(self.open(directory, OFlag::O_DIRECTORY)?);
        self.complete(&directory, mode, time)
    }

    /// Makes a symbolic link, wherever it leads: nobody here follows it.
    ///
    /// # Errors
    /// As [`Beneath::directory`].
    pub fn link(&self, path: &Path, target: &Path) -> io::Result<()> {
        let (above, name) = self.place(path)?;
        symlinkat(target, &above, name)?;
        self.give_at(above.as_fd(), name)
    }

    /// Gives a plain file a second name.
    ///
    /// # Errors
    /// As [`Beneath::directory`], and if the file is none.
    pub fn second_name(&self, path: &Path, file: &Path) -> io::Result<()> {
        if !File::from(self.open(file, OFlag::O_PATH)?).metadata()?.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let ((from, old), (to, new)) = (self.place(file)?, self.place(path)?);
        Ok(linkat(&from, old, &to, new, AtFlags::empty())?)
    }

    /// The directory that something is made in, and its name there.
    fn place<'p>(&self, path: &'p Path) -> io::Result<(OwnedFd, &'p OsStr)> {
        let is_plain = path.components().all(|part| matches!(part, Component::Normal(_)));
        let name = path.file_name().filter(|name| is_plain && !name.as_bytes().contains(&0));
        let name = name.ok_or(io::ErrorKind::InvalidFilename)?;
        let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Ok((self.open(above, OFlag::O_DIRECTORY | OFlag::O_PATH)?, name))
    }

    fn open(&self, path: &Path, flags: OFlag) -> io::Result<OwnedFd> {
        let beneath =
            ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_XDEV;
        let how = OpenHow::new().flags(flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC).resolve(beneath);
        Ok(openat2(&self.top, path, how)?)
    }

    fn give(&self, file: impl AsFd) -> io::Result<()> {
        self.owner.map_or(Ok(()), |(user, group)| Ok(fchown(file, Some(user), Some(group))?))
    }

    fn give_at(&self, above: impl AsFd, name: &OsStr) -> io::Result<()> {
        self.owner.map_or(Ok(()), |(user, group)| {
            Ok(fchownat(above, name, Some(user), Some(group), AtFlags::AT_SYMLINK_NOFOLLOW)?)
        })
    }

    /// Removes it with all that is in it.
    ///
    /// # Errors
    /// What the system says.
    pub fn discard(self) -> io::Result<()> {
        std::fs::remove_dir_all(&self.temporary)
    }
}

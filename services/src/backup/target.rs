//! Where a backup goes: a file of dom0, which gets its name when it is whole, or a service in a qube (spec 40 §14).

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, PipeWriter, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

use common::capture::Finished;
use common::failure::Failure;
use common::names::QubeName;
use common::root::Root;
use common::{clock, files, run};

use super::job::{Job, Server};
use super::profile::refused;
use super::run::cancelled;
use crate::companion::service;

const SERVICE: &str = "qubes.Backup";
const FULL: &str = "ERROR: Failed to write the backup, out of disk space? Check console output or ~/.xsession-errors for \
                    details.";
/// How long the destination may take when it has got everything.
const END_DEADLINE: Duration = Duration::from_secs(3600);
/// How long one may take to tell why it takes no more.
const REASON_DEADLINE: Duration = Duration::from_secs(10);
/// No limit to how long it takes in a backup.
const EVER: Duration = Duration::from_secs(u32::MAX as u64);
/// Whoever runs today's tools reads backups: they are encrypted.
const MODE: u32 = 0o644;

/// Where it goes. What was begun is given up unless it is finished.
pub(super) enum Target {
    File(Output),
    Qube(Feed),
}

impl Target {
    /// Begins there.
    ///
    /// # Errors
    /// If that cannot be.
    pub(super) fn open(root: &Root, job: &Job, stop: BorrowedFd<'_>) -> Result<Self, Failure> {
        match &job.server {
            Some(server) => Feed::begin(root, server, &job.path, stop).map(Self::Qube),
            None => Output::open(root, &job.path, &job.id).map(Self::File),
        }
    }

    /// What is written to.
    ///
    /// # Errors
    /// If it is closed.
    pub(super) fn output(&self) -> Result<BorrowedFd<'_>, Failure> {
        match self {
            Self::File(output) => Ok(output.file.as_fd()),
            Self::Qube(feed) => feed.input.as_ref().map(AsFd::as_fd).ok_or_else(|| feed.failure("")),
        }
    }

    /// Ends what is whole.
    ///
    /// # Errors
    /// If it is not taken.
    pub(super) fn finish(self) -> Result<Kept, Failure> {
        match self {
            Self::File(output) => output.finish().map_err(|_| refused(FULL)),
            Self::Qube(feed) => feed.finish().map(|()| Kept(None)),
        }
    }

    /// Why it takes no more.
    pub(super) fn failure(self) -> Failure {
        match self {
            Self::File(_) => refused(FULL),
            Self::Qube(feed) => feed.reason(),
        }
    }
}

/// A backup that is whole, where it is a file of dom0.
pub(super) struct Kept(Option<PathBuf>);

impl Kept {
    /// Removes it again.
    pub(super) fn remove(self) {
        if let Some(path) = self.0 {
            let _ = files::remove(&path);
        }
    }
}

/// A file of dom0.
pub(super) struct Output {
    file: File,
    /// None for a device.
    names: Option<Names>,
}

/// What a file of dom0 is called.
struct Names {
    /// Until it is whole, where it has a name then.
    part: PathBuf,
    whole: PathBuf,
    /// Whether that is ours to choose, so that no other backup is replaced.
    is_ours: bool,
}

impl Names {
    fn end(self) -> PathBuf {
        match self.is_ours && files::exists(&self.whole) {
            true => PathBuf::from(format!("{}-{}", self.whole.display(), std::process::id())),
            false => self.whole,
        }
    }
}

impl Output {
    fn open(root: &Root, said: &str, id: &str) -> Result<Self, Failure> {
        let path = files::real_path_so_far(&root.path(said));
        let broken = |error: io::Error| refused(format!("Failed to write the backup to {said}: {error}"));
        let about = files::present(files::about(&path)).map_err(broken)?;
        let is_ours = about.as_ref().is_some_and(Metadata::is_dir);
        let whole = match about.map(|about| about.file_type()) {
            Some(_) if is_ours => path.join(format!("qubes-{}", clock::local_stamp())),
            Some(kind) if kind.is_block_device() || kind.is_char_device() => {
                let file = files::open_to_write(&path).map_err(broken)?;
                return Ok(Self { file, names: None });
            }
            Some(kind) if !kind.is_file() => return Err(broken(ErrorKind::InvalidInput.into())),
            _ => path,
        };
        let Some(folder) = whole.parent().filter(|folder| folder.is_dir()) else {
            return Err(refused(format!("ERROR: the backup directory for {said} does not exists")));
        };
        let part = folder.join(format!(".qubes-backup-{id}.part"));
        // What a killed run left there.
        files::remove(&part).map_err(broken)?;
        let file =
            files::create_unnamed(folder, MODE).or_else(|error| with_name(&part, &error)).map_err(broken)?;
        Ok(Self { file, names: Some(Names { part, whole, is_ours }) })
    }

    /// Gives a file that is whole its name.
    fn finish(mut self) -> io::Result<Kept> {
        self.file.flush()?;
        let Some(names) = self.names.take() else {
            return self.file.sync_all().or_else(unless_unsynced).map(|()| Kept(None));
        };
        let (part, place) = (names.part.clone(), names.end());
        let named = self.file.sync_all().and_then(|()| {
            if !files::exists(&part) {
                files::give_name(&self.file, &part)?;
            }
            files::rename(&part, &place)
        });
        if named.is_err() {
            let _ = files::remove(&part);
        }
        named.map(|()| Kept(Some(place)))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some(names) = &self.names {
            let _ = files::remove(&names.part);
        }
    }
}

/// Some devices have nothing to be made durable.
fn unless_unsynced(error: io::Error) -> io::Result<()> {
    if error.kind() == ErrorKind::InvalidInput { Ok(()) } else { Err(error) }
}

/// A file with a name, where the file system has none without.
fn with_name(part: &Path, error: &io::Error) -> io::Result<File> {
    let knows_none = [ErrorKind::Unsupported, ErrorKind::IsADirectory, ErrorKind::NotFound];
    if knows_none.contains(&error.kind()) || error.raw_os_error() == Some(UNSUPPORTED) {
        files::create(part, MODE)
    } else {
        Err(io::Error::new(error.kind(), error.to_string()))
    }
}

/// `EOPNOTSUPP`.
const UNSUPPORTED: i32 = 95;

/// A service in a qube that takes a backup in.
pub(super) struct Feed {
    qube: QubeName,
    input: Option<File>,
    ended: Receiver<io::Result<Finished>>,
    /// Closed when nobody waits for the service any more, which is ended then.
    held: Option<PipeWriter>,
}

impl Drop for Feed {
    fn drop(&mut self) {
        (self.input, self.held) = (None, None);
        let _ = self.ended.recv_timeout(REASON_DEADLINE);
    }
}

impl Feed {
    fn begin(root: &Root, server: &Server, path: &str, stop: BorrowedFd<'_>) -> Result<Self, Failure> {
        let name = &server.qube;
        let begun = || {
            let mut process = service::tell(root, name, &server.user, SERVICE)?;
            let mut input = process.input().ok_or(ErrorKind::BrokenPipe)?;
            let (stop, (given_up, held)) = (stop.try_clone_to_owned()?, io::pipe()?);
            let (tell, ended) = sync_channel(1);
            thread::Builder::new().spawn(move || {
                tell.send(run::finish_unless(process, EVER, [stop.as_fd(), given_up.as_fd()]))
            })?;
            // A path fits into a pipe. One that ends at once is told of when it is written to.
            let _ = input.write_all(format!("{}\n", path.replace(['\r', '\n'], "")).as_bytes());
            Ok(Self { qube: name.clone(), input: Some(input), ended, held: Some(held) })
        };
        begun().map_err(|error: io::Error| refused(format!("Writing backup to VM {name} failed: {error}")))
    }

    fn failure(&self, said: &str) -> Failure {
        refused(format!("Writing backup to VM {} failed: {said}", self.qube))
    }

    /// Tells it that this is all, and awaits its end.
    fn finish(mut self) -> Result<(), Failure> {
        drop(self.input.take());
        match self.ended.recv_timeout(END_DEADLINE) {
            Ok(Ok(done)) if done.is_success() => Ok(()),
            ended => Err(self.told(ended.ok())),
        }
    }

    fn reason(mut self) -> Failure {
        drop(self.input.take());
        let ended = self.ended.recv_timeout(REASON_DEADLINE).ok();
        self.told(ended)
    }

    fn told(&self, ended: Option<io::Result<Finished>>) -> Failure {
        match ended {
            Some(Ok(done)) => self.failure(&done.readable_errors().replace(['\n', '%', '{', '}'], "")),
            Some(Err(error)) if error.kind() == ErrorKind::Interrupted => cancelled(),
            Some(Err(error)) => self.failure(&error.to_string()),
            None => self.failure("it did not end in time"),
        }
    }
}

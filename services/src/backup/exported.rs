//! What a qube's pieces are read from. Exports of volumes are noted, so that the next run of the profile ends those that a killed
//! one left.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::failure::Failure;
use common::model::{Pools, Volume};
use common::names::QubeName;
use common::opened::{self, Purpose};
use common::root::Root;
use common::storage::{self, StorageError};
use common::store::{LifecycleGuard, Store, StoreError};
use common::work::is_asked;
use common::{files, log};
use serde::{Deserialize, Serialize};

use super::chosen::no_snapshots;
use super::content::{Piece, Source};
use super::job::Job;
use super::place;
use super::profile::refused;
use super::run::cancelled;

/// How long other work on a qube is waited for.
const DEADLINE: Duration = Duration::from_secs(300);
const PAUSE: Duration = Duration::from_millis(20);
const MODE: u32 = 0o660;

/// Exports that were not ended.
#[derive(Default, Serialize, Deserialize)]
struct Left {
    pools: Pools,
    exports: Vec<Export>,
}

#[derive(Serialize, Deserialize)]
struct Export {
    qube: QubeName,
    volume: Volume,
    /// What the driver gave; nothing while it is at work.
    path: Option<PathBuf>,
}

/// What is exported for a run now.
pub(super) struct Exports<'a> {
    root: &'a Root,
    note: PathBuf,
    left: Left,
}

impl<'a> Exports<'a> {
    /// Ends what a killed run of the same profile left.
    ///
    /// # Errors
    /// If it is to stop.
    pub(super) fn of(
        root: &'a Root,
        store: &Store,
        job: &Job,
        stop: BorrowedFd<'_>,
    ) -> Result<Self, Failure> {
        let note = place::left(store, &job.id);
        let left = files::read(&note).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let mut exports = Self { root, note, left: left.unwrap_or_default() };
        exports.end_lost(store, stop)?;
        exports.end();
        exports.left.pools.clone_from(&job.contents.pools);
        Ok(exports)
    }

    /// Ends what nobody knows the path of. Whatever others export of these volumes they have opened once the lock is ours.
    fn end_lost(&self, store: &Store, stop: BorrowedFd<'_>) -> Result<(), Failure> {
        for Export { qube, volume, .. } in self.left.exports.iter().filter(|export| export.path.is_none()) {
            let _held = locked(store, qube, stop)?;
            let driver = storage::driver_of(self.root, &self.left.pools, volume);
            tell(volume, driver.and_then(|driver| driver.end_lost_exports(volume)));
        }
        Ok(())
    }

    /// Ends all.
    pub(super) fn end(&mut self) {
        while let Some(Export { volume, path, .. }) = self.left.exports.pop() {
            let Some(path) = path else { continue };
            let driver = storage::driver_of(self.root, &self.left.pools, &volume);
            tell(&volume, driver.and_then(|driver| driver.export_end(&volume, &path)));
        }
        let _ = files::remove(&self.note);
    }

    fn note(&self) {
        let noted = serde_json::to_vec(&self.left).map_err(std::io::Error::other);
        if let Err(error) = noted.and_then(|text| files::replace_plainly(&self.note, &text, MODE)) {
            log::line(&format!("noting an export: {error}"));
        }
    }

    /// The committed state of a volume.
    fn volume(&mut self, qube: &QubeName, volume: &Volume) -> Result<File, Failure> {
        let is_running = storage::is_running(self.root, volume);
        if is_running && volume.has_snapshots_disabled() {
            return Err(no_snapshots(qube));
        }
        let driver = storage::driver_of(self.root, &self.left.pools, volume)?;
        self.left.exports.push(Export { qube: qube.clone(), volume: volume.clone(), path: None });
        self.note();
        let path = driver.export(volume, is_running)?;
        if let Some(export) = self.left.exports.last_mut() {
            export.path = Some(path.clone());
        }
        self.note();
        opened(&path)
    }
}

fn tell(volume: &Volume, ended: Result<(), StorageError>) {
    if let Err(error) = ended {
        log::line(&format!("ending an export of {}: {error}", volume.vid));
    }
}

impl Drop for Exports<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

/// What a piece is read from.
pub(super) enum Content {
    File(File),
    Tree(String),
}

impl Content {
    /// The descriptor, or the directory.
    pub(super) fn parts(&self) -> (Option<BorrowedFd<'_>>, Option<String>) {
        match self {
            Self::File(file) => (Some(file.as_fd()), None),
            Self::Tree(path) => (None, Some(path.clone())),
        }
    }
}

/// A qube's pieces, opened at one moment, so that they belong together.
pub(super) struct Opened {
    pub(super) contents: Vec<Content>,
    /// The qube's lifecycle lock, where what is exported is what a run would change.
    _held: Option<LifecycleGuard>,
}

/// Opens the pieces of a qube.
///
/// # Errors
/// The drivers', and if one cannot be opened or it is to stop.
pub(super) fn open(
    exports: &mut Exports<'_>,
    store: &Store,
    qube: &QubeName,
    pieces: &[Piece],
    stop: BorrowedFd<'_>,
) -> Result<Opened, Failure> {
    let held = locked(store, qube, stop)?;
    let mut is_own = false;
    let mut contents = Vec::new();
    for piece in pieces {
        contents.push(match &piece.source {
            Source::Volume(volume) => {
                let file = exports.volume(qube, volume)?;
                is_own |=
                    !storage::driver_of(exports.root, &exports.left.pools, volume)?.keeps_exports(volume);
                Content::File(file)
            }
            Source::File(path) => Content::File(opened(path)?),
            Source::Text(text) => Content::File(in_memory(text)?),
            Source::Home { folder, .. } => {
                Content::Tree(folder.to_str().ok_or_else(|| not_archived(folder))?.to_owned())
            }
        });
    }
    Ok(Opened { contents, _held: held.filter(|_| is_own) })
}

/// A text as a file.
///
/// # Errors
/// What the system says.
pub(super) fn in_memory(text: &str) -> Result<File, Failure> {
    files::in_memory(text.as_bytes()).map_err(|error| refused(format!("Writing the backup: {error}")))
}

fn opened(path: &Path) -> Result<File, Failure> {
    opened::open(path, Purpose::Reading).map_err(|error| {
        log::line(&format!("opening {}: {error}", path.display()));
        not_archived(path)
    })
}

/// A file that cannot be read.
pub(super) fn not_archived(path: &Path) -> Failure {
    refused(format!("Failed to archive {} file", path.display()))
}

/// Waits for a qube's lifecycle lock; dom0 has none.
fn locked(store: &Store, qube: &QubeName, stop: BorrowedFd<'_>) -> Result<Option<LifecycleGuard>, Failure> {
    if qube.is_dom0() {
        return Ok(None);
    }
    let begun = Instant::now();
    while begun.elapsed() < DEADLINE {
        if let Some(held) = store.try_lock_lifecycle(qube)? {
            return Ok(Some(held));
        } else if is_asked(stop, PAUSE) {
            return Err(cancelled());
        }
    }
    Err(StoreError::Busy.into())
}

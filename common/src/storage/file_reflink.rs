//! Driver `file-reflink`: image files that share blocks where the file system can (spec 20 §7.2).

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use super::{PoolDriver, StorageError, clone};
use crate::files;
use crate::model::Volume;

const IMAGE_MODE: u32 = 0o660;
const DIRECTORY_MODE: u32 = 0o775;

pub(super) struct FileReflink {
    directory: PathBuf,
}

impl FileReflink {
    pub(super) fn at(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// `<vid><suffix>` in the pool.
    fn image(&self, volume: &Volume, suffix: &str) -> PathBuf {
        self.directory.join(format!("{}{suffix}", volume.vid))
    }

    /// All images of a volume: clean, dirty, precache, import, revisions and temporary files.
    fn images(&self, volume: &Volume) -> Result<Vec<PathBuf>, StorageError> {
        const OTHERS: [&str; 3] = ["-dirty.img", "-precache.img", "-import.img"];
        let clean = self.image(volume, ".img");
        let (Some(folder), Some(name)) = (clean.parent(), clean.file_name()) else { return Ok(Vec::new()) };
        let (clean_name, stem) = (name.to_string_lossy(), name.to_string_lossy());
        let stem = stem.strip_suffix(".img").unwrap_or(&stem);
        let is_ours = |file: &String| {
            let revision_or_temporary = file.strip_prefix(&*clean_name).is_some_and(is_revision_or_temporary);
            let other = file
                .strip_prefix(stem)
                .is_some_and(|rest| OTHERS.iter().any(|other| rest.starts_with(other)));
            revision_or_temporary || other
        };
        let files = files::list(folder).map_err(StorageError::io("listing images"))?;
        Ok(files.into_iter().filter(is_ours).map(|file| folder.join(file)).collect())
    }

    /// What the next start takes for its dirty image: equal to the clean one, its time included.
    fn make_precache(&self, volume: &Volume, clean: &Path) -> Result<(), StorageError> {
        copy(clean, &self.image(volume, "-precache.img"), Keep::Time)
            .map_err(StorageError::io("making a precached image"))
    }

    /// Old states with their numbers, oldest first.
    fn revisions(&self, volume: &Volume) -> Result<Vec<(u64, PathBuf)>, StorageError> {
        let clean = format!("{}.", self.image(volume, ".img").display());
        let number = |image: PathBuf| {
            let (number, time) = image.to_str()?.strip_prefix(&clean)?.split_once('@')?;
            let is_whole = time.ends_with('Z');
            Some((number.parse().ok().filter(|_| is_whole)?, image))
        };
        let mut revisions: Vec<_> = self.images(volume)?.into_iter().filter_map(number).collect();
        revisions.sort_unstable();
        Ok(revisions)
    }

    /// Makes an image, complete and durable, the committed state. The one before becomes a revision; as many of
    /// those stay as the volume keeps.
    fn commit(&self, volume: &Volume, image: &Path) -> Result<(), StorageError> {
        let committing = "committing an image";
        let clean = self.image(volume, ".img");
        let keep = usize::try_from(volume.revisions_to_keep).unwrap_or_default();
        if keep > 0 {
            let last = self.revisions(volume)?.last().map_or(0, |(number, _)| *number);
            let revision = revision_of(&clean, last.saturating_add(1));
            revision.and_then(|to| copy(&clean, &to, Keep::Time)).map_err(StorageError::io(committing))?;
        }
        for (_, old) in self.revisions(volume)?.iter().rev().skip(keep) {
            files::remove(old).map_err(StorageError::io(committing))?;
        }
        files::remove(&self.image(volume, "-precache.img"))
            .and_then(|()| files::rename(image, &clean))
            .map_err(StorageError::io(committing))?;
        if volume.has_snapshots_disabled() { Ok(()) } else { self.make_precache(volume, &clean) }
    }
}

/// Which time of last change a copy gets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    Time,
    Nothing,
}

/// Copies an image, which appears under its name when it is complete and durable.
fn copy(from: &Path, to: &Path, keep: Keep) -> io::Result<()> {
    let temporary = PathBuf::from(format!("{}~", to.display()));
    let source = files::open(from)?;
    let about = source.metadata()?;
    let mut target = files::create(&temporary, IMAGE_MODE)?;
    clone::copy(&source, &mut target, about.len())?;
    if keep == Keep::Time {
        target.set_modified(about.modified()?)?;
    }
    target.sync_all()?;
    files::rename(&temporary, to)
}

/// `<clean>.<number>@<time of its last change>`.
fn revision_of(clean: &Path, number: u64) -> io::Result<PathBuf> {
    const LAST_SECOND_OF_9999: u64 = 253_402_300_799;
    let changed = files::open(clean)?.metadata()?.modified()?;
    let seconds = changed.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().min(LAST_SECOND_OF_9999);
    let changed = UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(UNIX_EPOCH);
    let time = humantime::format_rfc3339_seconds(changed);
    Ok(PathBuf::from(format!("{}.{number}@{time}", clean.display())))
}

/// What may follow `<vid>.img`: nothing, a revision's number and time, or a temporary file's mark.
fn is_revision_or_temporary(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with('~') || (rest.starts_with('.') && rest.contains('@'))
}

impl PoolDriver for FileReflink {
    fn can_hold(&self, _: &Volume) -> Result<(), StorageError> {
        Ok(())
    }

    fn create(&self, volume: &Volume) -> Result<(), StorageError> {
        for leftover in self.images(volume)? {
            files::remove(&leftover).map_err(StorageError::io("removing a leftover image"))?;
        }
        if !volume.save_on_stop || volume.snap_on_start {
            return Ok(());
        }
        let clean = self.image(volume, ".img");
        let making = "making an image";
        if let Some(folder) = clean.parent() {
            files::make_directories(folder, DIRECTORY_MODE).map_err(StorageError::io(making))?;
        }
        files::create(&clean, IMAGE_MODE)
            .and_then(|file| file.set_len(volume.size).and_then(|()| file.sync_all()))
            .and_then(|()| files::sync_directory(&clean))
            .map_err(StorageError::io(making))?;
        self.make_precache(volume, &clean)
    }

    fn remove(&self, volume: &Volume) -> Result<(), StorageError> {
        for image in self.images(volume)? {
            files::remove(&image).map_err(StorageError::io("removing an image"))?;
        }
        let image = self.image(volume, ".img");
        let Some(folder) = image.parent() else { return Ok(()) };
        // Fails while another volume's images are there, which is as it should be.
        let _ = files::remove_directory(folder);
        Ok(())
    }

    /// The committed state, also while a domain runs on its own image.
    fn export(&self, volume: &Volume, _: bool) -> Result<PathBuf, StorageError> {
        if volume.save_on_stop {
            return Ok(self.image(volume, ".img"));
        }
        Err(StorageError::Refused(format!("Cannot export: {} is not save_on_stop", volume.vid)))
    }

    fn import(&self, volume: &Volume, from: &Path) -> Result<(), StorageError> {
        let import = self.image(volume, "-import.img");
        copy(from, &import, Keep::Nothing).map_err(StorageError::io("importing an image"))?;
        self.commit(volume, &import)
    }
}

//! Driver `file-reflink`: image files that share blocks where the file system can (spec 20 §7.2).

use std::path::{Path, PathBuf};

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
        let stem = stem.trim_end_matches(".img");
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

    fn make_precache(&self, volume: &Volume, clean: &Path) -> Result<(), StorageError> {
        let making = "making a precached image";
        let source = files::open(clean).map_err(StorageError::io(making))?;
        let precache = self.image(volume, "-precache.img");
        let mut target = files::create(&precache, IMAGE_MODE).map_err(StorageError::io(making))?;
        clone::copy(&source, &mut target, volume.size)
            .and_then(|()| target.set_modified(source.metadata()?.modified()?))
            .and_then(|()| target.sync_all())
            .and_then(|()| files::sync_directory(&precache))
            .map_err(StorageError::io(making))
    }
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
}

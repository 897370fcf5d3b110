//! Driver `file`: plain sparse image files with copy-on-write stores beside them (spec 20 §7.1).

use std::path::PathBuf;

use super::{PoolDriver, StorageError};
use crate::files;
use crate::model::Volume;

const IMAGE_MODE: u32 = 0o664;
const DIRECTORY_MODE: u32 = 0o775;

pub(super) struct File {
    directory: PathBuf,
}

impl File {
    pub(super) fn at(directory: PathBuf) -> Self {
        Self { directory }
    }

    fn image(&self, volume: &Volume, suffix: &str) -> PathBuf {
        self.directory.join(format!("{}{suffix}", volume.vid))
    }
}

impl PoolDriver for File {
    fn can_hold(&self, volume: &Volume) -> Result<(), StorageError> {
        if volume.snap_on_start && volume.save_on_stop {
            let text = format!("Volume {} cannot both start from a snapshot and be kept", volume.name);
            return Err(StorageError::Refused(text));
        }
        Ok(())
    }

    fn check_new(&self, volume: &Volume) -> Result<(), StorageError> {
        let image = self.image(volume, ".img");
        let text = if volume.size == 0 {
            format!("Volume {} needs a size", volume.vid)
        } else if !volume.snap_on_start && image.exists() {
            format!("Volume {} already exists", image.display())
        } else {
            return Ok(());
        };
        Err(StorageError::Refused(text))
    }

    fn create(&self, volume: &Volume) -> Result<(), StorageError> {
        if volume.snap_on_start {
            return Ok(());
        }
        let image = self.image(volume, ".img");
        let making = "making an image";
        if let Some(folder) = image.parent() {
            files::make_directories(folder, DIRECTORY_MODE).map_err(StorageError::io(making))?;
        }
        files::create(&image, IMAGE_MODE)
            .and_then(|file| file.set_len(volume.size).and_then(|()| file.sync_all()))
            .and_then(|()| files::sync_directory(&image))
            .map_err(StorageError::io(making))
    }

    fn remove(&self, volume: &Volume) -> Result<(), StorageError> {
        for suffix in [".img", "-cow.img", "-cow.img.old", "-import.img"] {
            files::remove(&self.image(volume, suffix)).map_err(StorageError::io("removing an image"))?;
        }
        if let Some(folder) = self.image(volume, ".img").parent() {
            // Fails while another volume's images are there, which is as it should be.
            let _ = files::remove_directory(folder);
        }
        Ok(())
    }
}

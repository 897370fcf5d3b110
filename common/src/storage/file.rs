//! Driver `file`: plain sparse image files with copy-on-write stores beside them (spec 20 §7.1).

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::{PoolDriver, StorageError, clone};
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

    fn export(&self, volume: &Volume, running: bool) -> Result<PathBuf, StorageError> {
        let looking = StorageError::io("looking at an image");
        if running {
            return Err(StorageError::Refused("file pool cannot export running volumes".to_owned()));
        } else if volume.save_on_stop && is_dirty(&self.image(volume, "-cow.img")).map_err(looking)? {
            return Err(StorageError::Refused("file pool cannot export dirty volumes".to_owned()));
        }
        Ok(self.image(volume, ".img"))
    }

    fn import(&self, volume: &Volume, from: &Path) -> Result<(), StorageError> {
        let (image, import) = (self.image(volume, ".img"), self.image(volume, "-import.img"));
        let copied = files::open(from).and_then(|source| {
            let mut target = files::create(&import, IMAGE_MODE)?;
            clone::copy(&source, &mut target, source.metadata()?.len())?;
            target.sync_all()?;
            files::rename(&import, &image)
        });
        copied.map_err(StorageError::io("importing an image"))
    }
}

/// Whether a copy-on-write store holds more than the header of an empty one.
fn is_dirty(store: &Path) -> io::Result<bool> {
    const HEADER_SIZE: usize = 262_144;
    const HEADER: &[u8] = b"SnAp\x01\0\0\0\x01\0\0\0\0\x01\0\0";
    let Some(mut file) = files::present(files::open(store))? else { return Ok(false) };
    if clone::next_data(&file, 0)?.is_none() {
        return Ok(false);
    }
    let mut header = vec![0; HEADER_SIZE];
    let is_whole = file.read_exact(&mut header).is_ok();
    let (start, rest) = header.split_at_checked(HEADER.len()).unwrap_or_default();
    let is_empty = is_whole && start == HEADER && rest.iter().all(|byte| *byte == 0);
    Ok(!is_empty || clone::next_data(&file, HEADER_SIZE as u64)?.is_some())
}

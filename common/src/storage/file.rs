//! Driver `file`: plain sparse image files with copy-on-write stores beside them (spec 20 §7.1).

use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::options::TOO_MANY_REVISIONS;
use super::snapshots::Mapper;
use super::{
    Capacity, PoolDriver, Revision, Setting, Shortcut, StorageError, clone, isodate, log_untidied,
    loop_device, space,
};
use crate::files;
use crate::model::{Pool, Volume};
use crate::root::Root;

const IMAGE: &str = ".img";
/// Copies of the blocks that were overwritten since the last start.
const STORE: &str = "-cow.img";
/// The same of the start before.
const OLD_STORE: &str = "-cow.img.old";
const IMPORT: &str = "-import.img";
const IMAGE_MODE: u32 = 0o664;
const DIRECTORY_MODE: u32 = 0o775;

/// What the store of an image of that size has room for: every block, and the table of where each one was.
fn store_size(image: u64) -> u64 {
    const BLOCKS_BESIDE: u64 = 1 << 20;
    let table = image.checked_div(4096).unwrap_or_default();
    image.saturating_add(table).saturating_add(BLOCKS_BESIDE)
}

pub(super) struct File {
    directory: PathBuf,
    mapper: Mapper,
}

impl File {
    pub(super) fn at(root: &Root, directory: PathBuf) -> Self {
        Self { directory, mapper: Mapper::at(root) }
    }

    /// The image a snapshot starts from.
    fn source(&self, volume: &Volume) -> PathBuf {
        self.source_file(volume, IMAGE)
    }

    fn source_file(&self, volume: &Volume, suffix: &str) -> PathBuf {
        self.directory.join(format!("{}{suffix}", volume.source.as_deref().unwrap_or_default()))
    }

    /// Makes the store of an image, unless there is one.
    fn need_store(&self, store: &Path, image: &Path) -> Result<(), StorageError> {
        if store.exists() {
            return Ok(());
        }
        let about = files::about(image).map_err(StorageError::io("looking at an image"))?;
        self.make_image(store, store_size(about.len()))
    }

    /// What was overwritten before, if the last domain ended without a stop, stays as it was.
    fn start_kept(&self, volume: &Volume) -> Result<(), StorageError> {
        let (image, store) = (self.image(volume, IMAGE), self.image(volume, STORE));
        let _lock = self.mapper.lock()?;
        self.need_store(&store, &image)?;
        self.mapper.map_origin(&image, &store)
    }

    fn start_snapshot(&self, volume: &Volume) -> Result<(), StorageError> {
        let (image, store) = (self.source(volume), self.source_file(volume, STORE));
        let own = self.image(volume, STORE);
        let _lock = self.mapper.lock()?;
        self.mapper.unmap_snapshot(&image, &store, &own)?;
        self.need_store(&store, &image)?;
        files::remove(&own).map_err(StorageError::io("starting a volume"))?;
        self.need_store(&own, &image)?;
        self.mapper.map_snapshot(&image, &store, &own)
    }

    fn stop_kept(&self, volume: &Volume) -> Result<(), StorageError> {
        let (image, store) = (self.image(volume, IMAGE), self.image(volume, STORE));
        if !store.exists() {
            return Ok(());
        }
        let _lock = self.mapper.lock()?;
        self.mapper.unmap_origin(&image, &store)?;
        if volume.rw {
            return self.commit(volume, &image, &store);
        }
        files::remove(&store).map_err(StorageError::io("stopping a volume"))
    }

    /// What was overwritten since the start becomes the old state, or goes.
    fn commit(&self, volume: &Volume, image: &Path, store: &Path) -> Result<(), StorageError> {
        if !self.is_dirty(volume)? {
            return Ok(());
        }
        let old = self.image(volume, OLD_STORE);
        let synced = files::open(image).and_then(|image| image.sync_all());
        let is_kept = volume.revisions_to_keep != 0;
        let committed =
            synced.and_then(|()| if is_kept { files::rename(store, &old) } else { files::remove(store) });
        committed.map_err(StorageError::io("committing an image"))?;
        // The next start makes one where there is none.
        log_untidied(volume, self.need_store(store, image));
        Ok(())
    }

    fn stop_snapshot(&self, volume: &Volume) -> Result<(), StorageError> {
        let own = self.image(volume, STORE);
        if !own.exists() {
            return Ok(());
        }
        let _lock = self.mapper.lock()?;
        self.mapper.unmap_snapshot(&self.source(volume), &self.source_file(volume, STORE), &own)?;
        files::remove(&own).map_err(StorageError::io("stopping a volume"))
    }

    /// Makes an image of zeros, and the directory it lies in.
    fn make_image(&self, image: &Path, size: u64) -> Result<(), StorageError> {
        // Where the pool's own directory is gone, its disk may be.
        let folder = files::about(&self.directory).and_then(|_| {
            image.parent().map_or(Ok(()), |folder| files::make_directories(folder, DIRECTORY_MODE))
        });
        folder
            .and_then(|()| files::create(image, IMAGE_MODE))
            .and_then(|file| file.set_len(size).and_then(|()| file.sync_all()))
            .and_then(|()| files::sync_directory(image))
            .map_err(StorageError::io("making an image"))
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
        let image = self.image(volume, IMAGE);
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
        self.make_image(&self.image(volume, IMAGE), volume.size)
    }

    fn remove(&self, volume: &Volume) -> Result<(), StorageError> {
        for suffix in [IMAGE, STORE, OLD_STORE, IMPORT] {
            files::remove(&self.image(volume, suffix)).map_err(StorageError::io("removing an image"))?;
        }
        if let Some(folder) = self.image(volume, IMAGE).parent() {
            // Fails while another volume's images are there, which is as it should be.
            let _ = files::remove_directory(folder);
        }
        Ok(())
    }

    fn export(&self, volume: &Volume, running: bool) -> Result<PathBuf, StorageError> {
        if running {
            return Err(StorageError::Refused("file pool cannot export running volumes".to_owned()));
        } else if self.is_dirty(volume)? {
            return Err(StorageError::Refused("file pool cannot export dirty volumes".to_owned()));
        }
        Ok(self.image(volume, IMAGE))
    }

    /// It is the image itself, to which domains write.
    fn keeps_exports(&self, _: &Volume) -> bool {
        false
    }

    fn verify(&self, volume: &Volume) -> Result<(), StorageError> {
        let needed = match (volume.snap_on_start, volume.save_on_stop) {
            (true, _) => self.source(volume),
            (false, true) => self.image(volume, IMAGE),
            (false, false) => return Ok(()),
        };
        if needed.exists() {
            return Ok(());
        }
        Err(StorageError::Refused(format!("Missing image file: {}.", needed.display())))
    }

    fn start(&self, volume: &Volume) -> Result<(), StorageError> {
        self.verify(volume)?;
        match (volume.snap_on_start, volume.save_on_stop) {
            (false, false) => self.make_image(&self.image(volume, IMAGE), volume.size),
            _ if volume.has_snapshots_disabled() => Ok(()),
            _ if !self.mapper.is_available() => Err(StorageError::Refused(format!(
                "file pool cannot start volume {}: it needs device mapper snapshots",
                volume.vid
            ))),
            (true, _) => self.start_snapshot(volume),
            (false, true) => self.start_kept(volume),
        }
    }

    fn stop(&self, volume: &Volume) -> Result<(), StorageError> {
        match (volume.snap_on_start, volume.save_on_stop) {
            (false, false) => {
                files::remove(&self.image(volume, IMAGE)).map_err(StorageError::io("stopping a volume"))
            }
            _ if volume.has_snapshots_disabled() => Ok(()),
            (true, _) => self.stop_snapshot(volume),
            (false, true) => self.stop_kept(volume),
        }
    }

    fn block_device(&self, volume: &Volume) -> Result<Option<PathBuf>, StorageError> {
        match (volume.snap_on_start, volume.save_on_stop) {
            (true, _) => self.mapper.snapshot(&self.image(volume, STORE)),
            (false, true) if !volume.has_snapshots_disabled() => {
                self.mapper.origin(&self.image(volume, IMAGE))
            }
            _ => Ok(Some(self.image(volume, IMAGE))),
        }
    }

    /// The image; of a snapshot its source's.
    fn path(&self, volume: &Volume) -> Option<PathBuf> {
        Some(if volume.snap_on_start { self.source(volume) } else { self.image(volume, IMAGE) })
    }

    fn size(&self, volume: &Volume) -> Result<u64, StorageError> {
        let about = files::present(files::about(&self.image(volume, IMAGE)));
        let about = about.map_err(StorageError::io("looking at an image"))?;
        Ok(about.map_or(volume.size, |about| about.len()))
    }

    fn usage(&self, volume: &Volume) -> Result<u64, StorageError> {
        let mut used = 0_u64;
        for suffix in [IMAGE, STORE] {
            let about = files::present(files::about(&self.image(volume, suffix)));
            let about = about.map_err(StorageError::io("looking at an image"))?;
            used = used.saturating_add(about.map_or(0, |about| files::allocated(&about)));
        }
        Ok(used)
    }

    fn is_dirty(&self, volume: &Volume) -> Result<bool, StorageError> {
        let is_kept = volume.save_on_stop && !volume.snap_on_start;
        let dirty = if is_kept { has_changes(&self.image(volume, STORE)) } else { Ok(false) };
        dirty.map_err(StorageError::io("looking at an image"))
    }

    fn revisions_to_keep(&self, volume: &Volume) -> i64 {
        if volume.save_on_stop { volume.revisions_to_keep } else { 0 }
    }

    fn revisions(&self, volume: &Volume) -> Result<Vec<Revision>, StorageError> {
        let about = files::present(files::about(&self.image(volume, OLD_STORE)));
        let about = about.map_err(StorageError::io("looking at a revision"))?;
        let describe = |about: std::fs::Metadata| {
            let changed = u64::try_from(about.ctime()).unwrap_or_default();
            Revision { id: "old".to_owned(), time: isodate(changed) }
        };
        Ok(about.map(describe).into_iter().collect())
    }

    fn check_setting(&self, setting: Setting) -> Result<(), StorageError> {
        match setting {
            Setting::RevisionsToKeep(2..) => Err(StorageError::NotImplemented(TOO_MANY_REVISIONS)),
            _ => Ok(()),
        }
    }

    /// What this driver keeps is what a commit leaves, and it cannot be taken back to.
    fn snapshot(&self, volume: &Volume) -> Result<String, StorageError> {
        Err(StorageError::Refused(format!("Cannot snapshot: {} is in a file pool", volume.vid)))
    }

    fn resize(&self, volume: &Volume, size: u64) -> Result<(), StorageError> {
        let text = if !volume.rw {
            format!("Can not resize readonly volume {}", volume.vid)
        } else if volume.snap_on_start {
            "Cannot resize volume based on a template - resizethe template instead".to_owned()
        } else {
            let image = self.image(volume, IMAGE);
            let resized = files::present(files::open_to_write(&image)).and_then(|file| {
                let Some(file) = file else { return Ok(()) };
                file.set_len(size)?;
                file.sync_all()?;
                loop_device::update_sizes(&image)
            });
            resized.map_err(StorageError::io("resizing an image"))?;
            return self.mapper.resize_origin(&image);
        };
        Err(StorageError::Refused(text))
    }

    /// A snapshot has no content of its own to give.
    fn clone_directly(&self, volume: &Volume, source: &Volume, _: &Pool) -> Result<Shortcut, StorageError> {
        if source.snap_on_start {
            let text = format!("Can not import snapshot volume {} in to pool {} ", source.vid, volume.vid);
            return Err(StorageError::Refused(text));
        }
        Ok(if volume.save_on_stop { Shortcut::None } else { Shortcut::NotNeeded })
    }

    fn check_import(&self, volume: &Volume) -> Result<(), StorageError> {
        let text = if !volume.save_on_stop {
            format!("Can not import into save_on_stop=False volume {}", volume.vid)
        } else if self.mapper.origin(&self.image(volume, IMAGE))?.is_some() {
            format!("Cannot import data to running volume {}, stop the qube first", volume.vid)
        } else {
            return Ok(());
        };
        Err(StorageError::Refused(text))
    }

    fn import_begin(&self, volume: &Volume, size: u64) -> Result<PathBuf, StorageError> {
        let import = self.image(volume, IMPORT);
        self.make_image(&import, size)?;
        Ok(import)
    }

    fn import_resize(&self, volume: &Volume, size: u64) -> Result<(), StorageError> {
        let import = self.image(volume, IMPORT);
        let resized = files::open_to_write(&import).and_then(|file| file.set_len(size));
        resized.map_err(StorageError::io("resizing an import"))
    }

    fn has_import(&self, volume: &Volume) -> Result<bool, StorageError> {
        Ok(self.image(volume, IMPORT).exists())
    }

    /// What was overwritten in the image that goes belongs to no other.
    fn import_end(&self, volume: &Volume) -> Result<(), StorageError> {
        let import = self.image(volume, IMPORT);
        let ended = files::open(&import).and_then(|file| {
            file.sync_all()?;
            files::remove(&self.image(volume, STORE))?;
            files::rename(&import, &self.image(volume, IMAGE))
        });
        ended.map_err(StorageError::io("ending an import"))
    }

    fn import_abort(&self, volume: &Volume) -> Result<(), StorageError> {
        files::remove(&self.image(volume, IMPORT)).map_err(StorageError::io("removing an import"))
    }

    fn set_up(&self, _: &Pool) -> Result<(), StorageError> {
        space::make_directory(&self.directory)?;
        space::make_homes(&self.directory)
    }

    fn capacity(&self) -> Result<Capacity, StorageError> {
        Ok(space::capacity(&self.directory)?.unwrap_or(Capacity::of(0, 0)))
    }
}

/// Whether a copy-on-write store holds more than the header of an empty one.
fn has_changes(store: &Path) -> io::Result<bool> {
    const HEADER_SIZE: usize = 262_144;
    const HEADER: &[u8] = b"SnAp\x01\0\0\0\x01\0\0\0\0\x01\0\0";
    let Some(file) = files::present(files::open(store))? else { return Ok(false) };
    if clone::next_data(&file, 0)?.is_none() {
        return Ok(false);
    }
    let mut header = vec![0; HEADER_SIZE];
    let is_whole = file.read_exact_at(&mut header, 0).is_ok();
    let (start, rest) = header.split_at_checked(HEADER.len()).unwrap_or_default();
    let is_empty = is_whole && start == HEADER && rest.iter().all(|byte| *byte == 0);
    Ok(!is_empty || clone::next_data(&file, HEADER_SIZE as u64)?.is_some())
}

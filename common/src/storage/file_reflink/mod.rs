//! Driver `file-reflink`: image files that share blocks where the file system can (spec 20 §7.2).

mod images;
pub mod revision;

use std::path::{Path, PathBuf};

use images::{Ahead, Images, Keep};

use super::options::SETUP_CHECK;
use super::{Capacity, PoolDriver, Revision, StorageError, clone, loop_device, space};
use crate::model::{Pool, Volume};
use crate::quote::quote;
use crate::{files, log};

pub(super) struct FileReflink {
    directory: PathBuf,
}

type Done<T = ()> = Result<T, StorageError>;

impl FileReflink {
    pub(super) fn at(directory: PathBuf) -> Self {
        Self { directory }
    }

    fn images(&self, volume: &Volume) -> Images {
        Images::of(&self.directory, &volume.vid)
    }

    /// The committed state of what a snapshot starts from.
    fn source(&self, volume: &Volume) -> PathBuf {
        Images::of(&self.directory, volume.source.as_deref().unwrap_or_default()).clean()
    }

    /// The image that tells size and usage: the one in use, else the committed one.
    fn live(&self, volume: &Volume) -> Done<Option<std::fs::Metadata>> {
        let images = self.images(volume);
        let look = || match files::present(files::about(&images.dirty()))? {
            Some(about) => Ok(Some(about)),
            None => files::present(files::about(&images.clean())),
        };
        look().map_err(StorageError::io("looking at an image"))
    }

    /// The dirty image of a snapshot: its source's committed state, linked so that it stays, and copied.
    fn start_snapshot(&self, volume: &Volume, images: &Images) -> std::io::Result<()> {
        images.make_directory()?;
        files::remove(&images.clean())?;
        files::hard_link(&self.source(volume), &images.clean())?;
        let size = files::about(&images.clean())?.len().max(volume.size);
        images::copy(&images.clean(), &images.dirty(), Some(size), Keep::Nothing)
    }
}

/// The dirty image of a kept volume.
fn start_kept(volume: &Volume, images: &Images) -> std::io::Result<()> {
    if !images.is_precache_fresh()? && images.precache().exists() {
        log::line(&format!("Removed stale file: {}", images.precache().display()));
        files::remove(&images.precache())?;
    }
    if volume.has_snapshots_disabled() {
        images.prune(0)?;
        files::remove(&images.precache())?;
        files::rename(&images.clean(), &images.dirty())
    } else if images.precache().exists() {
        files::rename(&images.precache(), &images.dirty())
    } else {
        images::copy(&images.clean(), &images.dirty(), None, Keep::Nothing)
    }
}

fn keeps_revisions(volume: &Volume) -> bool {
    volume.revisions_to_keep > 0
}

/// Makes an image the committed state and tidies up after it.
fn commit(volume: &Volume, images: &Images, image: &Path, ahead: Ahead) -> Done {
    images.commit(image, keeps_revisions(volume)).map_err(StorageError::io("committing an image"))?;
    images.tidy(volume, ahead);
    Ok(())
}

impl PoolDriver for FileReflink {
    fn can_hold(&self, _: &Volume) -> Done {
        Ok(())
    }

    fn create(&self, volume: &Volume) -> Done {
        let images = self.images(volume);
        let make = || {
            images.all()?.iter().try_for_each(|leftover| files::remove(leftover))?;
            if !volume.save_on_stop || volume.snap_on_start {
                return Ok(());
            }
            images.make_directory()?;
            images::make_sparse(&images.clean(), volume.size)?;
            images.make_precache(volume, Ahead::Always)
        };
        make().map_err(StorageError::io("making an image"))
    }

    fn remove(&self, volume: &Volume) -> Done {
        let images = self.images(volume);
        let removed = images.all().and_then(|all| all.iter().try_for_each(|image| files::remove(image)));
        removed.map_err(StorageError::io("removing an image"))?;
        let Some(folder) = images.clean().parent().map(Path::to_path_buf) else { return Ok(()) };
        // Fails while another volume's images are there, which is as it should be.
        let _ = files::remove_directory(&folder);
        Ok(())
    }

    fn verify(&self, volume: &Volume) -> Done {
        let needed = match (volume.snap_on_start, volume.save_on_stop) {
            (true, _) => self.source(volume),
            (false, true) if self.is_dirty(volume)? => return Ok(()),
            (false, true) => self.images(volume).clean(),
            (false, false) => return Ok(()),
        };
        if needed.exists() {
            return Ok(());
        }
        let text = format!("Missing image file '{}' for volume {}", needed.display(), volume.vid);
        Err(StorageError::Refused(text))
    }

    fn start(&self, volume: &Volume) -> Done {
        let images = self.images(volume);
        let start = || {
            images.unfinished()?.iter().try_for_each(|path| files::remove(path))?;
            match (volume.save_on_stop && images.dirty().exists(), volume.snap_on_start, volume.save_on_stop)
            {
                (true, ..) => Ok(()),
                (false, true, _) => self.start_snapshot(volume, &images),
                (false, false, true) => start_kept(volume, &images),
                (false, false, false) => {
                    images.make_directory()?;
                    images::make_sparse(&images.dirty(), volume.size)
                }
            }
        };
        start().map_err(StorageError::io("starting a volume"))
    }

    fn stop(&self, volume: &Volume) -> Done {
        let images = self.images(volume);
        let stopping = "stopping a volume";
        if !volume.save_on_stop {
            let dropped = files::remove(&images.dirty()).and_then(|()| files::remove(&images.clean()));
            return dropped.map_err(StorageError::io(stopping));
        }
        match (self.is_dirty(volume)?, volume.has_snapshots_disabled()) {
            (false, _) => Ok(()),
            (true, true) => {
                files::rename(&images.dirty(), &images.clean()).map_err(StorageError::io(stopping))
            }
            (true, false) => commit(volume, &images, &images.dirty(), Ahead::Always),
        }
    }

    fn block_device(&self, volume: &Volume) -> Done<Option<PathBuf>> {
        Ok(Some(self.images(volume).dirty()))
    }

    fn path(&self, volume: &Volume) -> Option<PathBuf> {
        Some(self.images(volume).dirty())
    }

    fn size(&self, volume: &Volume) -> Done<u64> {
        Ok(self.live(volume)?.map_or(volume.size, |about| about.len()))
    }

    fn usage(&self, volume: &Volume) -> Done<u64> {
        Ok(self.live(volume)?.map_or(0, |about| files::allocated(&about)))
    }

    fn is_dirty(&self, volume: &Volume) -> Done<bool> {
        Ok(volume.save_on_stop && self.images(volume).dirty().exists())
    }

    fn is_outdated(&self, volume: &Volume) -> Done<Option<bool>> {
        if !volume.snap_on_start {
            return Ok(Some(false));
        }
        let looking = || StorageError::io("looking at an image");
        let own = images::identity(&self.images(volume).clean()).map_err(looking())?;
        let source = images::identity(&self.source(volume)).map_err(looking())?;
        Ok(Some(own.is_some() && own != source))
    }

    fn revisions(&self, volume: &Volume) -> Done<Vec<Revision>> {
        self.images(volume).described().map_err(StorageError::io("listing revisions"))
    }

    fn snapshot(&self, volume: &Volume) -> Done<String> {
        let images = self.images(volume);
        let keeping = || StorageError::io("keeping a revision");
        let (number, revision) = images.next_revision().map_err(keeping())?;
        // A copy: a link would be taken for the beginning of a commit.
        images::copy(&images.clean(), &revision, None, Keep::Time).map_err(keeping())?;
        images.tidy(volume, Ahead::Always);
        Ok(number.to_string())
    }

    fn revert(&self, volume: &Volume, id: &str) -> Done {
        if self.is_dirty(volume)? {
            return Err(StorageError::Refused(format!(
                "Cannot revert: {} is not cleanly stopped",
                volume.vid
            )));
        }
        let images = self.images(volume);
        let revert = || {
            let revisions = images.revisions()?;
            let found = revisions.iter().find(|(number, _)| number.to_string() == id);
            found.map_or(Ok(()), |(_, revision)| images.commit(revision, true))
        };
        revert().map_err(StorageError::io("taking a volume back"))?;
        images.prepare_start(volume, Ahead::Always);
        Ok(())
    }

    fn resize(&self, volume: &Volume, size: u64) -> Done {
        if !volume.rw {
            return Err(StorageError::Refused(format!("Cannot resize: {} is read-only", volume.vid)));
        }
        let images = self.images(volume);
        let resize = || {
            if images.dirty().exists() {
                let file = files::open_to_write(&images.dirty())?;
                file.set_len(size)?;
                file.sync_all()?;
                return loop_device::update_sizes(&images.dirty());
            } else if !volume.save_on_stop {
                return Ok(());
            }
            files::remove(&images.precache())?;
            images::copy(&images.clean(), &images.clean(), Some(size), Keep::Nothing)
        };
        resize().map_err(StorageError::io("resizing an image"))?;
        if volume.save_on_stop && !images.dirty().exists() {
            images.prepare_start(volume, Ahead::Always);
        }
        Ok(())
    }

    /// The committed state, also while a domain runs on its own image.
    fn export(&self, volume: &Volume, _: bool) -> Done<PathBuf> {
        if volume.save_on_stop {
            Ok(self.images(volume).clean())
        } else {
            Err(StorageError::Unsupported("export"))
        }
    }

    fn check_import(&self, volume: &Volume) -> Done {
        if volume.save_on_stop { Ok(()) } else { Err(StorageError::Unsupported("import")) }
    }

    fn import_resize(&self, volume: &Volume, size: u64) -> Done {
        let import = self.images(volume).import();
        let resized = files::open_to_write(&import).and_then(|file| file.set_len(size));
        resized.map_err(StorageError::io("resizing an import"))
    }

    fn has_import(&self, volume: &Volume) -> Done<bool> {
        Ok(self.images(volume).import().exists())
    }

    fn import_begin(&self, volume: &Volume, size: u64) -> Done<PathBuf> {
        let images = self.images(volume);
        let cleared =
            images.unfinished().and_then(|left| left.iter().try_for_each(|path| files::remove(path)));
        cleared
            .and_then(|()| images::make_sparse(&images.import(), size))
            .map_err(StorageError::io("making room for an import"))?;
        Ok(images.import())
    }

    fn import_end(&self, volume: &Volume) -> Done {
        let images = self.images(volume);
        commit(volume, &images, &images.import(), Ahead::WhereShared)
    }

    fn tidy(&self, volume: &Volume) -> Done {
        self.images(volume).tidy(volume, Ahead::WhereShared);
        Ok(())
    }

    fn import_abort(&self, volume: &Volume) -> Done {
        files::remove(&self.images(volume).import()).map_err(StorageError::io("removing an import"))
    }

    fn set_up(&self, pool: &Pool) -> Done {
        let is_new = space::make_directory(&self.directory)?;
        let must_share = pool.setting(SETUP_CHECK) == Some("True");
        if must_share && !clone::supports_clone(&self.directory) {
            if is_new {
                // Fails if somebody put something there meanwhile, which is as it should be.
                let _ = files::remove_directory(&self.directory);
            }
            return Err(StorageError::Refused(no_sharing(pool)));
        }
        space::make_homes(&self.directory)
    }

    fn capacity(&self) -> Done<Capacity> {
        Ok(space::capacity(&self.directory)?.unwrap_or_default())
    }
}

fn no_sharing(pool: &Pool) -> String {
    let directory = quote(pool.setting("dir_path").unwrap_or_default());
    format!(
        "The filesystem for {directory} does not support reflinks. If you can live with delays on VM \
         startup/shutdown/etc. and wasted disk space, pass the 'setup_check=False' option."
    )
}

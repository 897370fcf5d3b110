//! Driver `linux-kernel`: kernels in directories, never written (spec 20 §7.4).

use std::path::PathBuf;

use super::{Capacity, PoolDriver, Setting, Shortcut, StorageError};
use crate::files;
use crate::model::{Pool, Volume};

pub(super) struct LinuxKernel {
    directory: PathBuf,
}

impl LinuxKernel {
    pub(super) fn at(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// A file of the kernel a volume stands for, if it stands for one.
    fn file(&self, volume: &Volume, name: &str) -> Option<PathBuf> {
        (!volume.vid.is_empty()).then(|| self.directory.join(&volume.vid).join(name))
    }
}

impl PoolDriver for LinuxKernel {
    fn can_hold(&self, volume: &Volume) -> Result<(), StorageError> {
        if volume.rw || volume.save_on_stop {
            let text = format!("LinuxModules supports only read-only volumes, not {}", volume.name);
            return Err(StorageError::Refused(text));
        }
        Ok(())
    }

    fn check_setting(&self, setting: Setting) -> Result<(), StorageError> {
        let text = match setting {
            Setting::RevisionsToKeep(0) | Setting::Rw(false) => return Ok(()),
            Setting::RevisionsToKeep(_) => "LinuxModules supports only revisions_to_keep=0",
            Setting::Rw(true) => "LinuxModules supports only read-only volumes",
            Setting::Ephemeral(_) => "LinuxModules does not support setting ephemeral value",
        };
        Err(StorageError::Value(text))
    }

    fn revisions_to_keep(&self, _: &Volume) -> i64 {
        0
    }

    fn create(&self, volume: &Volume) -> Result<(), StorageError> {
        self.can_hold(volume)
    }

    fn remove(&self, _: &Volume) -> Result<(), StorageError> {
        Ok(())
    }

    fn verify(&self, volume: &Volume) -> Result<(), StorageError> {
        match self.file(volume, "vmlinuz").filter(|kernel| !kernel.exists()) {
            Some(missing) => Err(StorageError::Refused(format!("Missing file: {}", missing.display()))),
            None => Ok(()),
        }
    }

    fn start(&self, _: &Volume) -> Result<(), StorageError> {
        Ok(())
    }

    fn stop(&self, _: &Volume) -> Result<(), StorageError> {
        Ok(())
    }

    /// The modules, if this kernel has any.
    fn block_device(&self, volume: &Volume) -> Result<Option<PathBuf>, StorageError> {
        Ok(self.path(volume).filter(|modules| modules.exists()))
    }

    fn path(&self, volume: &Volume) -> Option<PathBuf> {
        self.file(volume, "modules.img")
    }

    fn size(&self, _: &Volume) -> Result<u64, StorageError> {
        Ok(0)
    }

    fn export(&self, _: &Volume, _: bool) -> Result<PathBuf, StorageError> {
        Err(StorageError::Unsupported("export"))
    }

    /// What a kernel volume holds follows from its qube: from another there is nothing to take.
    fn clone_directly(&self, _: &Volume, _: &Volume, pool: &Pool) -> Result<Shortcut, StorageError> {
        if pool.driver == "linux-kernel" {
            return Ok(Shortcut::NotNeeded);
        }
        let text = "clone of LinuxModules volume from different volume type is not supported";
        Err(StorageError::Refused(text.to_owned()))
    }

    fn set_up(&self, _: &Pool) -> Result<(), StorageError> {
        Ok(())
    }

    fn capacity(&self) -> Result<Capacity, StorageError> {
        Ok(Capacity::default())
    }

    /// One for each kernel; without a directory there is no answer.
    fn volumes(&self) -> Result<Option<Vec<String>>, StorageError> {
        if !self.directory.is_dir() {
            return Err(StorageError::Unsupported("list"));
        }
        files::list(&self.directory).map(Some).map_err(StorageError::io("listing kernels"))
    }
}

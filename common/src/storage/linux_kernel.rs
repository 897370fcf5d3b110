//! Driver `linux-kernel`: kernels in directories, never written (spec 20 §7.4).

use std::path::{Path, PathBuf};

use super::{PoolDriver, StorageError};
use crate::model::Volume;

pub(super) struct LinuxKernel;

impl PoolDriver for LinuxKernel {
    fn can_hold(&self, volume: &Volume) -> Result<(), StorageError> {
        if volume.rw || volume.save_on_stop {
            let text = format!("LinuxModules supports only read-only volumes, not {}", volume.name);
            return Err(StorageError::Refused(text));
        }
        Ok(())
    }

    fn create(&self, volume: &Volume) -> Result<(), StorageError> {
        self.can_hold(volume)
    }

    fn remove(&self, _: &Volume) -> Result<(), StorageError> {
        Ok(())
    }

    fn export(&self, volume: &Volume, _: bool) -> Result<PathBuf, StorageError> {
        Err(StorageError::Refused(format!("LinuxModules volume {} cannot be exported", volume.name)))
    }

    fn import(&self, _: &Volume, _: &Path) -> Result<(), StorageError> {
        let text = "clone of LinuxModules volume from different volume type is not supported";
        Err(StorageError::Refused(text.to_owned()))
    }
}

//! Driver `linux-kernel`: kernels in directories, never written (spec 20 §7.4).

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
}

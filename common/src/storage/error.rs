//! Why a storage driver refused or failed.

use std::io;

use crate::failure::{Exception, Failure};
use crate::model::Volume;
use crate::names::PoolName;

/// Why a driver refused or failed. The text is the client's.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// A rule of the driver: `StoragePoolException`.
    #[error("{0}")]
    Refused(String),
    /// What keeps a qube as a whole from its volumes: `QubesVMError`.
    #[error("{0}")]
    Qube(String),
    /// A pool that is not there: `QubesException`.
    #[error("Unknown storage pool {0}")]
    UnknownPool(PoolName),
    /// A value the driver does not take: `QubesValueError`.
    #[error("{0}")]
    Value(&'static str),
    /// A value that the driver could take one day: `QubesNotImplementedError`.
    #[error("{0}")]
    NotImplemented(&'static str),
    /// An operation that this driver has not for this kind of volume: logged, and the connection dropped (spec 20 §4).
    #[error("the storage driver has no {0} for this volume")]
    Unsupported(&'static str),
    /// The system refused a file operation: `StoragePoolException`.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// The cause.
        source: io::Error,
    },
}

impl StorageError {
    /// Names what was being done when the system refused.
    pub fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }

    /// Tells where a file operation was refused.
    pub(super) fn of(self, volume: &Volume) -> Self {
        match self {
            Self::Io { .. } => {
                Self::Refused(format!("Volume {} in pool {}: {self}", volume.name, volume.pool))
            }
            other => other,
        }
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        let text = error.to_string();
        let exception = match error {
            StorageError::Refused(_) | StorageError::Io { .. } => Exception::StoragePoolException,
            StorageError::Qube(_) => Exception::QubesVMError,
            StorageError::UnknownPool(_) => Exception::QubesException,
            StorageError::Value(_) => Exception::QubesValueError,
            StorageError::NotImplemented(_) => Exception::QubesNotImplementedError,
            StorageError::Unsupported(_) => return Self::dropped(text),
        };
        Self::new(exception, text)
    }
}

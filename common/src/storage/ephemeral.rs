//! Volumes encrypted with a throw-away key: what a domain leaves in them nobody can read (spec 20 §6.5).
//!
//! The key is read from the kernel's random numbers by `cryptsetup` and kept by the kernel alone, for as long as the mapping
//! lasts.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{PoolDriver, StorageError};
use crate::model::Volume;
use crate::names::QubeName;
use crate::opened::{self, Purpose};
use crate::root::Root;
use crate::{files, run};

const CRYPTSETUP: &str = "/usr/sbin/cryptsetup";
const DEADLINE: Duration = Duration::from_secs(120);
/// How much at the beginning reads as zeros, so that no domain takes noise for a file system.
const HEAD: usize = 65_536;

type Done<T = ()> = Result<T, StorageError>;

/// A volume's mapping, whether or not there is one now.
pub(super) struct Mapping<'a> {
    root: &'a Root,
    name: String,
}

impl<'a> Mapping<'a> {
    pub(super) fn of(root: &'a Root, driver: &dyn PoolDriver, qube: &QubeName, volume: &Volume) -> Self {
        let default = || format!("vm-volatile-{}-crypt@{}", escaped(qube.as_str()), volume.name);
        Self { root, name: driver.mapping(volume).unwrap_or_else(default) }
    }

    fn path(&self) -> PathBuf {
        self.root.path("/dev/mapper").join(&self.name)
    }

    /// Encrypts a started volume and gives the device through which it is used.
    pub(super) fn open(&self, device: &Path) -> Done<PathBuf> {
        let device = device.display().to_string();
        let how = ["--key-file=/dev/urandom", "--cipher=aes-xts-plain64", "--type=plain"];
        self.cryptsetup(&[&how[..], &["--", "open", &device, &self.name]].concat())?;
        let path = self.path();
        let cleared = opened::open(&path, Purpose::Writing).and_then(|mut mapped| {
            let length = usize::try_from(files::length(&mapped)?).unwrap_or(HEAD).min(HEAD);
            mapped.write_all(&vec![0; length])?;
            mapped.sync_all()
        });
        cleared.map_err(StorageError::io("clearing an encrypted volume's beginning"))?;
        Ok(path)
    }

    /// Forgets the key; harmless where there is no mapping.
    pub(super) fn close(&self) -> Done {
        if !self.path().exists() {
            return Ok(());
        }
        self.cryptsetup(&["--", "close", &self.name])
    }

    fn cryptsetup(&self, arguments: &[&str]) -> Done {
        let done = run::as_root(self.root, CRYPTSETUP, arguments, DEADLINE);
        let done = done.map_err(StorageError::io("running cryptsetup"))?;
        if done.is_success() {
            return Ok(());
        }
        let said = Some(done.errors()).filter(|said| !said.is_empty());
        Err(StorageError::Refused(said.unwrap_or_else(|| format!("cryptsetup ended with {}", done.status()))))
    }
}

/// A qube's name without dashes.
fn escaped(name: &str) -> String {
    name.replace('_', "_u").replace('-', "_d")
}

//! Device-mapper snapshots over image files, for driver `file` (spec 20 §7.1).
//!
//! ```text
//! origin-IMAGE             what the qube writes that owns the image; what it overwrites goes to the image's store
//! snapshot-IMAGE-STORE     the image as it was before
//! snapshot-IMAGE-STORE-OWN the same with the changes of a qube that starts from it
//! ```
//! Each part is `<device>:<inode>` of a file. A store is a sparse file of copied blocks. Loop devices lie between the files
//! and the mappings; they are given up as soon as a mapping uses them, and the system keeps them for as long as it does. All is
//! done under one lock, so that nobody counts on what another is taking down, and a loop device that nobody has given up is
//! one that a killed program left.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{StorageError, loop_device};
use crate::root::Root;
use crate::store::{LifecycleGuard, lock_file};
use crate::{files, run};

const DMSETUP: &str = "/usr/sbin/dmsetup";
const LOSETUP: &str = "/usr/sbin/losetup";
const DEADLINE: Duration = Duration::from_secs(60);
const SECTOR: u64 = 512;
/// Devices' files are udev's business; where it does not do it, the program does, so that a mapping that is there is seen.
const VERIFY: &str = "--verifyudev";
const DEVICES: &str = "/dev/mapper";
/// A lock beside those of the qubes, of whom none has such a name.
const LOCK: &str = ".snapshots";

type Done<T = ()> = Result<T, StorageError>;

/// The device mapper of the machine.
pub(super) struct Mapper {
    root: Root,
}

/// What a file is called in the names of mappings.
fn identity(file: &Path) -> Done<String> {
    let about = files::about(file).map_err(StorageError::io("looking at an image"))?;
    Ok(format!("{:x}:{}", about.dev(), about.ino()))
}

fn sectors(image: &Path) -> Done<u64> {
    let about = files::about(image).map_err(StorageError::io("looking at an image"))?;
    Ok(about.len().checked_div(SECTOR).unwrap_or_default())
}

/// The mapping a snapshot was made over, by the snapshot's name.
fn base_of(snapshot: &str) -> Option<&str> {
    let (base, _) = snapshot.rsplit_once('-')?;
    (base.matches('-').count() == 2).then_some(base)
}

/// Whether a machine has a device mapper.
pub fn has_device_mapper(root: &Root) -> bool {
    root.path(DEVICES).join("control").exists()
}

impl Mapper {
    pub(super) fn at(root: &Root) -> Self {
        Self { root: root.clone() }
    }

    /// Whether the machine has one.
    pub(super) fn is_available(&self) -> bool {
        has_device_mapper(&self.root)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path(DEVICES).join(name)
    }

    pub(super) fn lock(&self) -> Done<LifecycleGuard> {
        let lock = lock_file(&self.root.run().join("locks").join(LOCK));
        lock.map_err(|error| StorageError::Refused(error.to_string()))
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Done<String> {
        let done = run::as_root(&self.root, program, arguments, DEADLINE);
        let done = done.map_err(StorageError::io("running the device mapper's programs"))?;
        if done.is_success() {
            return Ok(String::from_utf8_lossy(done.output()).trim().to_owned());
        }
        let said = Some(done.errors()).filter(|said| !said.is_empty());
        Err(StorageError::Refused(said.unwrap_or_else(|| format!("{program} ended with {}", done.status()))))
    }

    /// Makes a mapping unless it is there. `table` gets the loop devices of `files`.
    fn map(&self, name: &str, image: &Path, files: &[&Path], table: impl Fn(&[String]) -> String) -> Done {
        if self.path(name).exists() {
            return Ok(());
        }
        let mut devices = Vec::new();
        for file in files {
            let file = file.display().to_string();
            devices.push(self.run(LOSETUP, &["--find", "--nooverlap", "--show", &file])?);
        }
        let table = format!("0 {} {}", sectors(image)?, table(&devices));
        let mapped = self.create(name, &table);
        for device in &devices {
            // Takes effect when nobody uses it any more, which is at once if the mapping was not made.
            let _ = self.run(LOSETUP, &["--detach", device]);
        }
        mapped.map(drop)
    }

    /// What a killed program left by half has the name, but no device's file: one that works gets it, one without a table
    /// is made anew.
    fn create(&self, name: &str, table: &str) -> Done<String> {
        let create = || self.run(DMSETUP, &["create", name, VERIFY, "--table", table]);
        create().or_else(|error| match self.run(DMSETUP, &["table", name]) {
            Ok(table) if table.is_empty() => {
                self.remove_unused(name);
                create()
            }
            Ok(_) => self.run(DMSETUP, &["mknodes", name]),
            Err(_) => Err(error),
        })
    }

    /// The image as it was before its owner's start.
    fn map_base(&self, image: &Path, store: &Path) -> Done<String> {
        let name = format!("snapshot-{}-{}", identity(image)?, identity(store)?);
        self.map(&name, image, &[image, store], |devices| format!("snapshot {} P 256", devices.join(" ")))?;
        Ok(name)
    }

    /// Maps an image for its owner, whose changes leave what was there before in the store.
    pub(super) fn map_origin(&self, image: &Path, store: &Path) -> Done {
        self.map_base(image, store)?;
        let name = format!("origin-{}", identity(image)?);
        self.map(&name, image, &[image], |devices| format!("snapshot-origin {}", devices.join(" ")))
    }

    /// Maps the state of an image before its owner's start, with changes of our own.
    pub(super) fn map_snapshot(&self, image: &Path, store: &Path, own: &Path) -> Done {
        let base = self.map_base(image, store)?;
        let name = format!("{base}-{}", identity(own)?);
        let below = self.path(&base).display().to_string();
        self.map(&name, image, &[own], |devices| format!("snapshot {below} {} P 256", devices.join(" ")))
    }

    /// The mapping of an image for its owner, if there is one.
    pub(super) fn origin(&self, image: &Path) -> Done<Option<PathBuf>> {
        if !image.exists() {
            return Ok(None);
        }
        let path = self.path(&format!("origin-{}", identity(image)?));
        Ok(Some(path).filter(|path| path.exists()))
    }

    /// The mapping whose changes a store has, if there is one.
    pub(super) fn snapshot(&self, own: &Path) -> Done<Option<PathBuf>> {
        if !own.exists() {
            return Ok(None);
        }
        let end = format!("-{}", identity(own)?);
        let is_ours = |name: &String| name.ends_with(&end) && base_of(name).is_some();
        Ok(self.snapshots()?.into_iter().find(is_ours).map(|name| self.path(&name)))
    }

    fn snapshots(&self) -> Done<Vec<String>> {
        let names = files::list(&self.root.path(DEVICES)).map_err(StorageError::io("listing mappings"))?;
        Ok(names.into_iter().filter(|name| name.starts_with("snapshot-")).collect())
    }

    /// Takes down the mapping of an image for its owner, and those of states of before that nobody uses.
    pub(super) fn unmap_origin(&self, image: &Path, store: &Path) -> Done {
        if let Some(origin) = self.origin(image)? {
            self.remove(&origin)?;
        }
        self.remove_useless()?;
        self.give_up_loops(&[image, store])
    }

    /// Takes down the mapping whose changes `own` has, and what it was made over if that has become useless.
    pub(super) fn unmap_snapshot(&self, image: &Path, store: &Path, own: &Path) -> Done {
        if let Some(snapshot) = self.snapshot(own)? {
            self.remove(&snapshot)?;
        }
        self.remove_useless()?;
        self.give_up_loops(&[image, store, own])
    }

    /// Gives up the loop devices over files that a killed program left before a mapping used them, or after.
    fn give_up_loops(&self, files: &[&Path]) -> Done {
        let devices = self.root.path(loop_device::DEVICES);
        for file in files {
            let left = loop_device::over(&devices, file).map_err(StorageError::io("listing loop devices"))?;
            for name in left.iter().filter(|name| !loop_device::goes_by_itself(&devices, name)) {
                self.run(LOSETUP, &["--detach", &self.root.path("/dev").join(name).display().to_string()])?;
            }
        }
        Ok(())
    }

    /// Takes down the states of before that nothing is made over and whose image has no owner's mapping, those of a killed
    /// start or stop too.
    fn remove_useless(&self) -> Done {
        if !self.is_available() {
            return Ok(());
        }
        let names = self.snapshots()?;
        let is_useless = |state: &&String| {
            let image = state.split('-').nth(1).unwrap_or_default();
            let is_below = || names.iter().any(|name| base_of(name) == Some(state.as_str()));
            base_of(state).is_none() && !is_below() && !self.path(&format!("origin-{image}")).exists()
        };
        names.iter().filter(is_useless).for_each(|state| self.remove_unused(state));
        Ok(())
    }

    fn remove(&self, mapping: &Path) -> Done {
        let name = mapping.file_name().unwrap_or_default().to_string_lossy();
        self.run(DMSETUP, &["remove", "--retry", VERIFY, &name]).map(drop)
    }

    /// The system refuses where somebody uses it, which is as it should be.
    fn remove_unused(&self, name: &str) {
        let _ = self.run(DMSETUP, &["remove", VERIFY, name]);
    }

    /// Gives an image that changed its size, and is in use, the same size as a mapping.
    pub(super) fn resize_origin(&self, image: &Path) -> Done {
        let Some(origin) = self.origin(image)? else { return Ok(()) };
        let name = origin.file_name().unwrap_or_default().to_string_lossy();
        let table = self.run(DMSETUP, &["table", &name])?;
        let [start @ "0", _, target @ "snapshot-origin", device] =
            table.split_ascii_whitespace().collect::<Vec<_>>()[..]
        else {
            return Err(StorageError::Refused(format!("{name} is not an origin of snapshots")));
        };
        let table = format!("{start} {} {target} {device}", sectors(image)?);
        self.run(DMSETUP, &["load", &name, "--table", &table])?;
        self.run(DMSETUP, &["resume", &name]).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_tells_what_it_was_made_over() {
        assert_eq!(base_of("snapshot-fd00:1-fd00:2-fd00:3"), Some("snapshot-fd00:1-fd00:2"));
        assert_eq!(base_of("snapshot-fd00:1-fd00:2"), None);
        assert_eq!(base_of("snapshot"), None);
    }
}

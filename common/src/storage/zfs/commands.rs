//! Running `zfs` and `zpool`, and what they list (spec 20 §7.5).

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use super::listing::{self, COLUMNS, Row};
use crate::root::Root;
use crate::run;
use crate::storage::{Capacity, StorageError, number};

const ZFS: &str = "/usr/sbin/zfs";
const ZPOOL: &str = "/usr/sbin/zpool";
const DEADLINE: Duration = Duration::from_secs(120);
/// How often a device's appearance is looked for, and how long between.
const APPEARANCE: (u32, Duration) = (1000, Duration::from_millis(10));
/// The same for a dataset that is busy.
const BUSY: (u32, Duration) = (20, Duration::from_millis(250));
/// Property of datasets of which nobody else shall make snapshots.
pub(super) const NO_SNAPSHOTS: &str = "com.sun:auto-snapshot=false";

type Done<T = ()> = Result<T, StorageError>;

/// The datasets of a container.
pub(super) struct Zfs {
    root: Root,
    container: String,
    /// What was listed since the last change.
    listed: RefCell<Option<Rc<Vec<Row>>>>,
}

impl Zfs {
    pub(super) fn at(root: &Root, container: &str) -> Self {
        Self { root: root.clone(), container: container.to_owned(), listed: RefCell::default() }
    }

    /// Whether both programs are there.
    pub(super) fn is_available(&self) -> bool {
        [ZFS, ZPOOL].iter().all(|program| self.root.path(program).exists())
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Done<String> {
        let done = run::as_root(&self.root, program, arguments, DEADLINE);
        let done = done.map_err(StorageError::io("running zfs"))?;
        if done.is_success() {
            return Ok(String::from_utf8_lossy(done.output()).into_owned());
        }
        let said = Some(done.errors()).filter(|said| !said.is_empty());
        Err(StorageError::Refused(said.unwrap_or_else(|| format!("zfs ended with {}", done.status()))))
    }

    /// One command that changes something.
    pub(super) fn change(&self, arguments: &[&str]) -> Done {
        let done = self.run(ZFS, arguments);
        *self.listed.borrow_mut() = None;
        done.map(drop)
    }

    /// All datasets and snapshots in the container, itself included; none if it is not there.
    pub(super) fn rows(&self) -> Done<Rc<Vec<Row>>> {
        if let Some(rows) = &*self.listed.borrow() {
            return Ok(Rc::clone(rows));
        }
        let types = "filesystem,volume,snapshot";
        let listed = self.run(ZFS, &["list", "-H", "-p", "-t", types, "-o", COLUMNS, "-r", &self.container]);
        let rows = match listed {
            Ok(text) => listing::parse(&text).ok_or_else(unreadable)?,
            Err(StorageError::Refused(said)) if said.ends_with("dataset does not exist") => Vec::new(),
            Err(error) => return Err(error),
        };
        let rows = Rc::new(rows);
        *self.listed.borrow_mut() = Some(Rc::clone(&rows));
        Ok(rows)
    }

    /// The row of one dataset or snapshot.
    pub(super) fn find(&self, name: &str) -> Done<Option<Row>> {
        Ok(self.rows()?.iter().find(|row| row.name == name).cloned())
    }

    pub(super) fn has(&self, name: &str) -> Done<bool> {
        Ok(self.find(name)?.is_some())
    }

    /// A property of the container.
    pub(super) fn property(&self, name: &str) -> Done<String> {
        self.run(ZFS, &["get", "-H", "-o", "value", name, &self.container]).map(|text| text.trim().to_owned())
    }

    /// The device of a volume.
    pub(super) fn device(&self, dataset: &str) -> PathBuf {
        self.root.path("/dev/zvol").join(dataset)
    }

    /// The volume of a device.
    pub(super) fn dataset(&self, device: &std::path::Path) -> Option<String> {
        device.strip_prefix(self.root.path("/dev/zvol")).ok().map(|name| name.display().to_string())
    }

    /// Makes a volume of zeros.
    pub(super) fn create(&self, dataset: &str, size: u64, options: &[&str]) -> Done {
        let size = size.to_string();
        self.change(&[&["create", "-p", "-s", "-V", &size], options, &[dataset]].concat())?;
        self.wait_for(dataset)
    }

    /// Makes a volume that holds what a snapshot holds.
    pub(super) fn clone(&self, snapshot: &str, dataset: &str, options: &[&str]) -> Done {
        self.change(&[&["clone", "-p"], options, &[snapshot, dataset]].concat())?;
        self.wait_for(dataset)
    }

    fn wait_for(&self, dataset: &str) -> Done {
        let (device, (tries, pause)) = (self.device(dataset), APPEARANCE);
        for _ in 0..tries {
            if device.exists() {
                return Ok(());
            }
            std::thread::sleep(pause);
        }
        Err(StorageError::Refused(format!("Device path {} never appeared", device.display())))
    }

    pub(super) fn rename(&self, old: &str, new: &str) -> Done {
        self.change(&["rename", "-p", old, new])
    }

    /// Removes a snapshot, at once or as soon as no clone of it is left; absence is fine.
    pub(super) fn destroy_snapshot(&self, snapshot: &str) -> Done {
        absence_is_fine(self.change(&["destroy", "-d", "-r", snapshot]))
    }

    /// Removes a dataset with its snapshots, if it is there; clones of those live on.
    pub(super) fn destroy(&self, dataset: &str) -> Done {
        if !self.has(dataset)? {
            return Ok(());
        }
        let (tries, pause) = BUSY;
        let mut done = self.change(&["destroy", "-r", dataset]);
        for _ in 0..tries {
            match &done {
                Err(StorageError::Refused(said)) if said.ends_with("has dependent clones") => {
                    self.promote_clones(dataset)?;
                }
                Err(StorageError::Refused(said)) if said.ends_with("dataset is busy") => {
                    std::thread::sleep(pause)
                }
                _ => break,
            }
            done = self.change(&["destroy", "-r", dataset]);
        }
        absence_is_fine(done)
    }

    /// Gives each snapshot of a dataset that has clones to one of them.
    fn promote_clones(&self, dataset: &str) -> Done {
        let prefix = format!("{dataset}@");
        let rows = self.rows()?;
        let next = |done: &str| {
            let clones =
                rows.iter().filter(|row| row.origin.starts_with(&prefix) && row.origin.as_str() > done);
            clones.min_by(|one, other| one.origin.cmp(&other.origin))
        };
        let mut done = "";
        while let Some(clone) = next(done) {
            self.change(&["promote", &clone.name])?;
            done = &clone.origin;
        }
        Ok(())
    }

    /// Size and usage of the pool that the container is in.
    pub(super) fn capacity(&self) -> Done<Capacity> {
        let pool = self.container.split('/').next().unwrap_or_default();
        let text = self.run(ZPOOL, &["list", "-H", "-p", "-o", "size,free", pool])?;
        let numbers: Vec<u64> = text.split_whitespace().filter_map(number).collect();
        match numbers.as_slice() {
            [size, free] => Ok(Capacity::of(*size, size.saturating_sub(*free))),
            _ => Err(StorageError::Refused("zpool printed something else than two numbers".to_owned())),
        }
    }
}

fn unreadable() -> StorageError {
    StorageError::Refused("zfs printed something else than a list of datasets".to_owned())
}

fn absence_is_fine(done: Done) -> Done {
    match done {
        Err(StorageError::Refused(said)) if said.ends_with("dataset does not exist") => Ok(()),
        Err(StorageError::Refused(said))
            if said.ends_with("could not find any snapshots to destroy; check snapshot names.") =>
        {
            Ok(())
        }
        done => done,
    }
}

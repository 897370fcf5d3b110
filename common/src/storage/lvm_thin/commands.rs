//! Running `lvm`, one command for each change (spec 20 §7.3).

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::table::{COLUMNS, Table};
use crate::root::Root;
use crate::storage::StorageError;
use crate::{log, run};

const LVM: &str = "/usr/sbin/lvm";
const BLKDISCARD: &str = "/usr/sbin/blkdiscard";
const DEADLINE: Duration = Duration::from_secs(120);
/// Discarding a large volume takes as long as its disk takes.
const DISCARD_DEADLINE: Duration = Duration::from_secs(600);
/// A warning of every thin volume, which says nothing.
const NOISE: &str = "exceeds the size of thin pool";

type Done<T = ()> = Result<T, StorageError>;

/// The logical volumes of the machine, as they are now.
pub(super) struct Lvm {
    root: Root,
    /// What `lvs` said since the last change.
    table: RefCell<Option<Rc<Table>>>,
}

impl Lvm {
    pub(super) fn at(root: &Root) -> Self {
        Self { root: root.clone(), table: RefCell::default() }
    }

    /// Every logical volume.
    pub(super) fn table(&self) -> Done<Rc<Table>> {
        if let Some(table) = &*self.table.borrow() {
            return Ok(Rc::clone(table));
        }
        let options = ["--units", "b", "--reportformat=json"];
        let list = ["lvs", "--quiet", "--quiet", "--noheadings", "-o", COLUMNS];
        let report = self.lvm(&[&list[..], &options[..]].concat())?;
        let unreadable = || StorageError::Refused("lvs printed something else than a report".to_owned());
        let table = Rc::new(Table::parse(&report).ok_or_else(unreadable)?);
        *self.table.borrow_mut() = Some(Rc::clone(&table));
        Ok(table)
    }

    fn lvm(&self, arguments: &[&str]) -> Done<Vec<u8>> {
        let done =
            run::as_root(&self.root, LVM, arguments, DEADLINE).map_err(StorageError::io("running lvm"))?;
        let errors = done.errors();
        let errors: Vec<&str> = errors.lines().filter(|line| !line.contains(NOISE)).collect();
        let said = errors.join("\n");
        match (done.is_success(), said.is_empty()) {
            (true, true) => {}
            (true, false) => log::line(&format!("lvm: {said}")),
            (false, true) => return Err(StorageError::Refused(format!("lvm ended with {}", done.status()))),
            (false, false) => return Err(StorageError::Refused(said)),
        }
        Ok(done.output().to_vec())
    }

    fn change(&self, arguments: &[&str]) -> Done {
        let done = self.lvm(arguments);
        *self.table.borrow_mut() = None;
        done.map(drop)
    }

    /// Removes a volume; absence is fine. One that somebody reads from is refused, and keeps what it holds.
    pub(super) fn remove(&self, volume: &str) -> Done {
        let is_open = match self.table()?.find(volume) {
            Some(row) => row.is_open(),
            None => return Ok(()),
        };
        let device = format!("/dev/{volume}");
        if !is_open && self.root.path(&device).exists() {
            let path = self.root.path(&device).display().to_string();
            // What it held is given back to the disk if that can be told of it.
            let _ = run::as_root(&self.root, BLKDISCARD, &["-p", "1G", &path], DISCARD_DEADLINE);
        }
        self.change(&["lvremove", "--force", "--", volume])
    }

    /// Makes `new` a writable snapshot of `origin`.
    pub(super) fn clone(&self, origin: &str, new: &str) -> Done {
        let name = format!("--name={}", short(new));
        // Of a thin volume without a size this makes a thin one; not every version takes the type beside it.
        let how = ["lvcreate", "--setactivationskip=n", "--activate=y", "--snapshot"];
        self.change(&[&how[..], &[&name, "--", origin]].concat())
    }

    /// Makes a volume of zeros in a thin pool `<group>/<pool>`.
    pub(super) fn create(&self, new: &str, size: u64, pool: &str) -> Done {
        let (name, size) =
            (format!("--name={}", short(new)), format!("--virtualsize={}B", whole_sectors(size)));
        self.change(&[
            "lvcreate",
            "--thin",
            "--setactivationskip=n",
            "--activate=y",
            &name,
            &size,
            "--",
            pool,
        ])
    }

    pub(super) fn resize(&self, volume: &str, size: u64) -> Done {
        self.change(&["lvresize", &format!("--size={}B", whole_sectors(size)), "--", volume])
    }

    pub(super) fn activate(&self, volume: &str) -> Done {
        self.change(&["lvchange", "--activate=y", "--", volume])
    }

    pub(super) fn rename(&self, old: &str, new: &str) -> Done {
        self.change(&["lvrename", "--", old, new])
    }
}

/// LVM refuses other sizes. It rounds them up to its own extents.
fn whole_sectors(size: u64) -> u64 {
    size.checked_next_multiple_of(512).unwrap_or(size)
}

/// The name without its group.
fn short(volume: &str) -> &str {
    volume.split_once('/').map_or(volume, |(_, name)| name)
}

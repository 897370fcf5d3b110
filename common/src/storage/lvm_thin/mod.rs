//! Driver `lvm_thin`: logical volumes in a thin pool, old states as snapshots (spec 20 §7.3).
//!
//! The committed state of a volume is the logical volume of its own name, or the newest revision where a commit was
//! killed between its two renames. Whoever changes a volume holds its qube's lifecycle lock, so that an import found
//! then is one that was abandoned.

mod commands;
pub mod table;

use std::path::PathBuf;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use commands::Lvm;
use table::Table;

use super::{
    Capacity, PoolDriver, Revision, Shortcut, StorageError, isodate, log_untidied, number, required,
};
use crate::model::{Pool, Volume};
use crate::root::Root;

const DRIVER: &str = "lvm_thin";
const GROUP: &str = "volume_group";
const POOL: &str = "thin_pool";

pub(super) struct LvmThin {
    root: Root,
    group: String,
    pool: String,
    lvm: Lvm,
}

type Done<T = ()> = Result<T, StorageError>;

fn refused<T>(text: String) -> Done<T> {
    Err(StorageError::Refused(text))
}

/// The volume a domain uses.
fn snap(vid: &str) -> String {
    format!("{vid}-snap")
}

/// An import in progress.
fn import(vid: &str) -> String {
    format!("{vid}-import")
}

/// Seconds of the revision that a logical volume is, if it is one of this volume's: with more dashes in between it
/// belongs to a qube whose name goes on where ours ends.
pub fn revision_of(vid: &str, name: &str) -> Option<u64> {
    number(name.strip_prefix(vid)?.strip_prefix('-')?.strip_suffix("-back")?)
}

/// Names of a volume's revisions with their times, oldest first.
fn revisions(table: &Table, vid: &str) -> Vec<(u64, String)> {
    let describe = |name: &str| Some((revision_of(vid, name)?, name.to_owned()));
    let mut revisions: Vec<_> = table.rows().filter_map(|row| describe(&row.name)).collect();
    revisions.sort_unstable();
    revisions
}

/// The logical volume with the committed state.
fn current(table: &Table, vid: &str) -> String {
    match revisions(table, vid).pop() {
        Some((_, newest)) if !table.has(vid) => newest,
        _ => vid.to_owned(),
    }
}

/// `<group>-<name>`, dashes inside the names doubled.
fn mapped(name: &str) -> String {
    name.replace('-', "--").replace('/', "-")
}

impl LvmThin {
    pub(super) fn of(root: &Root, pool: &Pool) -> Done<Self> {
        let (group, pool) = (required(pool, GROUP)?, required(pool, POOL)?);
        Ok(Self { root: root.clone(), group, pool, lvm: Lvm::at(root) })
    }

    fn table(&self) -> Done<Rc<Table>> {
        self.lvm.table()
    }

    fn current(&self, vid: &str) -> Done<String> {
        Ok(current(&*self.table()?, vid))
    }

    fn has(&self, name: &str) -> Done<bool> {
        Ok(self.table()?.has(name))
    }

    /// `<group>/<pool>`.
    fn thin_pool(&self) -> String {
        format!("{}/{}", self.group, self.pool)
    }

    fn make(&self, name: &str, size: u64) -> Done {
        self.lvm.create(name, size, &self.thin_pool())
    }

    /// The name of a revision made now, later than all there are.
    fn next_revision(&self, vid: &str) -> Done<(u64, String)> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let newest =
            revisions(&*self.table()?, vid).last().map_or(0, |(seconds, _)| seconds.saturating_add(1));
        let seconds = now.max(newest);
        Ok((seconds, format!("{vid}-{seconds}-back")))
    }

    /// Moves the committed state, if it has the volume's own name, out of the way of the next one. It stays the
    /// committed state, as the newest revision, until the next has that name.
    fn step_aside(&self, vid: &str) -> Done<Option<String>> {
        if !self.has(vid)? {
            return Ok(None);
        }
        let (_, revision) = self.next_revision(vid)?;
        self.lvm.rename(vid, &revision)?;
        Ok(Some(revision))
    }

    /// Makes a finished logical volume the committed state.
    fn commit(&self, volume: &Volume, finished: &str) -> Done {
        self.step_aside(&volume.vid)?;
        self.lvm.rename(finished, &volume.vid)?;
        log_untidied(volume, self.prune(volume));
        Ok(())
    }

    /// Removes revisions that are too many. One that is being read, as by a backup, is left to the next time.
    fn prune(&self, volume: &Volume) -> Done {
        let keep = usize::try_from(volume.revisions_to_keep).unwrap_or_default();
        let table = self.table()?;
        let is_read = |name: &str| table.find(name).is_some_and(table::Row::is_open);
        let revisions = revisions(&table, &volume.vid);
        let mut old = revisions.iter().rev().skip(keep).filter(|(_, revision)| !is_read(revision));
        old.try_for_each(|(_, revision)| self.lvm.remove(revision))
    }

    fn start_kept(&self, volume: &Volume) -> Done {
        let vid = &volume.vid;
        if self.is_dirty(volume)? {
            return self.lvm.activate(&self.current(vid)?);
        } else if !volume.has_snapshots_disabled() {
            return self.lvm.clone(&self.current(vid)?, &snap(vid));
        }
        let current = self.current(vid)?;
        if current != *vid {
            self.lvm.rename(&current, vid)?;
        }
        self.prune(volume)?;
        self.lvm.activate(vid)
    }

    fn device(&self, name: &str) -> PathBuf {
        self.root.path("/dev/mapper").join(mapped(name))
    }

    /// The logical volume that tells the size: the one in use, else the committed one.
    fn live(&self, volume: &Volume) -> Done<Option<String>> {
        let table = self.table()?;
        let names = [snap(&volume.vid), current(&table, &volume.vid)];
        Ok(names.into_iter().find(|name| table.has(name)))
    }

    fn check_clean(&self, volume: &Volume, text: impl FnOnce() -> String) -> Done {
        if self.is_dirty(volume)? { refused(text()) } else { Ok(()) }
    }
}

impl PoolDriver for LvmThin {
    fn can_hold(&self, volume: &Volume) -> Done {
        if volume.snap_on_start && volume.save_on_stop {
            return refused(format!("Volume {} cannot both start from a snapshot and be kept", volume.name));
        }
        Ok(())
    }

    fn check_new(&self, volume: &Volume) -> Done {
        if self.has(&volume.vid)? { refused(format!("Volume {} already exists", volume.vid)) } else { Ok(()) }
    }

    fn create(&self, volume: &Volume) -> Done {
        if volume.save_on_stop { self.make(&volume.vid, volume.size) } else { Ok(()) }
    }

    fn remove(&self, volume: &Volume) -> Done {
        let vid = &volume.vid;
        self.lvm.remove(&snap(vid))?;
        self.lvm.remove(&import(vid))?;
        let revisions = revisions(&*self.table()?, vid);
        revisions.iter().try_for_each(|(_, revision)| self.lvm.remove(revision))?;
        self.lvm.remove(vid)
    }

    fn verify(&self, volume: &Volume) -> Done {
        let needed = match (&volume.source, volume.save_on_stop) {
            (Some(source), _) => source,
            (None, true) => &volume.vid,
            (None, false) => return Ok(()),
        };
        let needed = self.current(needed)?;
        if self.has(&needed)? { Ok(()) } else { refused(format!("volume {needed} missing")) }
    }

    fn start(&self, volume: &Volume) -> Done {
        let vid = &volume.vid;
        self.lvm.remove(&import(vid))?;
        match (&volume.source, volume.save_on_stop) {
            (Some(source), _) => {
                self.lvm.remove(&snap(vid))?;
                self.lvm.clone(&self.current(source)?, &snap(vid))
            }
            (None, true) => self.start_kept(volume),
            (None, false) => {
                self.lvm.remove(vid)?;
                self.make(vid, volume.size)
            }
        }
    }

    fn stop(&self, volume: &Volume) -> Done {
        let in_use = snap(&volume.vid);
        match (volume.snap_on_start, volume.save_on_stop) {
            (false, false) => self.lvm.remove(&volume.vid),
            (false, true) if !self.has(&in_use)? => Ok(()),
            (false, true) if volume.rw => self.commit(volume, &in_use),
            (..) => self.lvm.remove(&in_use),
        }
    }

    fn block_device(&self, volume: &Volume) -> Done<Option<PathBuf>> {
        let is_own = volume.has_snapshots_disabled() || !(volume.save_on_stop || volume.snap_on_start);
        Ok(Some(self.device(&if is_own { volume.vid.clone() } else { snap(&volume.vid) })))
    }

    fn mapping(&self, volume: &Volume) -> Option<String> {
        Some(format!("{}@crypt", mapped(&volume.vid)))
    }

    fn path(&self, volume: &Volume) -> Option<PathBuf> {
        self.current(&volume.vid).ok().map(|current| self.device(&current))
    }

    fn size(&self, volume: &Volume) -> Done<u64> {
        let table = self.table()?;
        let live = self.live(volume)?;
        Ok(live.and_then(|name| table.find(&name)).map_or(volume.size, |row| row.size))
    }

    fn usage(&self, volume: &Volume) -> Done<u64> {
        let table = self.table()?;
        Ok(table.find(&current(&table, &volume.vid)).map_or(0, |row| row.usage))
    }

    fn is_dirty(&self, volume: &Volume) -> Done<bool> {
        Ok(volume.save_on_stop && self.has(&snap(&volume.vid))?)
    }

    fn is_outdated(&self, volume: &Volume) -> Done<Option<bool>> {
        let table = self.table()?;
        let (Some(source), Some(used)) = (&volume.source, table.find(&snap(&volume.vid))) else {
            return Ok(Some(false));
        };
        let origin = format!("{}/{}", self.group, used.origin);
        Ok(Some(origin != current(&table, source)))
    }

    fn revisions(&self, volume: &Volume) -> Done<Vec<Revision>> {
        let describe = |(seconds, _)| Revision { id: format!("{seconds}-back"), time: isodate(seconds) };
        Ok(revisions(&*self.table()?, &volume.vid).into_iter().map(describe).collect())
    }

    fn snapshot(&self, volume: &Volume) -> Done<String> {
        let (seconds, revision) = self.next_revision(&volume.vid)?;
        self.lvm.clone(&self.current(&volume.vid)?, &revision)?;
        log_untidied(volume, self.prune(volume));
        Ok(format!("{seconds}-back"))
    }

    /// Through a revision of what the volume held, so that a kill never leaves it with a third state.
    fn revert(&self, volume: &Volume, id: &str) -> Done {
        let vid = &volume.vid;
        self.check_clean(volume, || format!("Cannot revert dirty volume {vid}, stop the qube first"))?;
        let revision = format!("{vid}-{id}");
        if revision_of(vid, &revision).is_none() || !self.has(&revision)? {
            return refused(format!("Volume {vid} has no /dev/{revision}"));
        }
        let fresh = import(vid);
        self.lvm.remove(&fresh)?;
        self.lvm.clone(&revision, &fresh)?;
        let old = self.step_aside(vid)?;
        self.lvm.rename(&fresh, vid)?;
        log_untidied(volume, old.map_or(Ok(()), |old| self.lvm.remove(&old)));
        Ok(())
    }

    fn resize(&self, volume: &Volume, size: u64) -> Done {
        if !volume.rw {
            return refused(format!("Can not resize readonly volume {}", volume.vid));
        }
        match self.live(volume)? {
            Some(live) if self.table()?.find(&live).is_some_and(|row| row.size != size) => {
                self.lvm.resize(&live, size)
            }
            _ => Ok(()),
        }
    }

    /// The committed state, also while a domain runs on its own snapshot.
    fn export(&self, volume: &Volume, _: bool) -> Done<PathBuf> {
        if !volume.save_on_stop {
            return Err(StorageError::Unsupported("export"));
        }
        let current = self.current(&volume.vid)?;
        self.lvm.activate(&current)?;
        Ok(self.device(&current))
    }

    fn check_import(&self, volume: &Volume) -> Done {
        let vid = &volume.vid;
        if !volume.save_on_stop {
            return Err(StorageError::Unsupported("import"));
        }
        if self.table()?.find(vid).is_some_and(table::Row::is_open) {
            return refused(format!("Cannot import data to volume {vid}, which is in use"));
        }
        self.check_clean(volume, || format!("Cannot import data to dirty volume {vid}, stop the qube first"))
    }

    fn import_resize(&self, volume: &Volume, size: u64) -> Done {
        let import = import(&volume.vid);
        match self.table()?.find(&import).is_some_and(|row| row.size == size) {
            true => Ok(()),
            false => self.lvm.resize(&import, size),
        }
    }

    fn has_import(&self, volume: &Volume) -> Done<bool> {
        self.has(&import(&volume.vid))
    }

    fn import_begin(&self, volume: &Volume, size: u64) -> Done<PathBuf> {
        let vid = &volume.vid;
        self.lvm.remove(&import(vid))?;
        self.make(&import(vid), size)?;
        Ok(self.root.path(&format!("/dev/{}", import(vid))))
    }

    fn import_end(&self, volume: &Volume) -> Done {
        let imported = import(&volume.vid);
        if !self.has(&imported)? {
            return refused(format!("No import operation in progress on {}", volume.vid));
        }
        self.commit(volume, &imported)
    }

    fn tidy(&self, volume: &Volume) -> Done {
        self.prune(volume)
    }

    fn import_abort(&self, volume: &Volume) -> Done {
        self.lvm.remove(&import(&volume.vid))
    }

    /// Within one thin pool, whichever pools of ours it goes by.
    fn clone_directly(&self, volume: &Volume, source: &Volume, pool: &Pool) -> Done<Shortcut> {
        let vid = &volume.vid;
        if !volume.save_on_stop || !source.save_on_stop {
            return Ok(Shortcut::NotNeeded);
        }
        let text = || format!("Cannot import to dirty volume {vid} - start and stop a qube to cleanup");
        self.check_clean(volume, text)?;
        let is_ours = |key, own: &str| pool.setting(key) == Some(own);
        if pool.driver != DRIVER || !is_ours(GROUP, &self.group) || !is_ours(POOL, &self.pool) {
            return Ok(Shortcut::None);
        }
        let fresh = import(vid);
        self.lvm.remove(&fresh)?;
        self.lvm.clone(&self.current(&source.vid)?, &fresh)?;
        Ok(Shortcut::Taken)
    }

    fn set_up(&self, _: &Pool) -> Done {
        let (table, pool) = (self.table()?, self.thin_pool());
        match table.find(&pool) {
            None => refused(format!("Thin pool {pool} does not exist")),
            Some(row) if !row.attributes.starts_with('t') => {
                refused(format!("Volume {pool} is not a thin pool"))
            }
            Some(_) => Ok(()),
        }
    }

    fn capacity(&self) -> Done<Capacity> {
        let table = self.table()?;
        let unknown = Capacity { size: Some(0), usage: Some(0), metadata: Some((0, Some(0))) };
        Ok(table.find(&self.thin_pool()).map_or(unknown, |row| Capacity {
            size: Some(row.size),
            usage: Some(row.usage),
            metadata: Some(row.metadata),
        }))
    }

    fn holds(&self, vid: &str) -> Done<bool> {
        Ok(self.volumes()?.is_some_and(|volumes| volumes.iter().any(|volume| volume == vid)))
    }

    /// All but revisions, imports and what domains use; also those that no qube has.
    fn volumes(&self) -> Done<Option<Vec<String>>> {
        const NOT_COMMITTED: [&str; 3] = ["-snap", "-import", "-back"];
        let table = self.table()?;
        let is_ours = |name: &str, pool: &str| {
            pool == self.pool
                && name.split_once('/').is_some_and(|(group, _)| group == self.group)
                && !NOT_COMMITTED.iter().any(|suffix| name.ends_with(suffix))
        };
        let ours = table.rows().filter(|row| is_ours(&row.name, &row.pool));
        Ok(Some(ours.map(|row| row.name.clone()).collect()))
    }
}

//! Driver `zfs`: a volume for each of ours in a container dataset, old states as snapshots (spec 20 §7.5).
//!
//! A volume's new content is made complete under another name. Then the volume goes and the new one takes its name: a
//! call killed in between leaves the new content alone, which the next change gives its name.

mod commands;
pub mod listing;

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use commands::{NO_SNAPSHOTS, Zfs};
use listing::Row;

use super::{
    Capacity, PoolDriver, Revision, Shortcut, StorageError, isodate, log_untidied, number, required,
};
use crate::log;
use crate::model::{Pool, Volume};
use crate::random;
use crate::root::Root;

const DRIVER: &str = "zfs";
const CONTAINER: &str = "container";
/// The largest block that a volume may have: its size is a multiple of its block.
const BLOCK_MAX: u64 = 128 << 10;
/// Why a clone of another volume is a revision.
const CLONED: &str = "after-import-volume";
/// Mark of a container that holds volumes of ours.
const OURS: &str = "org.qubes-os:part-of-qvm-pool";

pub(super) struct ZfsPool {
    container: String,
    /// Whether what a snapshot volume held stays until its next start.
    forensics: bool,
    zfs: Zfs,
}

type Done<T = ()> = Result<T, StorageError>;

fn refused<T>(text: String) -> Done<T> {
    Err(StorageError::Refused(text))
}

/// Eight random letters.
fn random_name() -> String {
    (0..8)
        .filter_map(|_| u8::try_from(random::below(26)).ok())
        .map(|n| char::from(n.saturating_add(b'a')))
        .collect()
}

/// What the snapshot of a volume is called, if the row is one.
fn snapshot_of<'r>(row: &'r Row, vid: &str) -> Option<&'r str> {
    row.name.strip_prefix(vid)?.strip_prefix('@')
}

fn is_clean_mark(snapshot: &str) -> bool {
    snapshot.starts_with("qubes-clean-")
}

/// Microseconds in the name of a revision, if it is one: `qubes:<cause>:<seconds>.<six digits>`.
pub fn revision_time(snapshot: &str) -> Option<u64> {
    let (seconds, micros) = snapshot.strip_prefix("qubes:")?.rsplit_once(':')?.1.split_once('.')?;
    let micros =
        Some(micros).filter(|micros| micros.len() == 6 && micros.bytes().all(|it| it.is_ascii_digit()));
    number(seconds)?.checked_mul(1_000_000)?.checked_add(micros?.parse().ok()?)
}

/// Revisions of a volume with their times, oldest first.
fn revisions(rows: &[Row], vid: &str) -> Vec<(u64, String)> {
    let describe = |row: &Row| {
        let snapshot = snapshot_of(row, vid).filter(|_| !row.is_going)?;
        Some((revision_time(snapshot)?, snapshot.to_owned()))
    };
    let mut revisions: Vec<_> = rows.iter().filter_map(describe).collect();
    revisions.sort_unstable();
    revisions
}

/// Marks of a volume's clean states.
fn clean_marks<'r>(rows: &'r [Row], vid: &str) -> impl Iterator<Item = &'r Row> {
    let is_mark = move |row: &&Row| snapshot_of(row, vid).is_some_and(is_clean_mark) && !row.is_going;
    rows.iter().filter(is_mark)
}

/// The snapshot with a volume's committed state, if there is one.
fn committed<'r>(rows: &'r [Row], vid: &str) -> Option<&'r Row> {
    let newest = || revisions(rows, vid).pop().map(|(_, revision)| format!("{vid}@{revision}"));
    let by_name = |name: String| rows.iter().find(|row| row.name == name);
    clean_marks(rows, vid).max_by_key(|mark| mark.created).or_else(|| newest().and_then(by_name))
}

impl ZfsPool {
    pub(super) fn of(root: &Root, pool: &Pool) -> Done<Self> {
        let container = required(pool, CONTAINER)?;
        let forensics = pool.setting("snap_on_start_forensics") == Some("True");
        let zfs = Zfs::at(root, &container);
        Ok(Self { container, forensics, zfs })
    }

    /// A dataset beside the volumes that belongs to one.
    fn beside(&self, folder: &str, vid: &str) -> String {
        format!("{}/{folder}/{}", self.container, vid.replace('/', "_"))
    }

    /// New content that is complete.
    fn fresh(&self, vid: &str) -> String {
        self.beside(".tmp", vid)
    }

    /// New content that is being written.
    fn importing(&self, vid: &str) -> String {
        self.beside(".importing", vid)
    }

    fn exported(&self, vid: &str) -> String {
        self.beside(".exported", vid)
    }

    /// Removes what a volume has, its own dataset included.
    fn remove_all(&self, vid: &str) -> Done {
        let all = [vid.to_owned(), self.fresh(vid), self.importing(vid), self.exported(vid)];
        let rows = self.zfs.rows()?;
        let mut there = all.iter().filter(|dataset| rows.iter().any(|row| row.name == **dataset));
        there.try_for_each(|dataset| self.zfs.destroy(dataset))
    }

    /// Finishes what a killed or failed call left: new content whose volume went gets its name.
    fn restore(&self, vid: &str) -> Done {
        if self.zfs.has(vid)? {
            return Ok(());
        }
        for new in [self.fresh(vid), self.importing(vid)] {
            if self.zfs.has(&new)? {
                return self.zfs.rename(&new, vid);
            }
        }
        Ok(())
    }

    /// The same; content that was not to be goes.
    fn settle(&self, vid: &str) -> Done {
        self.restore(vid)?;
        [self.fresh(vid), self.importing(vid)].iter().try_for_each(|left| self.zfs.destroy(left))
    }

    /// Gives complete content its name.
    fn replace(&self, vid: &str, new: &str) -> Done {
        self.zfs.destroy(vid)?;
        self.zfs.rename(new, vid).or_else(|_| self.restore(vid))
    }

    /// Makes complete content the committed state.
    fn commit(&self, volume: &Volume, new: &str, cause: &str) -> Done {
        self.replace(&volume.vid, new)?;
        log_untidied(volume, self.keep_revision(volume, cause).and_then(|_| self.mark_clean(volume)));
        Ok(())
    }

    /// Keeps the state as a revision if the volume keeps any, and removes those that are too many.
    fn keep_revision(&self, volume: &Volume, cause: &str) -> Done<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let revision = format!("qubes:{cause}:{}.{:06}", now.as_secs(), now.subsec_micros());
        let keep = usize::try_from(volume.revisions_to_keep).unwrap_or_default();
        if keep > 0 {
            self.zfs.change(&["snapshot", &format!("{}@{revision}", volume.vid)])?;
        }
        log_untidied(volume, self.prune(volume, keep));
        Ok(revision)
    }

    fn prune(&self, volume: &Volume, keep: usize) -> Done {
        let revisions = revisions(&self.zfs.rows()?, &volume.vid);
        let mut old = revisions.iter().rev().skip(keep);
        old.try_for_each(|(_, old)| self.zfs.destroy_snapshot(&format!("{}@{old}", volume.vid)))
    }

    fn take_clean_mark(&self, vid: &str) -> Done<String> {
        let mark = format!("{vid}@qubes-clean-{}", random_name());
        self.zfs.change(&["snapshot", &mark])?;
        Ok(mark)
    }

    /// Marks the state as the committed one, in place of earlier marks.
    fn mark_clean(&self, volume: &Volume) -> Done {
        let rows = self.zfs.rows()?;
        if !volume.has_snapshots_disabled() {
            self.take_clean_mark(&volume.vid)?;
        }
        clean_marks(&rows, &volume.vid).try_for_each(|mark| self.zfs.destroy_snapshot(&mark.name))
    }

    /// Makes what was written into the room of an import the committed state.
    fn end_import(&self, volume: &Volume, cause: &str) -> Done {
        let importing = self.importing(&volume.vid);
        if !self.zfs.has(&importing)? {
            return refused(format!("No import operation in progress on {}", volume.vid));
        }
        self.zfs.change(&["inherit", "com.sun:auto-snapshot", &importing])?;
        self.commit(volume, &importing, cause)
    }

    fn set_dirty(&self, vid: &str, is_dirty: bool) -> Done {
        self.zfs.change(&["set", &format!("org.qubes:dirty={}", if is_dirty { "on" } else { "off" }), vid])
    }

    /// Makes new content that holds what another volume holds. One without snapshots gets one for as long.
    fn clone_of(&self, source: &str, new: &str, options: &[&str]) -> Done {
        self.zfs.destroy(new)?;
        if let Some(snapshot) = committed(&self.zfs.rows()?, source) {
            return self.zfs.clone(&snapshot.name, new, options);
        }
        let mark = self.take_clean_mark(source)?;
        let cloned = self.zfs.clone(&mark, new, options);
        cloned.and(self.zfs.destroy_snapshot(&mark))
    }

    fn start_kept(&self, volume: &Volume) -> Done {
        self.settle(&volume.vid)?;
        if self.is_dirty(volume)? {
            return Ok(());
        }
        self.keep_revision(volume, "before-start")?;
        self.set_dirty(&volume.vid, true)
    }

    /// What a qube had not stopped cleanly goes on where it was.
    fn start_snapshot(&self, volume: &Volume, source: &str) -> Done {
        let vid = &volume.vid;
        if self.zfs.find(vid)?.is_some_and(|row| row.is_dirty) {
            return Ok(());
        }
        let fresh = self.fresh(vid);
        self.clone_of(source, &fresh, &["-o", NO_SNAPSHOTS])?;
        self.replace(vid, &fresh)?;
        self.set_dirty(vid, true)
    }

    fn check_clean(&self, volume: &Volume, text: impl FnOnce() -> String) -> Done {
        if self.is_dirty(volume)? { refused(text()) } else { Ok(()) }
    }
}

impl PoolDriver for ZfsPool {
    fn can_hold(&self, volume: &Volume) -> Done {
        if volume.snap_on_start && volume.save_on_stop {
            return refused(format!("ZFSVolume {} cannot be snap_on_start && save_on_stop", volume.vid));
        }
        Ok(())
    }

    fn check_new(&self, volume: &Volume) -> Done {
        let is_taken = self.zfs.has(&volume.vid)?;
        if is_taken { refused(format!("Volume {} already exists", volume.vid)) } else { Ok(()) }
    }

    fn create(&self, volume: &Volume) -> Done {
        if !volume.save_on_stop {
            return Ok(());
        }
        self.zfs.create(&volume.vid, volume.size, &[])?;
        self.keep_revision(volume, "after-create")?;
        self.mark_clean(volume)
    }

    fn remove(&self, volume: &Volume) -> Done {
        self.remove_all(&volume.vid)
    }

    fn verify(&self, volume: &Volume) -> Done {
        let vid = &volume.vid;
        for dataset in [vid.clone(), self.fresh(vid), self.importing(vid)] {
            if !volume.save_on_stop || self.zfs.has(&dataset)? {
                return Ok(());
            }
        }
        refused(format!("volume {vid} missing"))
    }

    fn start(&self, volume: &Volume) -> Done {
        let vid = &volume.vid;
        match (&volume.source, volume.save_on_stop) {
            (Some(source), _) => self.start_snapshot(volume, source)?,
            (None, true) => self.start_kept(volume)?,
            (None, false) => {
                self.zfs.destroy(vid)?;
                self.zfs.create(vid, volume.size, &["-o", NO_SNAPSHOTS])?;
            }
        }
        self.zfs.change(&["set", &format!("readonly={}", if volume.rw { "off" } else { "on" }), vid])
    }

    /// The mark comes before the flag goes, so that a stop killed in between is done again.
    fn stop(&self, volume: &Volume) -> Done {
        let vid = &volume.vid;
        match (volume.snap_on_start, volume.save_on_stop) {
            (false, true) if !self.is_dirty(volume)? => Ok(()),
            (false, true) => self.mark_clean(volume).and_then(|()| self.set_dirty(vid, false)),
            (true, _) if self.forensics && self.zfs.has(vid)? => self.set_dirty(vid, false),
            (..) => self.remove_all(vid),
        }
    }

    fn block_device(&self, volume: &Volume) -> Done<Option<PathBuf>> {
        Ok(Some(self.zfs.device(&volume.vid)))
    }

    fn size(&self, volume: &Volume) -> Done<u64> {
        Ok(self.zfs.find(&volume.vid)?.map_or(volume.size, |row| row.size))
    }

    fn usage(&self, volume: &Volume) -> Done<u64> {
        Ok(self.zfs.find(&volume.vid)?.map_or(0, |row| row.usage))
    }

    fn is_dirty(&self, volume: &Volume) -> Done<bool> {
        Ok(volume.save_on_stop && self.zfs.find(&volume.vid)?.is_some_and(|row| row.is_dirty))
    }

    fn is_outdated(&self, volume: &Volume) -> Done<Option<bool>> {
        let rows = self.zfs.rows()?;
        let own = rows.iter().find(|row| row.name == volume.vid);
        let source = volume.source.as_ref().and_then(|source| committed(&rows, source));
        Ok(Some(own.zip(source).is_some_and(|(own, source)| own.created < source.created)))
    }

    fn revisions(&self, volume: &Volume) -> Done<Vec<Revision>> {
        let described = revisions(&self.zfs.rows()?, &volume.vid).into_iter().map(|(time, id)| {
            let (seconds, micros) = (time.checked_div(1_000_000), time.checked_rem(1_000_000));
            let fraction = micros.filter(|micros| *micros > 0).map(|micros| format!(".{micros:06}"));
            let time = format!("{}{}", isodate(seconds.unwrap_or_default()), fraction.unwrap_or_default());
            Revision { id, time }
        });
        Ok(described.collect())
    }

    fn snapshot(&self, volume: &Volume) -> Done<String> {
        self.settle(&volume.vid)?;
        self.keep_revision(volume, "snapshot")
    }

    /// Newer revisions are lost.
    fn revert(&self, volume: &Volume, id: &str) -> Done {
        let vid = &volume.vid;
        self.check_clean(volume, || format!("Cannot revert dirty volume {vid} - stop the qube first"))?;
        self.settle(vid)?;
        let revisions = revisions(&self.zfs.rows()?, vid);
        let Some((_, revision)) = revisions.iter().find(|(_, revision)| revision == id) else {
            return refused(format!("Cannot revert volume {vid} with no revisions"));
        };
        let snapshot = format!("{vid}@{revision}");
        self.zfs.change(&["rollback", "-r", &snapshot])?;
        log_untidied(volume, self.mark_clean(volume).and_then(|()| self.zfs.destroy_snapshot(&snapshot)));
        Ok(())
    }

    fn resize(&self, volume: &Volume, size: u64) -> Done {
        self.settle(&volume.vid)?;
        match self.zfs.find(&volume.vid)? {
            Some(row) if row.size != size => {
                self.zfs.change(&["set", &format!("volsize={size}"), &volume.vid])
            }
            _ => Ok(()),
        }
    }

    /// A clone of the committed state, which lasts as long as the export.
    fn export(&self, volume: &Volume, running: bool) -> Done<PathBuf> {
        let vid = &volume.vid;
        if !volume.save_on_stop {
            return Err(StorageError::Unsupported("export"));
        } else if volume.has_snapshots_disabled() && running {
            return refused(format!("Volume {vid} must be stopped before being cloned"));
        }
        self.restore(vid)?;
        let clone = format!("{}/{}", self.exported(vid), random_name());
        self.clone_of(vid, &clone, &["-o", NO_SNAPSHOTS])?;
        Ok(self.zfs.device(&clone))
    }

    fn export_end(&self, _: &Volume, exported: &Path) -> Done {
        self.zfs.dataset(exported).map_or(Ok(()), |clone| self.zfs.destroy(&clone))
    }

    fn end_lost_exports(&self, volume: &Volume) -> Done {
        let below = format!("{}/", self.exported(&volume.vid));
        let rows = self.zfs.rows()?;
        let made = |name: &str| name.starts_with(&below) && !name.contains('@');
        for row in rows.iter().filter(|row| made(&row.name)) {
            if let Err(error) = self.zfs.destroy(&row.name) {
                log::line(&format!("{}: {error}", row.name));
            }
        }
        Ok(())
    }

    fn check_import(&self, volume: &Volume) -> Done {
        let vid = &volume.vid;
        if !volume.save_on_stop {
            return Err(StorageError::Unsupported("import"));
        }
        let text = || format!("Cannot import data to dirty volume {vid} - stop the qube using it first");
        self.check_clean(volume, text)
    }

    fn import_resize(&self, volume: &Volume, size: u64) -> Done {
        let size = size.checked_next_multiple_of(BLOCK_MAX).unwrap_or(size);
        self.zfs.change(&["set", &format!("volsize={size}"), &self.importing(&volume.vid)])
    }

    /// Where the volume has gone to make room for it, the import is its content.
    fn has_import(&self, volume: &Volume) -> Done<bool> {
        let vid = &volume.vid;
        let has_room = self.zfs.has(&self.importing(vid))? || self.zfs.has(&self.fresh(vid))?;
        Ok(has_room && self.zfs.has(vid)?)
    }

    fn import_begin(&self, volume: &Volume, size: u64) -> Done<PathBuf> {
        let vid = &volume.vid;
        self.settle(vid)?;
        let importing = self.importing(vid);
        self.zfs.create(&importing, size, &["-o", NO_SNAPSHOTS])?;
        Ok(self.zfs.device(&importing))
    }

    fn import_end(&self, volume: &Volume) -> Done {
        self.end_import(volume, "after-import-data")
    }

    fn tidy(&self, volume: &Volume) -> Done {
        self.restore(&volume.vid)?;
        self.mark_clean(volume)
    }

    /// Where the volume has gone to make room for it, the import is all there is.
    fn import_abort(&self, volume: &Volume) -> Done {
        self.settle(&volume.vid)
    }

    /// Within one container.
    fn clone_directly(&self, volume: &Volume, source: &Volume, pool: &Pool) -> Done<Shortcut> {
        let vid = &volume.vid;
        if !volume.save_on_stop {
            return Ok(Shortcut::NotNeeded);
        } else if !source.save_on_stop {
            return Err(StorageError::Unsupported("import"));
        }
        let text =
            || format!("Cannot import to dirty volume {vid} — start and stop its owning qube to clean it up");
        self.check_clean(volume, text)?;
        if pool.driver != DRIVER || pool.setting(CONTAINER) != Some(&self.container) {
            return Ok(Shortcut::None);
        }
        self.settle(vid)?;
        self.clone_of(&source.vid, &self.fresh(vid), &[])?;
        Ok(Shortcut::Taken)
    }

    fn clone_end(&self, volume: &Volume, _: &str) -> Done {
        let fresh = self.fresh(&volume.vid);
        match self.zfs.has(&fresh)? {
            true => self.commit(volume, &fresh, CLONED),
            false => self.end_import(volume, CLONED),
        }
    }

    fn set_up(&self, _: &Pool) -> Done {
        const MODE: &str = "volmode=dev";
        let ours = format!("{OURS}=true");
        if !self.zfs.is_available() {
            return refused("ZFS is not available on this system".to_owned());
        } else if !self.zfs.has(&self.container)? {
            let options = ["-o", "mountpoint=none", "-o", MODE, "-o", &ours, "-p", &self.container];
            return self.zfs.change(&[&["create"], &options[..]].concat());
        } else if self.zfs.property(OURS)? != "true" {
            return self.zfs.change(&["set", &ours, MODE, &self.container]);
        }
        Ok(())
    }

    /// Datasets with a size are volumes; those whose folder begins with a dot are ours beside them.
    fn holds(&self, vid: &str) -> Done<bool> {
        let inside = vid.strip_prefix(&self.container).and_then(|rest| rest.strip_prefix('/'));
        let may_be = inside.is_some_and(|inside| !inside.starts_with('.') && !inside.contains('@'));
        Ok(may_be && self.zfs.find(vid)?.is_some_and(|row| row.size > 0))
    }

    fn capacity(&self) -> Done<Capacity> {
        self.zfs.capacity()
    }
}

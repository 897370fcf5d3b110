//! Committing a change and finishing what a killed call left behind.
//!
//! New contents are first written beside the old, so that nothing after the commit point needs space. A change of one
//! object commits when the directory that holds its renamed file is durable; a record in `/run` lets recovery publish
//! its events. A change of several commits when the record in `journal/` is durable.

use std::io;
use std::path::{Path, PathBuf};
use std::slice;

use serde::{Deserialize, Serialize};

use super::{Index, Store, StoreError, decode, encode, note};
use crate::event::Event;
use crate::hypervisor::Domain;
use crate::log;

/// Exists exactly while a change of several objects is committed and not yet applied.
pub(super) const COMMIT: &str = "journal/commit.json";
/// The record when it has had its day. Exists until its going is durable: nothing else may commit before, or a power
/// loss could bring the record back over later changes.
const RETIRED: &str = "journal/retired.json";
/// A record that cannot be read, set aside.
pub(super) const DAMAGED: &str = "commit.damaged";
const PENDING: &str = "pending.json";
/// Folder in `/run` of what is published of runs.
pub(super) const RUNS: &str = "domains/";

/// New state of one object: its file's content, or nothing if it is removed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ObjectChange {
    pub(super) file: String,
    pub(super) content: Option<String>,
    /// Where the old file is kept, if it is, and the new one written first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) kept: Option<String>,
}

/// A whole change: objects and events of one generation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Change {
    pub(super) objects: Vec<ObjectChange>,
    pub(super) events: Vec<Event>,
    /// What becomes different with it in `/run`, as [`note::entry`] writes that: notes, and runs that end.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) notes: String,
}

/// Events of one generation that recovery has yet to publish.
pub(super) type Unpublished = (u64, Vec<Event>);

impl Store {
    /// Brings a change about. From the commit point on this succeeds, whatever happens: what is left undone is
    /// logged and finished by whoever takes the lock next.
    ///
    /// # Errors
    /// Before the commit point: nothing has changed.
    pub(super) fn commit(
        &self,
        change: &Change,
        index: &Index,
        entries_changed: bool,
    ) -> Result<(), StoreError> {
        let generation = index.generation;
        let record = encode(generation, change)?;
        let several = change.objects.len() > 1;
        let committed = self.stage(&change.objects).and_then(|()| match several {
            true => self.commit_several(&record),
            false => self.commit_one(&record, change),
        });
        if let Err(error) = committed {
            self.unstage(&change.objects);
            return Err(error);
        }
        let applied = if several { self.apply(&change.objects) } else { Ok(()) };
        // The index first: who hears of an event looks its qubes up there, without a lock.
        let finished = applied
            .and_then(|()| self.follow_up(change))
            .and_then(|()| self.save_index(index, entries_changed))
            .and_then(|()| self.publish(generation, &change.events, false))
            .and_then(|()| if several { self.retire() } else { self.drop_pending() });
        finished.unwrap_or_else(log_unfinished);
        Ok(())
    }

    /// Brings a change about that is a single event. It commits with its line and needs no record, unless it begins a
    /// segment: the one before is yet to be closed then. Tells whether it has. A generation whose line finds no space is
    /// nobody's.
    ///
    /// # Errors
    /// Before the commit point: nothing has changed.
    pub(super) fn commit_event(&self, event: &Event) -> Result<bool, StoreError> {
        let Some(generation) = self.begin_generation()? else { return Ok(false) };
        let (segment, length) = self.end()?;
        if length == 0 {
            return Ok(false);
        }
        self.add_line(segment, length, generation, event).map(|()| true)
    }

    fn commit_one(&self, record: &[u8], change: &Change) -> Result<(), StoreError> {
        self.put(&self.run.join(PENDING), record, false).map_err(StoreError::io("recording a change"))?;
        for object in &change.objects {
            if let Err(error) = self.swap(object) {
                let _ = self.drop_pending();
                return Err(error);
            }
            self.sync_directory_of(&object.file)?;
        }
        Ok(())
    }

    fn commit_several(&self, record: &[u8]) -> Result<(), StoreError> {
        let prepared = self.put(&self.state.join(COMMIT), record, true).and_then(|()| self.sync_journal());
        prepared.map_err(|error| {
            let _ = self.retire();
            StoreError::Io { what: "recording a change".to_owned(), source: error }
        })
    }

    /// Replaces a file as a whole; nothing is left beside it if that fails.
    pub(crate) fn put(&self, path: &Path, content: &[u8], durable: bool) -> io::Result<()> {
        let temporary = crate::files::beside(path, ".new");
        let written = self.vfs.create(&temporary, content, durable);
        let put = written.and_then(|()| self.vfs.rename(&temporary, path));
        put.inspect_err(|_| drop(self.vfs.remove(&temporary)))
    }

    /// Writes new contents beside the old ones, durably.
    fn stage(&self, objects: &[ObjectChange]) -> Result<(), StoreError> {
        for object in objects {
            if let Some(content) = &object.content {
                self.vfs
                    .create(&self.temporary(object), content.as_bytes(), true)
                    .map_err(StoreError::io(format!("writing {}", object.file)))?;
            }
        }
        Ok(())
    }

    fn unstage(&self, objects: &[ObjectChange]) {
        for object in objects {
            // A file that was exchanged before something failed holds the old state.
            if object.kept.is_none() || !self.has_reached(object).unwrap_or(true) {
                let _ = self.vfs.remove(&self.temporary(object));
            }
        }
    }

    /// Puts a staged content in place, or removes the object; keeps the old file where that is wished for. Not durable yet.
    fn swap(&self, object: &ObjectChange) -> Result<(), StoreError> {
        let target = self.state.join(&object.file);
        let temporary = self.temporary(object);
        let swapped = match (&object.content, &object.kept) {
            (Some(_), Some(_)) => self.vfs.exchange(&temporary, &target),
            (Some(_), None) => self.vfs.rename(&temporary, &target),
            (None, Some(_)) => self.vfs.rename(&target, &temporary),
            (None, None) => self.vfs.remove(&target),
        };
        swapped.map_err(StoreError::io(format!("replacing {}", object.file)))
    }

    fn apply(&self, objects: &[ObjectChange]) -> Result<(), StoreError> {
        objects.iter().try_for_each(|object| self.swap(object))?;
        self.sync_directory_of("qubes/")?;
        self.sync_directory_of("")
    }

    /// One fixed hidden name per object: whoever holds the lock is the only writer.
    fn temporary(&self, object: &ObjectChange) -> PathBuf {
        match &object.kept {
            Some(kept) => self.state.join(kept),
            None => crate::files::beside(&self.state.join(&object.file), ".new"),
        }
    }

    fn sync_directory_of(&self, file: &str) -> Result<(), StoreError> {
        let directory =
            if file.starts_with("qubes/") { self.state.join("qubes") } else { self.state.clone() };
        self.vfs.sync_directory(&directory).map_err(StoreError::io("making a change durable"))
    }

    fn sync_journal(&self) -> io::Result<()> {
        self.vfs.sync_directory(&self.state.join("journal"))
    }

    /// Brings the files in `/run` in step with a change.
    fn follow_up(&self, change: &Change) -> Result<(), StoreError> {
        note::entries(&change.notes).try_for_each(|(file, content)| {
            let path = self.run.join(file);
            let noted = match content {
                _ if file.starts_with(RUNS) => self.end_run(&path, content),
                "" => self.vfs.remove(&path),
                _ => self.put(&path, content.as_bytes(), false),
            };
            noted.map_err(StoreError::io("changing a note"))
        })
    }

    /// Removes what is published of a run that ends with a change. A later run of the qube may have begun since.
    fn end_run(&self, path: &Path, begun_us: &str) -> io::Result<()> {
        let published = self.vfs.read(path)?.unwrap_or_default();
        match serde_json::from_slice::<Domain>(&published) {
            Ok(published) if published.run.begun_us.to_string() == begun_us => self.vfs.remove(path),
            _ => Ok(()),
        }
    }

    /// Drops the record in `journal/`, if there is one, for good.
    fn retire(&self) -> Result<(), StoreError> {
        let (commit, retired) = (self.state.join(COMMIT), self.state.join(RETIRED));
        let drop = || {
            if self.vfs.exists(&commit)? {
                self.vfs.rename(&commit, &retired)?;
            } else if !self.vfs.exists(&retired)? {
                return Ok(());
            }
            self.sync_journal()?;
            self.vfs.remove(&retired)
        };
        drop().map_err(StoreError::io("dropping a record"))
    }

    fn drop_pending(&self) -> Result<(), StoreError> {
        self.vfs.remove(&self.run.join(PENDING)).map_err(StoreError::io("dropping a record"))
    }

    /// Whether some call was killed between recording a change and finishing it.
    pub(super) fn has_unfinished_change(&self) -> Result<bool, StoreError> {
        for record in [self.state.join(COMMIT), self.run.join(PENDING), self.state.join(RETIRED)] {
            if self.vfs.exists(&record).map_err(StoreError::io("looking for unfinished changes"))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Finishes or forgets what a killed call left behind. Idempotent; the exclusive lock must be held.
    pub(super) fn recover(&self) -> Result<(), StoreError> {
        if !self.has_unfinished_change()? {
            return Ok(());
        }
        let unpublished = self.settle()?;
        self.finish(&unpublished)
    }

    /// The part of recovery that readers need: every object old or new, and the index dropped. Gives the events of
    /// what took effect.
    pub(super) fn settle(&self) -> Result<Vec<Unpublished>, StoreError> {
        self.drop_index()?;
        let mut unpublished = Vec::new();
        if let Some((generation, change)) = self.record(self.state.join(COMMIT))? {
            // The kill may have come before this; no object may be new on the disk before the record is there.
            self.sync_journal().map_err(StoreError::io("making a change durable"))?;
            for object in &change.objects {
                if !self.has_reached(object)? {
                    // It is staged already, and there may be no room to do it again.
                    if !self.is_staged(object)? {
                        self.stage(slice::from_ref(object))?;
                    }
                    self.swap(object)?;
                }
            }
            self.sync_directory_of("qubes/")?;
            self.sync_directory_of("")?;
            self.follow_up(&change)?;
            unpublished.push((generation, change.events));
        }
        if let Some((generation, change)) = self.record(self.run.join(PENDING))? {
            if self.took_effect(&change)? {
                self.follow_up(&change)?;
                unpublished.push((generation, change.events));
            } else {
                self.unstage(&change.objects);
            }
        }
        Ok(unpublished)
    }

    /// The rest of recovery: events, then the records.
    pub(super) fn finish(&self, unpublished: &[Unpublished]) -> Result<(), StoreError> {
        for (generation, events) in unpublished {
            self.publish(*generation, events, true)?;
        }
        self.retire()?;
        self.drop_pending()
    }

    /// A record, or nothing. A damaged one is set aside for the administrator: it cannot be finished, and nobody else
    /// shall be kept from working.
    fn record(&self, path: PathBuf) -> Result<Option<(u64, Change)>, StoreError> {
        let bytes = self.vfs.read(&path).map_err(StoreError::io("reading a record"))?;
        match bytes.map(|bytes| decode::<Change>("record", &bytes)) {
            None => Ok(None),
            Some(Ok(record)) => Ok(Some(record)),
            Some(Err(error @ StoreError::Newer(_))) => Err(error),
            Some(Err(error)) => {
                log::line(&format!("{error}; set aside"));
                let aside = path.with_extension("damaged");
                self.vfs.rename(&path, &aside).map_err(StoreError::io("setting a record aside"))?;
                Ok(None)
            }
        }
    }

    /// Whether the one object of a pending change is in its new state, durably then.
    fn took_effect(&self, change: &Change) -> Result<bool, StoreError> {
        for object in &change.objects {
            if !self.has_reached(object)? {
                return Ok(false);
            }
            self.sync_directory_of(&object.file)?;
        }
        Ok(true)
    }

    fn has_reached(&self, object: &ObjectChange) -> Result<bool, StoreError> {
        self.holds(&self.state.join(&object.file), object)
    }

    /// Whether an object's new state waits beside it.
    fn is_staged(&self, object: &ObjectChange) -> Result<bool, StoreError> {
        Ok(object.content.is_some() && self.holds(&self.temporary(object), object)?)
    }

    fn holds(&self, path: &Path, object: &ObjectChange) -> Result<bool, StoreError> {
        let stored = self.vfs.read(path).map_err(StoreError::io(format!("reading {}", object.file)))?;
        Ok(stored.as_deref() == object.content.as_deref().map(str::as_bytes))
    }
}

/// What is said of a change that committed and could not be finished.
#[allow(clippy::needless_pass_by_value, reason = "fits what handles an error")]
pub(super) fn log_unfinished(error: StoreError) {
    log::line(&format!("a committed change waits for the next call to finish it: {error}"));
}

impl ObjectChange {
    pub(super) fn of(file: String, content: Option<Vec<u8>>, kept: Option<String>) -> Self {
        let content = content.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Self { file, content, kept }
    }
}

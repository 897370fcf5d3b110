//! Committing a change and finishing what a killed call left behind.
//!
//! A change of one object commits when the directory that holds its renamed file is durable; a record in `/run`
//! lets recovery publish its events. A change of several commits when the record in `journal/` is durable.

use std::path::PathBuf;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::{Index, Key, Store, StoreError, decode, encode};
use crate::event::Event;
use crate::log;

/// Exists exactly while a change of several objects is committed and not yet applied.
pub(super) const COMMIT: &str = "journal/commit.json";
const COMMIT_NEW: &str = "journal/.commit.json.new";
const PENDING: &str = "pending.json";
const PENDING_NEW: &str = ".pending.json.new";

/// New state of one object: its file's content, or nothing if it is removed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ObjectChange {
    pub(super) file: String,
    pub(super) content: Option<String>,
}

/// A whole change: objects and events of one generation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Change {
    pub(super) objects: Vec<ObjectChange>,
    pub(super) events: Vec<Event>,
}

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
        let applied = if change.objects.len() > 1 {
            self.commit_several(&record)?;
            self.apply_several(generation, change)
        } else {
            self.commit_one(&record, change)?;
            self.publish(generation, &change.events, false)
        };
        let finished =
            applied.and_then(|()| self.save_index(index, entries_changed)).and_then(|()| self.drop_records());
        if let Err(error) = finished {
            log::line(&format!("a committed change waits for the next call to finish it: {error}"));
        }
        Ok(())
    }

    fn commit_one(&self, record: &[u8], change: &Change) -> Result<(), StoreError> {
        self.write_pending(record)?;
        for object in &change.objects {
            if let Err(error) = self.place(object) {
                let _ = self.vfs.remove(&self.temporary(&object.file));
                let _ = self.vfs.remove(&self.run.join(PENDING));
                return Err(error);
            }
            self.sync_directory_of(&object.file)?;
        }
        Ok(())
    }

    fn write_pending(&self, record: &[u8]) -> Result<(), StoreError> {
        let temporary = self.run.join(PENDING_NEW);
        let written = self.vfs.create(&temporary, record, false);
        written
            .and_then(|()| self.vfs.rename(&temporary, &self.run.join(PENDING)))
            .map_err(StoreError::io("recording a change"))
    }

    fn commit_several(&self, record: &[u8]) -> Result<(), StoreError> {
        let temporary = self.state.join(COMMIT_NEW);
        let target = self.state.join(COMMIT);
        let prepared = self
            .vfs
            .create(&temporary, record, true)
            .and_then(|()| self.vfs.rename(&temporary, &target))
            .and_then(|()| self.vfs.sync_directory(&self.state.join("journal")));
        prepared.map_err(|error| {
            let _ = self.vfs.remove(&temporary);
            let _ = self.vfs.remove(&target);
            StoreError::Io { what: "recording a change".to_owned(), source: error }
        })
    }

    fn apply_several(&self, generation: u64, change: &Change) -> Result<(), StoreError> {
        for object in &change.objects {
            self.place(object)?;
        }
        self.sync_directory_of("qubes/")?;
        self.sync_directory_of("")?;
        self.publish(generation, &change.events, true)
    }

    /// Writes one object's new content beside it and renames it into place, or removes it. Not durable yet.
    fn place(&self, object: &ObjectChange) -> Result<(), StoreError> {
        let target = self.state.join(&object.file);
        let placed = match &object.content {
            Some(content) => {
                let temporary = self.temporary(&object.file);
                self.vfs
                    .create(&temporary, content.as_bytes(), true)
                    .and_then(|()| self.vfs.rename(&temporary, &target))
            }
            None => self.vfs.remove(&target),
        };
        placed.map_err(StoreError::io(format!("writing {}", object.file)))
    }

    /// One fixed hidden name per object: whoever holds the lock is the only writer.
    fn temporary(&self, file: &str) -> PathBuf {
        crate::files::beside(&self.state.join(file), ".new")
    }

    fn sync_directory_of(&self, file: &str) -> Result<(), StoreError> {
        let directory =
            if file.starts_with("qubes/") { self.state.join("qubes") } else { self.state.clone() };
        self.vfs.sync_directory(&directory).map_err(StoreError::io("making a change durable"))
    }

    fn drop_records(&self) -> Result<(), StoreError> {
        let commit = self.state.join(COMMIT);
        let dropping = StoreError::io("dropping a record");
        self.vfs
            .exists(&commit)
            .and_then(|several| {
                if several {
                    self.vfs.remove(&commit)?;
                    self.vfs.sync_directory(&self.state.join("journal"))?;
                }
                self.vfs.remove(&self.run.join(PENDING))
            })
            .map_err(dropping)
    }

    /// Whether some call was killed between recording a change and finishing it.
    pub(super) fn has_unfinished_change(&self) -> Result<bool, StoreError> {
        let found = self
            .vfs
            .exists(&self.state.join(COMMIT))
            .and_then(|several| if several { Ok(true) } else { self.vfs.exists(&self.run.join(PENDING)) });
        found.map_err(StoreError::io("looking for unfinished changes"))
    }

    /// Finishes or forgets what a killed call left behind. Idempotent; the exclusive lock must be held.
    pub(super) fn recover(&self) -> Result<(), StoreError> {
        if !self.has_unfinished_change()? {
            return Ok(());
        }
        self.drop_index()?;
        if let Some((generation, change)) = self.record(self.state.join(COMMIT))? {
            self.apply_several(generation, &change)?;
        }
        if let Some((generation, change)) = self.record(self.run.join(PENDING))?
            && self.took_effect(generation, &change)?
        {
            for object in &change.objects {
                self.sync_directory_of(&object.file)?;
            }
            self.publish(generation, &change.events, true)?;
        }
        self.drop_records()
    }

    /// A record, or nothing; an unreadable one never committed anything, as it is renamed whole.
    fn record(&self, path: PathBuf) -> Result<Option<(u64, Change)>, StoreError> {
        let bytes = self.vfs.read(&path).map_err(StoreError::io("reading a record"))?;
        match bytes.map(|bytes| decode::<Change>("record", &bytes)) {
            None => Ok(None),
            Some(Ok(record)) => Ok(Some(record)),
            Some(Err(error @ StoreError::Newer(_))) => Err(error),
            Some(Err(error)) => {
                log::line(&format!("{error}; dropped"));
                Ok(None)
            }
        }
    }

    /// Whether the one object of a pending change is in its new state.
    fn took_effect(&self, generation: u64, change: &Change) -> Result<bool, StoreError> {
        for object in &change.objects {
            let stored =
                self.vfs.read(&self.state.join(&object.file)).map_err(StoreError::io("reading an object"))?;
            let reached = match (&stored, &object.content) {
                (None, None) => true,
                (Some(bytes), Some(_)) => {
                    decode::<IgnoredAny>(&object.file, bytes).is_ok_and(|(written, _)| written == generation)
                }
                _ => false,
            };
            if !reached {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl ObjectChange {
    pub(super) fn of(key: &Key, content: Option<Vec<u8>>) -> Self {
        let content = content.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Self { file: key.file(), content }
    }
}

//! Notes in `/run` about the devices of running qubes. They change together with what is told of that, or not at all.

use super::{Store, StoreError};
use crate::names::QubeName;

/// What a note about a qube is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// The device that it gets or loses now. Written under its lifecycle lock: whoever gets that finds one only where a call was
    /// killed.
    Halfway,
    /// The devices that it has by the word of others.
    Attached,
    /// The devices that it was told to have for others.
    Exposed,
}

impl Note {
    pub(super) const FOLDERS: [&str; 3] = ["attaching", "attached", "exposed"];

    /// The file, relative to the run-time directory.
    pub(super) fn file(self, qube: &QubeName) -> String {
        let [attaching, attached, exposed] = Self::FOLDERS;
        let folder = match self {
            Self::Halfway => attaching,
            Self::Attached => attached,
            Self::Exposed => exposed,
        };
        format!("{folder}/{qube}")
    }
}

/// A note's file with what it is to say, in a row of others. Nothing says that there is none.
pub(super) fn entry(file: &str, content: &str) -> String {
    format!("{file}\n{content}\0")
}

/// The files in such a row, with what they are to say.
pub(super) fn entries(row: &str) -> impl Iterator<Item = (&str, &str)> {
    row.split_terminator('\0').filter_map(|entry| entry.split_once('\n'))
}

impl Store {
    /// A note about a qube, if there is one.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn note(&self, note: Note, qube: &QubeName) -> Result<Option<Vec<u8>>, StoreError> {
        self.vfs.read(&self.run.join(note.file(qube))).map_err(StoreError::io("reading a note"))
    }

    /// Whether there may be a note about a qube.
    pub fn has_note(&self, note: Note, qube: &QubeName) -> bool {
        self.vfs.exists(&self.run.join(note.file(qube))).unwrap_or(true)
    }

    /// Writes a note about a qube, of which nothing is told yet.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn take_note(&self, note: Note, qube: &QubeName, content: &[u8]) -> Result<(), StoreError> {
        self.put(&self.run.join(note.file(qube)), content, false).map_err(StoreError::io("taking a note"))
    }

    /// Drops a note about a qube, of which nothing is to be told.
    pub fn drop_note(&self, note: Note, qube: &QubeName) {
        let _ = self.vfs.remove(&self.run.join(note.file(qube)));
    }
}

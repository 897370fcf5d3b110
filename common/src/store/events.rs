//! The event log: segments of JSON lines in `/run`, appended to exactly once per committed change.
//!
//! Writers hold the store's exclusive lock; listeners take none (see [`super::Follower`]). A segment that has grown
//! large is followed by a new one, and the oldest go: a listener that is too far behind is told, no writer waits.

use std::path::PathBuf;
use std::slice;

use serde::{Deserialize, Serialize};

use super::journal::log_unfinished;
use super::{Store, StoreError};
use crate::event::Event;

/// Folder of the segments, below the run-time directory.
pub(super) const FOLDER: &str = "events";
/// A segment is closed when it has grown to this many bytes.
const SEGMENT_MAX: u64 = 1 << 20;
/// How many closed segments are kept for listeners that are behind.
const CLOSED_KEPT: u64 = 3;
/// The line that closes a segment: what follows stands in the next.
pub(super) const CLOSED: &[u8] = b"\"closed\"";

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedEvent {
    /// Generation of the change it belongs to.
    #[serde(rename = "g")]
    pub generation: u64,
    /// Its number within the change.
    #[serde(rename = "i")]
    pub number: usize,
    /// The event.
    #[serde(rename = "e")]
    pub event: Event,
}

/// Number of a segment; its file's name has all digits, so that names sort as numbers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Segment(u64);

impl Default for Segment {
    fn default() -> Self {
        Self::FIRST
    }
}

impl Segment {
    const FIRST: Self = Self(1);

    pub(super) fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    pub(super) fn of_file(name: &str) -> Option<Self> {
        name.parse().ok().map(Self)
    }

    pub(super) fn file(self) -> String {
        format!("{:020}", self.0)
    }
}

impl Store {
    /// Appends those events of a change that the log does not have yet.
    ///
    /// `repeat` is set by recovery only: the log may then hold the first of them already, and a torn line.
    pub(super) fn publish(&self, generation: u64, events: &[Event], repeat: bool) -> Result<(), StoreError> {
        if repeat {
            self.newest.set(None);
        }
        let (segment, length) = self.end()?;
        let already = if repeat { self.published(segment, generation)? } else { 0 };
        let lines = lines(generation, events, already)?;
        if lines.is_empty() && !repeat {
            return Ok(());
        }
        self.append(segment, &lines)?;
        if length == 0 || repeat {
            self.close(segment.previous())?;
        }
        if grown(length, &lines) >= SEGMENT_MAX { self.begin(segment.next()) } else { Ok(()) }
    }

    /// The newest segment and its length, 0 where there is none. One that was the newest once still is if it has not grown
    /// large.
    pub(super) fn end(&self) -> Result<(Segment, u64), StoreError> {
        if let Some(known) = self.newest.get() {
            let length = self.length(known)?;
            if (1..SEGMENT_MAX).contains(&length) {
                return Ok((known, length));
            }
        }
        // One that is not there must not be known: others may begin later ones.
        self.newest.set(self.segments()?.last().copied());
        let segment = self.newest.get().unwrap_or_default();
        Ok((segment, self.length(segment)?))
    }

    fn length(&self, segment: Segment) -> Result<u64, StoreError> {
        let length = self.vfs.length(&self.segment_path(segment));
        length.map_err(StoreError::io("looking at the event log"))
    }

    /// Appends the one event of a change to a segment of this length; takes back what is not the whole of it.
    pub(super) fn add_line(
        &self,
        segment: Segment,
        length: u64,
        generation: u64,
        event: &Event,
    ) -> Result<(), StoreError> {
        let line = lines(generation, slice::from_ref(event), 0)?;
        self.append(segment, &line).inspect_err(|_| {
            let _ = self.vfs.truncate(&self.segment_path(segment), length);
        })?;
        if grown(length, &line) >= SEGMENT_MAX {
            // Tried again with the next event.
            self.begin(segment.next()).unwrap_or_else(log_unfinished);
        }
        Ok(())
    }

    /// The segment that is being written; made if there is none.
    pub(super) fn newest_segment(&self) -> Result<Segment, StoreError> {
        self.prepare_run_time()?;
        match self.segments()?.last() {
            Some(segment) => Ok(*segment),
            None => self.begin(Segment::FIRST).map(|()| Segment::FIRST),
        }
    }

    /// All segments, oldest first.
    pub(super) fn segments(&self) -> Result<Vec<Segment>, StoreError> {
        let files = self.vfs.list(&self.run.join(FOLDER)).map_err(StoreError::io("listing the event log"))?;
        Ok(files.iter().filter_map(|file| Segment::of_file(file)).collect())
    }

    pub(super) fn segment_path(&self, segment: Segment) -> PathBuf {
        self.run.join(FOLDER).join(segment.file())
    }

    fn append(&self, segment: Segment, lines: &[u8]) -> Result<(), StoreError> {
        let appending = StoreError::io("appending events");
        self.vfs.append(&self.segment_path(segment), lines).map_err(appending)
    }

    /// Tells the listeners of a full segment to go on in the next, which has its first events. Done again after a
    /// kill: listeners leave at the first such line.
    fn close(&self, segment: Segment) -> Result<(), StoreError> {
        let path = self.segment_path(segment);
        if self.vfs.exists(&path).map_err(StoreError::io("looking for a segment"))? {
            self.append(segment, &[b"\n", CLOSED, b"\n"].concat())?;
        }
        Ok(())
    }

    /// Removes the segments that are too old, and then begins a new one: a kill in between leaves none too many.
    fn begin(&self, segment: Segment) -> Result<(), StoreError> {
        let oldest = Segment(segment.0.saturating_sub(CLOSED_KEPT));
        for old in self.segments()?.into_iter().filter(|known| *known < oldest) {
            self.vfs.remove(&self.segment_path(old)).map_err(StoreError::io("trimming the event log"))?;
        }
        self.append(segment, b"")
    }

    /// Generation of the newest event, 0 if there is none. A lost index counts on from here too: a change of events
    /// alone, or one that removed its object, left its generation nowhere else.
    pub(super) fn newest_published(&self) -> Result<u64, StoreError> {
        for segment in self.segments()?.into_iter().rev() {
            let log = self.vfs.read(&self.segment_path(segment)).map_err(StoreError::io("reading events"))?;
            let log = log.unwrap_or_default();
            let mut lines = log.rsplit(|byte| *byte == b'\n');
            if let Some(newest) = lines.find_map(|line| serde_json::from_slice::<LoggedEvent>(line).ok()) {
                return Ok(newest.generation);
            }
        }
        Ok(0)
    }

    /// How many events of a change the log holds: in its newest segment, or in the one before if that was just begun.
    fn published(&self, newest: Segment, generation: u64) -> Result<usize, StoreError> {
        match self.whole_lines(newest)? {
            log if log.is_empty() => Ok(count(&self.whole_lines(newest.previous())?, generation)),
            log => Ok(count(&log, generation)),
        }
    }

    /// A segment's text; cuts a torn last line off.
    fn whole_lines(&self, segment: Segment) -> Result<Vec<u8>, StoreError> {
        let path = self.segment_path(segment);
        let mut log = self.vfs.read(&path).map_err(StoreError::io("reading events"))?.unwrap_or_default();
        let whole =
            log.iter().rposition(|byte| *byte == b'\n').map_or(0, |position| position.saturating_add(1));
        if whole != log.len() {
            let length = u64::try_from(whole).unwrap_or_default();
            self.vfs.truncate(&path, length).map_err(StoreError::io("cutting a torn event"))?;
            log.truncate(whole);
        }
        Ok(log)
    }
}

/// A segment's length once these lines are added.
fn grown(length: u64, lines: &[u8]) -> u64 {
    u64::try_from(lines.len()).map_or(u64::MAX, |added| length.saturating_add(added))
}

/// How many events of a change stand at the end of a segment's text.
fn count(log: &[u8], generation: u64) -> usize {
    let lines = log.rsplit(|byte| *byte == b'\n').filter(|line| !line.is_empty() && *line != CLOSED);
    let events = lines.map_while(|line| serde_json::from_slice::<LoggedEvent>(line).ok());
    events.take_while(|logged| logged.generation == generation).count()
}

/// The lines of a change's events from the `already`-th on. They begin with a line feed of their own, so that a
/// line that something else cut short spoils only itself.
fn lines(generation: u64, events: &[Event], already: usize) -> Result<Vec<u8>, StoreError> {
    let mut lines = Vec::new();
    for (number, event) in events.iter().enumerate().skip(already) {
        if lines.is_empty() {
            lines.push(b'\n');
        }
        let logged = LoggedEvent { generation, number, event: event.clone() };
        serde_json::to_writer(&mut lines, &logged).map_err(|_| StoreError::Damaged("(event)".to_owned()))?;
        lines.push(b'\n');
    }
    Ok(lines)
}

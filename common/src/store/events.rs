//! The event log: lines of JSON in `/run`, appended exactly once per committed change.

use serde::{Deserialize, Serialize};

use super::{Store, StoreError};
use crate::event::Event;

const FILE: &str = "events";

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

impl Store {
    /// Appends those events of a change that the log does not have yet.
    ///
    /// `repeat` is set by recovery only: the log may then hold the first of them already, and a torn line.
    pub(super) fn publish(&self, generation: u64, events: &[Event], repeat: bool) -> Result<(), StoreError> {
        let already = if repeat { self.published_of(generation)? } else { 0 };
        let mut lines = Vec::new();
        for (number, event) in events.iter().enumerate().skip(already) {
            let logged = LoggedEvent { generation, number, event: event.clone() };
            serde_json::to_writer(&mut lines, &logged)
                .map_err(|_| StoreError::Damaged("(event)".to_owned()))?;
            lines.push(b'\n');
        }
        if lines.is_empty() {
            return Ok(());
        }
        self.vfs.append(&self.run.join(FILE), &lines).map_err(StoreError::io("appending events"))
    }

    /// How many events of a change the log holds; cuts a torn last line off.
    fn published_of(&self, generation: u64) -> Result<usize, StoreError> {
        let path = self.run.join(FILE);
        let Some(log) = self.vfs.read(&path).map_err(StoreError::io("reading events"))? else { return Ok(0) };
        let whole =
            log.iter().rposition(|byte| *byte == b'\n').map_or(0, |position| position.saturating_add(1));
        if whole != log.len() {
            let length = u64::try_from(whole).unwrap_or_default();
            self.vfs.truncate(&path, length).map_err(StoreError::io("cutting a torn event"))?;
        }
        let lines = log.get(..whole).unwrap_or_default().rsplit(|byte| *byte == b'\n').skip(1);
        let parsed = lines.map_while(|line| serde_json::from_slice::<LoggedEvent>(line).ok());
        Ok(parsed.take_while(|logged| logged.generation == generation).count())
    }
}

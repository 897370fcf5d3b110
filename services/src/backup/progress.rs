//! How far a backup is, told to listeners at most once a second.

use std::time::{Duration, Instant};

use common::event::Event;
use common::log;
use common::store::Store;

use crate::lifecycle;

const PAUSE: Duration = Duration::from_secs(1);

/// How far it is.
pub(super) struct Progress<'a> {
    store: &'a Store,
    id: &'a str,
    total: u64,
    /// Of the qubes that are finished.
    finished: u64,
    /// Size of the present qube, and how much of it was read.
    size: u64,
    read: u64,
    told: Option<Instant>,
}

impl<'a> Progress<'a> {
    pub(super) fn new(store: &'a Store, id: &'a str, total: u64) -> Self {
        Self { store, id, total, finished: 0, size: 0, read: 0, told: None }
    }

    /// Goes on to a qube of this size.
    pub(super) fn next(&mut self, size: u64) {
        self.finished = self.finished.saturating_add(self.size);
        (self.size, self.read) = (size, 0);
        self.tell();
    }

    /// So much more of it was read.
    pub(super) fn count(&mut self, length: u64) {
        // What is read without holes may be more than what is on disk.
        self.read = self.read.saturating_add(length).min(self.size);
        self.tell();
    }

    fn tell(&mut self) {
        if self.told.is_some_and(|told| told.elapsed() < PAUSE) {
            return;
        }
        self.told = Some(Instant::now());
        let event = Event::system("backup-progress").with("backup_profile", self.id);
        let event = event.with("progress", format!("{:?}", self.percent()));
        if let Err(failure) = lifecycle::announce(self.store, [event]) {
            log::line(&format!("progress of backup {}: {}", self.id, failure.into_text()));
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "a number for people")]
    fn percent(&self) -> f64 {
        let done = self.finished.saturating_add(self.read);
        if self.total == 0 { 100.0 } else { 100.0 * (done as f64 / self.total as f64) }
    }
}

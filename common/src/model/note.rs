//! What is noted of devices while qubes run: in `/run`, as it ends with the runs.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::hypervisor::HotDevice;

/// Where a device is plugged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Device class.
    pub class: String,
    /// Name of the qube that provides it.
    pub backend: String,
    /// Port identifier.
    pub port: String,
}

impl Place {
    /// As notes have it.
    pub fn words(&self) -> String {
        format!("{} {} {}", self.class, self.backend, self.port)
    }

    /// Reads what a note has.
    pub fn of_words(words: &str) -> Self {
        let mut words = words.splitn(3, ' ').map(str::to_owned);
        let mut next = || words.next().unwrap_or_default();
        Self { class: next(), backend: next(), port: next() }
    }
}

/// A backend and its port, as events show them.
impl std::fmt::Display for Place {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}:{}", self.backend, self.port)
    }
}

/// What is noted of the device that a qube gets or loses now, in the order of its fields.
type Halves = (String, bool, Event, Option<HotDevice>, Option<(PathBuf, String)>);

/// The device that a qube gets or loses now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Halves", into = "Halves")]
pub struct Halfway {
    /// Which it is.
    pub place: Place,
    /// Whether the qube gets it.
    pub is_attach: bool,
    /// What is told once it is done.
    pub event: Event,
    /// The device, where the qube's watcher handles it.
    pub hot: Option<HotDevice>,
    /// A rule of policy that holds meanwhile: file and line.
    pub rule: Option<(PathBuf, String)>,
}

impl From<Halves> for Halfway {
    fn from((words, is_attach, event, hot, rule): Halves) -> Self {
        Self { place: Place::of_words(&words), is_attach, event, hot, rule }
    }
}

impl From<Halfway> for Halves {
    fn from(Halfway { place, is_attach, event, hot, rule }: Halfway) -> Self {
        (place.words(), is_attach, event, hot, rule)
    }
}

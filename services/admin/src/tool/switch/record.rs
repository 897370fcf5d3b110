//! How far a switch went: there as long as qubesd is not in charge alone, replaced as a whole.

use std::io;

use common::files;
use common::root::Root;
use serde::{Deserialize, Serialize};

use super::super::out::Stop;
use super::places::Place;

/// Where all that concerns a switch lies, on the disk of the links.
pub(super) const FOLDER: &str = "/etc/qubes/admin-switch";
/// What stood in the places.
pub(super) const KEPT: &str = "kept";
/// What was imported, and what that would be written as.
pub(super) const COPIES: [&str; 2] = ["source.xml", "imported.xml"];
const FILE: &str = "/etc/qubes/admin-switch/record.json";

/// What is being done, or was done last.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Phase {
    /// Taking over from qubesd.
    To,
    /// Taken over.
    Done,
    /// Giving back: the store still counts.
    Back,
    /// Giving back: qubes.xml counts, and the store goes.
    PuttingAside,
}

/// The record.
#[derive(Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) phase: Phase,
    /// What is changed; no other place is ever touched.
    pub(super) places: Vec<Place>,
}

impl Record {
    pub(super) const fn new(places: Vec<Place>) -> Self {
        Self { phase: Phase::To, places }
    }

    pub(super) fn load(root: &Root) -> Result<Option<Self>, Stop> {
        let told = |error: String| Stop::from(format!("{FILE}: {error}"));
        let bytes = files::read_if_present(&root.path(FILE)).map_err(|error| told(error.to_string()))?;
        bytes.map(|bytes| serde_json::from_slice(&bytes)).transpose().map_err(|error| told(error.to_string()))
    }

    /// Says durably what is done from here on.
    pub(super) fn enter(&mut self, root: &Root, phase: Phase) -> Result<(), Stop> {
        self.phase = phase;
        let text = serde_json::to_string_pretty(self).map_err(|error| error.to_string())?;
        let path = root.path(FILE);
        files::make_directories(&root.path(FOLDER), 0o755)
            .and_then(|()| files::replace(&path, text.as_bytes(), 0o644))
            .map_err(|error| format!("{FILE}: {error}").into())
    }

    /// Ends a switch. The record goes last, so that what is killed here is finished by the next way back.
    pub(super) fn drop_all(root: &Root) -> Result<(), Stop> {
        empty(root).map_err(|error| format!("{FOLDER}: {error}").into())
    }
}

fn empty(root: &Root) -> io::Result<()> {
    let (folder, file) = (root.path(FOLDER), root.path(FILE));
    files::remove_tree(&folder.join(KEPT))?;
    for name in files::list(&folder)?.iter().filter(|name| file != folder.join(name)) {
        files::remove(&folder.join(name))?;
    }
    files::remove(&file)?;
    files::sync_directory(&file)?;
    files::remove_directory(&folder)
}

//! What a qube says of itself in its QubesDB: names and values, none of which is believed yet.

use std::collections::BTreeMap;
use std::io;

use common::failure::{Exception, Failure};
use common::log;
use common::names::{FeatureName, GuestKey, QubeName, RequestedValue, ToolsValue};
use common::qubesdb::{Database, Written};
use common::quote::quote;
use common::root::Root;

/// Below what a qube asks for features.
const REQUESTS: &str = "/features-request/";
/// Below what a qube's tools say of themselves, and what is heard of that.
const TOOLS: &str = "/qubes-tools/";
const TOLD_BY_TOOLS: [&str; 5] = ["qrexec", "gui", "gui-emulated", "default-user", "os"];
/// The most that is taken in from one qube: entries, and bytes of them all.
const MOST: usize = 1024;
const BYTES_MAX: usize = 65_536;

/// Names and values in the order in which listeners hear of them.
pub(super) struct Said(Vec<(String, String)>);

impl Said {
    /// The value that is said of a name.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// What is said that features can be called, with its values.
    pub(super) fn features(&self) -> impl Iterator<Item = (&str, &str)> {
        let can_be = |name: &str| FeatureName::parse(name).is_ok_and(|name| name.is_settable());
        let all = self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        all.filter(move |(name, _)| can_be(name))
    }

    /// All of it, in the form in which events hold maps.
    pub(super) fn to_event_text(&self) -> String {
        let pairs: Vec<String> =
            self.0.iter().map(|(name, value)| format!("{}: {}", quote(name), quote(value))).collect();
        format!("{{{}}}", pairs.join(", "))
    }
}

/// What a qube asks for, in the order of names.
pub(super) fn requested(root: &Root, qube: &QubeName) -> Result<Said, Failure> {
    let mut said = BTreeMap::new();
    for (key, value) in below(root, qube, REQUESTS)? {
        let (key, value) = (key.sanitise::<GuestKey>()?, value.sanitise::<RequestedValue>()?);
        if let Some(name) = key.as_str().strip_prefix(REQUESTS).filter(|name| !name.is_empty()) {
            said.insert(name.to_owned(), value.into());
        }
    }
    let bytes = said.iter().fold(0_usize, |sum, (name, value): (&String, &String)| {
        sum.saturating_add(name.len()).saturating_add(value.len())
    });
    if said.len() > MOST || bytes > BYTES_MAX {
        return Err(Failure::new(Exception::ProtocolError, "Too many features requested"));
    }
    Ok(Said(said.into_iter().collect()))
}

/// What a qube's tools say, in the order of the specification. What is empty is not said.
pub(super) fn by_tools(root: &Root, qube: &QubeName) -> Result<Said, Failure> {
    let written = below(root, qube, TOOLS)?;
    let mut said = Vec::new();
    for name in TOLD_BY_TOOLS {
        let key = format!("{TOOLS}{name}");
        let is_it =
            |(known, _): &&Written| known.sanitise::<GuestKey>().is_ok_and(|known| known.as_str() == key);
        if let Some((_, value)) = written.iter().find(is_it).filter(|(_, value)| !value.is_empty()) {
            said.push((name.to_owned(), value.sanitise::<ToolsValue>()?.into()));
        }
    }
    Ok(Said(said))
}

fn below(root: &Root, qube: &QubeName, prefix: &str) -> Result<Vec<Written>, Failure> {
    let unreadable = |error: io::Error| {
        log::line(&format!("QubesDB of {qube}: {error}"));
        Failure::new(Exception::QubesException, format!("The QubesDB of {qube} cannot be read"))
    };
    let none = || Failure::dropped(format!("{qube} has no QubesDB"));
    Database::of(root, qube).map_err(unreadable)?.ok_or_else(none)?.below(prefix).map_err(unreadable)
}

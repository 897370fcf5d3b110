//! What must hold for whatever bytes a parser is given. Property tests, replayed findings and the fuzzer share it.

mod backup;
mod constraints;
mod devices;
mod expectations;
mod frame;
mod input;
mod names;
mod policy;
mod rules;
mod storage;
mod stored;
pub mod whole;
mod xml;

use common::call::Family;

/// What one run of the fuzzer is about: a group of parsers, or whole requests to a family.
#[derive(Clone, Copy)]
pub enum Target {
    /// The group's name, and the check that panics where a claim does not hold.
    Parsers(&'static str, fn(&[u8])),
    /// Bytes are requests with [`whole::SEPARATOR`] between them, answered in order by a fresh system.
    Family(&'static Family),
}

/// Every parser, in as many groups as there is time for.
const PARSERS: [Target; 11] = [
    Target::Parsers("names", |bytes| {
        names::check(bytes);
        input::check(bytes);
    }),
    Target::Parsers("backup", backup::check),
    Target::Parsers("constraints", constraints::check),
    Target::Parsers("devices", devices::check),
    Target::Parsers("expectations", expectations::check),
    Target::Parsers("frame", frame::check),
    Target::Parsers("policy", policy::check),
    Target::Parsers("rules", rules::check),
    Target::Parsers("storage", storage::check),
    Target::Parsers("stored", stored::check),
    Target::Parsers("xml", xml::check),
];

impl Target {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        PARSERS.into_iter().chain(services::FAMILIES.iter().map(|family| Self::Family(family)))
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|target| target.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Parsers(name, _) => name,
            Self::Family(family) => family.name,
        }
    }

    /// Panics where a claim does not hold for these bytes.
    pub fn check(self, bytes: &[u8]) {
        match self {
            Self::Parsers(_, check) => check(bytes),
            Self::Family(family) => whole::check(family, bytes),
        }
    }
}

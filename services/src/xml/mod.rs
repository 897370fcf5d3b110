//! Writing `qubes.xml`, the one-file store of existing systems, and what else of them is XML (spec 10 §7.2).

mod export;
mod firewall;
mod writer;

pub use export::{export, export_with};
pub use firewall::{ELEMENT as FIREWALL, text as firewall_text};
pub use writer::Writer;

/// Attribute of a property whose value the store had although Set would refuse it by now. Only our own files have it.
pub const KEPT: &str = "kept";

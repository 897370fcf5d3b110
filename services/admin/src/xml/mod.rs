//! `qubes.xml`, the one-file store of existing systems: reading it into our store (spec 10 §7).

mod complete;
mod contents;
mod firewall;
mod import;
mod migrate;
mod tree;

pub use contents::{BackedUp, Contents, Setting, rules};
pub use firewall::to_homes as firewall_to_homes;
pub use import::{Imported, import};
pub use services::xml::export;

use common::failure::Failure;
use services::xml::KEPT;

/// Why a file could not be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The text is not well-formed XML.
    #[error("line {line}: not well-formed: {text}")]
    Malformed {
        /// Where.
        line: usize,
        /// What the reader says.
        text: String,
    },
    /// An element is not what it should be.
    #[error("line {line}: {text}")]
    Invalid {
        /// Where the element begins.
        line: usize,
        /// What is wrong.
        text: String,
    },
    /// A value is refused by the rules of its property.
    #[error("{0}")]
    Refused(String),
    /// The store is not empty.
    #[error("the store is not empty")]
    NotEmpty,
    /// The store cannot be used.
    #[error("{0}")]
    Store(#[from] common::store::StoreError),
}

impl From<Failure> for ImportError {
    fn from(failure: Failure) -> Self {
        Self::Refused(failure.into_text().into_owned())
    }
}

//! Lists: one item a line, or a single item when the call names it (the draft's general note); and lines `key=value`.

use std::fmt::Display;

use common::call::Content;
use common::failure::{Failure, Refusal};
use common::names::Ascii;
use common::quote::quote;

/// One item of a list: its identifier and its line without the LF.
pub struct Item {
    /// What an argument may name.
    pub identifier: String,
    /// What is printed.
    pub line: String,
}

impl Item {
    /// An item that is its own line.
    pub fn plain(identifier: impl Into<String>) -> Self {
        let identifier = identifier.into();
        Self { line: identifier.clone(), identifier }
    }
}

/// Prints lines `key=value`.
pub fn pairs<K: Display>(pairs: &[(K, String)]) -> Content {
    pairs.iter().map(|(key, value)| format!("{key}={value}\n")).collect::<String>().into_bytes()
}

/// Prints all items, or the one the argument names.
///
/// # Errors
/// `PermissionDenied` for an unknown or hidden identifier, which `what` describes.
pub fn print(
    items: impl IntoIterator<Item = Item>,
    only: Option<&Ascii>,
    what: &str,
) -> Result<Content, Failure> {
    let mut content = String::new();
    for item in items {
        if only.is_none_or(|only| only.as_str() == item.identifier) {
            content.push_str(&item.line);
            content.push('\n');
        }
    }
    if only.is_some() && content.is_empty() {
        return Err(Refusal::denied(format!("Argument not in {}", quote(what))).into());
    }
    Ok(content.into_bytes())
}

//! What the `qubes.xml` of a backup says that the backup has.

use super::ImportError;
use super::tree::{self, Element};

/// A qube whose data is in a backup.
pub(crate) struct BackedUp {
    pub(crate) name: String,
    /// What the names of its files begin with.
    pub(crate) path: String,
}

/// The qubes whose data is there.
pub(crate) fn backed_up(text: &str) -> Result<Vec<BackedUp>, ImportError> {
    let store = tree::parse(text)?;
    let domains = store.nested("domains", "domain");
    let included =
        domains.filter(|domain| feature(domain, "backup-content").is_some_and(|content| !content.is_empty()));
    included
        .map(|domain| {
            let path = feature(domain, "backup-path");
            let path = path.ok_or_else(|| domain.invalid("a backed up qube without the path of its data"))?;
            let name = value(domain, "properties", "property", "name");
            // dom0's name is not written.
            Ok(BackedUp { name: name.unwrap_or("dom0").to_owned(), path: path.to_owned() })
        })
        .collect()
}

fn feature<'a>(domain: &'a Element, name: &'a str) -> Option<&'a str> {
    value(domain, "features", "feature", name)
}

fn value<'a>(domain: &'a Element, outer: &'a str, inner: &'a str, name: &'a str) -> Option<&'a str> {
    domain
        .nested(outer, inner)
        .find(|element| element.attribute("name") == Some(name))
        .map(|element| element.text.as_str())
}

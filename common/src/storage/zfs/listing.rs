//! What `zfs list` prints: one line per dataset or snapshot.

use crate::storage::number;

/// The columns asked for.
pub(super) const COLUMNS: &str =
    "name,volsize,logicalreferenced,creation,defer_destroy,origin,org.qubes:dirty";

/// One dataset or snapshot. Sizes are bytes, times seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// `<dataset>` or `<dataset>@<snapshot>`.
    pub name: String,
    /// All bytes.
    pub size: u64,
    /// Those that hold data.
    pub usage: u64,
    /// When it was made.
    pub created: u64,
    /// Goes as soon as nothing depends on it any more.
    pub is_going: bool,
    /// The snapshot it is a clone of.
    pub origin: String,
    /// Whether a domain uses it, or ended without a stop.
    pub is_dirty: bool,
}

/// What was listed: one line each, fields between tabs. None if any line is something else.
pub fn parse(listed: &str) -> Option<Vec<Row>> {
    listed.lines().map(row).collect()
}

fn row(line: &str) -> Option<Row> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [name, size, usage, created, going, origin, dirty] = fields.as_slice() else { return None };
    Some(Row {
        name: Some(*name).filter(|name| !name.is_empty())?.to_owned(),
        size: number_if_any(size)?,
        usage: number_if_any(usage)?,
        created: number(created)?,
        is_going: *going == "on",
        origin: (*origin).to_owned(),
        is_dirty: *dirty == "on",
    })
}

/// A number, or a dash where a dataset has none.
fn number_if_any(field: &str) -> Option<u64> {
    if field == "-" { Some(0) } else { number(field) }
}

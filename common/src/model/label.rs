//! Labels: a number, a name and a colour each (spec 10 §4).

use serde::{Deserialize, Serialize};

use crate::names::LabelName;

/// One label. Two labels are equal if their names are.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Label {
    /// Identity in the store, positive.
    pub index: u32,
    /// Its name.
    pub name: LabelName,
    /// Colour text, `0xRRGGBB` or, from old stores, `#rrggbb`.
    pub color: String,
}

/// All labels in collection order: by index as loaded, new ones at the end.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Labels {
    /// The labels.
    pub labels: Vec<Label>,
}

/// The eight labels of a fresh store. Indices 1 to 8 are never removed nor given out.
pub const BUILT_IN_LABELS: [(u32, &str, &str); 8] = [
    (1, "red", "0xcc0000"),
    (2, "orange", "0xf57900"),
    (3, "yellow", "0xedd400"),
    (4, "green", "0x73d216"),
    (5, "gray", "0x555555"),
    (6, "blue", "0x3465a4"),
    (7, "purple", "0x75507b"),
    (8, "black", "0x000000"),
];

impl Labels {
    /// The built-in labels alone.
    pub fn built_in() -> Self {
        let label = |&(index, name, color): &(u32, &str, &str)| {
            LabelName::parse(name).ok().map(|name| Label { index, name, color: color.to_owned() })
        };
        Self { labels: BUILT_IN_LABELS.iter().filter_map(label).collect() }
    }

    /// Looks up by exact name, else by a text that reads as a decimal index (`01` and `0_1` are 1).
    pub fn find(&self, text: &str) -> Option<&Label> {
        self.labels.iter().find(|label| label.name.as_str() == text).or_else(|| self.at(parse_index(text)?))
    }

    /// The label of an index.
    pub fn at(&self, index: u32) -> Option<&Label> {
        self.labels.iter().find(|label| label.index == index)
    }
}

/// Reads a number the way indices are read: digits, with single `_` between them.
pub fn parse_index(text: &str) -> Option<u32> {
    let single = !text.starts_with('_') && !text.ends_with('_') && !text.contains("__");
    let digits = text.replace('_', "");
    if single && !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        digits.parse().ok()
    } else {
        None
    }
}

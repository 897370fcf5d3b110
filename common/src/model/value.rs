//! A property's explicitly set value.

use serde::{Deserialize, Serialize};

/// Value of a property. In the store: `null`, a boolean, a number or a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// No qube; only properties that hold a qube's name have it.
    None,
    /// A switch.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Text, or the name of a qube, label or pool.
    Text(String),
}

impl Value {
    /// The text form of replies, events and `qubes.xml`; none is empty.
    pub fn to_text(&self) -> String {
        match self {
            Self::None => String::new(),
            Self::Bool(true) => "True".to_owned(),
            Self::Bool(false) => "False".to_owned(),
            Self::Int(number) => number.to_string(),
            Self::Text(text) => text.clone(),
        }
    }

    /// The text form inside events, where a readable none is the word `None` (spec 10 §3.3).
    pub fn to_event_text(&self) -> String {
        match self {
            Self::None => "None".to_owned(),
            other => other.to_text(),
        }
    }

    /// The text, if this is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The number, if this is one.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// Whether this is the switch `true`.
    pub fn is_true(&self) -> bool {
        *self == Self::Bool(true)
    }
}

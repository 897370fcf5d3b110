//! Events as listeners get them: a subject, a name, and keys with values (spec 10 §1.5).

use serde::{Deserialize, Serialize};

use crate::names::QubeName;

/// One event. Values are already in their text form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The qube, or nothing for an event of the system object.
    pub subject: Option<QubeName>,
    /// For example `property-set:netvm`.
    pub name: String,
    /// Keys and values in order.
    pub details: Vec<(String, String)>,
}

impl Event {
    /// An event on a qube.
    pub fn on(subject: &QubeName, name: impl Into<String>) -> Self {
        Self { subject: Some(subject.clone()), name: name.into(), details: Vec::new() }
    }

    /// An event of the system object.
    pub fn system(name: impl Into<String>) -> Self {
        Self { subject: None, name: name.into(), details: Vec::new() }
    }

    /// The same event with one more key.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.details.push((key.to_owned(), value.into()));
        self
    }

    /// The same event with one more key if there is a value.
    #[must_use]
    pub fn with_some(self, key: &str, value: Option<String>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// The value of a key.
    pub fn detail(&self, key: &str) -> Option<&str> {
        self.details.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }
}

//! The system object: global properties and what belongs to no single qube.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Value;

/// Global state.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct System {
    /// Explicitly set global properties.
    pub properties: BTreeMap<String, Value>,
    /// Numbers of removed disposables and when they were removed (seconds since the epoch); blocked for a week.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub blocked_dispids: BTreeMap<u16, u64>,
}

//! A volume as configured on its qube (spec 20 §6.1).

use serde::{Deserialize, Serialize};

use super::Pool;
use crate::names::{PoolName, VolumeName};

/// Configuration of one volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Name inside the qube.
    pub name: VolumeName,
    /// Pool it lies in.
    pub pool: PoolName,
    /// Identifier, unique in the pool; empty for a kernel volume without kernel.
    pub vid: String,
    /// Bytes; 0 where the driver knows.
    pub size: u64,
    /// Whether the domain may write.
    pub rw: bool,
    /// Whether the domain's changes are kept at stop.
    pub save_on_stop: bool,
    /// Whether each start begins from a snapshot of `source`.
    pub snap_on_start: bool,
    /// Identifier of the source volume in the same pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Old states kept; -1 disables snapshots.
    pub revisions_to_keep: i64,
    /// Encrypted with a throw-away key, if said explicitly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ephemeral: Option<bool>,
    /// How far an import is that is under way, or was killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import: Option<Import>,
}

/// How far an import into a volume is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Import {
    /// Room is being made for it, and nobody was told yet.
    Preparing,
    /// Bytes come.
    Streaming,
    /// Another program fills it. It holds no lock, so that nobody can tell whether it still does.
    Elsewhere,
    /// All bytes are there; what comes next makes them the volume's.
    Ending,
    /// Room is being filled with what another volume holds.
    Cloning,
    /// All of that is there, and this is the other volume's identifier; what comes next makes it the volume's.
    Cloned(String),
    /// It was killed, and listeners know; what it made is still there.
    Abandoned,
}

impl Import {
    /// Whether it is at work only as long as somebody holds the qube's lifecycle lock.
    pub fn is_locked(&self) -> bool {
        *self != Self::Elsewhere
    }

    /// Whether all that it brings is there.
    pub fn is_complete(&self) -> bool {
        matches!(self, Self::Ending | Self::Cloned(_))
    }

    /// Whether listeners were told of its beginning and not of its end. Of a clone they are told its end alone.
    pub fn is_announced(&self) -> bool {
        matches!(self, Self::Streaming | Self::Elsewhere | Self::Ending)
    }
}

impl Volume {
    /// What somebody configures of it, after its name.
    pub fn settings(&self) -> (&VolumeName, i64, bool, Option<bool>) {
        (&self.name, self.revisions_to_keep, self.rw, self.ephemeral)
    }

    /// Whether a domain runs on the kept image itself, so that there is no committed state beside it.
    pub fn has_snapshots_disabled(&self) -> bool {
        self.revisions_to_keep == -1 && self.save_on_stop && !self.snap_on_start
    }

    /// Whether it may be encrypted with a throw-away key: the domain writes it, and nothing of it is kept.
    pub fn can_be_ephemeral(&self) -> bool {
        self.rw && !self.snap_on_start && !self.save_on_stop
    }

    /// Whether it is encrypted with a throw-away key: as it is told, else as its pool's volatile volumes are.
    pub fn is_ephemeral(&self, pool: &Pool) -> bool {
        let of_pool = || self.can_be_ephemeral() && pool.setting("ephemeral_volatile") == Some("True");
        self.ephemeral.unwrap_or_else(of_pool)
    }
}

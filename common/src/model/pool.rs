//! Storage pools (spec 20 §2).

use serde::{Deserialize, Serialize};

use crate::names::PoolName;

/// One pool: its driver and the driver's settings in attribute order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// Its name.
    pub name: PoolName,
    /// `file`, `file-reflink`, `lvm_thin`, `linux-kernel`, `zfs` or `callback`.
    pub driver: String,
    /// Settings without `name` and `driver`, in the order of spec 10 §7.2.
    pub settings: Vec<(String, String)>,
}

impl Pool {
    /// The value of a setting.
    pub fn setting(&self, key: &str) -> Option<&str> {
        self.settings.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

/// All pools in registration order.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Pools {
    /// The pools.
    pub pools: Vec<Pool>,
}

impl Pools {
    /// The pool of that name.
    pub fn find(&self, name: &str) -> Option<&Pool> {
        self.pools.iter().find(|pool| pool.name.as_str() == name)
    }
}

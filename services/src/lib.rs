//! The calls of the Admin API, one module per family.

use common::call::Family;

/// Every family: one executable each.
pub const FAMILIES: &[&Family] = &[];

//! `admin.Events` and `admin.vm.Stats`: streams of events (spec 30 §12, §15).

mod filter;
mod follow;
mod stats;

use common::call::{Family, entry};

/// The family.
pub const FAMILY: Family =
    Family { name: "admin-events", calls: &[entry::<follow::Events>(), entry::<stats::Stats>()] };

//! `admin.backup.*`: backups of qubes as files in `/etc/qubes/backup` describe them (spec 40 §11 to §14).

mod chosen;
mod content;
mod dom0;
mod info;
mod profile;
mod program;
mod selection;
mod summary;
mod yaml;

use common::call::{Family, entry};

pub use dom0::home;
pub use program::program;

/// The family.
pub const FAMILY: Family = Family { name: "admin-backup", calls: &[entry::<info::Info>()] };

//! `admin.backup.*`: backups of qubes as files in `/etc/qubes/backup` describe them (spec 40 §11 to §14).

mod cancel;
mod chosen;
mod content;
mod dom0;
mod execute;
mod exported;
mod info;
mod job;
mod marked;
mod packer;
mod passphrase;
mod place;
mod profile;
mod program;
mod progress;
mod run;
mod selection;
mod stamped;
mod summary;
mod target;
mod yaml;

use common::call::{Family, entry};

pub use dom0::home;
pub use program::program;

/// The family.
pub const FAMILY: Family = Family {
    name: "admin-backup",
    calls: &[entry::<info::Info>(), entry::<execute::Execute>(), entry::<cancel::Cancel>()],
};

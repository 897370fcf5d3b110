//! `admin.vm.volume.*`: the volumes of a qube (spec 20 §4, §5).

mod by_pool;
mod clone;
mod import;
mod info;
mod pool_import;
mod revisions;
mod set;
mod size;
mod target;

use common::call::{Family, Received, Values, entry};
use common::failure::{Failure, Refusal};
use common::names::Ascii;
use common::untrusted::Sanitise;

pub use by_pool::FAMILY as BY_POOL;
pub use clone::end_clone;
pub use target::{is_outdated, with_volumes_named};

use crate::input;

/// The family.
pub const FAMILY: Family = Family {
    name: "admin-vm-volume",
    calls: &[
        entry::<info::List>(),
        entry::<info::About<info::Info>>(),
        entry::<info::About<info::ListSnapshots>>(),
        entry::<revisions::Snapshot>(),
        entry::<revisions::Revert>(),
        entry::<size::Resize>(),
        entry::<import::Clear>(),
        entry::<import::Upload<import::OwnSize>>(),
        entry::<import::Upload<import::FirstLine>>(),
        entry::<import::ImportBegin>(),
        entry::<import::ImportEnd>(),
        entry::<clone::CloneFrom>(),
        entry::<clone::CloneTo>(),
        entry::<set::Set<set::RevisionsToKeep>>(),
        entry::<set::Set<set::Rw>>(),
        entry::<set::Set<set::Ephemeral>>(),
    ],
};

/// The volume a call asks for, and its payload or what is wrong with that: told only of a volume that exists.
struct Asked<T> {
    volume: Ascii,
    payload: Result<T, Failure>,
}

impl<T: Sanitise> Asked<T> {
    fn of(received: &Received) -> Result<Self, Refusal> {
        let payload = received.payload.sanitise().map_err(Failure::from);
        Ok(Self { volume: input::argument(received)?, payload })
    }
}

impl<T> Asked<T> {
    fn payload(&self) -> Result<&T, Failure> {
        self.payload.as_ref().map_err(Clone::clone)
    }

    /// What permission rules see: the volume, and one value of the payload.
    fn facts(&self, name: &'static str, text: impl FnOnce(&T) -> String) -> Values {
        let text = self.payload.as_ref().map(text).unwrap_or_default();
        Values::argument(self.volume.as_str()).with(name, text)
    }
}

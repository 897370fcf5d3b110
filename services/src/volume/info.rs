//! `admin.vm.volume.List`, `.Info` and `.ListSnapshots` (spec 20 §4.1 to §4.3). The store is not locked meanwhile: a driver
//! may have to run a program.

use std::marker::PhantomData;
use std::path::Path;

use common::call::{Call, Content, Granted, Presence, Received, Row, Values, World};
use common::failure::{Failure, Refusal};
use common::model::{Pools, Volume};
use common::names::Ascii;
use common::root::Root;
use common::storage::{self, PoolDriver, options};

use super::target::{self, Target};
use crate::input;
use crate::listing::{self, Item};

pub(super) struct List;

impl Call for List {
    const ROW: Row = Row::read_one("admin.vm.volume.List", "Names of the qube's volumes, one per line.")
        .argument(Presence::Optional);
    type Input = Option<Ascii>;

    fn sanitise(received: &Received) -> Result<Self::Input, Refusal> {
        input::optional_argument(received)
    }

    fn facts(input: &Self::Input) -> Values {
        Values::argument(input.as_ref().map(Ascii::as_str).unwrap_or_default())
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let qube = target::qube(world.view(), granted.destination())?;
        let items = qube.volumes.iter().map(|volume| Item::plain(volume.name.as_str()));
        listing::print(items, granted.input().as_ref(), &format!("{} volumes", qube.name))
    }
}

/// The call that tells something about a volume.
pub(super) struct About<T>(PhantomData<T>);

/// Something to tell about a volume, whether a qube has it or not.
pub(super) trait Told {
    /// The call.
    const ROW: Row;

    /// Tells it.
    fn tell(root: &Root, pools: &Pools, driver: &dyn PoolDriver, volume: &Volume)
    -> Result<Content, Failure>;
}

impl<T: Told> Call for About<T> {
    const ROW: Row = T::ROW;
    type Input = Ascii;

    fn sanitise(received: &Received) -> Result<Ascii, Refusal> {
        input::argument(received)
    }

    fn facts(volume: &Ascii) -> Values {
        Values::argument(volume.as_str())
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let target = Target::seen(&granted, world, granted.input())?;
        T::tell(world.root(), &target.pools, &*target.driver, &target.volume)
    }
}

pub(super) struct Info;

impl Told for Info {
    const ROW: Row = Row::read_one(
        "admin.vm.volume.Info",
        "Properties of a volume, `key=value` per line; `size` and `usage` in bytes.",
    )
    .argument(Presence::Required);

    fn tell(
        root: &Root,
        pools: &Pools,
        driver: &dyn PoolDriver,
        volume: &Volume,
    ) -> Result<Content, Failure> {
        let path = driver.path(volume).map(|path| root.without(&path));
        let mut lines = vec![
            ("pool", volume.pool.to_string()),
            ("vid", volume.vid.clone()),
            ("size", driver.size(volume)?.to_string()),
            ("usage", driver.usage(volume)?.to_string()),
            ("rw", options::text_of(volume.rw)),
            ("source", volume.source.clone().unwrap_or_default()),
            ("path", path.as_deref().map(Path::display).map(|path| path.to_string()).unwrap_or_default()),
            ("save_on_stop", options::text_of(volume.save_on_stop)),
            ("snap_on_start", options::text_of(volume.snap_on_start)),
            ("revisions_to_keep", driver.revisions_to_keep(volume).to_string()),
            ("ephemeral", options::text_of(storage::is_ephemeral(root, pools, volume))),
        ];
        lines.extend(driver.is_outdated(volume)?.map(|outdated| ("is_outdated", options::text_of(outdated))));
        Ok(listing::pairs(&lines))
    }
}

pub(super) struct ListSnapshots;

impl Told for ListSnapshots {
    const ROW: Row = Row::read_one(
        "admin.vm.volume.ListSnapshots",
        "Old states of a volume by age, one identifier per line.",
    )
    .argument(Presence::Required);

    fn tell(_: &Root, _: &Pools, driver: &dyn PoolDriver, volume: &Volume) -> Result<Content, Failure> {
        let mut revisions = driver.revisions(volume)?;
        revisions.sort_by(|one, other| one.time.cmp(&other.time));
        listing::print(revisions.into_iter().map(|revision| Item::plain(revision.id)), None, "")
    }
}

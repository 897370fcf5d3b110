//! `admin.pool.volume.*`: the calls on volumes, which are told by pool and identifier (spec 20 §3).
//!
//! Each is the call of `admin.vm.volume.*` made for the qube that the volume belongs to, with all that this call asks
//! for. Of a volume that belongs to none, which may be dom0's own, things are told, and it can be filled while nobody uses it.

use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::rc::Rc;

use common::call::{
    Call, Content, Destination, Entry, Family, Granted, Parties, Presence, Received, Reply, Row, Values,
    World, entry,
};
use common::failure::{Exception, Failure, Refusal};
use common::model::{Pool, Pools, Qube, Value, Volume};
use common::names::{Ascii, QubeName, VolumeId, VolumeName};
use common::quote::quote;
use common::root::Root;
use common::storage::{self, PoolDriver};
use common::store::View;
use common::untrusted::Untrusted;

use super::info::Told;
use super::target::as_named;
use super::{clone, info, pool_import, revisions, set, size};
use crate::input;
use crate::listing::{self, Item};
use crate::pool;
use crate::property::Context;

/// The family.
pub const FAMILY: Family = Family {
    name: "admin-pool-volume",
    calls: &[
        entry::<List>(),
        entry::<ByPool<info::About<info::Info>>>(),
        entry::<ByPool<info::About<info::ListSnapshots>>>(),
        entry::<ByPool<revisions::Snapshot>>(),
        entry::<ByPool<revisions::Revert>>(),
        entry::<ByPool<size::Resize>>(),
        entry::<pool_import::Import>(),
        entry::<ByPool<clone::CloneFrom>>(),
        entry::<ByPool<clone::CloneTo>>(),
        entry::<ByPool<set::Set<set::RevisionsToKeep>>>(),
        entry::<ByPool<set::Set<set::Rw>>>(),
        entry::<ByPool<set::Set<set::Ephemeral>>>(),
    ],
};

/// A call on a volume of a qube that is also made by pool and identifier.
trait OfVolume: Call {
    /// That call's name.
    const NAME: &'static str;
    /// What it tells of a volume that no qube has, if anything.
    const TELL: Option<Tell> = None;
}

/// As [`info::Told::tell`].
type Tell = fn(&Root, &Pools, &dyn PoolDriver, &Volume) -> Result<Content, Failure>;

impl OfVolume for info::About<info::Info> {
    const NAME: &'static str = "admin.pool.volume.Info";
    const TELL: Option<Tell> = Some(info::Info::tell);
}

impl OfVolume for info::About<info::ListSnapshots> {
    const NAME: &'static str = "admin.pool.volume.ListSnapshots";
    const TELL: Option<Tell> = Some(info::ListSnapshots::tell);
}

/// Gives calls on volumes their other name.
macro_rules! by_pool {
    ($($call:ty => $name:literal),+ $(,)?) => {
        $(impl OfVolume for $call { const NAME: &'static str = $name; })+
    };
}

by_pool!(
    revisions::Snapshot => "admin.pool.volume.Snapshot",
    revisions::Revert => "admin.pool.volume.Revert",
    size::Resize => "admin.pool.volume.Resize",
    clone::CloneFrom => "admin.pool.volume.CloneFrom",
    clone::CloneTo => "admin.pool.volume.CloneTo",
    set::Set<set::RevisionsToKeep> => "admin.pool.volume.Set.revisions_to_keep",
    set::Set<set::Rw> => "admin.pool.volume.Set.rw",
    set::Set<set::Ephemeral> => "admin.pool.volume.Set.ephemeral",
);

/// The call `C` on the volume that a pool's name and an identifier tell.
struct ByPool<C>(PhantomData<C>);

/// A volume by pool and identifier.
struct Request {
    pool: Ascii,
    vid: VolumeId,
    /// The payload as it came; what follows the identifier is the other call's, which sanitises it.
    payload: Untrusted,
    /// What permission rules see.
    values: Values,
}

impl<C: OfVolume> Call for ByPool<C> {
    const ROW: Row = Row {
        name: C::NAME,
        help: C::ROW.help,
        access: C::ROW.access,
        ..Row::read("", "")
            .global()
            .on(Destination::Dom0)
            .argument(Presence::Required)
            .payload(Presence::Required)
    };
    type Input = Request;

    fn sanitise(received: &Received) -> Result<Request, Refusal> {
        sanitise(received, const { &C::ROW }, |other| Ok(C::facts(&C::sanitise(other)?)))
    }

    fn facts(request: &Request) -> Values {
        request.values.clone()
    }

    /// Makes the other call for the volume's qube, its permission included.
    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Reply, Failure> {
        act(granted.input(), granted.parties(), world, const { &entry::<C>() }, C::TELL)
    }
}

/// One function for all calls, of which the other sanitises the rest.
fn sanitise(
    received: &Received,
    other: &'static Row,
    facts: fn(&Received) -> Result<Values, Refusal>,
) -> Result<Request, Refusal> {
    let (vid, rest) = cut(other, &received.payload)?;
    let pool: Ascii = input::argument(received)?;
    let vid: VolumeId = vid.sanitise()?;
    let parties = received.parties.clone();
    let argument = Untrusted::new(Vec::new());
    let values = facts(&Received { row: other, parties, argument, payload: rest, is_streamed: false })?;
    let values = Values { argument: pool.as_str().to_owned(), ..values.with("vid", vid.as_str()) };
    Ok(Request { pool, vid, payload: Untrusted::copy_of(&received.payload), values })
}

/// One function for all calls, too: makes the other call, or tells of a volume that no qube has.
fn act(
    request: &Request,
    parties: &Parties,
    world: &mut World<'_>,
    other: &'static Entry,
    told: Option<Tell>,
) -> Result<Reply, Failure> {
    let pools = world.view().pools()?;
    let pool = pool::find(&pools, &request.pool)?;
    let Some((qube, volume)) = owner(world, pool, request.vid.as_str())? else {
        return tell(world.root(), &pools, pool, request.vid.as_str(), told).map(Into::into);
    };
    let (_, payload) = cut(&other.row, &request.payload)?;
    let argument = Untrusted::new(volume.name.as_str().as_bytes().to_vec());
    let received =
        Received { row: &other.row, parties: parties.on(&qube), argument, payload, is_streamed: false };
    (other.run)(&received, world)
}

/// Identifier and payload of the other call: all of ours is the identifier where that call takes none.
fn cut(other: &Row, payload: &Untrusted) -> Result<(Untrusted, Untrusted), Refusal> {
    if other.payload == Presence::No {
        return Ok((Untrusted::copy_of(payload), Untrusted::new(Vec::new())));
    }
    match payload.cut_at_space() {
        (vid, Some(rest)) if !rest.is_empty() => Ok((vid, rest)),
        _ => Err(Refusal::protocol("expected payload")),
    }
}

/// The volumes that qubes have in a pool, each after those of its qube's template.
fn volumes_in(
    view: &View<'_>,
    context: &Context<'_>,
    pool: &Pool,
) -> Result<Vec<(Rc<Qube>, Volume)>, Failure> {
    let pools = view.pools()?;
    let mut volumes = Vec::new();
    for qube in in_order_of_templates(view)? {
        for volume in qube.volumes.iter().filter(|volume| volume.pool == pool.name) {
            let volume = as_named(view, context, &pools, &qube, volume.clone())?;
            volumes.push((Rc::clone(&qube), volume));
        }
    }
    Ok(volumes)
}

/// All qubes in the order of lists, but templates before what is based on them.
fn in_order_of_templates(view: &View<'_>) -> Result<Vec<Rc<Qube>>, Failure> {
    let (mut seen, mut ordered) = (BTreeSet::new(), Vec::new());
    for name in view.names()? {
        let mut chain = Vec::new();
        let mut next = Some(name);
        while let Some(name) = next.take().filter(|name| seen.insert(name.clone())) {
            let Some(qube) = view.qube(&name)? else { break };
            let template = qube.properties.get("template").and_then(Value::as_text);
            next = template.and_then(|template| QubeName::parse(template).ok());
            chain.push(qube);
        }
        ordered.extend(chain.into_iter().rev());
    }
    Ok(ordered)
}

/// The qube that has a volume, and the volume.
pub(super) fn owner(
    world: &World<'_>,
    pool: &Pool,
    vid: &str,
) -> Result<Option<(Rc<Qube>, Volume)>, Failure> {
    let volumes = volumes_in(&world.store().read()?, &Context::of(world), pool)?;
    Ok(volumes.into_iter().find(|(_, volume)| volume.vid == vid))
}

/// Tells of a volume that no qube has, if there is one.
fn tell(root: &Root, pools: &Pools, pool: &Pool, vid: &str, told: Option<Tell>) -> Result<Content, Failure> {
    let driver = storage::driver(root, pool)?;
    if !driver.volumes()?.is_some_and(|listed| listed.iter().any(|listed| listed == vid)) {
        return Err(unknown(pool));
    }
    let refused = || {
        let text = format!("Volume {vid} belongs to no qube");
        Failure::new(Exception::StoragePoolException, text)
    };
    told.ok_or_else(refused)?(root, pools, &*driver, &unowned(pool, &*driver, vid)?)
}

/// `Argument not in '<pool> volumes'`.
pub(super) fn unknown(pool: &Pool) -> Failure {
    Refusal::denied(format!("Argument not in {}", quote(&format!("{} volumes", pool.name)))).into()
}

/// A volume that is told by its identifier alone: kept and written to if its pool holds such at all.
pub(super) fn unowned(pool: &Pool, driver: &dyn PoolDriver, vid: &str) -> Result<Volume, Failure> {
    let mut volume = Volume {
        name: VolumeName::parse("unowned")?,
        pool: pool.name.clone(),
        vid: vid.to_owned(),
        size: 0,
        rw: true,
        save_on_stop: true,
        snap_on_start: false,
        source: None,
        revisions_to_keep: 0,
        ephemeral: None,
        import: None,
    };
    let is_kept = driver.can_hold(&volume).is_ok();
    (volume.rw, volume.save_on_stop) = (is_kept, is_kept);
    Ok(volume)
}

struct List;

impl Call for List {
    const ROW: Row =
        Row::read_one("admin.pool.volume.List", "Identifiers of a pool's volumes, one per line.")
            .global()
            .on(Destination::Dom0)
            .argument(Presence::Required);
    type Input = Ascii;

    fn sanitise(received: &Received) -> Result<Ascii, Refusal> {
        input::argument(received)
    }

    fn facts(pool: &Ascii) -> Values {
        Values::argument(pool.as_str())
    }

    /// The store is not locked while the driver looks.
    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let pools = world.view().pools()?;
        let pool = pool::find(&pools, granted.input())?;
        let vids = match storage::driver(world.root(), pool)?.volumes()? {
            Some(vids) => vids,
            None => {
                let volumes = volumes_in(&world.store().read()?, &Context::of(world), pool)?;
                volumes.into_iter().map(|(_, volume)| volume.vid).collect()
            }
        };
        listing::print(vids.into_iter().map(Item::plain), None, "")
    }
}

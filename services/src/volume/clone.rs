//! `admin.vm.volume.CloneFrom` and `.CloneTo` (spec 20 §4.8).

use std::cell::Cell;
use std::rc::Rc;

use common::call::{Call, Content, Granted, Presence, Received, Row, Values, World};
use common::failure::{Exception, Failure, Refusal};
use common::log;
use common::model::{Class, Import, Qube, Volume};
use common::names::{Ascii, CloneToken, QubeName, TOKEN_NOT_FOUND};
use common::storage::{self, CloneSource, StorageError, import};
use common::store::{LifecycleGuard, Txn};

use super::Asked;
use super::import::{log_unforgotten, mark};
use super::target::Target;
use crate::property::Context;
use crate::{feature, input, lifecycle};

pub(super) struct CloneFrom;

impl Call for CloneFrom {
    const ROW: Row =
        Row::write("admin.vm.volume.CloneFrom", "Answers a token that CloneTo takes once, for this volume.")
            .argument(Presence::Required);
    type Input = Ascii;

    fn sanitise(received: &Received) -> Result<Ascii, Refusal> {
        input::argument(received)
    }

    fn facts(volume: &Ascii) -> Values {
        Values::argument(volume.as_str())
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let target = Target::seen(&granted, world, granted.input())?;
        let source = CloneSource {
            qube: target.qube.name.clone(),
            volume: target.volume.name,
            pool: target.volume.pool,
            vid: target.volume.vid,
        };
        world.foretell(&granted, format_args!("CloneTo can take volume {} once", source.vid))?;
        Ok(storage::issue_token(world.store(), &source)?.as_str().into())
    }
}

pub(super) struct CloneTo;

impl Call for CloneTo {
    const ROW: Row = Row::write(
        "admin.vm.volume.CloneTo",
        "Fills a volume with what the one holds that the token stands for.",
    )
    .argument(Presence::Required)
    .payload(Presence::Required);
    type Input = Asked<CloneToken>;

    fn sanitise(received: &Received) -> Result<Self::Input, Refusal> {
        Asked::of(received)
    }

    /// The token is no value for rules: it is good for whoever has it.
    fn facts(input: &Self::Input) -> Values {
        Values::argument(input.volume.as_str())
    }

    /// The copy is made outside the store's lock, under the lifecycle locks of both qubes.
    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let asked = granted.input();
        Target::seen(&granted, world, &asked.volume)?;
        let source = redeem(world, asked.payload()?)?;
        let _lifecycles = world.in_earnest(|| lock_both(world, granted.destination(), &source.qube))?;
        let (target, from) = {
            let view = world.store().read()?;
            let target = Target::find(&view, &Context::of(world), granted.destination(), &asked.volume)?;
            let from = find_source(&target, view.qube(&source.qube)?, &source)?;
            (target, from)
        };
        let size = || storage::driver_of(world.root(), &target.pools, &from)?.size(&from);
        target.check_growth(&granted, size)?;
        foresee(&granted, world, &target, &from)?;
        fill(&granted, world, &target, &from)?;
        Ok(Content::new())
    }
}

/// Tells what a clone would do.
fn foresee(
    granted: &Granted<CloneTo>,
    world: &mut World<'_>,
    target: &Target,
    from: &Volume,
) -> Result<(), Failure> {
    let (qube, volume, size) = (&target.qube, &target.volume, Cell::new(0));
    let look = |world: &World<'_>| {
        if volume.save_on_stop {
            target.driver.check_import(volume)?;
        }
        size.set(storage::driver_of(world.root(), &target.pools, from)?.size(from)?);
        Ok(format!("volume {} gets what volume {} holds", volume.vid, from.vid))
    };
    world.foresee(granted, look, |txn| end_clone(txn, qube, volume, &from.vid, size.get()))
}

/// Makes what another volume holds a volume's content. Marks of a kept one tell whoever comes after a kill how to go on;
/// they go in the change that tells listeners.
fn fill(
    granted: &Granted<CloneTo>,
    world: &mut World<'_>,
    target: &Target,
    from: &Volume,
) -> Result<(), Failure> {
    let (qube, volume) = (&target.qube, &target.volume);
    if volume.save_on_stop {
        world.change(granted, |txn| Ok(import::begin(txn, &qube.name, volume, Import::Cloning)?))?;
    }
    let replaced = replace(granted, world, target, from);
    if replaced.is_err() && volume.save_on_stop {
        forget(granted, world, target);
    }
    let ended = replaced?;
    let size = target.driver.size(volume).map_err(Failure::from);
    let recorded =
        size.and_then(|size| world.change(granted, |txn| end_clone(txn, qube, volume, &from.vid, size)));
    if let Err(failure) = recorded {
        // The volume holds its new content, which is what was asked for; the mark lets the rest be done.
        log::line(&format!("a clone into {} is not recorded: {}", volume.vid, failure.into_text()));
    }
    Ok(ended?)
}

/// Replaces the content. The outer error tells that there is the old one, the inner one what failed when the new one was
/// there.
fn replace(
    granted: &Granted<CloneTo>,
    world: &mut World<'_>,
    target: &Target,
    from: &Volume,
) -> Result<Result<(), StorageError>, Failure> {
    let (driver, volume) = (&target.driver, &target.volume);
    if !storage::begin_clone(world.root(), &target.pools, volume, from)? {
        return Ok(Ok(()));
    }
    mark(granted, world, target, Import::Cloned(from.vid.clone()))?;
    let ended = driver.clone_end(volume, &from.vid);
    match ended {
        Err(error) if driver.has_import(volume).unwrap_or(true) => Err(error.into()),
        Err(_) => Ok(driver.tidy(volume).and(ended)),
        Ok(()) => Ok(ended),
    }
}

/// Forgets a clone that came to nothing. Its room goes after the mark: with that mark and no room it counts as complete.
fn forget(granted: &Granted<CloneTo>, world: &mut World<'_>, target: &Target) {
    if mark(granted, world, target, Import::Cloning).is_err() {
        return;
    }
    let (qube, volume) = (&target.qube.name, &target.volume);
    let is_forgotten = log_unforgotten(target, target.driver.clone_abort(volume));
    // Where this fails too, whoever takes the lifecycle lock next finds the mark.
    let _ = world.change(granted, |txn| Ok(import::cancel(txn, qube, volume, is_forgotten)?));
}

/// What the token stands for; it is used up from here on, whatever happens.
fn redeem(world: &World<'_>, token: &CloneToken) -> Result<CloneSource, Failure> {
    let unknown = || Failure::new(Exception::QubesVolumeCopyTokenNotFoundError, TOKEN_NOT_FOUND);
    let redeemed = world.in_earnest(|| storage::redeem_token(world.store(), token))?;
    let known = redeemed.map_or_else(|| storage::look_up_token(world.store(), token), Ok)?;
    known.ok_or_else(unknown)
}

/// The lifecycle locks of one or two qubes, always in the same order.
fn lock_both(world: &World<'_>, one: &QubeName, other: &QubeName) -> Result<Vec<LifecycleGuard>, Failure> {
    let mut names = vec![one, other];
    names.sort();
    names.dedup();
    names.into_iter().map(|name| lifecycle::lock(world.store(), world.root(), name)).collect()
}

/// The volume as it is now, if it is still the one the token was made for.
fn find_source(target: &Target, qube: Option<Rc<Qube>>, source: &CloneSource) -> Result<Volume, Failure> {
    let gone = |text: &'static str| Failure::new(Exception::QubesException, text);
    if target.pools.find(source.pool.as_str()).is_none() {
        return Err(gone("Pool does not exist."));
    }
    let found = qube.as_deref().and_then(|qube| qube.volume(&source.volume)).cloned();
    // What a kernel volume is called follows from its qube, not from what is stored.
    let named = found.map(|found| Volume { vid: source.vid.clone(), ..found });
    named.filter(|found| found.pool == source.pool).ok_or_else(|| gone("Volume does not exist."))
}

/// Ends a clone in the store: the volume's new size, the event, and what follows from another root volume.
///
/// # Errors
/// What the store says.
pub fn end_clone(
    txn: &mut Txn<'_>,
    qube: &Qube,
    volume: &Volume,
    source: &str,
    size: u64,
) -> Result<(), Failure> {
    import::end_clone(txn, &qube.name, volume, source, size)?;
    if qube.class == Class::StandaloneVM && volume.name.as_str() == "root" {
        follow_boot_mode(txn, qube)?;
    }
    Ok(())
}

/// The boot mode that a root volume made for standalone qubes asks for (spec 20 §6.5).
fn follow_boot_mode(txn: &mut Txn<'_>, qube: &Qube) -> Result<(), Failure> {
    let Some(mode) = qube.feature("boot-mode.standalone-default") else { return Ok(()) };
    if mode == "default" || qube.feature(&format!("boot-mode.kernelopts.{mode}")).is_some() {
        feature::store(txn, &qube.name, "boot-mode.active", mode)?;
    }
    Ok(())
}

//! `admin.vm.volume.CloneFrom` and `.CloneTo` (spec 20 §4.8).

use std::rc::Rc;

use common::call::{Call, Content, Granted, Presence, Received, Row, Values, World};
use common::event::Event;
use common::failure::{Exception, Failure, Refusal};
use common::log;
use common::model::{Class, Qube, Volume};
use common::names::{Ascii, CloneToken, QubeName, TOKEN_NOT_FOUND};
use common::storage::{self, CloneSource};
use common::store::{LifecycleGuard, Store, Txn};

use super::Asked;
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
        let source = redeem(world.store(), asked.payload()?)?;
        let _lifecycles = lock_both(world, granted.destination(), &source.qube)?;
        let context = Context::of(world);
        let (target, from) = {
            let view = world.store().read()?;
            let target = Target::find(&view, &context, granted.destination(), &asked.volume)?;
            let from = find_source(&target, view.qube(&source.qube)?, &source)?;
            (target, from)
        };
        storage::import_volume(context.root, &target.pools, &target.volume, &from)?;
        let size = target.driver.size(&target.volume);
        let recorded = world.change(&granted, |txn| record(txn, &target, &from, size?));
        if let Err(failure) = recorded {
            // The volume holds its new content: that is what was asked for, and what its size is read from.
            log::line(&format!(
                "a clone into {} is not recorded: {}",
                target.volume.vid,
                failure.into_text()
            ));
        }
        Ok(Content::new())
    }
}

/// What the token stands for; it is used up from here on, whatever happens.
fn redeem(store: &Store, token: &CloneToken) -> Result<CloneSource, Failure> {
    let unknown = || Failure::new(Exception::QubesVolumeCopyTokenNotFoundError, TOKEN_NOT_FOUND);
    storage::redeem_token(store, token)?.ok_or_else(unknown)
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

/// The volume's new size, the event, and what follows from another root volume.
fn record(txn: &mut Txn<'_>, target: &Target, from: &Volume, size: u64) -> Result<(), Failure> {
    target.edit(txn, |volume| volume.size = size)?;
    let (qube, name) = (&target.qube.name, target.volume.name.as_str());
    txn.event(Event::on(qube, "domain-import-volume").with("name", name).with("source", from.vid.as_str()));
    if target.qube.class == Class::StandaloneVM && name == "root" {
        follow_boot_mode(txn, &target.qube)?;
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

//! `admin.vm.volume.Set.*`: what is configured of a volume (spec 20 §4.9 to §4.12).

use std::marker::PhantomData;

use common::call::{Call, Content, Granted, Presence, Received, Row, Values, World};
use common::failure::{Exception, Failure, Refusal};
use common::model::{Class, Value, Volume};
use common::names::{self, QubeName, Switch};
use common::storage;
use common::store::Txn;
use common::untrusted::Sanitise;

use super::Asked;
use super::target::{Target, check_halted};
use crate::lifecycle;
use crate::property::Context;

/// The call that sets what `T` stands for.
pub(super) struct Set<T>(PhantomData<T>);

/// One setting of every volume.
pub(super) trait Setting {
    /// What its value is.
    type Value: Sanitise;
    /// The call.
    const ROW: Row;

    /// The value as permission rules see it.
    fn text(value: &Self::Value) -> String;

    /// Refuses what may not be set now.
    fn check(
        value: &Self::Value,
        target: &Target,
        txn: &Txn<'_>,
        context: &Context<'_>,
    ) -> Result<(), Failure>;

    /// Sets it.
    fn put(value: &Self::Value, volume: &mut Volume);
}

const fn row(name: &'static str, help: &'static str) -> Row {
    Row::write(name, help).argument(Presence::Required).payload(Presence::Required)
}

impl<T: Setting> Call for Set<T> {
    const ROW: Row = T::ROW;
    type Input = Asked<T::Value>;

    fn sanitise(received: &Received) -> Result<Self::Input, Refusal> {
        Asked::of(received)
    }

    fn facts(input: &Self::Input) -> Values {
        input.facts("newvalue", T::text)
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let context = Context::of(world);
        let lock = || lifecycle::lock(world.store(), world.root(), granted.destination());
        let _lifecycle = world.in_earnest(lock)?;
        world.change(&granted, |txn| {
            let target = Target::find(txn, &context, granted.destination(), &granted.input().volume)?;
            let value = granted.input().payload()?;
            T::check(value, &target, txn, &context)?;
            target.edit(txn, |volume| T::put(value, volume))
        })?;
        Ok(Content::new())
    }
}

fn invalid(text: &'static str) -> Failure {
    Failure::new(Exception::QubesValueError, text)
}

/// How many old states are kept.
pub(super) struct RevisionsToKeep;

impl Setting for RevisionsToKeep {
    type Value = names::RevisionsToKeep;
    const ROW: Row = row(
        "admin.vm.volume.Set.revisions_to_keep",
        "Sets how many old states of a volume are kept; -1 also makes domains run on the volume itself.",
    );

    fn text(value: &Self::Value) -> String {
        value.0.to_string()
    }

    /// A domain runs on a snapshot of the volume or on the volume itself: that does not change under it.
    fn check(
        value: &Self::Value,
        target: &Target,
        txn: &Txn<'_>,
        context: &Context<'_>,
    ) -> Result<(), Failure> {
        if value.0 < -1 {
            return Err(invalid("Invalid value for revisions_to_keep"));
        }
        if (value.0 == -1) != (target.volume.revisions_to_keep == -1) {
            check_halted(context, &target.qube)?;
            check_disposables_halted(txn, context, &target.qube.name)?;
        }
        Ok(target.driver.check_setting(storage::Setting::RevisionsToKeep(value.0))?)
    }

    fn put(value: &Self::Value, volume: &mut Volume) {
        volume.revisions_to_keep = value.0;
    }
}

/// `Domain is not powered off: …` for a disposable that runs on a qube's volumes.
fn check_disposables_halted(
    txn: &Txn<'_>,
    context: &Context<'_>,
    template: &QubeName,
) -> Result<(), Failure> {
    for name in txn.names()? {
        let Some(qube) = txn.qube(&name)? else { continue };
        let based_on = qube.properties.get("template").and_then(Value::as_text);
        if qube.class == Class::DispVM && based_on == Some(template.as_str()) {
            check_halted(context, &qube)?;
        }
    }
    Ok(())
}

/// Whether the domain may write.
pub(super) struct Rw;

impl Setting for Rw {
    type Value = Switch;
    const ROW: Row = row("admin.vm.volume.Set.rw", "Sets whether the qube may write to a volume.");

    fn text(value: &Switch) -> String {
        storage::options::text_of(value.0)
    }

    fn check(value: &Switch, target: &Target, _: &Txn<'_>, context: &Context<'_>) -> Result<(), Failure> {
        target.check_halted(context)?;
        Ok(target.driver.check_setting(storage::Setting::Rw(value.0))?)
    }

    fn put(value: &Switch, volume: &mut Volume) {
        volume.rw = value.0;
    }
}

/// Whether it is encrypted with a throw-away key.
pub(super) struct Ephemeral;

impl Setting for Ephemeral {
    type Value = Switch;
    const ROW: Row = row(
        "admin.vm.volume.Set.ephemeral",
        "Sets whether a volume that is thrown away at stop is encrypted from the next start on.",
    );

    fn text(value: &Switch) -> String {
        storage::options::text_of(value.0)
    }

    fn check(value: &Switch, target: &Target, _: &Txn<'_>, _: &Context<'_>) -> Result<(), Failure> {
        target.driver.check_setting(storage::Setting::Ephemeral(value.0))?;
        if value.0 && !target.volume.can_be_ephemeral() {
            return Err(invalid(
                "Cannot enable ephemeral on snap_on_start or save_on_stop or non-dom0 or not writable volume",
            ));
        }
        Ok(())
    }

    fn put(value: &Switch, volume: &mut Volume) {
        volume.ephemeral = Some(value.0);
    }
}

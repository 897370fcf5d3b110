//! `qubes.NotifyUpdates`: whether there are updates for the caller, or for what it is based on (spec 30 §17.4).

use std::rc::Rc;

use common::call::{
    Call, Content, Destination, Granted, Presence, Received, Row, Values, World, no_such_domain,
};
use common::clock;
use common::failure::{Failure, Refusal};
use common::hypervisor::is_halted;
use common::model::Qube;
use common::names::{QubeName, UpdateCount};
use common::store::Txn;

use crate::property::{Case, Context};
use crate::{feature, volume};

const AVAILABLE: &str = "updates-available";
const LAST_CHECK: &str = "last-updates-check";
const LAST_UPDATE: &str = "last-update";

pub(super) struct NotifyUpdates;

impl Call for NotifyUpdates {
    const ROW: Row = Row::write("qubes.NotifyUpdates", "How many updates the caller has found.")
        .from_guests()
        .on(Destination::Dom0)
        .payload(Presence::Required);
    type Input = UpdateCount;

    fn sanitise(received: &Received) -> Result<UpdateCount, Refusal> {
        Ok(received.payload.sanitise()?)
    }

    fn facts(count: &UpdateCount) -> Values {
        Values::default().with("available", if count.is_any { "True" } else { "False" })
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let is_any = granted.input().is_any;
        if let Some(name) = concerned(world, granted.caller(), is_any)? {
            world.change(&granted, |txn| note(txn, &name, is_any))?;
        }
        Ok(Content::new())
    }
}

/// Who has the updates that a qube found: itself if it is updated on its own. A template has not if it runs, as it is
/// perhaps being updated; nor if the qube has an older state of it, or found none with what it has installed itself.
fn concerned(world: &World<'_>, caller: &QubeName, is_any: bool) -> Result<Option<QubeName>, Failure> {
    let context = Context::of(world);
    let qube = world.view().qube(caller)?.ok_or_else(|| no_such_domain(caller.as_str()))?;
    let case = Case { view: world.view(), context, qube: Some(&qube) };
    if case.is_on("updateable")? {
        return Ok(Some(caller.clone()));
    }
    let Some(template) = updateable_template(&case)? else { return Ok(None) };
    let counts = is_any && is_halted(context.hypervisor, &template) && !has_outdated_volumes(world, &qube)?;
    Ok(counts.then(|| template.name.clone()))
}

fn updateable_template(case: &Case<'_>) -> Result<Option<Rc<Qube>>, Failure> {
    match case.template()? {
        Some(template) if !case.at(&template).is_on("updateable")? => {
            updateable_template(&case.at(&template))
        }
        found => Ok(found),
    }
}

fn has_outdated_volumes(world: &World<'_>, qube: &Qube) -> Result<bool, Failure> {
    let (qube, pools) = volume::with_volumes_named(world.view(), &Context::of(world), qube)?;
    Ok(qube.volumes.iter().any(|found| volume::is_outdated(world.root(), &pools, found)))
}

fn note(txn: &mut Txn<'_>, name: &QubeName, is_any: bool) -> Result<(), Failure> {
    let now = clock::local_now();
    let qube = txn.qube(name)?.ok_or_else(|| no_such_domain(name.as_str()))?;
    if !is_any && qube.feature(AVAILABLE).is_some_and(|value| !value.is_empty()) {
        feature::store(txn, name, LAST_UPDATE, &now)?;
    }
    feature::store(txn, name, AVAILABLE, if is_any { "1" } else { "" })?;
    feature::store(txn, name, LAST_CHECK, &now)
}

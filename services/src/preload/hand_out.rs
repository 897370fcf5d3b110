//! Giving a disposable that was made in advance to whoever asks, for the call that makes disposables: it stays small without
//! what ends and lets go on.

use std::rc::Rc;

use common::call::{Call, Content, Granted, Presence, Received, Row, Values, World};
use common::event::Event;
use common::failure::{Failure, Refusal};
use common::log;
use common::model::Qube;
use common::names::{Ascii, QubeName};
use common::store::{Store, Txn};

use super::calls::HAND_OUT;
use super::keep::is_ready;
use super::outdated::Compared;
use super::{IN_PROGRESS, INTERNAL, change, delay, listed, unlist};
use crate::property::{Case, Context};
use crate::{feature, lifecycle, vm};

/// `internal.HandOutDisposable`: one of the template's list, told by name and UUID, for the qube that the payload names.
pub(super) struct HandOut;

impl Call for HandOut {
    const ROW: Row =
        Row::write(HAND_OUT, "Hands out a disposable that was made in advance, if there is one.")
            .payload(Presence::Required)
            .internal();
    type Input = QubeName;

    fn sanitise(received: &Received) -> Result<QubeName, Refusal> {
        Ok(QubeName::parse(received.payload.sanitise::<Ascii>()?.as_str())?)
    }

    fn facts(user: &QubeName) -> Values {
        Values::default().with("user", user.as_str())
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let context = Context::of(world);
        let taken = take(world.store(), &context, granted.destination(), granted.input())?;
        Ok(taken.map(|qube| format!("{} {}", qube.name, qube.uuid).into_bytes()).unwrap_or_default())
    }
}

/// Takes the first good one of a template's list for a caller, with its tags; nothing if there is none. One that does not
/// go on is left to those who clear away.
fn take(
    store: &Store,
    context: &Context<'_>,
    template: &QubeName,
    caller: &QubeName,
) -> Result<Option<Rc<Qube>>, Failure> {
    for (qube, compared) in candidates(store, context, template)? {
        let name = &qube.name;
        if store.is_busy(name) || compared.is_outdated(context.root) {
            continue;
        }
        let _lifecycle = lifecycle::lock(store, context.root, name)?;
        if !is_ready(context, &qube) || !change(store, &mut |txn| unlist(txn, &qube))? {
            continue;
        }
        if let Err(failure) = lifecycle::unpause_run(store, context.root, name) {
            log::line(&format!("{name} was made in advance in vain: {}", failure.into_text()));
            continue;
        }
        change(store, &mut |txn| deliver(txn, context, &qube, template, caller).map(|()| true))?;
        return Ok(Some(qube));
    }
    Ok(None)
}

/// Those in the list that are complete.
fn candidates(
    store: &Store,
    context: &Context<'_>,
    template: &QubeName,
) -> Result<Vec<(Rc<Qube>, Compared)>, Failure> {
    let view = store.read()?;
    let Some(template) = view.qube(template)? else { return Ok(Vec::new()) };
    let case = Case { view: &view, context: *context, qube: None };
    let mut candidates = Vec::new();
    for name in listed(&template) {
        let Some(qube) = view.qube_named(name)?.filter(|qube| is_ready(context, qube)) else { continue };
        let compared = Compared::new(&case, &qube, &template)?;
        candidates.push((qube, compared));
    }
    Ok(candidates)
}

/// From here on it is its caller's.
fn deliver(
    txn: &mut Txn<'_>,
    context: &Context<'_>,
    qube: &Qube,
    template: &QubeName,
    caller: &QubeName,
) -> Result<(), Failure> {
    let Some(template) = txn.qube(template)? else { return Ok(()) };
    if template.feature(INTERNAL).is_none_or(str::is_empty) {
        feature::delete(txn, &qube.name, INTERNAL)?;
    }
    feature::delete(txn, &qube.name, IN_PROGRESS)?;
    vm::tag_handed_out(txn, context, &qube.name, caller)?;
    let delay = delay(txn, &template)?;
    let used = Event::on(&template.name, "domain-preload-dispvm-used");
    txn.event(used.with("dispvm", qube.name.as_str()).with("delay", delay));
    Ok(())
}

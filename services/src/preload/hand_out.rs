//! Giving a disposable that was made in advance to whoever asks.

use std::rc::Rc;

use common::event::Event;
use common::failure::Failure;
use common::log;
use common::model::Qube;
use common::names::{QubeName, QubeUuid};
use common::store::{Store, Txn};

use super::keep::is_ready;
use super::outdated::Compared;
use super::{IN_PROGRESS, INTERNAL, change, delay, listed, unlist};
use crate::property::{Case, Context};
use crate::{feature, lifecycle, vm};

/// A disposable that was handed out.
pub struct Taken {
    /// Its name.
    pub name: QubeName,
    /// Its UUID.
    pub uuid: QubeUuid,
}

/// Takes the first good one of a template's list for a caller, with its tags; nothing if there is none. One that does not
/// go on is left to those who clear away.
///
/// # Errors
/// What the store says, and those of the tags.
pub fn take(
    store: &Store,
    context: &Context<'_>,
    template: &QubeName,
    caller: &QubeName,
) -> Result<Option<Taken>, Failure> {
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
        return Ok(Some(Taken { name: name.clone(), uuid: qube.uuid.clone() }));
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

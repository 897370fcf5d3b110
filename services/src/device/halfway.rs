//! The device that a qube gets or loses now. A call notes it before it does anything; where the call is killed, the next one
//! on the qube's devices, or the end of its run, tells of it once, if it was done, and takes away what the call left.

use common::failure::Failure;
use common::hypervisor::{Domain, Published, Request};
use common::log;
use common::model::Halfway;
use common::names::QubeName;
use common::root::Root;
use common::store::{Note, Store, Txn};

use super::CLASSES;
use super::book;
use super::work::Rule;
use crate::lifecycle;
use crate::property::{Case, Context};

/// What a note says.
pub(super) fn of(note: Option<Vec<u8>>) -> Option<Halfway> {
    serde_json::from_slice(&note?).ok()
}

/// Notes what a call is about to do. The qube's lifecycle lock must be held until it is told or forgotten.
///
/// # Errors
/// What the store says.
pub(super) fn note(store: &Store, qube: &QubeName, halfway: &Halfway) -> Result<(), Failure> {
    let text = serde_json::to_vec(halfway).map_err(|error| Failure::dropped(error.to_string()))?;
    Ok(store.take_note(Note::Halfway, qube, &text)?)
}

/// Tells that it is done.
///
/// # Errors
/// What the store says.
pub(super) fn tell(store: &Store, qube: &QubeName, halfway: &Halfway) -> Result<(), Failure> {
    let mut txn = store.write()?;
    txn.note(Note::Halfway, qube, "");
    txn.event(halfway.event.clone());
    // What a watcher gives is told from its own word; it may be entered as one that was to be taken away.
    if halfway.hot.is_none() || !halfway.is_attach {
        book::enter(&mut txn, qube, &halfway.place, halfway.is_attach)?;
    }
    Ok(txn.commit()?)
}

fn withdraw_rule(store: &Store, root: &Root, halfway: &Halfway) -> Result<(), Failure> {
    halfway.rule.as_ref().map_or(Ok(()), |(file, line)| Rule::withdraw(store, root, file, line))
}

/// Whether the qube has the device now.
fn is_there(store: &Store, context: Context<'_>, qube: &QubeName, what: &Halfway) -> Result<bool, Failure> {
    if let Some(hot) = &what.hot {
        // It answers once it is done with what it was asked before.
        lifecycle::ask_held(context.root, qube, &Request::Tell)?;
        return Ok(Published::at(context.root).run(qube)?.is_some_and(|run| run.devices().has(hot)));
    }
    let view = store.read_one()?;
    let class = CLASSES.iter().find(|class| class.name() == what.place.class);
    let (Some(class), Some(frontend)) = (class, view.qube(qube)?) else { return Ok(false) };
    let attached = class.attached(&Case { view: &view, context, qube: Some(&frontend) }, &frontend)?;
    let wanted = (&what.place.backend, &what.place.port);
    Ok(attached.iter().any(|found| (&found.device.backend, &found.device.port) == wanted))
}

/// Tells of the device that a killed call was at, if it was done, and takes away what the call left. The qube's lifecycle lock
/// must be held.
///
/// # Errors
/// What cannot be told or taken away: that is left to the next who comes, and nothing may be noted in its place.
pub(super) fn settle(store: &Store, context: Context<'_>, qube: &QubeName) -> Result<(), Failure> {
    if !store.has_note(Note::Halfway, qube) {
        return Ok(());
    }
    // Finishes what a killed call left of the store's last change, which may have told it.
    drop(store.read()?);
    let Some(halfway) = of(store.note(Note::Halfway, qube)?) else {
        store.drop_note(Note::Halfway, qube);
        return Ok(());
    };
    withdraw_rule(store, context.root, &halfway)?;
    if is_there(store, context, qube, &halfway)? == halfway.is_attach {
        return tell(store, qube, &halfway);
    }
    store.drop_note(Note::Halfway, qube);
    Ok(())
}

/// Takes away the rule of policy that a killed call left for a qube whose run is over. What fails is logged.
pub fn withdraw(store: &Store, root: &Root, qube: &QubeName) {
    if let Some(halfway) = store.note(Note::Halfway, qube).ok().and_then(of)
        && let Err(failure) = withdraw_rule(store, root, &halfway)
    {
        log::line(&format!("what {qube} may use is not taken back: {}", failure.into_text()));
    }
}

/// Tells of the device that a killed call was at when the run ended. Of those by the word of services only is told what
/// there is to end.
///
/// # Errors
/// What the store says.
pub fn of_ended(txn: &mut Txn<'_>, qube: &QubeName, ended: &Domain) -> Result<(), Failure> {
    let Some(note) = txn.noted(Note::Halfway, qube)? else { return Ok(()) };
    txn.note(Note::Halfway, qube, "");
    if let Some(Halfway { hot: Some(hot), is_attach, event, place, .. }) = of(Some(note))
        && ended.devices().has(&hot) == is_attach
    {
        txn.event(event);
        if !is_attach {
            book::enter(txn, qube, &place, false)?;
        }
    }
    Ok(())
}

//! What follows from the end of a run, once, whoever ended it (spec 40 §5).

use common::event::Event;
use common::failure::Failure;
use common::hypervisor::{Domain, PowerState, Published};
use common::model::{Class, Qube};
use common::names::QubeName;
use common::root::Root;
use common::storage;
use common::store::{Store, Txn};

use super::{changed_numbers, network, volumes};
use crate::device::{ended, halfway};
use crate::property::{self, Context, DEFERRED_NETVM};
use crate::{companion, preload, vm};

/// Why a start failed that nobody could tell about.
const INTERRUPTED: &str = "The start was interrupted";

/// Handles the end of the run that began then. Whoever comes second finds nothing to do: what is published of a run goes
/// with its events.
pub(super) fn end(store: &Store, root: &Root, name: &QubeName, begun_us: u64) -> Result<(), Failure> {
    let _lifecycle = store.lock_lifecycle(name)?;
    // Finishes what a killed call left of the store's last change, which may have been this end.
    drop(store.read()?);
    let published = Published::at(root).run(name)?;
    let is_meant = |run: &Domain| run.run.begun_us == begun_us && run.state == PowerState::Halted;
    published.filter(is_meant).map_or(Ok(()), |ended| finish(store, root, name, &ended))
}

/// Clears away what a run left whose domain is gone and tells of it. What is published of the run goes in the same change
/// as its events: killed at any moment, this is done once when it was done again.
fn finish(store: &Store, root: &Root, name: &QubeName, ended: &Domain) -> Result<(), Failure> {
    let hypervisor = Published::at(root);
    let context = Context { hypervisor: &hypervisor, root };
    companion::stop(root, name);
    halfway::withdraw(store, root, name);
    if ended.has_been() {
        network::disconnect_clients(store, context, name);
        ended::take_disks(store, context, name);
    }
    volumes::stop(store, root, name)?;
    let mut txn = store.write()?;
    events(name, ended).into_iter().for_each(|event| txn.event(event));
    let qube = txn.qube(name)?;
    halfway::of_ended(&mut txn, name, ended)?;
    if let Some(qube) = &qube {
        let used = ended::of_frontend(&txn, context, qube, ended)?;
        used.into_iter().for_each(|event| txn.event(event));
    }
    ended::of_entered(&mut txn, &hypervisor, name)?;
    let leaves = match &qube {
        Some(qube) => forget(&mut txn, store, &context, qube)?,
        None => false,
    };
    txn.end_run(name, &ended.run);
    txn.commit()?;
    if leaves {
        // What cannot be cleared away is logged, and left to the next call of that name.
        let _ = storage::unfinished::settle(store, root, name);
    }
    if qube.is_some_and(|qube| qube.class == Class::TemplateVM) {
        preload::refresh(store, root, name);
    }
    Ok(())
}

/// What listeners hear of an end.
fn events(name: &QubeName, ended: &Domain) -> Vec<Event> {
    let mut events = Vec::new();
    if ended.run.is_starting {
        let reason = ended.run.failed.as_deref().unwrap_or(INTERRUPTED);
        events.push(Event::on(name, "domain-start-failed").with("reason", reason));
    }
    if ended.has_been() {
        events.push(Event::on(name, "domain-stopped"));
        events.extend(changed_numbers(name));
        events.push(Event::on(name, "domain-shutdown"));
    }
    events
}

/// Forgets what held for this run alone; a disposable qube altogether, which is told.
fn forget(txn: &mut Txn<'_>, store: &Store, context: &Context<'_>, qube: &Qube) -> Result<bool, Failure> {
    if qube.feature(DEFERRED_NETVM).is_some() {
        txn.edit_qube(&qube.name, |qube| {
            qube.remove_feature(DEFERRED_NETVM);
        })?;
    }
    let (hypervisor, root) = (context.hypervisor, context.root);
    let leaves = qube.class == Class::DispVM
        && property::effective(txn, hypervisor, root, qube, "auto_cleanup")?
            .is_some_and(|value| value.is_true());
    if leaves {
        vm::discard(txn, store, context, &qube.name)?;
    }
    Ok(leaves)
}

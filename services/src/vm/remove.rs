//! `admin.vm.Remove` (spec 10 §2.8).

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use common::call::{Call, Content, Granted, Row, World, no_such_domain};
use common::event::Event;
use common::failure::{Exception, Failure};
use common::hypervisor;
use common::log;
use common::model::{Class, Qube, Value};
use common::names::QubeName;
use common::quote::quote;
use common::storage::unfinished;
use common::store::{LifecycleGuard, Store, Txn, View};

use crate::property::{self, Context};
use crate::{lifecycle, preload};

pub(super) struct Remove;

impl Call for Remove {
    const ROW: Row = Row::write("admin.vm.Remove", "Removes a halted qube with its volumes.").global();
    common::no_input!();

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let (context, store, name) = (Context::of(world), world.store(), granted.destination());
        let words = |_: &World<'_>| Ok(format!("the volumes of {name} are removed"));
        world.foresee(&granted, words, |txn| remove(txn, None, &context, name, &[]))?;
        let _lifecycle = lifecycle::lock(store, context.root, name)?;
        end_preloaded(store, &context, name)?;
        let waiting = halted(preloaded(world.view(), name)?, &context);
        let lock = |name| lifecycle::lock(store, context.root, name);
        let _lifecycles: Vec<LifecycleGuard> = waiting.iter().map(lock).collect::<Result<_, _>>()?;
        let removed = world.change(&granted, |txn| remove(txn, Some(store), &context, name, &waiting));
        for name in waiting.iter().chain([name]) {
            // What cannot be cleared away is logged, and left to the next call of that name.
            let _ = unfinished::settle(store, context.root, name);
        }
        removed.map(|()| Content::new())
    }
}

/// The removal in the store, of the qube and of the disposables waiting on it, whose lifecycle locks are held. Where only that
/// is looked at, it is as if those were put away that still run.
fn remove(
    txn: &mut Txn<'_>,
    store: Option<&Store>,
    context: &Context<'_>,
    name: &QubeName,
    locked: &[QubeName],
) -> Result<(), Failure> {
    let qube = find(txn, name)?;
    check_removable(context, &qube)?;
    txn.event(Event::system("domain-pre-delete").with("vm", name.as_str()));
    let preloaded = preloaded(txn, name)?;
    let mut waiting: Vec<QubeName> = preloaded.iter().map(|qube| qube.name.clone()).collect();
    if store.is_some() {
        waiting = halted(preloaded, context);
        waiting.retain(|name| locked.contains(name));
    }
    check_use(txn, context, name, &waiting)?;
    preload::unlist(txn, &qube)?;
    take_out(txn, store, context, name)?;
    for name in &waiting {
        txn.event(Event::system("domain-pre-delete").with("vm", name.as_str()));
        take_out(txn, store, context, name)?;
    }
    Ok(())
}

/// Ends the disposables made in advance that wait for somebody, once nothing else stands in the way of the removal.
fn end_preloaded(store: &Store, context: &Context<'_>, name: &QubeName) -> Result<(), Failure> {
    let running = {
        let view = store.read()?;
        let (qube, preloaded) = (find(&view, name)?, preloaded(&view, name)?);
        let names: Vec<QubeName> = preloaded.iter().map(|qube| qube.name.clone()).collect();
        let is_halted = |qube: &Rc<Qube>| hypervisor::is_halted(context.hypervisor, qube);
        if preloaded.iter().all(is_halted) {
            return Ok(());
        }
        check_removable(context, &qube)?;
        check_use(&view, context, name, &names)?;
        names
    };
    running.iter().try_for_each(|name| preload::put_away(store, context, name))
}

/// Removes a disposable qube whose run is over, with its events. The caller holds its lifecycle lock, and ends with
/// [`unfinished::settle`].
///
/// # Errors
/// What the store says.
pub fn discard(
    txn: &mut Txn<'_>,
    store: &Store,
    context: &Context<'_>,
    name: &QubeName,
) -> Result<(), Failure> {
    preload::unlist(txn, &*find(txn, name)?)?;
    txn.event(Event::system("domain-pre-delete").with("vm", name.as_str()));
    take_out(txn, Some(store), context, name)
}

fn find(view: &View<'_>, name: &QubeName) -> Result<Rc<Qube>, Failure> {
    view.qube(name)?.ok_or_else(|| no_such_domain(name.as_str()))
}

/// Takes one qube out of the store; a record there tells of its files until they are cleared away.
fn take_out(
    txn: &mut Txn<'_>,
    store: Option<&Store>,
    context: &Context<'_>,
    name: &QubeName,
) -> Result<(), Failure> {
    let qube = find(txn, name)?;
    if let Some(store) = store {
        unfinished::begin(store, context.root, &qube, &*txn.pools()?)?;
    }
    txn.remove_qube(name)?;
    block_dispid(txn, &qube)?;
    txn.event(Event::system("domain-delete").with("vm", name.as_str()));
    Ok(())
}

/// Disposables made in advance on a qube, which go with it.
fn preloaded(view: &View<'_>, name: &QubeName) -> Result<Vec<Rc<Qube>>, Failure> {
    let qube = view.qube(name)?;
    let listed: BTreeSet<&str> = qube.iter().flat_map(|qube| preload::listed(qube)).collect();
    let is_based = |found: &Rc<Qube>| {
        found.class == Class::DispVM
            && found.properties.get("template").and_then(Value::as_text) == Some(name.as_str())
    };
    let mut preloaded = Vec::new();
    for listed in listed {
        preloaded.extend(view.qube_named(listed)?.filter(is_based));
    }
    Ok(preloaded)
}

/// Names of those that do not run. One that runs holds its template back.
fn halted(qubes: Vec<Rc<Qube>>, context: &Context<'_>) -> Vec<QubeName> {
    let halted = qubes.into_iter().filter(|qube| hypervisor::is_halted(context.hypervisor, qube));
    halted.map(|qube| qube.name.clone()).collect()
}

/// Refuses while something else needs a qube or those that go with it.
fn check_use(
    view: &View<'_>,
    context: &Context<'_>,
    name: &QubeName,
    waiting: &[QubeName],
) -> Result<(), Failure> {
    for leaving in waiting.iter().chain([name]) {
        check_references(view, context, leaving, waiting)?;
        check_devices(view, leaving)?;
    }
    Ok(())
}

fn check_removable(context: &Context<'_>, qube: &Qube) -> Result<(), Failure> {
    let by_package_manager = qube.properties.get("installed_by_rpm").is_some_and(Value::is_true);
    let (exception, text) = if qube.class == Class::AdminVM {
        (Exception::QubesVMInUseError, "'dom0' cannot be removed".to_owned())
    } else if by_package_manager {
        (Exception::QubesVMInUseError, format!("VM installed by package manager: {}", qube.name))
    } else if qube.class.is_qubes_vm() && !hypervisor::is_halted(context.hypervisor, qube) {
        let text = format!("Domain is not powered off: {}", quote(qube.name.as_str()));
        (Exception::QubesVMNotHaltedError, text)
    } else {
        return Ok(());
    };
    Err(Failure::new(exception, text))
}

/// Global properties that hold a qube.
const GLOBALS: [&str; 8] = [
    "clockvm",
    "default_audiovm",
    "default_dispvm",
    "default_guivm",
    "default_netvm",
    "default_template",
    "management_dispvm",
    "updatevm",
];

/// Refuses while something else names the qube; those that go with it do not count where they name their template.
fn check_references(
    view: &View<'_>,
    context: &Context<'_>,
    leaving: &QubeName,
    waiting: &[QubeName],
) -> Result<(), Failure> {
    const OF_TEMPLATE: [&str; 3] = ["template", "default_dispvm", "management_dispvm"];
    let name = leaving.as_str();
    let mut users = Vec::new();
    for global in GLOBALS {
        let value = property::effective_global(view, context.hypervisor, context.root, global)?;
        if value.as_ref().and_then(Value::as_text) == Some(name) {
            users.push(format!("@GLOBAL:{global}"));
        }
    }
    for entry in view.index()?.entries().iter().filter(|entry| entry.name() != name) {
        let leaves_too = waiting.iter().any(|waiting| waiting.as_str() == entry.name());
        let naming = entry
            .references()
            .filter(|(property, target)| *target == name && !(leaves_too && OF_TEMPLATE.contains(property)));
        users.extend(naming.map(|(property, _)| format!("{}:{property}", entry.name())));
    }
    if users.is_empty() {
        return Ok(());
    }
    log::line(&format!("domain {name} is in use: {}", users.join(", ")));
    let text =
        format!("Domain is in use: {};  see 'journalctl -u qubesd -e' in dom0 for details", quote(name));
    Err(Failure::new(Exception::QubesVMInUseError, text))
}

fn check_devices(view: &View<'_>, name: &QubeName) -> Result<(), Failure> {
    let index = view.index()?;
    let others = index.entries().iter().filter(|entry| entry.name() != name.as_str());
    let ports: Vec<String> = others
        .flat_map(|entry| entry.device_backends())
        .filter(|(backend, _)| *backend == name.as_str())
        .map(|(backend, port)| format!("{backend}:{port}"))
        .collect();
    if ports.is_empty() {
        return Ok(());
    }
    let text = format!("VM has devices assigned to other VMs: {}", ports.join(", "));
    Err(Failure::new(Exception::QubesVMInUseError, text))
}

/// Keeps a removed disposable's number from being given out for a week.
fn block_dispid(txn: &mut Txn<'_>, qube: &Qube) -> Result<(), Failure> {
    let dispid = qube.properties.get("dispid").and_then(Value::as_int).and_then(|id| u16::try_from(id).ok());
    let Some(dispid) = dispid.filter(|_| qube.class == Class::DispVM) else { return Ok(()) };
    let now = now();
    Ok(txn.edit_system(|system| {
        system.blocked_dispids.retain(|_, removed| now.saturating_sub(*removed) < DISPID_BLOCKED);
        system.blocked_dispids.insert(dispid, now);
    })?)
}

/// How long the number of a removed disposable is not given out, seconds.
pub(super) const DISPID_BLOCKED: u64 = 7 * 24 * 60 * 60;

/// Seconds since the epoch.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

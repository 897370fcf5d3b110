//! `admin.vm.Remove` (spec 10 §2.8).

use std::time::{SystemTime, UNIX_EPOCH};

use common::call::{Call, Content, Granted, Received, Row, Values, World, no_such_domain};
use common::event::Event;
use common::failure::{Exception, Failure, Refusal};
use common::hypervisor;
use common::log;
use common::model::{Class, Qube, Value};
use common::names::QubeName;
use common::quote::quote;
use common::storage::unfinished;
use common::store::{Entry, Store, Txn};

use crate::property::{self, Context};

pub(super) struct Remove;

impl Call for Remove {
    const ROW: Row = Row::write("admin.vm.Remove", "Removes a halted qube with its volumes.").global();
    type Input = ();

    fn sanitise(_: &Received) -> Result<(), Refusal> {
        Ok(())
    }

    fn facts((): &()) -> Values {
        Values::default()
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let (context, store, name) = (Context::of(world), world.store(), granted.destination());
        let _lifecycle = store.lock_lifecycle(name)?;
        let removed = world.change(&granted, |txn| remove(txn, store, &context, name));
        // What cannot be cleared away is logged, and left to the next call of that name.
        let _ = unfinished::settle(store, context.root, name);
        removed.map(|()| Content::new())
    }
}

/// The removal in the store; a record tells of the qube's files until they are cleared away.
fn remove(txn: &mut Txn<'_>, store: &Store, context: &Context<'_>, name: &QubeName) -> Result<(), Failure> {
    let qube = txn.qube(name)?.ok_or_else(|| no_such_domain(name.as_str()))?;
    check_removable(context, &qube)?;
    txn.event(Event::system("domain-pre-delete").with("vm", name.as_str()));
    check_references(txn, context, &qube)?;
    check_devices(txn, name)?;
    unfinished::begin(store, &qube, &*txn.pools()?)?;
    txn.remove_qube(name)?;
    block_dispid(txn, &qube)?;
    txn.event(Event::system("domain-delete").with("vm", name.as_str()));
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

fn check_references(txn: &Txn<'_>, context: &Context<'_>, qube: &Qube) -> Result<(), Failure> {
    let name = qube.name.as_str();
    let mut users = Vec::new();
    for global in GLOBALS {
        let value = property::effective_global(txn, context.hypervisor, context.root, global)?;
        if value.as_ref().and_then(Value::as_text) == Some(name) {
            users.push(format!("@GLOBAL:{global}"));
        }
    }
    for entry in txn.index()?.entries().iter().filter(|entry| entry.name() != name) {
        for (property, target) in entry.references().filter(|(_, target)| *target == name) {
            if !is_preload_reference(txn, entry, property, target)? {
                users.push(format!("{}:{property}", entry.name()));
            }
        }
    }
    if users.is_empty() {
        return Ok(());
    }
    log::line(&format!("domain {name} is in use: {}", users.join(", ")));
    let text =
        format!("Domain is in use: {};  see 'journalctl -u qubesd -e' in dom0 for details", quote(name));
    Err(Failure::new(Exception::QubesVMInUseError, text))
}

/// A disposable made in advance does not hold its template back.
fn is_preload_reference(txn: &Txn<'_>, user: &Entry, property: &str, target: &str) -> Result<bool, Failure> {
    let template = user.reference("template");
    if user.class() != Class::DispVM
        || !matches!(property, "template" | "default_dispvm" | "management_dispvm")
    {
        return Ok(false);
    }
    let Some(template) = template.filter(|template| *template == target) else { return Ok(false) };
    let template = txn.qube_named(template)?;
    let preloaded = template.as_ref().and_then(|qube| qube.feature("preload-dispvm"));
    Ok(preloaded.unwrap_or_default().split_ascii_whitespace().any(|name| name == user.name()))
}

fn check_devices(txn: &Txn<'_>, name: &QubeName) -> Result<(), Failure> {
    let index = txn.index()?;
    let others = index.entries().iter().filter(|entry| entry.name() != name.as_str());
    let ports: Vec<&str> = others
        .flat_map(|entry| entry.device_backends())
        .filter(|(backend, _)| *backend == name.as_str())
        .map(|(_, port)| port)
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

//! What the end of a qube's run means for devices: those that it used are free, and those that it had are gone (spec 30 §5).

use common::event::Event;
use common::failure::Failure;
use common::hypervisor::{Disk, Domain, HotDevice, Hypervisor, Request};
use common::log;
use common::model::Qube;
use common::names::QubeName;
use common::store::{Note, Store, Txn};

use super::block::{is_name, is_own, node, port_of};
use super::book;
use super::class::running;
use super::exposed::Exposed;
use crate::lifecycle;
use crate::property::{Case, Context};

fn told(name: &QubeName, kind: &str, backend: &QubeName, port: &str) -> Event {
    Event::on(name, format!("{kind}:block")).with("port", format!("{backend}:{port}"))
}

/// What listeners hear of the disks that a qube had from others.
///
/// # Errors
/// What the store says.
pub fn of_frontend(case: &Case<'_>, qube: &Qube, ended: &Domain) -> Result<Vec<Event>, Failure> {
    let mut events = Vec::new();
    for disk in &ended.devices().disks {
        if let Some(port) = port_of(&disk.path).filter(|port| is_name(port))
            && !is_own(case, disk)?
        {
            let backend = disk.backend.clone().unwrap_or_else(QubeName::dom0);
            events.push(told(&qube.name, "device-detach", &backend, &port));
        }
    }
    Ok(events)
}

/// Tells of the devices that a qube had by the word of services, and of those that others had from it.
///
/// # Errors
/// What the store says.
pub fn of_services(txn: &mut Txn<'_>, hypervisor: &dyn Hypervisor, qube: &QubeName) -> Result<(), Failure> {
    for place in book::of(txn, qube)? {
        txn.event(book::detached(&place, qube));
        txn.note(Note::Attached, qube, "");
    }
    let running = hypervisor.running().into_iter().filter_map(|name| QubeName::parse(&name).ok());
    for frontend in running.filter(|frontend| frontend != qube) {
        for place in book::of(txn, &frontend)?.iter().filter(|place| place.backend == qube.as_str()) {
            let removed = Event::on(qube, format!("device-removed:{}", place.class));
            txn.event(book::detached(place, &frontend));
            txn.event(removed.with("port", place.to_string()));
            book::enter(txn, &frontend, place, false)?;
        }
    }
    Ok(())
}

/// The qubes that use a device as a disk now, and that disk.
pub(super) fn users_of(context: Context<'_>, device: &Exposed) -> Vec<(QubeName, Disk)> {
    let wanted = Some(&device.backend).filter(|backend| !backend.is_dom0());
    let is_it = |disk: &Disk| disk.backend.as_ref() == wanted && disk.path == node(&device.port);
    let running = context.hypervisor.running().into_iter().filter_map(|name| QubeName::parse(&name).ok());
    let disk = |name: QubeName| {
        let disk = context.hypervisor.domain(&name)?.devices().disks.into_iter().find(is_it)?;
        Some((name, disk))
    };
    running.filter_map(disk).collect()
}

/// Takes the disks of a qube away from those that use them, and tells what listeners hear of that. What cannot be done is
/// logged.
pub fn of_backend(store: &Store, context: Context<'_>, backend: &QubeName) -> Vec<Event> {
    let used = used(store, context, backend).unwrap_or_else(|failure| {
        log::line(&format!("devices of {backend} stay attached: {}", failure.into_text()));
        Vec::new()
    });
    let mut events = Vec::new();
    for (frontend, disk) in used {
        let Some(port) = port_of(&disk.path) else { continue };
        let detach = Request::Detach(Box::new(HotDevice::Disk(disk)));
        if let Err(failure) = lifecycle::ask_held(context.root, &frontend, &detach) {
            log::line(&format!("{backend}:{port} stays attached to {frontend}: {}", failure.into_text()));
        }
        events.push(told(&frontend, "device-detach", backend, &port));
        events.push(told(backend, "device-removed", backend, &port));
    }
    events
}

fn used(store: &Store, context: Context<'_>, backend: &QubeName) -> Result<Vec<(QubeName, Disk)>, Failure> {
    let view = store.read_one()?;
    let mut used = Vec::new();
    for qube in running(&Case { view: &view, context, qube: None })? {
        let domain = context.hypervisor.domain(&qube.name);
        let disks = domain.into_iter().flat_map(|domain| domain.devices().disks);
        let theirs = disks.filter(|disk| disk.backend.as_ref() == Some(backend));
        used.extend(theirs.map(|disk| (qube.name.clone(), disk)));
    }
    Ok(used)
}

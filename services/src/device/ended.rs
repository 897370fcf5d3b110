//! What the end of a qube's run means for devices: those that it used are free, and those that it had are gone (spec 30 §5).

use common::event::Event;
use common::failure::Failure;
use common::hypervisor::{Disk, Domain, HotDevice, Hypervisor, Request};
use common::log;
use common::model::{Place, Qube};
use common::names::QubeName;
use common::store::{Note, Store, Txn};

use super::block::{is_name, is_own, node, port_of};
use super::book;
use super::class::running;
use super::exposed::Exposed;
use crate::lifecycle;
use crate::property::{Case, Context};

/// What listeners hear of the disks that a qube had from others when its run ended.
///
/// # Errors
/// What the store says.
pub fn of_frontend(
    txn: &Txn<'_>,
    context: Context<'_>,
    qube: &Qube,
    ended: &Domain,
) -> Result<Vec<Event>, Failure> {
    let case = Case { view: txn, context, qube: Some(qube) };
    let entered = book::of(txn, &qube.name)?;
    let mut events = Vec::new();
    for disk in &ended.devices().disks {
        let place = place_of(disk).filter(|place| !entered.contains(place));
        if let Some(place) = place
            && !is_own(&case, disk)?
        {
            events.push(book::detached(&place, &qube.name));
        }
    }
    Ok(events)
}

/// Tells of the devices that are entered for a qube, and of those of its own that are entered for others.
///
/// # Errors
/// What the store says.
pub fn of_entered(txn: &mut Txn<'_>, hypervisor: &dyn Hypervisor, qube: &QubeName) -> Result<(), Failure> {
    for place in book::of(txn, qube)? {
        txn.event(book::detached(&place, qube));
        txn.note(Note::Attached, qube, "");
    }
    for (frontend, place) in freed(txn, hypervisor, |place| place.backend == qube.as_str())? {
        let removed = Event::on(qube, format!("device-removed:{}", place.class));
        txn.event(book::detached(&place, &frontend));
        txn.event(removed.with("port", place.to_string()));
    }
    Ok(())
}

/// Strikes out what is gone for all running qubes, and gives those who have it no more.
///
/// # Errors
/// What the store says.
pub(super) fn freed(
    txn: &mut Txn<'_>,
    hypervisor: &dyn Hypervisor,
    is_gone: impl Fn(&Place) -> bool,
) -> Result<Vec<(QubeName, Place)>, Failure> {
    let mut freed = Vec::new();
    for frontend in hypervisor.running().iter().filter_map(|name| QubeName::parse(name).ok()) {
        let disks = disks_of(hypervisor, &frontend);
        for place in book::of(txn, &frontend)?.into_iter().filter(&is_gone) {
            book::enter(txn, &frontend, &place, false)?;
            if !disks.contains(&place) {
                freed.push((frontend.clone(), place));
            }
        }
    }
    Ok(freed)
}

fn place_of(disk: &Disk) -> Option<Place> {
    let backend = disk.backend.as_ref().map_or("dom0", QubeName::as_str).to_owned();
    let port = port_of(&disk.path).filter(|port| is_name(port))?;
    Some(Place { class: "block".to_owned(), backend, port })
}

fn disks_of(hypervisor: &dyn Hypervisor, qube: &QubeName) -> Vec<Place> {
    let disks = hypervisor.domain(qube).into_iter().flat_map(|domain| domain.devices().disks);
    disks.filter_map(|disk| place_of(&disk)).collect()
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

/// Takes the disks of a qube whose run has ended away from those that use them. What cannot be done is logged.
pub fn take_disks(store: &Store, context: Context<'_>, backend: &QubeName) {
    let taken = used(store, context, backend).and_then(|used| take(store, context, &used));
    if let Err(failure) = taken {
        log::line(&format!("devices of {backend} stay attached: {}", failure.into_text()));
    }
}

/// Takes disks away from those that use them. They are entered for those before, so that whoever tells why they are gone tells
/// of them once, also where this is killed half-way. What cannot be taken away is logged.
///
/// # Errors
/// What the store says: nothing is taken away then.
pub(super) fn take(store: &Store, context: Context<'_>, used: &[(QubeName, Disk)]) -> Result<(), Failure> {
    if used.is_empty() {
        return Ok(());
    }
    let mut txn = store.write()?;
    for (frontend, disk) in used {
        // A run that has ended since has told of it.
        let still = disks_of(context.hypervisor, frontend);
        if let Some(place) = place_of(disk).filter(|place| still.contains(place)) {
            book::enter(&mut txn, frontend, &place, true)?;
        }
    }
    txn.commit()?;
    for (frontend, disk) in used {
        let detach = Request::Detach(Box::new(HotDevice::Disk(disk.clone())));
        if let Err(failure) = lifecycle::ask_held(context.root, frontend, &detach) {
            let (node, failure) = (disk.path.display(), failure.into_text());
            log::line(&format!("{node} stays attached to {frontend}: {failure}"));
        }
    }
    Ok(())
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

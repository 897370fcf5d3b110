//! The steps of a start in their order (spec 40 §3). Whatever fails, all that was made until then is cleared away.

use common::event::Event;
use common::failure::{Exception, Failure};
use common::hypervisor::Request;

use super::lock::is_running;
use super::start::Start;
use super::{changed_numbers, companions, network, volumes};
use crate::{device, domain, tag};

/// One step. The store's lock is held by none of them for longer than it looks something up or announces something.
pub(super) type Step = fn(&mut Start<'_>) -> Result<(), Failure>;

/// All steps; the numbers are the specification's.
pub(super) const STEPS: &[Step] = &[
    check_prohibition,                                        // 4
    |start| tell(start, "domain-pre-start", &[GUID, MEMORY]), // 6
    check_restored,
    check_required_devices,                           // 7
    verify_volumes,                                   // 8
    start_netvm,                                      // 9
    companions::request_memory,                       // 10
    start_volumes,                                    // 11
    |start| tell(start, "domain-pre-spawn", &[GUID]), // 12
    companions::tell_netvm,
    create_domain,                                       // 13 to 15
    |start| start.announce(changed_numbers(start.name)), // 16
    companions::release_memory,                          // 17
    |start| tell(start, "domain-spawn", &[GUID]),        // 19
    companions::start_qubesdb,                           // 20
    companions::fill_qubesdb,                            // 21
    |start| tell(start, "domain-qdb-create", &[]),
    |start| tell(start, "domain-pre-unpaused", &[]), // 23
    |start| start.ask(&Request::Unpause),            // 24
    |start| tell(start, "domain-unpaused", &[]),     // 25
    companions::connect_stubdom,                     // 26
    companions::connect,                             // 27
    companions::tell_others,                         // 28
    |start| tell(start, "domain-start", &[GUID]),
    network::connect_clients,
    see_to_devices,
    |start| start.ask(&Request::Keep),
];

const GUID: (&str, &str) = ("start_guid", "True");
const MEMORY: (&str, &str) = ("mem_required", "None");

fn tell(start: &Start<'_>, event: &str, details: &[(&str, &str)]) -> Result<(), Failure> {
    let event = Event::on(start.name, event);
    start.announce([details.iter().fold(event, |event, (key, value)| event.with(key, *value))])
}

fn check_prohibition(start: &mut Start<'_>) -> Result<(), Failure> {
    let rationale = start.look(|_, qube| Ok(qube.feature("prohibit-start").map(str::to_owned)))?;
    match rationale.filter(|rationale| !rationale.is_empty()) {
        Some(rationale) => {
            let text = format!("Qube start is prohibited. Rationale: {rationale}");
            Err(Failure::new(Exception::QubesException, text))
        }
        None => Ok(()),
    }
}

/// A qube that is being restored has not all of its data yet.
fn check_restored(start: &mut Start<'_>) -> Result<(), Failure> {
    if start.look(|_, qube| Ok(qube.tags.iter().any(|own| own.as_str() == tag::RESTORING)))? {
        let text = "Restore of this domain in progress, cannot start";
        return Err(Failure::new(Exception::QubesVMError, text));
    }
    Ok(())
}

/// Devices without which the qube cannot be. Guests that have some are asked, so no lock is held.
fn check_required_devices(start: &mut Start<'_>) -> Result<(), Failure> {
    start.glance(device::check_required)
}

/// Those that the qube gets by itself, and those that it has for others.
fn see_to_devices(start: &mut Start<'_>) -> Result<(), Failure> {
    start.glance(|case, qube| {
        device::arm(case.context.root, qube);
        Ok(())
    })
}

fn verify_volumes(start: &mut Start<'_>) -> Result<(), Failure> {
    volumes::verify(start)?;
    tell(start, "domain-verify-files", &[])
}

/// The netvm is started before, with all that belongs to its own start. dom0, which has no number, needs none. One that
/// runs is left alone, whoever is at work on it: its lock may be held for long.
fn start_netvm(start: &mut Start<'_>) -> Result<(), Failure> {
    let netvm = start.look(|case, _| case.named_by("netvm"))?;
    let Some(netvm) = netvm.filter(|netvm| netvm.qid != 0) else { return Ok(()) };
    if is_running(start.context.root, &netvm.name)? {
        return Ok(());
    }
    super::start(start.store, start.context.root, &netvm.name)
}

fn start_volumes(start: &mut Start<'_>) -> Result<(), Failure> {
    start.volumes = volumes::make_ready(start)?;
    Ok(())
}

fn create_domain(start: &mut Start<'_>) -> Result<(), Failure> {
    let config = start.glance(|case, qube| domain::config(case, qube, &start.volumes))?;
    start.ask(&Request::Create(Box::new(config)))
}

//! The steps of a start that concern what accompanies its domain (spec 40 §3, steps 10, 12, 17, 20, 21, 26 to 28).

use common::failure::{Exception, Failure};
use common::hypervisor::Domain;

use super::start::Start;
use crate::companion::memory::{self, Grant};
use crate::companion::qrexec::Agent;
use crate::companion::{entries, others, qubesdb};
use crate::firewall;

/// Asks for the memory of the domain, which is kept for it until it has it.
pub(super) fn request_memory(start: &mut Start<'_>) -> Result<(), Failure> {
    let amount = start.look(|case, _| memory::amount(case))?;
    start.memory = Grant::request(start.context.root, start.name, amount)?;
    Ok(())
}

pub(super) fn release_memory(start: &mut Start<'_>) -> Result<(), Failure> {
    start.memory = None;
    Ok(())
}

/// The netvm lets nothing through of a client that it knows no rules of.
pub(super) fn tell_netvm(start: &mut Start<'_>) -> Result<(), Failure> {
    if let Some((netvm, entries)) = start.look(|case, _| others::in_netvm(case))? {
        qubesdb::tell(start.context.root, &netvm, &entries);
    }
    Ok(())
}

pub(super) fn start_qubesdb(start: &mut Start<'_>) -> Result<(), Failure> {
    qubesdb::start(start.context.root, start.name, domain(start)?.domid)
}

pub(super) fn fill_qubesdb(start: &mut Start<'_>) -> Result<(), Failure> {
    let entries = start.look(|case, qube| entries::of(case, qube))?;
    qubesdb::fill(start.context.root, start.name, &entries)
}

/// The agent in the domain that emulates devices, where the feature asks for one.
pub(super) fn connect_stubdom(start: &mut Start<'_>) -> Result<(), Failure> {
    let Domain { domid, stubdom: Some(stubdom), .. } = domain(start)? else { return Ok(()) };
    let agent = start.look(|case, qube| match case.has_feature("stubdom-qrexec")? {
        true => Agent::of_qube(case, qube, domid).map(Some),
        false => Ok(None),
    })?;
    agent.map_or(Ok(()), |agent| agent.in_stubdom(&stubdom).start(start.context.root))
}

pub(super) fn connect(start: &mut Start<'_>) -> Result<(), Failure> {
    let domid = domain(start)?.domid;
    start.look(|case, qube| Agent::of_qube(case, qube, domid))?.start(start.context.root)
}

/// Those that the qube serves from now on learn where. Rules that end may have lost who watches them.
pub(super) fn tell_others(start: &mut Start<'_>) -> Result<(), Failure> {
    tell_netvm(start)?;
    start.look(|case, qube| {
        firewall::arm(case.context.root, qube);
        Ok(())
    })?;
    let Domain { domid, .. } = domain(start)?;
    for (other, entries) in start.look(|case, qube| others::served_by(case, qube, domid))? {
        qubesdb::tell(start.context.root, &other, &entries);
    }
    Ok(())
}

fn domain(start: &Start<'_>) -> Result<Domain, Failure> {
    let gone = || Failure::new(Exception::QubesException, "Start failed: the domain has ended");
    start.domain().ok_or_else(gone)
}

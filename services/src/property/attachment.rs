//! A running qube's connection to its netvm when that changes (spec 10 §3.5 note 3).

use common::event::Event;
use common::failure::{Exception, Failure};
use common::hypervisor::{self, PowerState};
use common::model::{Qube, Value};
use common::names::QubeName;
use common::store::Txn;

use super::row::Context;
use crate::feature;

/// Where a paused qube's interface still is, until it goes on; empty for nowhere.
pub const DEFERRED: &str = "deferred-netvm-original";

/// What happens at `property-pre-set:netvm`: no running qube is attached to a stopped one, and a paused one, whose
/// interface cannot be moved, keeps in mind which netvm it had.
pub(super) fn prepare(
    txn: &mut Txn<'_>,
    context: &Context<'_>,
    name: &QubeName,
    new: &Value,
    old: Option<&Value>,
) -> Result<(), Failure> {
    let Some(qube) = txn.qube(name)? else { return Ok(()) };
    if let Some(netvm) = new.as_text().map_or(Ok(None), |netvm| txn.qube_named(netvm))?
        && !hypervisor::is_halted(context.hypervisor, &qube)
        && hypervisor::is_halted(context.hypervisor, &netvm)
    {
        return Err(stopped(&netvm));
    }
    let state = hypervisor::power_state(context.hypervisor, qube.class, name);
    if state == PowerState::Paused && qube.feature(DEFERRED).is_none() {
        feature::store(txn, name, DEFERRED, old.and_then(Value::as_text).unwrap_or_default())?;
    }
    Ok(())
}

fn stopped(netvm: &Qube) -> Failure {
    let text = format!("Cannot dynamically attach to stopped qube {}", netvm.name);
    Failure::new(Exception::QubesVMNotStartedError, text)
}

/// What comes before `property-set:netvm`: a running qube learns its addresses, and the netvm of its new client.
pub(super) fn announce(
    txn: &mut Txn<'_>,
    context: &Context<'_>,
    name: &QubeName,
    new: &Value,
) -> Result<(), Failure> {
    if let Some(netvm) = new.as_text().filter(|_| context.hypervisor.domain(name).is_some()) {
        txn.event(Event::on(name, "domain-qdb-create"));
        txn.event(Event::on(&QubeName::parse(netvm)?, "net-domain-connect").with("vm", name.as_str()));
    }
    Ok(())
}

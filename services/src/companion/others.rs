//! What a qube that starts makes different in the QubesDB of others.

use common::failure::Failure;
use common::hypervisor::Domid;
use common::model::Qube;
use common::names::QubeName;
use common::qubesdb::Entry;

use super::clients;
use crate::property::Case;

/// The entries of a qube's database.
pub type Told = (QubeName, Vec<Entry>);

/// Which qubes serve others, and the entry that tells those where.
const SERVERS: [(&str, &str); 2] =
    [("guivm", "/qubes-gui-domain-xid"), ("audiovm", "/qubes-audio-domain-xid")];

/// What the netvm of a starting or newly connected qube is told of it.
///
/// # Errors
/// What the store says.
pub fn in_netvm(case: &Case<'_>) -> Result<Option<Told>, Failure> {
    let Some(netvm) = case.named_by("netvm")? else { return Ok(None) };
    let entries = clients::of_new_client(&case.at(&netvm), case)?;
    Ok(Some((netvm.name.clone(), entries)))
}

/// What the netvm of a running qube is told when that one's firewall rules change.
///
/// # Errors
/// What the store says.
pub fn rules_in_netvm(case: &Case<'_>) -> Result<Option<Told>, Failure> {
    let Some(netvm) = case.named_by("netvm")? else { return Ok(None) };
    let entries = clients::rules_of(&case.at(&netvm), case)?;
    Ok(Some((netvm.name.clone(), entries)))
}

/// What the running qubes that a starting one serves are told of it.
///
/// # Errors
/// What the store says.
pub fn served_by(case: &Case<'_>, qube: &Qube, domid: Domid) -> Result<Vec<Told>, Failure> {
    let mut told = Vec::new();
    for name in case.context.hypervisor.running() {
        let Some(other) = case.view.qube_named(&name)?.filter(|other| other.name != qube.name) else {
            continue;
        };
        let mut entries = Vec::new();
        for (property, key) in SERVERS {
            if case.at(&other).named_by(property)?.is_some_and(|server| server.name == qube.name) {
                entries.push(Entry::new(key, domid.0.to_string()));
            }
        }
        if !entries.is_empty() {
            told.push((other.name.clone(), entries));
        }
    }
    Ok(told)
}

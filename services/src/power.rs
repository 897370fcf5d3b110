//! Power states of many qubes at one moment: only those that may have a domain are asked for.

use std::collections::BTreeMap;
use std::fmt;

use common::hypervisor::{Hypervisor, PowerState};
use common::model::Class;
use common::names::QubeName;

/// The states of all qubes that have a domain.
pub struct States(BTreeMap<String, PowerState>);

impl States {
    /// Those of now.
    pub fn of(hypervisor: &dyn Hypervisor) -> Self {
        let mut states = BTreeMap::new();
        for name in hypervisor.running() {
            let domain = QubeName::parse(&name).ok().and_then(|name| hypervisor.domain(&name));
            states.extend(domain.map(|domain| (name, domain.state)));
        }
        Self(states)
    }

    /// The state of a qube: dom0 and remote qubes need no domain for theirs.
    pub fn state(&self, class: Class, name: &str) -> PowerState {
        if class.is_qubes_vm() {
            self.0.get(name).copied().unwrap_or(PowerState::Halted)
        } else {
            PowerState::Running
        }
    }

    /// Names of the qubes that are in a state of a kind.
    pub fn names(&self, is_meant: impl Fn(PowerState) -> bool) -> Vec<QubeName> {
        let meant = self.0.iter().filter(|(_, state)| is_meant(**state));
        meant.filter_map(|(name, _)| QubeName::parse(name).ok()).collect()
    }
}

impl fmt::Display for States {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(name, state)| write!(out, "{name}={state},"))
    }
}

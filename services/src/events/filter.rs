//! Which events a caller sees: dom0 all, any other those that policy plainly allows it, event by event.

use common::event::Event;
use common::hypervisor::Simulated;
use common::names::QubeName;
use common::policy::{IndexedSystem, Policy};
use common::root::Root;
use common::store::Store;

/// The service that policy is asked about.
const SERVICE: &str = "admin.Events";
/// What a system event that concerns no qube is about.
const ADMIN: &str = "@adminvm";

/// What one caller may see of one destination's events.
pub(super) struct Filter {
    root: Root,
    caller: QubeName,
    destination: QubeName,
}

impl Filter {
    pub(super) fn new(root: &Root, caller: &QubeName, destination: &QubeName) -> Self {
        Self { root: root.clone(), caller: caller.clone(), destination: destination.clone() }
    }

    /// Keeps what the caller may see. Policy and qubes are read anew for each batch; where they cannot be read,
    /// nothing is allowed.
    pub(super) fn apply(&self, mut events: Vec<Event>) -> Vec<Event> {
        events.retain(|event| self.is_asked_for(event));
        if self.caller.is_dom0() || events.is_empty() {
            return events;
        }
        let store = Store::at(&self.root);
        let hypervisor = Simulated::at(&self.root);
        let system = IndexedSystem::of(&store.glance(), &hypervisor);
        let (Ok(policy), Ok(system)) = (Policy::load(&self.root), system) else { return Vec::new() };
        let allowed = |event: &Event| {
            let argument = format!("+{}", event.name.replace(':', "_"));
            policy.is_plainly_allowed(&system, SERVICE, &argument, self.caller.as_str(), about(event))
        };
        events.retain(allowed);
        events
    }

    fn is_asked_for(&self, event: &Event) -> bool {
        self.destination.is_dom0() || event.subject.as_ref() == Some(&self.destination)
    }
}

/// The qube an event is about: its subject, or the one a system event names.
fn about(event: &Event) -> &str {
    match &event.subject {
        Some(subject) => subject.as_str(),
        None => event.detail("vm").unwrap_or(ADMIN),
    }
}

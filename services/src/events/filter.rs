//! Which events a caller sees: dom0 all, any other those that policy plainly allows it and constraints show it, event by
//! event.

use std::rc::Rc;

use common::event::Event;
use common::hypervisor::Published;
use common::names::QubeName;
use common::policy::{IndexedSystem, Policy};
use common::root::Root;
use common::store::{Index, Store, StoreError, View};
use common::stream::Ended;

use crate::constraints::Constraints;

/// The service that policy is asked about.
const SERVICE: &str = "admin.Events";
/// What a system event that concerns no qube is about.
const ADMIN: &str = "@adminvm";

/// What is announced when a qube has left the system: policy no longer knows its name.
const DELETED: &str = "domain-delete";

/// What one caller may see of one destination's events.
pub(super) struct Filter {
    root: Root,
    caller: QubeName,
    destination: QubeName,
    /// The qubes there were when events were last looked at; only kept for callers whom policy filters.
    before: Option<Rc<Index>>,
}

impl Filter {
    /// The filter of a stream that begins behind a view.
    pub(super) fn new(
        root: &Root,
        caller: &QubeName,
        destination: &QubeName,
        view: &View<'_>,
    ) -> Result<Self, StoreError> {
        let before = if caller.is_dom0() { None } else { Some(view.index()?) };
        Ok(Self { root: root.clone(), caller: caller.clone(), destination: destination.clone(), before })
    }

    /// Keeps what the caller may see. Policy, constraints and qubes are read anew for each batch.
    ///
    /// # Errors
    /// Where they cannot be read, nothing is allowed; a caller who goes on would miss something and not know.
    pub(super) fn apply(&mut self, mut events: Vec<Event>) -> Result<Vec<Event>, Ended> {
        let Some(before) = self.before.clone().filter(|_| !events.is_empty()) else {
            events.retain(|event| self.is_asked_for(event));
            return Ok(events);
        };
        let store = Store::at(&self.root);
        let (view, hypervisor) = (store.glance(), Published::at(&self.root));
        let (Some(policy), Ok(now), Ok(index)) =
            (Policy::load_or_log(&self.root), IndexedSystem::of(&view, &hypervisor), view.index())
        else {
            return Err(Ended("it cannot be told what of the events its caller may see".to_owned()));
        };
        let (constraints, both) = (Constraints::load(&self.root), index.with_departed(&before));
        let before = now.with_departed(&before);
        self.before = Some(index);
        let Some(seer) = both.entry(self.caller.as_str()) else { return Ok(Vec::new()) };
        let allowed = |event: &Event| {
            let argument = format!("+{}", event.name.replace(':', "_"));
            let system = if event.name == DELETED { &now } else { &before };
            policy.is_plainly_allowed(system, SERVICE, &argument, self.caller.as_str(), about(event))
                && constraints.show_event(seer, event, &both)
        };
        events.retain(|event| self.is_asked_for(event) && allowed(event));
        Ok(events)
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

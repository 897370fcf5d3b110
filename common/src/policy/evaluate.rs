//! Asking the rules: the first that matches decides (spec 50 §14).

use std::rc::Rc;

use super::token::{DOM0_UUID, canonical};
use super::{Action, Policy, Rule};
use crate::hypervisor::{Hypervisor, PowerState, power_state};
use crate::model::{Class, Value};
use crate::names::QubeName;
use crate::store::{Index, StoreError, View};

/// What the rules need to know of the system's qubes.
pub trait SystemInfo {
    /// The class of a qube; nothing if there is no such qube.
    fn class(&self, name: &str) -> Option<Class>;
    /// Whether a qube has a tag.
    fn has_tag(&self, name: &str, tag: &str) -> bool;
    /// Whether a qube may serve as template of disposables.
    fn is_template_for_dispvms(&self, name: &str) -> bool;
    /// Name of a qube's default template of disposables.
    fn default_dispvm(&self, name: &str) -> Option<String>;
    /// Name of the qube with a UUID.
    fn name_of_uuid(&self, uuid: &str) -> Option<String>;
    /// Whether a qube runs, not being paused nor on its way up or down.
    fn is_running(&self, name: &str) -> bool;
}

/// The system as the store's index and the hypervisor know it.
pub struct IndexedSystem<'a> {
    index: Rc<Index>,
    hypervisor: &'a dyn Hypervisor,
    default_dispvm: Option<String>,
}

impl<'a> IndexedSystem<'a> {
    /// The qubes of a view, and the system's default template of disposables.
    ///
    /// # Errors
    /// What the store says.
    pub fn of(view: &View<'_>, hypervisor: &'a dyn Hypervisor) -> Result<Self, StoreError> {
        let default_dispvm = view.system()?.properties.get("default_dispvm").map(Value::to_text);
        Ok(Self { index: view.index()?, hypervisor, default_dispvm })
    }

    /// The same with the qubes of an older index that are gone.
    #[must_use]
    pub fn with_departed(&self, before: &Index) -> Self {
        let index = Rc::new(self.index.with_departed(before));
        Self { index, hypervisor: self.hypervisor, default_dispvm: self.default_dispvm.clone() }
    }
}

impl SystemInfo for IndexedSystem<'_> {
    fn class(&self, name: &str) -> Option<Class> {
        self.index.entry(name).map(|entry| entry.class())
    }

    fn has_tag(&self, name: &str, tag: &str) -> bool {
        self.index.entry(name).is_some_and(|entry| entry.tags().any(|known| known == tag))
    }

    fn is_template_for_dispvms(&self, name: &str) -> bool {
        self.index.entry(name).is_some_and(|entry| entry.is_template_for_dispvms())
    }

    fn default_dispvm(&self, name: &str) -> Option<String> {
        let entry = self.index.entry(name)?;
        let own = entry
            .reference("default_dispvm")
            .or_else(|| (entry.class() == Class::DispVM).then(|| entry.reference("template")).flatten());
        own.map(str::to_owned).or_else(|| self.default_dispvm.clone()).filter(|base| !base.is_empty())
    }

    fn name_of_uuid(&self, uuid: &str) -> Option<String> {
        let found = self.index.entries().iter().find(|entry| entry.uuid() == uuid);
        found.map(|entry| entry.name().to_owned())
    }

    fn is_running(&self, name: &str) -> bool {
        self.index.entry(name).zip(QubeName::parse(name).ok()).is_some_and(|(entry, name)| {
            power_state(self.hypervisor, entry.class(), &name) == PowerState::Running
        })
    }
}

impl Policy {
    /// Whether a call is allowed without asking anyone. `argument` begins with `+`.
    pub fn is_plainly_allowed(
        &self,
        system: &dyn SystemInfo,
        service: &str,
        argument: &str,
        source: &str,
        target: &str,
    ) -> bool {
        let Some(target) = prepared(system, target) else { return false };
        let matching = self.rules.iter().find(|rule| {
            rule.service.as_deref().is_none_or(|own| own == service)
                && rule.argument.as_deref().is_none_or(|own| own == argument)
                && rule.source.matches(system, source)
                && rule.target.matches_target(system, source, &target)
        });
        matching.is_some_and(|rule| rule.action == Action::Allow && rule.arrives(system, source, &target))
    }
}

impl Rule {
    /// Whether an allowed call has a place to go to, which runs already if the rule may not start it.
    fn arrives(&self, system: &dyn SystemInfo, source: &str, target: &str) -> bool {
        let Some(place) = prepared(system, self.redirect.as_deref().unwrap_or(target)) else { return false };
        match place.as_str() {
            "@default" => false,
            "@adminvm" | "dom0" | DOM0_UUID => true,
            "@dispvm" => self.autostart && system.default_dispvm(source).is_some(),
            _ if self.autostart => true,
            qube => system.is_running(&canonical(system, qube)),
        }
    }
}

/// The target as rules see it; nothing if no rule may allow it.
fn prepared(system: &dyn SystemInfo, target: &str) -> Option<String> {
    if let Some(base) = target.strip_prefix("@dispvm:") {
        return system.is_template_for_dispvms(base).then(|| target.to_owned());
    }
    let exists = |name: &str| match name.strip_prefix("uuid:") {
        Some(uuid) => system.name_of_uuid(uuid).is_some(),
        None => system.class(name).is_some(),
    };
    match target {
        "" | "@default" => Some("@default".to_owned()),
        "@adminvm" | "@dispvm" => Some(target.to_owned()),
        _ if target.starts_with('@') => None,
        _ if exists(target) => Some(target.to_owned()),
        _ => Some("@default".to_owned()),
    }
}

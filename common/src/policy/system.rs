//! What the rules need to know of the system's qubes.

use std::rc::Rc;

use crate::hypervisor::{Hypervisor, PowerState, power_state};
use crate::model::{Class, Value};
use crate::names::QubeName;
use crate::store::{Index, StoreError, View};

/// What the rules need to know of the system's qubes.
pub trait SystemInfo {
    /// Names of all qubes, dom0 first.
    fn names(&self) -> Vec<String>;
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
    /// Whether a qube is not offered to users.
    fn is_internal(&self, name: &str) -> bool;
    /// Where the user of a qube is asked.
    fn guivm(&self, name: &str) -> Option<String>;
    /// The qube that carries calls to and from a remote one.
    fn relayvm(&self, name: &str) -> Option<String>;
    /// The service by which it carries them.
    fn transport_rpc(&self, name: &str) -> Option<String>;
}

/// The system as the store's index and the hypervisor know it.
pub struct IndexedSystem<'a> {
    index: Rc<Index>,
    hypervisor: &'a dyn Hypervisor,
    default_dispvm: Option<String>,
    default_guivm: String,
}

impl<'a> IndexedSystem<'a> {
    /// The qubes of a view, and the system's own defaults.
    ///
    /// # Errors
    /// What the store says.
    pub fn of(view: &View<'_>, hypervisor: &'a dyn Hypervisor) -> Result<Self, StoreError> {
        let system = view.system()?;
        let set = |name: &str| system.properties.get(name).map(Value::to_text);
        let default_guivm = set("default_guivm").unwrap_or_else(|| "dom0".to_owned());
        Ok(Self { index: view.index()?, hypervisor, default_dispvm: set("default_dispvm"), default_guivm })
    }

    /// The same with the qubes of an older index that are gone.
    #[must_use]
    pub fn with_departed(&self, before: &Index) -> Self {
        Self {
            index: Rc::new(self.index.with_departed(before)),
            hypervisor: self.hypervisor,
            default_dispvm: self.default_dispvm.clone(),
            default_guivm: self.default_guivm.clone(),
        }
    }
}

impl SystemInfo for IndexedSystem<'_> {
    fn names(&self) -> Vec<String> {
        self.index.entries().iter().map(|entry| entry.name().to_owned()).collect()
    }

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
        let default = match entry.class() {
            Class::RemoteVM => None,
            Class::DispVM => entry.reference("template"),
            _ => self.default_dispvm.as_deref(),
        };
        let base = entry.reference("default_dispvm").or(default);
        base.filter(|base| !base.is_empty()).map(str::to_owned)
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

    fn is_internal(&self, name: &str) -> bool {
        self.index.entry(name).and_then(|entry| entry.internal()).is_some_and(|value| !value.is_empty())
    }

    fn guivm(&self, name: &str) -> Option<String> {
        let entry = self.index.entry(name)?;
        let default = entry.class().is_qubes_vm().then_some(self.default_guivm.as_str());
        entry.reference("guivm").or(default).filter(|guivm| !guivm.is_empty()).map(str::to_owned)
    }

    fn relayvm(&self, name: &str) -> Option<String> {
        let relay = self.index.entry(name)?.reference("relayvm")?;
        (!relay.is_empty()).then(|| relay.to_owned())
    }

    fn transport_rpc(&self, name: &str) -> Option<String> {
        self.index.entry(name)?.transport_rpc().filter(|service| !service.is_empty())
    }
}

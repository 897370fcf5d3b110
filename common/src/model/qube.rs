//! One qube: class, identity, explicit properties, features, tags, devices and volumes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Value, Volume};
use crate::names::{
    DeviceName, FeatureName, FeatureValue, Mode, QubeName, QubeUuid, Rule, TagName, VolumeName,
};

/// The six classes, in alphabetical order (spec 10 §2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the classes are the specification's own words")]
pub enum Class {
    AdminVM,
    AppVM,
    DispVM,
    RemoteVM,
    StandaloneVM,
    TemplateVM,
}

impl Class {
    /// All of them in the order of `admin.vmclass.List`.
    pub const ALL: [Self; 6] =
        [Self::AdminVM, Self::AppVM, Self::DispVM, Self::RemoteVM, Self::StandaloneVM, Self::TemplateVM];

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AdminVM => "AdminVM",
            Self::AppVM => "AppVM",
            Self::DispVM => "DispVM",
            Self::RemoteVM => "RemoteVM",
            Self::StandaloneVM => "StandaloneVM",
            Self::TemplateVM => "TemplateVM",
        }
    }

    /// The class of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == text)
    }

    /// Whether it has volumes, devices and power: every class but `AdminVM` and `RemoteVM`.
    pub const fn is_qubes_vm(self) -> bool {
        !matches!(self, Self::AdminVM | Self::RemoteVM)
    }

    /// Whether it lives on this machine.
    pub const fn is_local(self) -> bool {
        !matches!(self, Self::RemoteVM)
    }

    /// Whether it is based on a template.
    pub const fn has_template(self) -> bool {
        matches!(self, Self::AppVM | Self::DispVM)
    }

    /// The folder below `/var/lib/qubes` its home directory lies in.
    pub const fn home_folder(self) -> &'static str {
        match self {
            Self::TemplateVM => "vm-templates",
            _ => "appvms",
        }
    }
}

/// One device assignment as kept in the store (spec 10 §7.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Device class, `pci` for example.
    pub class: String,
    /// Name of the qube that provides it, `*` for any.
    pub backend: String,
    /// Port identifier.
    pub id: String,
    /// How it is brought about.
    pub mode: Mode,
    /// Device identity or `*`.
    pub identity: String,
    /// Options in order.
    pub options: Vec<(String, String)>,
}

impl Device {
    /// What it names, as messages and events show it.
    pub fn name(&self) -> DeviceName {
        let [backend, port, identity] = [&self.backend, &self.id, &self.identity].map(Clone::clone);
        DeviceName { backend, port, identity }
    }
}

/// Features only the system itself writes.
pub const OWN_FEATURES: [&str; 4] =
    ["deferred-netvm-original", "preload-dispvm", "preload-dispvm-completed", "preload-dispvm-in-progress"];

/// One qube.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Qube {
    /// Its name, also the file's.
    pub name: QubeName,
    /// Its class.
    pub class: Class,
    /// Small persistent number, 0 for dom0.
    pub qid: u16,
    /// Its UUID.
    pub uuid: QubeUuid,
    /// Explicitly set properties but `name`, `qid` and `uuid`.
    #[serde(default)]
    pub properties: BTreeMap<String, Value>,
    /// Features in insertion order.
    #[serde(default)]
    pub features: Vec<(FeatureName, FeatureValue)>,
    /// Tags, sorted.
    #[serde(default)]
    pub tags: BTreeSet<TagName>,
    /// Device assignments.
    #[serde(default)]
    pub devices: Vec<Device>,
    /// Volumes in definition order.
    #[serde(default)]
    pub volumes: Vec<Volume>,
    /// Firewall rules in order; none were ever set where there is no list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firewall: Option<Vec<Rule>>,
}

impl Qube {
    /// A qube with nothing set.
    pub fn new(name: QubeName, class: Class, qid: u16, uuid: QubeUuid) -> Self {
        Self {
            name,
            class,
            qid,
            uuid,
            properties: BTreeMap::new(),
            features: Vec::new(),
            tags: BTreeSet::new(),
            devices: Vec::new(),
            volumes: Vec::new(),
            firewall: None,
        }
    }

    /// Whether all is the same that somebody configures. What volumes hold changes with each run, and some features are the
    /// system's own.
    pub fn is_configured_as(&self, other: &Self) -> bool {
        let own = |qube: &Self| {
            let mut features = qube.features.clone();
            features.retain(|(name, _)| !OWN_FEATURES.contains(&name.as_str()));
            features
        };
        self.properties == other.properties
            && self.tags == other.tags
            && self.devices == other.devices
            && self.firewall == other.firewall
            && self.volumes.iter().map(Volume::settings).eq(other.volumes.iter().map(Volume::settings))
            && own(self) == own(other)
    }

    /// The firewall rules, those that hold no more among them: everything is let through where none were ever set.
    pub fn rules(&self) -> Vec<Rule> {
        self.firewall.clone().unwrap_or_else(|| vec![Rule::accept()])
    }

    /// The value of a feature set on this very qube.
    pub fn feature(&self, name: &str) -> Option<&str> {
        self.features.iter().find(|(known, _)| known.as_str() == name).map(|(_, value)| value.as_str())
    }

    /// Sets a feature, keeping its place if it has one.
    pub fn set_feature(&mut self, name: FeatureName, value: FeatureValue) {
        match self.features.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.features.push((name, value)),
        }
    }

    /// Removes a feature; tells whether it was there.
    pub fn remove_feature(&mut self, name: &str) -> bool {
        let before = self.features.len();
        self.features.retain(|(known, _)| known.as_str() != name);
        self.features.len() != before
    }

    /// The volume of that name.
    pub fn volume(&self, name: &VolumeName) -> Option<&Volume> {
        self.volumes.iter().find(|volume| volume.name == *name)
    }

    /// The qube's home directory relative to `/var/lib/qubes`; none for `AdminVM` and `RemoteVM`.
    pub fn home(&self) -> Option<String> {
        self.class.is_qubes_vm().then(|| format!("{}/{}", self.class.home_folder(), self.name))
    }
}

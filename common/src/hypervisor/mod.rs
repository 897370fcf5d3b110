//! What the calls ask of the hypervisor: is a qube running, how much memory has it, how large is the host.

mod config;
mod launch;
mod published;
mod watcher;

pub use config::{Clock, Devices, Disk, DomainConfig, Emulator, HotDevice, Nic, Pci, PciAddress, VirtMode};
pub use launch::launch;
pub use published::{Kind, Published, agent_socket};
pub use watcher::{Connection, Listener, Reply, Request};

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::model::{Class, Qube};
use crate::names::QubeName;
use crate::store::StoreError;

/// State of a qube (spec 10 §2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the states are the specification's own words")]
pub enum PowerState {
    Halted,
    Transient,
    Running,
    Paused,
    Suspended,
    Halting,
    Dying,
    Crashed,
}

impl fmt::Display for PowerState {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, out)
    }
}

/// Number of a domain, which changes with each start. Not the qube's persistent number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Domid(pub u32);

/// What a domain's watcher publishes about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Domain {
    /// Its state.
    pub state: PowerState,
    /// Its number.
    pub domid: Domid,
    /// When it was started, microseconds since the epoch.
    pub start_time_us: u64,
    /// Memory assigned now, KiB.
    pub memory_kib: u64,
    /// Most memory it may get, its helper domain's with it, KiB; what it has now, if not said.
    #[serde(default)]
    pub memory_max_kib: Option<u64>,
    /// What the guest itself reports, if it does.
    #[serde(default)]
    pub guest_memory: Option<GuestMemory>,
    /// CPU time since start, nanoseconds.
    pub cpu_time_ns: u64,
    /// Processors it has.
    #[serde(default = "one")]
    pub vcpus: u32,
    /// Its helper domain, if it has one.
    #[serde(default)]
    pub stubdom: Option<Stubdom>,
    /// Whether it is of use only while its qrexec agent is connected.
    #[serde(default)]
    pub needs_agent: bool,
    /// The run it belongs to.
    #[serde(default)]
    pub run: Run,
    /// The devices that it has, as [`Devices`] writes them: few read that.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub devices: String,
}

impl Domain {
    /// What is published before there is a domain: nothing but that a run has begun.
    pub fn to_come(run: Run) -> Self {
        Self {
            state: PowerState::Halted,
            domid: Domid(0),
            start_time_us: 0,
            memory_kib: 0,
            memory_max_kib: None,
            guest_memory: None,
            cpu_time_ns: 0,
            vcpus: 1,
            stubdom: None,
            needs_agent: false,
            run,
            devices: String::new(),
        }
    }

    /// The devices that it has.
    pub fn devices(&self) -> Devices {
        serde_json::from_str(&self.devices).unwrap_or_default()
    }

    /// Whether the same is told but for the figures of another moment.
    pub fn is_same_but_for_figures(&self, before: &Self) -> bool {
        let stubdom = |domain: &Self| domain.stubdom.as_ref().map(|stubdom| stubdom.domid);
        let figures = Self {
            memory_kib: self.memory_kib,
            cpu_time_ns: self.cpu_time_ns,
            guest_memory: self.guest_memory,
            stubdom: self.stubdom.clone(),
            ..before.clone()
        };
        *self == figures && stubdom(self) == stubdom(before)
    }

    /// Whether there has been a domain in this run, which may have ended since.
    pub fn has_been(&self) -> bool {
        self.domid != Domid(0)
    }
}

/// One run of a qube: from before the first thing that a start makes until all is cleared away again. It is published
/// for all of that time, as [`PowerState::Halted`] where there is no domain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u64, bool, Option<String>)", into = "(u64, bool, Option<String>)")]
pub struct Run {
    /// When it began, microseconds since the epoch: tells it from others of the same qube.
    pub begun_us: u64,
    /// Whether its start is not complete.
    pub is_starting: bool,
    /// Why its start failed, if it has.
    pub failed: Option<String>,
}

impl From<(u64, bool, Option<String>)> for Run {
    fn from((begun_us, is_starting, failed): (u64, bool, Option<String>)) -> Self {
        Self { begun_us, is_starting, failed }
    }
}

impl From<Run> for (u64, bool, Option<String>) {
    fn from(run: Run) -> Self {
        (run.begun_us, run.is_starting, run.failed)
    }
}

impl Run {
    /// One that begins now.
    pub fn now() -> Self {
        let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_micros());
        Self { begun_us: u64::try_from(elapsed).unwrap_or_default(), ..Self::default() }
    }
}

fn one() -> u32 {
    1
}

/// Memory as a guest reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestMemory {
    /// In use, with swap, KiB.
    pub used_kib: u64,
    /// Swap in use, KiB, if reported.
    pub swap_used_kib: Option<u64>,
}

/// The helper domain that emulates devices for another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stubdom {
    /// Its number.
    pub domid: Domid,
    /// Its UUID.
    pub uuid: String,
    /// CPU time since start, nanoseconds.
    pub cpu_time_ns: u64,
    /// Processors it has.
    pub vcpus: u32,
}

/// Size of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Memory, MiB.
    pub memory_mib: u64,
    /// Processors.
    pub cpus: u32,
}

/// A hypervisor, real or simulated.
pub trait Hypervisor {
    /// Its name, shown in `qubes-admin status`.
    fn name(&self) -> &'static str;
    /// The running domain of a qube, or nothing.
    ///
    /// # Errors
    /// If nobody can tell.
    fn known_domain(&self, name: &QubeName) -> Result<Option<Domain>, StoreError>;
    /// The same for those who do nothing to a qube that has none: one that nobody can tell of is none.
    fn domain(&self, name: &QubeName) -> Option<Domain> {
        self.known_domain(name).ok().flatten()
    }
    /// The same with the figures of this moment, as far as they can be had at once.
    fn domain_now(&self, name: &QubeName) -> Option<Domain>;
    /// Names of all qubes that may have a domain.
    fn running(&self) -> Vec<String>;
    /// dom0's own domain.
    fn dom0(&self) -> Domain;
    /// The host.
    fn host(&self) -> Host;
    /// dom0's static maximum of memory, MiB, if known.
    fn dom0_memory_max_mib(&self) -> Option<u64>;
}

/// The power state of a qube, which for dom0 and remote qubes needs no hypervisor.
pub fn power_state(hypervisor: &dyn Hypervisor, class: Class, name: &QubeName) -> PowerState {
    match class {
        Class::AdminVM | Class::RemoteVM => PowerState::Running,
        _ => hypervisor.domain(name).map_or(PowerState::Halted, |domain| domain.state),
    }
}

/// Whether a qube is known to be halted: dom0 and remote qubes never are.
pub fn is_halted(hypervisor: &dyn Hypervisor, qube: &Qube) -> bool {
    let is_elsewhere = matches!(qube.class, Class::AdminVM | Class::RemoteVM);
    !is_elsewhere && hypervisor.known_domain(&qube.name).is_ok_and(|domain| domain.is_none())
}

//! What the domains' watchers publish: all that calls need to know of a hypervisor, which they never ask themselves.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::{Connection, Domain, Domid, Host, Hypervisor, PowerState, Reply, Request, Run};
use crate::files;
use crate::names::QubeName;
use crate::root::Root;
use crate::store::{StoreError, read_live};

/// The hypervisors there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Xen, through its own library.
    Libxl,
    /// Processes of this machine that stand in for domains.
    Simulated,
}

/// Reads what the domains' watchers publish in `/run/qubes/admin/domains`. What a killed watcher published stands until
/// the next call about its domain starts another, so that no domain that runs ever counts as halted.
pub struct Published {
    domains: PathBuf,
    configuration: PathBuf,
    agents: PathBuf,
    watchers: PathBuf,
    has_xen: bool,
}

/// Where the qrexec daemons of running qubes listen while their agents are connected.
const AGENTS: &str = "/run/qubes";

/// A run that nobody can tell of.
fn unknown(error: io::Error) -> StoreError {
    StoreError::Io { what: "reading what is published of a run".to_owned(), source: error }
}

/// How long the figures of this moment are waited for.
const PATIENCE: Duration = Duration::from_millis(250);

fn agent_file(name: &str) -> String {
    format!("qrexec.{name}")
}

/// The socket of the qrexec daemon of what is called `name`.
pub fn agent_socket(root: &Root, name: &str) -> PathBuf {
    root.path(AGENTS).join(agent_file(name))
}

/// The optional file `/etc/qubes/admin.json`.
#[derive(Default, Deserialize)]
struct Configuration {
    host: Option<Host>,
    hypervisor: Option<Kind>,
}

impl Published {
    /// What is published below a root.
    pub fn at(root: &Root) -> Self {
        let has_xen = root.is_system() && files::exists("/proc/xen/privcmd".as_ref());
        let configuration = root.path("/etc/qubes/admin.json");
        let [domains, watchers] = ["domains", "watchers"].map(|folder| root.run().join(folder));
        Self { domains, watchers, configuration, agents: root.path(AGENTS), has_xen }
    }

    /// The hypervisor that the administrator chose; without a choice Xen where it is, else the simulated one.
    pub fn kind(&self) -> Kind {
        let found = if self.has_xen { Kind::Libxl } else { Kind::Simulated };
        self.configuration().hypervisor.unwrap_or(found)
    }

    /// What is published of a qube's run, also where it has no domain yet or no longer.
    ///
    /// # Errors
    /// If nobody can tell.
    pub fn run(&self, name: &QubeName) -> Result<Option<Domain>, StoreError> {
        let bytes = files::read_if_present(&self.file(name)).map_err(unknown)?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// The same, and whether the watcher lives that publishes it.
    ///
    /// # Errors
    /// As [`Published::run`].
    pub fn watched_run(&self, name: &QubeName) -> Result<Option<(Domain, bool)>, StoreError> {
        let found = read_live(&self.file(name)).map_err(unknown)?;
        Ok(found.and_then(|(bytes, is_watched)| Some((serde_json::from_slice(&bytes).ok()?, is_watched))))
    }

    /// A run's domain as [`Hypervisor::known_domain`] tells it, and whether its watcher lives.
    ///
    /// # Errors
    /// As [`Published::run`].
    pub fn watched_domain(&self, name: &QubeName) -> Result<Option<(Domain, bool)>, StoreError> {
        let run = self.watched_run(name)?;
        Ok(run.and_then(|(domain, is_watched)| Some((self.as_is_of_use(name, domain)?, is_watched))))
    }

    /// A run's domain, if it has one: running only when it is of use.
    fn as_is_of_use(&self, name: &QubeName, mut domain: Domain) -> Option<Domain> {
        if domain.state == PowerState::Running && domain.needs_agent && !self.has_agent(name) {
            domain.state = PowerState::Transient;
        }
        (domain.state != PowerState::Halted).then_some(domain)
    }

    /// What a domain's watcher tells. One that is busy, or gone, keeps nobody waiting.
    fn told(&self, name: &QubeName) -> Option<Domain> {
        let watcher = Connection::to_within(&self.watchers.join(name.as_str()), PATIENCE).ok()?;
        watcher.send(&Request::Tell).ok()?;
        watcher.is_heard_within(PATIENCE).ok()?.then_some(())?;
        match watcher.receive().ok()?? {
            Reply::Told(domain) => Some(*domain),
            _ => None,
        }
    }

    fn has_agent(&self, name: &QubeName) -> bool {
        files::exists(&self.agents.join(agent_file(name.as_str())))
    }

    fn file(&self, name: &QubeName) -> PathBuf {
        self.domains.join(name.as_str())
    }

    fn configuration(&self) -> Configuration {
        let bytes = files::read_if_present(&self.configuration).ok().flatten();
        bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }
}

impl Hypervisor for Published {
    fn name(&self) -> &'static str {
        match self.kind() {
            Kind::Libxl => "libxl",
            Kind::Simulated => "simulated",
        }
    }

    fn known_domain(&self, name: &QubeName) -> Result<Option<Domain>, StoreError> {
        Ok(self.run(name)?.and_then(|domain| self.as_is_of_use(name, domain)))
    }

    /// What its watcher tells when asked: it publishes where a state changes, not as time goes by.
    fn domain_now(&self, name: &QubeName) -> Option<Domain> {
        let domain = self.told(name).or_else(|| self.run(name).ok().flatten())?;
        self.as_is_of_use(name, domain)
    }

    fn running(&self) -> Vec<String> {
        files::list(&self.domains).unwrap_or_default()
    }

    /// Without Xen dom0 is the machine this runs on.
    fn dom0(&self) -> Domain {
        let host = self.host();
        Domain {
            state: PowerState::Running,
            domid: Domid(0),
            start_time_us: 0,
            memory_kib: host.memory_mib.saturating_mul(1024),
            memory_max_kib: None,
            guest_memory: None,
            cpu_time_ns: machine_cpu_time_ns(),
            vcpus: host.cpus,
            stubdom: None,
            needs_agent: false,
            run: Run::default(),
            devices: String::new(),
        }
    }

    fn host(&self) -> Host {
        self.configuration().host.unwrap_or_else(real_host)
    }

    fn dom0_memory_max_mib(&self) -> Option<u64> {
        None
    }
}

/// The machine this runs on.
fn real_host() -> Host {
    let memory_kib = files::read("/proc/meminfo".as_ref()).ok().and_then(|bytes| {
        let text = String::from_utf8(bytes).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
    });
    let cpus = nix::unistd::sysconf(nix::unistd::SysconfVar::_NPROCESSORS_ONLN).ok().flatten();
    Host {
        memory_mib: memory_kib.unwrap_or_default().checked_div(1024).unwrap_or_default(),
        cpus: cpus.and_then(|count| u32::try_from(count).ok()).unwrap_or(1),
    }
}

/// CPU time of all processors since boot: the busy columns of the first line of `/proc/stat`, in hundredths.
fn machine_cpu_time_ns() -> u64 {
    const NS_PER_TICK: u64 = 10_000_000;
    let text = files::read("/proc/stat".as_ref()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let text = text.unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    let columns = line.split_ascii_whitespace().skip(1).take(3);
    columns
        .filter_map(|column| column.parse::<u64>().ok())
        .fold(0, u64::saturating_add)
        .saturating_mul(NS_PER_TICK)
}

//! The hypervisor of systems without Xen: domains are processes that publish and lock a state file.

use std::path::PathBuf;

use serde::Deserialize;

use super::{Domain, Domid, Host, Hypervisor, PowerState};
use crate::files;
use crate::names::QubeName;
use crate::root::Root;

/// Reads what the domains' watchers publish in `/run/qubes/admin/domains`. A watcher holds a lock on its file
/// for as long as it lives, so a file without lock belongs to a dead domain.
pub struct Simulated {
    domains: PathBuf,
    configuration: PathBuf,
}

/// The optional file `/etc/qubes/admin.json`.
#[derive(Default, Deserialize)]
struct Configuration {
    host: Option<Host>,
}

impl Simulated {
    /// The simulated hypervisor of a root.
    pub fn at(root: &Root) -> Self {
        Self { domains: root.run().join("domains"), configuration: root.path("/etc/qubes/admin.json") }
    }

    fn configured_host(&self) -> Option<Host> {
        let bytes = files::read_if_present(&self.configuration).ok().flatten()?;
        serde_json::from_slice::<Configuration>(&bytes).ok()?.host
    }
}

impl Hypervisor for Simulated {
    fn name(&self) -> &'static str {
        "simulated"
    }

    fn domain(&self, name: &QubeName) -> Option<Domain> {
        let path = self.domains.join(name.as_str());
        let bytes = files::read_if_present(&path).ok().flatten()?;
        let domain = serde_json::from_slice(&bytes).ok()?;
        crate::store::is_locked_by_another(&path).then_some(domain)
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
        }
    }

    fn host(&self) -> Host {
        self.configured_host().unwrap_or_else(real_host)
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

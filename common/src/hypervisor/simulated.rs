//! The hypervisor of systems without Xen: domains are processes that publish and lock a state file.

use std::path::PathBuf;

use serde::Deserialize;

use super::{Domain, Host, Hypervisor};
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

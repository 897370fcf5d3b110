//! What a qube's domain is made from: from the stored state to a [`DomainConfig`] (spec 40 §7 to §10).
//!
//! Nothing here asks the hypervisor's library, and nothing changes: the same state gives the same configuration.
//! Memory and graphics of the Qubes patches to libxl have no field in the stock library and so none here (spec 40 §8).

mod devices;
mod disks;
mod emulator;
mod kernel;
mod machine;
mod overrides;

use common::failure::Failure;
use common::hypervisor::{DomainConfig, Nic};
use common::model::Qube;
use common::storage::Started;

pub use devices::of_device as pci_of_device;
pub use disks::{Options as DiskOptions, of_device as disk_of_device};

use crate::companion;
use crate::property::Case;

/// The configuration of a qube's domain, with the administrator's changes to it.
///
/// # Errors
/// `QubesValueError` for options of a required device that cannot be; what the store says.
pub fn config(case: &Case<'_>, qube: &Qube, volumes: &[Started]) -> Result<DomainConfig, Failure> {
    let mode = machine::virt_mode(case)?;
    let memory = machine::memory(case, mode)?;
    let boot = kernel::boot(case, qube, mode)?;
    let config = DomainConfig {
        name: qube.name.clone(),
        uuid: qube.uuid.clone(),
        virt_mode: mode,
        memory_kib: memory.initial_kib,
        max_memory_kib: memory.max_kib,
        hotplug_max_kib: memory.hotplug_max_kib,
        memory_reports: companion::memory::is_balanced(case)?,
        vcpus: u32::try_from(case.number("vcpus")?).unwrap_or(1),
        cpuid: machine::cpuid(case, mode),
        kernel: boot.kernel,
        initrd: boot.initrd,
        cmdline: boot.cmdline,
        uefi: machine::uefi(case, mode)?,
        clock: machine::clock(case, mode)?,
        e820_host: case.has_pci() && qube.feature("pci-e820-host") != Some(""),
        needs_agent: companion::qrexec::is_needed(case)?,
        disks: disks::all(case, qube, volumes)?,
        nics: nic(case)?.into_iter().collect(),
        pci: devices::pci(case, qube)?,
        emulator: emulator::of(case, mode)?,
    };
    overrides::apply(case.context.root, config)
}

/// The network interface that a qube shall have now, if any.
///
/// # Errors
/// What the store says.
pub fn nic(case: &Case<'_>) -> Result<Option<Nic>, Failure> {
    devices::nic(case)
}

/// MiB as KiB.
fn kib(mib: u64) -> u64 {
    mib.saturating_mul(1024)
}

//! What a domain is made from, in the field's words (spec 40 §8 to §10). Plain data: `services/domain` alone knows
//! what the hypervisor's library makes of it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::names::{QubeName, QubeUuid};

/// How the guest is virtualised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the modes are the specification's own words")]
pub enum VirtMode {
    Pv,
    Pvh,
    Hvm,
}

/// One domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DomainConfig {
    /// The qube's name, which is the domain's.
    pub name: QubeName,
    /// The qube's UUID, which is the domain's.
    pub uuid: QubeUuid,
    /// How it is virtualised.
    pub virt_mode: VirtMode,
    /// Memory it starts with, KiB.
    pub memory_kib: u64,
    /// Memory it can be given without hotplug, KiB.
    pub max_memory_kib: u64,
    /// Where memory hotplug ends, KiB; none where it is not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hotplug_max_kib: Option<u64>,
    /// Whether the guest reports its use of memory, for it to be balanced.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub memory_reports: bool,
    /// Processors.
    pub vcpus: u32,
    /// Changes to the host's processor features: `vmx=0` for example.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cpuid: Vec<String>,
    /// Kernel in dom0; none boots from the disks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<PathBuf>,
    /// Initial RAM disk in dom0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initrd: Option<PathBuf>,
    /// The kernel's command line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmdline: Option<String>,
    /// UEFI firmware of a fully virtualised guest; none boots through the BIOS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uefi: Option<PathBuf>,
    /// What its clock shows at the start.
    pub clock: Clock,
    /// Whether a paravirtualised guest sees the host's memory map, which devices need.
    #[serde(default)]
    pub e820_host: bool,
    /// Whether it is of use only while its qrexec agent is connected.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub needs_agent: bool,
    /// Its disks.
    #[serde(default)]
    pub disks: Vec<Disk>,
    /// Its network interfaces.
    #[serde(default)]
    pub nics: Vec<Nic>,
    /// Devices of the host that it gets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pci: Vec<Pci>,
    /// What emulates a fully virtualised guest's machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emulator: Option<Emulator>,
}

/// What a clock shows when the domain starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Clock {
    /// UTC and so many seconds.
    Utc(i32),
    /// The host's local time.
    LocalTime,
}

/// One disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// Block device or image file, as its backend sees it.
    pub path: PathBuf,
    /// What the guest calls it, `xvda` for example.
    pub target: String,
    /// Whether the guest may write.
    pub rw: bool,
    /// Whether it is a drive with a removable medium.
    #[serde(default)]
    pub cdrom: bool,
    /// The qube that has it; none is dom0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<QubeName>,
    /// The program that sets it up in the backend; none is the backend's usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<PathBuf>,
}

/// One network interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nic {
    /// Its hardware address, `00:16:3e:5e:6c:00` for example.
    pub mac: String,
    /// Its IP addresses.
    pub ip: Vec<String>,
    /// The netvm.
    pub backend: QubeName,
    /// The program that sets it up in the netvm.
    pub script: String,
}

/// A PCI device of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pci {
    /// Where it is.
    pub address: PciAddress,
    /// Whether the guest may write all of its configuration space.
    #[serde(default)]
    pub permissive: bool,
    /// Whether the guest may manage its power.
    #[serde(default)]
    pub power_management: bool,
}

/// A device that a domain gets or loses while it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HotDevice {
    /// A disk.
    Disk(Disk),
    /// A device of the host.
    Pci(Pci),
}

/// The devices of a domain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Devices {
    /// Its disks.
    #[serde(default)]
    pub disks: Vec<Disk>,
    /// Devices of the host.
    #[serde(default)]
    pub pci: Vec<Pci>,
    /// The one that it is getting or losing now. What is left so is taken away from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halfway: Option<HotDevice>,
}

impl Devices {
    /// As they are published.
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Whether that one is among them.
    pub fn has(&self, device: &HotDevice) -> bool {
        match device {
            HotDevice::Disk(disk) => self.disks.iter().any(|own| own.target == disk.target),
            HotDevice::Pci(pci) => self.pci.iter().any(|own| own.address == pci.address),
        }
    }

    /// The same with one more.
    #[must_use]
    pub fn with(mut self, device: &HotDevice) -> Self {
        match device {
            HotDevice::Disk(disk) => self.disks.push(disk.clone()),
            HotDevice::Pci(pci) => self.pci.push(pci.clone()),
        }
        self
    }

    /// The same without that one.
    #[must_use]
    pub fn without(mut self, device: &HotDevice) -> Self {
        match device {
            HotDevice::Disk(disk) => self.disks.retain(|own| own.target != disk.target),
            HotDevice::Pci(pci) => self.pci.retain(|own| own.address != pci.address),
        }
        self
    }
}

/// Where a PCI device is: segment, bus, device and function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the four numbers are PCI's own")]
pub struct PciAddress {
    pub segment: u16,
    pub bus: u8,
    pub device: u8,
    pub function: u8,
}

/// The device emulator of a fully virtualised guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Emulator {
    /// Whether its helper domain runs Linux, else the older small system.
    pub linux: bool,
    /// Words of its command line.
    pub arguments: Vec<String>,
    /// Memory of its helper domain, KiB; none leaves it to the hypervisor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_kib: Option<u64>,
    /// Kernel and RAM disk of its helper domain; none are the hypervisor's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<(PathBuf, PathBuf)>,
    /// Graphics card: `vga`, `cirrus`, `qxl` or `none`.
    pub video: String,
    /// Sound card.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sound: Option<String>,
}

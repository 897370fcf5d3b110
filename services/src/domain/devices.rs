//! The network interface and the devices of the host (spec 30 §4.3, spec 40 §8, §10).

use common::failure::{Exception, Failure};
use common::files;
use common::hypervisor::{Nic, Pci, PciAddress};
use common::model::{Device, Qube};
use common::names::{DeviceName, QubeName};

use crate::device;
use crate::device::bus::{find, folder};
use crate::property::Case;

/// Class of display controllers in the numbers of the PCI bus.
const DISPLAY: &str = "0x03";

pub(super) fn nic(case: &Case<'_>) -> Result<Option<Nic>, Failure> {
    let Some(netvm) = case.named_by("netvm")? else { return Ok(None) };
    let addresses = [case.text("ip")?, case.text("ip6")?];
    Ok(Some(Nic {
        mac: case.text("mac")?,
        ip: addresses.into_iter().filter(|address| !address.is_empty()).collect(),
        backend: netvm.name.clone(),
        script: "vif-route-qubes".to_owned(),
    }))
}

pub(super) fn pci(case: &Case<'_>, qube: &Qube) -> Result<Vec<Pci>, Failure> {
    let needed = device::required(case, qube, "pci")?;
    needed.iter().map(|needed| of_device(case, &needed.device, &needed.options)).collect()
}

/// What a domain gets for a device of the host.
///
/// # Errors
/// `QubesException` if there is no such device.
pub fn of_device(case: &Case<'_>, device: &DeviceName, options: &[(String, String)]) -> Result<Pci, Failure> {
    let dom0 = case.view.qube(&QubeName::dom0())?;
    let sleeps = dom0.is_some_and(|dom0| dom0.feature("suspend-s0ix").is_some_and(|value| !value.is_empty()));
    let there = find(case.context.root, &device.port);
    let address = there.ok_or_else(|| {
        Failure::new(Exception::QubesException, format!("Pci device {device} not available"))
    })?;
    let has = |option: &str| options.iter().any(|(key, value)| key == option && !value.is_empty());
    Ok(Pci { address, permissive: has("permissive"), power_management: sleeps })
}

fn assigned(qube: &Qube) -> impl Iterator<Item = &Device> {
    qube.devices.iter().filter(|device| device.class == "pci")
}

/// Whether any assigned device shows pictures.
pub(super) fn has_display(case: &Case<'_>, qube: &Qube) -> bool {
    let root = case.context.root;
    let shows = |address: PciAddress| {
        let class = files::read(&folder(root, address).join("class")).unwrap_or_default();
        class.starts_with(DISPLAY.as_bytes())
    };
    assigned(qube).filter_map(|device| find(root, &device.id)).any(shows)
}

//! The network interface and the devices of the host (spec 30 §4.3, spec 40 §8, §10).

use common::failure::{Exception, Failure};
use common::files;
use common::hypervisor::{Nic, Pci, PciAddress};
use common::model::{Device, Qube};
use common::names::{Mode, QubeName};
use common::root::Root;

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
    let dom0 = case.view.qube(&QubeName::dom0())?;
    let sleeps = dom0.is_some_and(|dom0| dom0.feature("suspend-s0ix").is_some_and(|value| !value.is_empty()));
    let required = assigned(qube).filter(|device| device.mode == Mode::Required);
    let found = |device: &Device| {
        let address = find(case.context.root, &device.id).ok_or_else(|| missing(device))?;
        let has = |option: &str| device.options.iter().any(|(key, value)| key == option && !value.is_empty());
        Ok(Pci { address, permissive: has("permissive"), power_management: sleeps })
    };
    required.map(found).collect()
}

/// Checks that the devices are there without which a qube cannot be.
pub(super) fn check(root: &Root, qube: &Qube) -> Result<(), Failure> {
    let is_there =
        |device: &Device| find(root, &device.id).is_some_and(|address| files::exists(&folder(root, address)));
    let mut required = assigned(qube).filter(|device| device.mode == Mode::Required);
    required.find(|device| !is_there(device)).map_or(Ok(()), |device| Err(missing(device)))
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

fn missing(device: &Device) -> Failure {
    let text = format!("Pci device {}:{}:{} not available", device.backend, device.id, device.identity);
    Failure::new(Exception::QubesException, text)
}

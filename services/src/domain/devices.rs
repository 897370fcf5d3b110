//! The network interface and the devices of the host (spec 30 §4.3, spec 40 §8, §10).

use std::path::PathBuf;

use common::failure::{Exception, Failure};
use common::files;
use common::hypervisor::{Nic, Pci, PciAddress};
use common::model::{Device, Qube};
use common::names::QubeName;
use common::root::Root;

use crate::property::Case;

const BUS: &str = "/sys/bus/pci/devices";
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
    let required = assigned(qube).filter(|device| device.mode == "required");
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
    let mut required = assigned(qube).filter(|device| device.mode == "required");
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

fn folder(root: &Root, address: PciAddress) -> PathBuf {
    let PciAddress { segment, bus, device, function } = address;
    root.path(&format!("{BUS}/{segment:04x}:{bus:02x}:{device:02x}.{function}"))
}

/// The device that a port names: `[SSSS_]BB_DD.F`, then one `-BB_DD.F` for each bridge on the way, whose bus numbers
/// count from the bridge's own.
fn find(root: &Root, port: &str) -> Option<PciAddress> {
    let mut hops = port.split('-');
    let first = hops.next()?;
    let (segment, rest) = match first.split_once('_') {
        Some((segment, rest)) if segment.len() == 4 => (u16::from_str_radix(segment, 16).ok()?, rest),
        _ => (0, first),
    };
    let mut here = hop(segment, 0, rest)?;
    for next in hops {
        let behind = files::read(&folder(root, here).join("secondary_bus_number")).ok()?;
        let behind = String::from_utf8(behind).ok()?.trim().parse().ok()?;
        here = hop(segment, behind, next)?;
    }
    Some(here)
}

/// One `BB_DD.F`, its bus counted from `first`.
fn hop(segment: u16, first: u8, text: &str) -> Option<PciAddress> {
    let (bus, rest) = text.split_once('_')?;
    let (device, function) = rest.split_once('.')?;
    let number = |text: &str| u8::from_str_radix(text, 16).ok();
    let (bus, device, function) = (number(bus)?.checked_add(first)?, number(device)?, number(function)?);
    (device < 32 && function < 8).then_some(PciAddress { segment, bus, device, function })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_without_a_bridge_are_addresses() {
        let root = Root::at("/nonexistent");
        let address = |segment, bus, device, function| Some(PciAddress { segment, bus, device, function });
        assert_eq!(find(&root, "00_18.4"), address(0, 0, 0x18, 4));
        assert_eq!(find(&root, "0001_c0_03.5"), address(1, 0xc0, 3, 5));
        for bad in ["", "00", "00_18", "00_20.0", "00_00.8", "100_00.0", "00_00.0-00_00.0"] {
            assert_eq!(find(&root, bad), None, "{bad}");
        }
    }
}

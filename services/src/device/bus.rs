//! Where the host's PCI devices are: from a port, which says the way from the root bus, to an address and back (spec 30
//! §4.3).

use std::path::{Path, PathBuf};

use common::files;
use common::hypervisor::PciAddress;
use common::root::Root;

const BUS: &str = "/sys/bus/pci/devices";

/// Addresses of all devices, as the system names them.
pub fn all(root: &Root) -> Vec<String> {
    let mut names = files::list(&root.path(BUS)).unwrap_or_default();
    names.sort();
    names
}

/// What the system tells of the device at an address.
pub fn folder(root: &Root, address: PciAddress) -> PathBuf {
    root.path(BUS).join(written(address))
}

/// An address as the system writes it.
pub fn written(address: PciAddress) -> String {
    let PciAddress { segment, bus, device, function } = address;
    format!("{segment:04x}:{bus:02x}:{device:02x}.{function}")
}

/// Reads an address as the system writes it.
pub fn address(text: &str) -> Option<PciAddress> {
    let (segment, rest) = text.split_once(':').filter(|(segment, _)| segment.len() == 4)?;
    let address = hop(u16::from_str_radix(segment, 16).ok()?, 0, &rest.replace(':', "_"))?;
    (written(address) == text).then_some(address)
}

/// Whether a text has the form of a port: `[SSSS_]BB_DD.F`, then one `-BB_DD.F` for each bridge on the way.
pub fn is_port(text: &str) -> bool {
    let mut hops = text.split('-');
    let first = hops.next().map(|first| without_segment(first).1);
    first.is_some_and(|first| hop(0, 0, first).is_some()) && hops.all(|next| hop(0, 0, next).is_some())
}

fn without_segment(first: &str) -> (Option<&str>, &str) {
    match first.split_once('_') {
        Some((segment, rest)) if segment.len() == 4 => (Some(segment), rest),
        _ => (None, first),
    }
}

/// The device that a port names; bus numbers behind a bridge count from the bridge's own.
pub fn find(root: &Root, port: &str) -> Option<PciAddress> {
    let mut hops = port.split('-');
    let (segment, first) = without_segment(hops.next()?);
    let segment = segment.map_or(Some(0), |segment| u16::from_str_radix(segment, 16).ok())?;
    let mut here = hop(segment, 0, first)?;
    for next in hops {
        here = hop(segment, secondary_bus(&folder(root, here))?, next)?;
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

/// The port of the device with an address in whatever form, `00:14.0` and `0000_00_14.0` among them. Nothing if there is no
/// such device.
pub fn port_of(root: &Root, id: &str) -> Option<String> {
    let address = id.replace('_', ":");
    let address = if address.matches(':').count() == 1 { format!("0000:{address}") } else { address };
    let is_address = address.bytes().all(|byte| byte.is_ascii_hexdigit() || b":.".contains(&byte));
    let device = root.path(BUS).join(Some(address).filter(|_| is_address)?);
    let place = files::real_path(&device).ok()?;
    let mut hops: Vec<&Path> = place.ancestors().filter(|hop| parts(hop).is_some()).collect();
    hops.reverse();
    let (mut port, mut behind) = (String::new(), 0);
    for hop in hops {
        let (segment, bus, slot) = parts(hop)?;
        match port.is_empty() {
            true if segment != "0000" => port = format!("{segment}_"),
            true => {}
            false => port.push('-'),
        }
        port.push_str(&format!("{:02x}_{slot}", bus.checked_sub(behind)?));
        behind = secondary_bus(hop).unwrap_or_default();
    }
    Some(port).filter(|port| !port.is_empty())
}

/// Segment, bus and the rest of a directory named `0000:00:14.0`.
fn parts(directory: &Path) -> Option<(&str, u8, &str)> {
    let mut parts = directory.file_name()?.to_str()?.split(':');
    let (segment, bus, slot) = (parts.next()?, parts.next()?, parts.next()?);
    Some((segment, u8::from_str_radix(bus, 16).ok()?, slot))
}

/// The bus behind a bridge.
fn secondary_bus(bridge: &Path) -> Option<u8> {
    let bytes = files::read(&bridge.join("secondary_bus_number")).ok()?;
    std::str::from_utf8(&bytes).ok()?.trim().parse().ok()
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

    #[test]
    fn the_form_of_a_port_does_not_ask_for_the_device() {
        for port in ["00_18.4", "0001_c0_03.5", "c0_03.5-00_00.0-00_00.0"] {
            assert!(is_port(port), "{port}");
        }
        for other in ["", "sda", "00_18", "00_20.0", "00_00.0-", "00:18.4"] {
            assert!(!is_port(other), "{other}");
        }
    }
}

//! Class `pci`: devices of the host, which only dom0 has (spec 30 §4.3).

use common::failure::Failure;
use common::files;
use common::hypervisor::PciAddress;
use common::log;
use common::model::Qube;
use common::names::{ANY, DeviceName, Interface, QubeName};
use common::root::Root;

use super::bus;
use super::class::DeviceClass;
use super::exposed::{Attached, Exposed};
use super::hwdata::Names;
use crate::property::Case;

/// The class.
pub(super) struct Pci;

const NAME: &str = "pci";

impl DeviceClass for Pci {
    fn name(&self) -> &'static str {
        NAME
    }

    fn exposed(&self, case: &Case<'_>, backend: &Qube) -> Result<Vec<Exposed>, Failure> {
        if !backend.name.is_dom0() {
            return Ok(Vec::new());
        }
        let root = case.context.root;
        let supported = |address: &String| {
            let parsed = bus::address(address);
            if parsed.is_none() {
                log::line(&format!("Unsupported device: {address}"));
            }
            parsed
        };
        Ok(bus::all(root).iter().filter_map(supported).filter_map(|address| device(root, address)).collect())
    }

    fn describe(&self, root: &Root, devices: &mut [Exposed]) {
        let names = Names::of(root, "pci.ids");
        for device in devices {
            let mut ids = device.identity.split(':').filter_map(|id| id.strip_prefix("0x"));
            let (Some(vendor), Some(product)) = (ids.next(), ids.next()) else { continue };
            device.labels.vendor = names.vendor(vendor);
            device.labels.product = names.product(vendor, product);
        }
    }

    fn attached(&self, case: &Case<'_>, frontend: &Qube) -> Result<Vec<Attached>, Failure> {
        let Some(domain) = case.context.hypervisor.domain(&frontend.name) else { return Ok(Vec::new()) };
        let (root, dom0) = (case.context.root, QubeName::dom0());
        let attached = domain.pci.iter().filter_map(|pci| {
            let found = device(root, pci.address);
            let port = bus::port_of(root, &bus::written(pci.address))?;
            Some(Attached::at(&dom0, port, found.as_ref(), Vec::new()))
        });
        Ok(attached.collect())
    }

    /// Which device is meant can only be said of a port that is one.
    fn can_be(&self, device: &DeviceName) -> bool {
        device.port == ANY || device.identity == ANY || bus::is_port(&device.port)
    }
}

/// The device at an address, without what lists of names know.
fn device(root: &Root, address: PciAddress) -> Option<Exposed> {
    let folder = bus::folder(root, address);
    let number = |file: &str| {
        let bytes = files::read(&folder.join(file)).ok()?;
        let text = String::from_utf8_lossy(&bytes).trim().to_ascii_lowercase();
        let digits = text.strip_prefix("0x")?;
        digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| digits.to_owned())
    };
    let (vendor, product) = (number("vendor")?, number("device")?);
    let interface = Interface::of('p', &number("class")?)?;
    let port = bus::port_of(root, &bus::written(address))?;
    let identity = format!("0x{vendor}:0x{product}::{interface}");
    let mut device = Exposed::new(NAME, &QubeName::dom0(), &port, identity);
    device.interfaces = vec![interface];
    device.extra = vec![("sbdf", bus::written(address))];
    Some(device)
}

//! Class `pci`: devices of the host, which only dom0 has (spec 30 §4.3).

use std::time::Duration;

use common::capture::Finished;
use common::failure::{Exception, Failure};
use common::files;
use common::hypervisor::{HotDevice, PciAddress, Request};
use common::log;
use common::model::Qube;
use common::names::{ANY, DeviceName, Interface, QubeName};
use common::quote::quote;
use common::root::Root;
use common::run;

use super::bus;
use super::class::{DeviceClass, running};
use super::exposed::{Attached, Exposed};
use super::hwdata::Names;
use super::work::{Plan, Service, Work};
use crate::companion::{qrexec, service};
use crate::domain::pci_of_device;
use crate::property::Case;

/// The class.
pub(super) struct Pci;

const NAME: &str = "pci";
/// The program that tells where guests see their devices.
const XL: &str = "/usr/sbin/xl";
const XL_DEADLINE: Duration = Duration::from_secs(10);

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

    /// Those of the host are given at the start, or by hand.
    fn is_hot(&self) -> bool {
        false
    }

    fn plan(
        &self,
        case: &Case<'_>,
        frontend: &Qube,
        device: &Exposed,
        options: &[(String, String)],
    ) -> Result<Plan, Failure> {
        let refused = |text: String| Err(Failure::new(Exception::QubesException, text));
        if frontend.name.is_dom0() {
            return refused("Can't attach PCI device to dom0".to_owned());
        }
        if case.text("virt_mode")? == "pvh" {
            return refused("Can't attach PCI device to VM in pvh mode".to_owned());
        }
        if let Some(user) = user(case, &device.port)? {
            let text = format!("Device {} already attached to {user}", device.name());
            return Err(Failure::new(Exception::DeviceAlreadyAttached, quote(&text)));
        }
        let pci = pci_of_device(case, &device.name(), options)?;
        let work = Work::Watcher(None, Box::new(Request::Attach(Box::new(HotDevice::Pci(pci)))));
        Ok(Plan { work, options: options.to_vec() })
    }

    fn undoing(&self, case: &Case<'_>, frontend: &Qube, attached: &Attached) -> Result<Work, Failure> {
        let address = bus::find(case.context.root, &attached.device.port);
        let domain = case.context.hypervisor.domain(&frontend.name);
        let mut owned = domain.into_iter().flat_map(|domain| domain.devices().pci);
        let pci = owned.find(|pci| Some(pci.address) == address);
        let Some(pci) = pci else { return Ok(Work::Nothing) };
        let request = Request::Detach(Box::new(HotDevice::Pci(pci.clone())));
        Ok(Work::Watcher(letting_go(case, frontend, pci.address)?, Box::new(request)))
    }

    fn attached(&self, case: &Case<'_>, frontend: &Qube) -> Result<Vec<Attached>, Failure> {
        let Some(domain) = case.context.hypervisor.domain(&frontend.name) else { return Ok(Vec::new()) };
        let (root, dom0) = (case.context.root, QubeName::dom0());
        let attached = domain.devices().pci.into_iter().filter_map(|pci| {
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

/// The service by which a guest that has qrexec lets go of a device.
fn letting_go(case: &Case<'_>, frontend: &Qube, address: PciAddress) -> Result<Option<Service>, Failure> {
    let place = match qrexec::is_needed(case)? {
        true => guest_place(case, frontend, address),
        false => None,
    };
    let Some(place) = place else { return Ok(None) };
    service::check(&case.context, frontend)?;
    let failed = |finished: &Finished| {
        let text = format!("The qube does not let go of the PCI device: {}", finished.errors_in_a_line());
        Failure::new(Exception::QubesException, text)
    };
    Ok(Some(Service {
        qube: frontend.name.to_string(),
        name: "qubes.DetachPciDevice".to_owned(),
        input: format!("00:{place}"),
        rule: None,
        failed: Box::new(failed),
    }))
}

/// Where a guest sees a device, if that is known.
fn guest_place(case: &Case<'_>, frontend: &Qube, address: PciAddress) -> Option<String> {
    let domid = case.context.hypervisor.domain(&frontend.name)?.domid.0.to_string();
    let told = run::as_root(case.context.root, XL, &["pci-list", &domid], XL_DEADLINE);
    let told = told.map_err(|error| log::line(&format!("{XL}: {error}"))).ok()?;
    let listed = String::from_utf8_lossy(told.output()).into_owned();
    let place = listed.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let place = words.next()?;
        (bus::address(words.next()?) == Some(address)).then(|| place.to_owned())
    });
    place.filter(|place| place.bytes().all(|byte| byte == b'.' || byte.is_ascii_hexdigit()))
}

/// The qube that has the device at a port.
fn user(case: &Case<'_>, port: &str) -> Result<Option<QubeName>, Failure> {
    let address = bus::find(case.context.root, port);
    for qube in running(case)? {
        let domain = case.context.hypervisor.domain(&qube.name);
        if domain.is_some_and(|domain| domain.devices().pci.iter().any(|pci| Some(pci.address) == address)) {
            return Ok(Some(qube.name.clone()));
        }
    }
    Ok(None)
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

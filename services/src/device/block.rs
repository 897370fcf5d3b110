//! Class `block`: disks, partitions and drives of a qube that another can use as a disk (spec 30 §4.1).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::failure::{Exception, Failure};
use common::hypervisor::{Disk, HotDevice, Request};
use common::log;
use common::model::Qube;
use common::names::{Interface, QubeName, UNKNOWN_IDENTITY};

use super::class::{DeviceClass, at_port, is_running};
use super::exposed::{Attached, Exposed, Labels};
use super::guest::{self, Record};
use super::work::{Plan, Work};
use super::{dom0_block, usb};
use crate::domain::{DiskOptions, disk_of_device};
use crate::property::Case;

/// The class.
pub(super) struct Block;

const FOLDER: &str = "/qubes-block-devices/";
const NAME: &str = "block";
const USB: &str = "usb";
/// Longest name of a device.
const NAME_MAX: usize = 12;
/// How far devices may be parts of each other: guests could let it go on for ever.
const DEPTH: usize = 8;
/// What each qube has for itself; the last only where dom0 has its kernel.
const SYSTEM: [&str; 4] = ["xvda", "xvdb", "xvdc", "xvdd"];

impl DeviceClass for Block {
    fn name(&self) -> &'static str {
        NAME
    }

    fn folder(&self) -> Option<&'static str> {
        Some(FOLDER)
    }

    fn exposed(&self, case: &Case<'_>, backend: &Qube) -> Result<Vec<Exposed>, Failure> {
        if !is_running(case, backend) {
            return Ok(Vec::new());
        }
        let records = match backend.name.is_dom0() {
            true => dom0_block::records(case)?,
            false => guest::records(case.context.root, &backend.name, FOLDER),
        };
        let (shown, odd): (Vec<_>, Vec<_>) = records.iter().partition(|(name, _)| is_name(name));
        warn(&backend.name, "a name that contains unsafe characters", odd.len());
        warn(
            &backend.name,
            "an invalid mode",
            shown.iter().filter(|(_, record)| has_odd_mode(record)).count(),
        );
        let is_of_usb = |(_, record): &(&String, &Record)| parent(record).is_some_and(|it| it.class == USB);
        let usb = match shown.iter().any(is_of_usb) {
            true => usb::Usb.exposed(&case.at(backend), backend)?,
            false => Vec::new(),
        };
        let all = Shown { case, backend, records: &records, usb };
        Ok(shown.into_iter().map(|it| all.device(it)).collect())
    }

    fn plan(
        &self,
        case: &Case<'_>,
        frontend: &Qube,
        device: &Exposed,
        options: &[(String, String)],
    ) -> Result<Plan, Failure> {
        let wish = DiskOptions::parse(options)?;
        usb::check_unused(device)?;
        let domain =
            case.context.hypervisor.domain(&frontend.name).ok_or_else(|| {
                Failure::new(Exception::QubesException, "Can't attach block device to dom0")
            })?;
        let disks = domain.devices().disks;
        let disk = disk_of_device(case, &device.name(), wish, device.is_read_only, &disks)?;
        if disks.iter().any(|own| own.target == disk.target) {
            let text = format!("Invalid frontend-dev option value: {}", disk.target);
            return Err(Failure::new(Exception::QubesValueError, text));
        }
        let options = completed(options, &disk);
        Ok(Plan {
            work: Work::Watcher(None, Box::new(Request::Attach(Box::new(HotDevice::Disk(disk))))),
            options,
        })
    }

    fn undoing(&self, case: &Case<'_>, frontend: &Qube, attached: &Attached) -> Result<Work, Failure> {
        let domain = case.context.hypervisor.domain(&frontend.name);
        let wanted = (attached.device.backend.as_str(), node(&attached.device.port));
        let disk = domain.into_iter().flat_map(|domain| domain.devices().disks).find(|disk| {
            let backend = disk.backend.as_ref().map_or("dom0", QubeName::as_str);
            (backend, &disk.path) == (wanted.0, &wanted.1)
        });
        let detach = |disk| Work::Watcher(None, Box::new(Request::Detach(Box::new(HotDevice::Disk(disk)))));
        Ok(disk.map_or(Work::Nothing, detach))
    }

    fn attached(&self, case: &Case<'_>, frontend: &Qube) -> Result<Vec<Attached>, Failure> {
        let Some(domain) = case.context.hypervisor.domain(&frontend.name) else { return Ok(Vec::new()) };
        let mut attached = Vec::new();
        for disk in &domain.devices().disks {
            if !is_own(case, disk)? {
                attached.extend(used(case, disk)?);
            }
        }
        Ok(attached)
    }
}

/// The options as they are then: those given keep their place.
fn completed(given: &[(String, String)], disk: &Disk) -> Vec<(String, String)> {
    let mut options = given.to_vec();
    let read_only = if disk.rw { "no" } else { "yes" };
    for (key, value) in [("read-only", read_only), ("frontend-dev", &disk.target)] {
        match options.iter_mut().find(|(known, _)| known == key) {
            Some((_, old)) => value.clone_into(old),
            None => options.push((key.to_owned(), value.to_owned())),
        }
    }
    options
}

/// Logs how many devices of a qube are odd in some way, in one line: a guest may show thousands, as often as it likes.
fn warn(qube: &QubeName, what: &str, devices: usize) {
    if devices > 0 {
        log::line(&format!("{qube}: {devices} block devices with {what}"));
    }
}

fn has_odd_mode(record: &Record) -> bool {
    record.get("mode").is_some_and(|mode| mode != "r" && mode != "w")
}

/// Whether devices that others may use are called like that.
pub(super) fn is_name(name: &str) -> bool {
    let is_of_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(is_of_name)
}

/// Whether a disk is one of the volumes that each qube has.
pub(super) fn is_own(case: &Case<'_>, disk: &Disk) -> Result<bool, Failure> {
    let has_kernel = !case.text("kernel")?.is_empty();
    let own = SYSTEM.get(..if has_kernel { 4 } else { 3 }).unwrap_or_default();
    Ok(own.contains(&disk.target.as_str()))
}

/// Where a device is, as its backend sees it.
pub fn node(port: &str) -> PathBuf {
    Path::new("/dev").join(port.replace('_', "/"))
}

/// The port of such a place.
pub(super) fn port_of(node: &Path) -> Option<String> {
    Some(node.strip_prefix("/dev").ok()?.to_str()?.replace('/', "_"))
}

fn used(case: &Case<'_>, disk: &Disk) -> Result<Option<Attached>, Failure> {
    let Some(port) = port_of(&disk.path) else { return Ok(None) };
    let backend = disk.backend.clone().unwrap_or_else(QubeName::dom0);
    let found = match case.view.qube(&backend)? {
        Some(qube) => at_port(&Block, case, &qube, &port)?,
        None => None,
    };
    let read_only = if disk.rw { "no" } else { "yes" };
    let mut options = vec![("read-only", read_only), ("frontend-dev", &disk.target)];
    options.extend(disk.cdrom.then_some(("devtype", "cdrom")));
    let options = options.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    Ok(Some(Attached::at(&backend, port, found.as_ref(), options)))
}

/// The devices that a qube shows.
struct Shown<'a> {
    case: &'a Case<'a>,
    backend: &'a Qube,
    records: &'a BTreeMap<String, Record>,
    /// Its USB devices, if some are parts of such.
    usb: Vec<Exposed>,
}

impl Shown<'_> {
    fn device(&self, (name, record): (&String, &Record)) -> Exposed {
        let backend = &self.backend.name;
        let mut device = Exposed::new(NAME, backend, name, self.identity(name, DEPTH));
        device.is_read_only = record.get("mode").is_some_and(|mode| mode == "r");
        device.interfaces = Interface::of('b', "").into_iter().collect();
        device.attachment = self.user(name);
        device.parent = parent(record).map(|parent| (parent.class, parent.port.to_owned()));
        let manufacturer = match &device.parent {
            Some((_, port)) => format!("sub-device of {backend}:{port}"),
            None => format!("hosted by {backend}"),
        };
        let (serial, name) = described(record.get("desc").map(String::as_str).unwrap_or_default());
        device.labels = Labels { manufacturer: Some(manufacturer), name, serial, ..Labels::default() };
        device
    }

    /// What the device is a part of, then its number there.
    fn identity(&self, name: &str, depth: usize) -> String {
        let digits = name.bytes().rev().take_while(u8::is_ascii_digit).count();
        let number = name.get(name.len().saturating_sub(digits)..).filter(|number| !number.is_empty());
        let of_name = number.unwrap_or("None");
        let parent = self.records.get(name).and_then(parent);
        let (whole, part) = match parent {
            Some(Parent { class: USB, port, interface }) => (self.usb_identity(port), interface),
            Some(Parent { port, .. }) if depth > 0 && self.records.contains_key(port) => {
                (self.identity(port, depth.saturating_sub(1)), of_name)
            }
            _ => (String::new(), of_name),
        };
        format!("{whole}:{part}")
    }

    fn usb_identity(&self, port: &str) -> String {
        let found = self.usb.iter().find(|device| device.port == port);
        found.map_or(UNKNOWN_IDENTITY, |device| &device.identity).to_owned()
    }

    /// The qube that uses the device as a disk.
    fn user(&self, name: &str) -> Option<QubeName> {
        let hypervisor = self.case.context.hypervisor;
        let wanted = Some(&self.backend.name).filter(|backend| !backend.is_dom0());
        let is_it = |disk: &Disk| disk.backend.as_ref() == wanted && disk.path == node(name);
        let running = hypervisor.running().into_iter().filter_map(|name| QubeName::parse(&name).ok());
        let mut running = running.filter_map(|name| Some((hypervisor.domain(&name)?, name)));
        running.find(|(domain, _)| domain.devices().disks.iter().any(is_it)).map(|(_, name)| name)
    }
}

/// What a device is a part of.
struct Parent<'a> {
    class: &'static str,
    port: &'a str,
    /// Which interface of a USB device it is.
    interface: &'a str,
}

fn parent(record: &Record) -> Option<Parent<'_>> {
    let parent = record.get("parent").filter(|parent| !parent.is_empty())?;
    Some(match parent.split_once(':') {
        Some((port, interface)) => Parent { class: USB, port, interface },
        None => Parent { class: NAME, port: parent, interface: "" },
    })
}

/// Serial number and name in `<model> (<label of the file system>)`.
fn described(text: &str) -> (Option<String>, Option<String>) {
    let is_kept = |sign: char| sign.is_ascii_alphanumeric() || "()+,-.:=/ ".contains(sign);
    let read = |text: &str| {
        let shown: String = text.chars().map(|sign| if is_kept(sign) { sign } else { ' ' }).collect();
        Some(shown.trim().to_owned()).filter(|shown| !shown.is_empty())
    };
    let (serial, rest) = text.split_once(' ').unwrap_or((text, ""));
    let name = rest.trim().strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
    (read(serial), name.and_then(read))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_are_a_model_and_a_label() {
        let some = |text: &str| Some(text.to_owned());
        for (text, serial, name) in [
            ("Test_ (device)", some("Test"), some("device")),
            ("Test_device", some("Test device"), None),
            ("Test (device<>zaabc)", some("Test"), some("device  zaabc")),
            ("Test_device (2)", some("Test device"), some("2")),
            ("/var/tmp/disk.img ()", some("/var/tmp/disk.img"), None),
            ("", None, None),
        ] {
            assert_eq!(described(text), (serial, name), "{text}");
        }
    }

    #[test]
    fn ports_are_places() {
        assert_eq!(node("mapper_dmroot"), Path::new("/dev/mapper/dmroot"));
        assert_eq!(port_of(Path::new("/dev/sda1")).as_deref(), Some("sda1"));
        assert_eq!(port_of(Path::new("/var/lib/image")), None);
    }
}

//! Class `usb`: devices of a qube's USB controllers, served by its own programs (spec 30 §4.2).

use common::capture::Finished;
use common::failure::{Exception, Failure};
use common::files;
use common::model::Qube;
use common::names::{Interface, QubeName};
use common::quote::quote;
use common::root::Root;

use super::class::{DeviceClass, is_running, running};
use super::exposed::{Attached, Exposed, Labels};
use super::guest::{self, Record};
use super::hwdata::Names;
use super::work::{Plan, Service, Work};
use crate::property::Case;

/// The class.
pub(super) struct Usb;

const NAME: &str = "usb";
const FOLDER: &str = "/qubes-usb-devices/";
/// dom0 has its own devices for others only with this program.
const OF_DOM0: &str = "/etc/qubes-rpc/qubes.USB";

impl DeviceClass for Usb {
    fn name(&self) -> &'static str {
        NAME
    }

    fn part(&self) -> Option<&'static str> {
        Some("qubesusbproxy")
    }

    fn folder(&self) -> Option<&'static str> {
        Some(FOLDER)
    }

    fn exposed(&self, case: &Case<'_>, backend: &Qube) -> Result<Vec<Exposed>, Failure> {
        let root = case.context.root;
        let serves = !backend.name.is_dom0() || files::exists(&root.path(OF_DOM0));
        if !is_running(case, backend) || !serves {
            return Ok(Vec::new());
        }
        let records = guest::records(root, &backend.name, FOLDER);
        let named = records.iter().filter(|(name, _)| is_name(name));
        Ok(named.map(|(name, record)| device(&backend.name, name, record)).collect())
    }

    fn describe(&self, root: &Root, devices: &mut [Exposed]) {
        let names = Names::of(root, "usb.ids");
        for device in devices {
            let mut ids = device.identity.split(':');
            let (Some(vendor), Some(product)) = (ids.next(), ids.next()) else { continue };
            device.labels.vendor = names.vendor(vendor);
            device.labels.product = names.product(vendor, product);
        }
    }

    fn plan(
        &self,
        case: &Case<'_>,
        frontend: &Qube,
        device: &Exposed,
        options: &[(String, String)],
    ) -> Result<Plan, Failure> {
        check_no_options(options, "USB device attach does not support user options")?;
        check_unused(device)?;
        if frontend.name.is_dom0() {
            return Err(Failure::new(Exception::QubesException, "Can't attach USB device to dom0"));
        }
        let (backend, port) = (&device.backend, &device.port);
        let has_agent = case.text("virt_mode")? == "hvm" && case.has_feature("stubdom-qrexec")?;
        let qube = if has_agent { format!("{}-dm", frontend.name) } else { frontend.name.to_string() };
        let rule = (format!("{POLICY}+{port}").into(), format!("{qube} {backend} allow,user=root"));
        let service = Service {
            qube,
            name: "qubes.USBAttach".to_owned(),
            input: format!("{backend} {port}\n"),
            rule: Some(rule),
            failed: Box::new(|finished| match finished.number() {
                Some(127) => {
                    let text = "qubes-usb-proxy not installed in the VM";
                    Failure::new(Exception::USBProxyNotInstalled, text)
                }
                _ => failed("Device attach failed", finished),
            }),
        };
        Ok(Plan { work: Work::Service(service), options: Vec::new() })
    }

    fn undoing(&self, _: &Case<'_>, _: &Qube, attached: &Attached) -> Result<Work, Failure> {
        Ok(Work::Service(Service {
            qube: attached.device.backend.clone(),
            name: "qubes.USBDetach".to_owned(),
            input: format!("{}\n", attached.device.port),
            rule: None,
            failed: Box::new(|finished| failed("Device detach failed", finished)),
        }))
    }

    fn attached(&self, case: &Case<'_>, frontend: &Qube) -> Result<Vec<Attached>, Failure> {
        used_by(self, case, frontend)
    }
}

/// Where the backend's service is allowed to the frontend.
const POLICY: &str = "/etc/qubes-rpc/policy/qubes.USB";

fn failed(what: &str, finished: &Finished) -> Failure {
    let shown = |byte: &u8| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '_' };
    let output: String = finished.output().iter().take(4096).map(shown).collect();
    Failure::new(Exception::QubesUSBException, format!("{what}: {output} {}", finished.errors_in_a_line()))
}

/// Refuses options where a class has none.
///
/// # Errors
/// `QubesException`.
pub(super) fn check_no_options(options: &[(String, String)], text: &'static str) -> Result<(), Failure> {
    if options.is_empty() { Ok(()) } else { Err(Failure::new(Exception::QubesException, text)) }
}

/// Refuses a device that somebody uses.
///
/// # Errors
/// `DeviceAlreadyAttached`.
pub(super) fn check_unused(device: &Exposed) -> Result<(), Failure> {
    let Some(user) = &device.attachment else { return Ok(()) };
    let text = format!("Device {} already attached to {user}", device.name());
    Err(Failure::new(Exception::DeviceAlreadyAttached, quote(&text)))
}

/// The devices of a class whose backends say that a qube uses them.
///
/// # Errors
/// What the store says.
pub(super) fn used_by(
    class: &dyn DeviceClass,
    case: &Case<'_>,
    frontend: &Qube,
) -> Result<Vec<Attached>, Failure> {
    let mut attached = Vec::new();
    for backend in running(case)? {
        for device in class.exposed(&case.at(&backend), &backend)? {
            if device.attachment.as_ref() == Some(&frontend.name) {
                attached.push(Attached::at(&backend.name, device.port.clone(), Some(&device), Vec::new()));
            }
        }
    }
    Ok(attached)
}

/// `1-1_2`: a bus, then the ways through hubs.
fn is_name(name: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    name.split_once('-').is_some_and(|(bus, ports)| is_number(bus) && ports.split('_').all(is_number))
}

fn device(backend: &QubeName, name: &str, record: &Record) -> Exposed {
    let text = |key: &str| record.get(key).map(String::as_str).unwrap_or_default();
    let interfaces = text("interfaces").split(':').filter(|code| code.len() == 6);
    let interfaces: Vec<Interface> = interfaces.filter_map(|code| Interface::of('u', code)).collect();
    let described = described(text("desc"));
    let codes: String = interfaces.iter().map(Interface::as_str).collect();
    let serial = described.labels.serial.as_deref().unwrap_or_default().replace([':', ' '], "_");
    let identity = format!("{}:{serial}:{codes}", described.ids);
    let mut device = Exposed::new(NAME, backend, &name.replace('_', "."), identity);
    device.labels = described.labels;
    device.interfaces = interfaces;
    device.attachment = QubeName::parse(text("connected-to")).ok();
    device
}

/// What a description says.
struct Described {
    /// `<vendor>:<product>` in digits.
    ids: String,
    labels: Labels,
}

/// Reads `<vid>:<pid> <vendor> <model> <serial>`.
fn described(text: &str) -> Described {
    let fields: Vec<&str> = text.split(' ').collect();
    let some = |text: &str| Some(decoded(text)).filter(|text| !text.is_empty());
    match fields.as_slice() {
        [ids, manufacturer, name, serial] if is_ids(ids) => {
            let (manufacturer, name, serial) = (some(manufacturer), some(name), some(serial));
            let labels = Labels { manufacturer, name, serial, ..Labels::default() };
            Described { ids: ids.to_ascii_lowercase(), labels }
        }
        _ => {
            let labels = Labels { name: some(&text.replace(' ', "_")), ..Labels::default() };
            Described { ids: "0000:0000".to_owned(), labels }
        }
    }
}

fn is_ids(text: &str) -> bool {
    let is_id = |id: &str| id.len() == 4 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    text.split_once(':').is_some_and(|(vendor, product)| is_id(vendor) && is_id(product))
}

/// A text in which `\xHH` stands for the sign of that number, `_` for those that do not print.
fn decoded(text: &str) -> String {
    let mut parts = text.split("\\x");
    let mut decoded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2).unwrap_or((part, ""));
        let sign = u8::from_str_radix(digits, 16).ok().filter(|sign| (b' '..=b'~').contains(sign));
        decoded.push(sign.map_or('_', char::from));
        decoded.push_str(rest);
    }
    decoded.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_are_decoded() {
        let some = |text: &str| Some(text.to_owned());
        let Described { ids, labels } = described("0951:1666 Kingston DataTraveler\\x203.0 408D5C\\x7f");
        assert_eq!(ids, "0951:1666");
        assert_eq!((labels.manufacturer, labels.name), (some("Kingston"), some("DataTraveler 3.0")));
        assert_eq!(labels.serial, some("408D5C_"));
        let Described { ids, labels } = described("some device");
        assert_eq!((ids.as_str(), labels.name), ("0000:0000", some("some_device")));
    }

    #[test]
    fn names_are_a_bus_and_ports() {
        assert!(["1-1", "10-2_3_4"].into_iter().all(is_name));
        assert!(!["", "1", "1-", "1-1_", "a-1", "1-1.2", "1_1-1"].into_iter().any(is_name));
    }
}

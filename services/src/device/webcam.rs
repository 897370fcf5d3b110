//! Class `webcam`: cameras of a qube whose pictures another gets (spec 30 §4.5).

use common::capture::Finished;
use common::failure::{Exception, Failure};
use common::model::Qube;
use common::names::{Interface, QubeName, UNKNOWN_IDENTITY};
use common::quote::quote;

use super::class::{DeviceClass, is_running};
use super::exposed::{Attached, Exposed};
use super::guest::{self, Record};
use super::usb::{Usb, check_unused, used_by};
use super::work::{Plan, Service, Work};
use crate::property::Case;

/// The class.
pub(super) struct Webcam;

const NAME: &str = "webcam";
const FOLDER: &str = "/webcam-devices/";
const FORMATS: &str = "formats/";

impl DeviceClass for Webcam {
    fn name(&self) -> &'static str {
        NAME
    }

    fn part(&self) -> Option<&'static str> {
        Some("qvc")
    }

    fn folder(&self) -> Option<&'static str> {
        Some(FOLDER)
    }

    fn exposed(&self, case: &Case<'_>, backend: &Qube) -> Result<Vec<Exposed>, Failure> {
        if !is_running(case, backend) {
            return Ok(Vec::new());
        }
        let records = guest::records(case.context.root, &backend.name, FOLDER);
        let named: Vec<_> = records.iter().filter(|(name, _)| is_name(name)).collect();
        let usb = match named.iter().any(|(_, record)| usb_port(record).is_some()) {
            true => Usb.exposed(&case.at(backend), backend)?,
            false => Vec::new(),
        };
        Ok(named.into_iter().map(|(name, record)| device(&usb, &backend.name, name, record)).collect())
    }

    fn plan(
        &self,
        case: &Case<'_>,
        frontend: &Qube,
        device: &Exposed,
        options: &[(String, String)],
    ) -> Result<Plan, Failure> {
        let format = format(options)?;
        check_unused(device)?;
        if !case.has_feature("supported-rpc.qvc.WebcamAttach")? {
            let text = "qubes-video-companion not installed in the VM";
            return Err(Failure::new(Exception::QVCNotInstalled, text));
        }
        let argument = format.map_or_else(
            || device.port.clone(),
            |format| format!("{}+{}", device.port, format.replace('x', "+")),
        );
        let backend = case.view.qube(&device.backend)?.map(|backend| backend.uuid.to_string());
        let line = format!(
            "qvc.Webcam +{argument} uuid:{} uuid:{} allow",
            frontend.uuid,
            backend.unwrap_or_default()
        );
        // Names of qubes may have capitals, and a file of policy with one in its name denies everything.
        let file = format!("/run/qubes/policy.d/10-qvc-{}.policy", frontend.uuid);
        let service = Service {
            qube: frontend.name.to_string(),
            name: "qvc.WebcamAttach".to_owned(),
            input: format!("{} {argument}\n", device.backend),
            rule: Some((file.into(), line)),
            failed: Box::new(|finished| failed("attach", finished)),
        };
        Ok(Plan { work: Work::Service(service), options: options.to_vec() })
    }

    fn undoing(&self, _: &Case<'_>, _: &Qube, attached: &Attached) -> Result<Work, Failure> {
        Ok(Work::Service(Service {
            qube: attached.device.backend.clone(),
            name: format!("qvc.WebcamDetach+{}", attached.device.port),
            input: String::new(),
            rule: None,
            failed: Box::new(|finished| failed("detach", finished)),
        }))
    }

    fn attached(&self, case: &Case<'_>, frontend: &Qube) -> Result<Vec<Attached>, Failure> {
        used_by(self, case, frontend)
    }
}

fn failed(what: &str, finished: &Finished) -> Failure {
    let text = format!("Failed to {what} the camera: {}", finished.errors_in_a_line());
    Failure::new(Exception::QubesException, text)
}

/// The wished format, `640x480x30` for example.
fn format(options: &[(String, String)]) -> Result<Option<&str>, Failure> {
    let refused = |text: String| Err(Failure::new(Exception::QubesException, text));
    if let Some((key, _)) = options.iter().find(|(key, _)| key != "format") {
        return refused(format!("Unsupported option: {}", quote(key)));
    }
    let is_number = |text: &str, most: usize| {
        (1..=most).contains(&text.len())
            && !text.starts_with('0')
            && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    let Some((_, format)) = options.first() else { return Ok(None) };
    match format.split('x').collect::<Vec<_>>().as_slice() {
        [width, height, rate] if is_number(width, 4) && is_number(height, 4) && is_number(rate, 3) => {
            Ok(Some(format))
        }
        _ => refused("Invalid format value".to_owned()),
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// The port of the USB device that a camera is a part of.
fn usb_port(record: &Record) -> Option<&str> {
    let (class, port) = record.get("parent")?.split_once(':')?;
    (class == Usb.name()).then_some(port)
}

fn device(usb: &[Exposed], backend: &QubeName, name: &str, record: &Record) -> Exposed {
    let port = usb_port(record);
    let camera = port.and_then(|port| usb.iter().find(|device| device.port == port));
    let identity = camera.map_or(UNKNOWN_IDENTITY, |camera| camera.identity.as_str()).to_owned();
    let mut device = Exposed::new(NAME, backend, name, identity);
    device.labels = camera.map(|camera| camera.labels.clone()).unwrap_or_default();
    device.parent = port.map(|port| (Usb.name(), port.to_owned()));
    device.interfaces = Interface::of('u', "0e0200").into_iter().collect();
    device.attachment = record.get("connected-to").and_then(|name| QubeName::parse(name).ok());
    let formats = record.iter().filter(|(key, _)| key.starts_with(FORMATS));
    let formats: Vec<&str> = formats.map(|(_, format)| format.as_str()).collect();
    device.extra = vec![("formats", formats.join(" "))];
    device
}

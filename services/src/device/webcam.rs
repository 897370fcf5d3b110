//! Class `webcam`: cameras of a qube whose pictures another gets (spec 30 §4.5).

use common::failure::Failure;
use common::model::Qube;
use common::names::{Interface, QubeName, UNKNOWN_IDENTITY};

use super::class::{DeviceClass, at_port, is_running};
use super::exposed::{Attached, Exposed};
use super::guest::{self, Record};
use super::usb::{Usb, used_by};
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

    fn exposed(&self, case: &Case<'_>, backend: &Qube) -> Result<Vec<Exposed>, Failure> {
        if !is_running(case, backend) {
            return Ok(Vec::new());
        }
        let records = guest::records(case.context.root, &backend.name, FOLDER);
        let named = records.iter().filter(|(name, _)| is_name(name));
        named.map(|(name, record)| device(case, backend, name, record)).collect()
    }

    fn attached(&self, case: &Case<'_>, frontend: &Qube) -> Result<Vec<Attached>, Failure> {
        used_by(self, case, frontend)
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

fn device(case: &Case<'_>, backend: &Qube, name: &str, record: &Record) -> Result<Exposed, Failure> {
    let parent = record.get("parent").and_then(|parent| parent.split_once(':'));
    let port = parent.filter(|(class, _)| *class == Usb.name()).map(|(_, port)| port);
    let camera = port.map_or(Ok(None), |port| at_port(&Usb, case, backend, port))?;
    let identity = camera.as_ref().map_or(UNKNOWN_IDENTITY, |camera| camera.identity.as_str()).to_owned();
    let mut device = Exposed::new(NAME, &backend.name, name, identity);
    device.labels = camera.map(|camera| camera.labels).unwrap_or_default();
    device.parent = port.map(|port| (Usb.name(), port.to_owned()));
    device.interfaces = Interface::of('u', "0e0200").into_iter().collect();
    device.attachment = record.get("connected-to").and_then(|name| QubeName::parse(name).ok());
    let formats = record.iter().filter(|(key, _)| key.starts_with(FORMATS));
    let formats: Vec<&str> = formats.map(|(_, format)| format.as_str()).collect();
    device.extra = vec![("formats", formats.join(" "))];
    Ok(device)
}

//! Class `mic`: dom0's one microphone, which the qube that plays a qube's sound hands over (spec 30 §4.4).

use common::failure::Failure;
use common::model::Qube;
use common::names::{Interface, QubeName};

use super::class::{DeviceClass, is_running};
use super::exposed::{Attached, Exposed, Labels};
use super::guest;
use crate::property::Case;

/// The class.
pub(super) struct Mic;

const NAME: &str = "mic";
const IDENTITY: &str = "dom0:mic::m000000";

impl DeviceClass for Mic {
    fn name(&self) -> &'static str {
        NAME
    }

    fn part(&self) -> Option<&'static str> {
        Some("qubesguidaemon")
    }

    fn exposed(&self, _: &Case<'_>, backend: &Qube) -> Result<Vec<Exposed>, Failure> {
        Ok(if backend.name.is_dom0() { vec![microphone()] } else { Vec::new() })
    }

    fn attached(&self, case: &Case<'_>, frontend: &Qube) -> Result<Vec<Attached>, Failure> {
        let Some(audio) = case.named_by("audiovm")?.filter(|audio| is_running(case, audio)) else {
            return Ok(Vec::new());
        };
        let key = format!("/audio-input-config/{}", frontend.name);
        let mut entries = guest::entries(case.context.root, &audio.name, &key).into_iter();
        let is_on = entries.any(|(known, value)| known == key && value == "1");
        let device = microphone();
        let attached = Attached::at(&device.backend, NAME.to_owned(), Some(&device), Vec::new());
        Ok(is_on.then_some(attached).into_iter().collect())
    }
}

fn microphone() -> Exposed {
    let mut device = Exposed::new(NAME, &QubeName::dom0(), NAME, IDENTITY.to_owned());
    device.interfaces = Interface::of('m', "000000").into_iter().collect();
    device.labels = Labels { product: Some("microphone".to_owned()), ..Labels::default() };
    device
}

//! Class `mic`: dom0's one microphone, which the qube that plays a qube's sound hands over (spec 30 §4.4).

use common::failure::{Exception, Failure};
use common::model::Qube;
use common::names::{Interface, QubeName};
use common::qubesdb::Entry;

use super::class::{DeviceClass, is_running};
use super::exposed::{Attached, Exposed, Labels};
use super::guest;
use super::usb::check_no_options;
use super::work::{Plan, Service, Work};
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

    fn plan(
        &self,
        case: &Case<'_>,
        frontend: &Qube,
        _: &Exposed,
        options: &[(String, String)],
    ) -> Result<Plan, Failure> {
        check_no_options(options, "Microphone assignment does not support user options")?;
        Ok(Plan { work: switch(case, frontend, true)?, options: Vec::new() })
    }

    fn undoing(&self, case: &Case<'_>, frontend: &Qube, _: &Attached) -> Result<Work, Failure> {
        switch(case, frontend, false)
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

/// Has the qube that plays a qube's sound hand the microphone over, or take it back.
fn switch(case: &Case<'_>, frontend: &Qube, on: bool) -> Result<Work, Failure> {
    let name = &frontend.name;
    let Some(audio) = case.named_by("audiovm")? else {
        return Err(Failure::new(Exception::QubesException, format!("VM {name} has no AudioVM set")));
    };
    if !is_running(case, &audio) {
        let text = format!("Audio VM {} isn't running", audio.name);
        return Err(Failure::new(Exception::QubesVMNotRunningError, text));
    }
    if !case.at(&audio).has_feature("supported-rpc.qubes.AudioInputEnable")? {
        let entry = Entry::new(format!("/audio-input-config/{name}"), if on { "1" } else { "0" });
        return Ok(Work::Entry(audio.name.clone(), entry));
    }
    let call = if on { "qubes.AudioInputEnable" } else { "qubes.AudioInputDisable" };
    let what = if on { "attach" } else { "detach" };
    let text =
        format!("Failed to {what} audio input from {} to {name}: pulseaudio agent not running", audio.name);
    Ok(Work::Service(Service {
        qube: audio.name.to_string(),
        name: format!("{call}+{name}"),
        input: String::new(),
        rule: None,
        failed: Box::new(move |_| Failure::new(Exception::QubesVMError, text.clone())),
    }))
}

fn microphone() -> Exposed {
    let mut device = Exposed::new(NAME, &QubeName::dom0(), NAME, IDENTITY.to_owned());
    device.interfaces = Interface::of('m', "000000").into_iter().collect();
    device.labels = Labels { product: Some("microphone".to_owned()), ..Labels::default() };
    device
}

//! Devices that a qube cannot be without: they are there before its domain is made (spec 30 §3.6, spec 40 §3 step 7).

use common::failure::{Exception, Failure};
use common::model::{Device, Qube};
use common::names::{ANY, DeviceName, Mode};

use super::CLASSES;
use super::attach::{matches, meant};
use super::class::{DeviceClass, is_served};
use super::exposed::Exposed;
use crate::property::Case;

/// A device that a domain is made with.
pub struct Needed {
    /// Which it is.
    pub device: DeviceName,
    /// In what way it is used.
    pub options: Vec<(String, String)>,
    /// Whether it can only be read.
    pub is_read_only: bool,
}

fn of_class<'q>(qube: &'q Qube, class: &str) -> impl Iterator<Item = &'q Device> {
    qube.devices.iter().filter(move |device| device.class == class && device.mode == Mode::Required)
}

/// The devices of a class that a qube's domain is made with, each once. A port at which nothing is known stands for itself,
/// where anything may be there.
///
/// # Errors
/// `QubesException` for another assignment of which there is nothing: what was there before may be gone, or be something else
/// by now. Or what the store says.
pub fn required(case: &Case<'_>, qube: &Qube, class: &str) -> Result<Vec<Needed>, Failure> {
    let Some(class) = CLASSES.iter().find(|known| known.name() == class) else { return Ok(Vec::new()) };
    let mut needed: Vec<Needed> = Vec::new();
    for own in of_class(qube, class.name()) {
        for (device, is_read_only) in stood_for(*class, case, own)? {
            let decides = most_specific(of_class(qube, class.name()), &device).unwrap_or(own);
            let is_new = needed
                .iter()
                .all(|known| (&known.device.backend, &known.device.port) != (&device.backend, &device.port));
            if is_new {
                needed.push(Needed { device, options: decides.options.clone(), is_read_only });
            }
        }
    }
    Ok(needed)
}

fn stood_for(
    class: &dyn DeviceClass,
    case: &Case<'_>,
    own: &Device,
) -> Result<Vec<(DeviceName, bool)>, Failure> {
    let name = own.name();
    let is_anything = name.port != ANY && name.backend != ANY && name.identity == ANY;
    if is_anything && meant(class, case, &name)?.is_empty() {
        return Ok(vec![(name, false)]);
    }
    let found = present(class, case, own)?;
    Ok(found.iter().map(|device| (device.name(), device.is_read_only)).collect())
}

/// What an assignment stands for now, which is something.
fn present(class: &dyn DeviceClass, case: &Case<'_>, own: &Device) -> Result<Vec<Exposed>, Failure> {
    let found = meant(class, case, &own.name())?;
    if !found.is_empty() {
        return Ok(found);
    }
    let name: String = class.name().chars().take(1).map(|letter| letter.to_ascii_uppercase()).collect();
    let rest: String = class.name().chars().skip(1).collect();
    let text = format!("{name}{rest} device {} not available", own.name());
    Err(Failure::new(Exception::QubesException, text))
}

/// The assignment that says most about a device: its port and identity, its port, its identity, nothing.
pub(super) fn most_specific<'q>(
    assignments: impl Iterator<Item = &'q Device>,
    device: &DeviceName,
) -> Option<&'q Device> {
    let meaning = assignments.filter(|own| matches(&own.name(), device));
    meaning.min_by_key(|own| (own.id == ANY, own.identity == ANY))
}

/// Checks that there is something for each required assignment.
///
/// # Errors
/// `QubesException` for the first without.
pub fn check_required(case: &Case<'_>, qube: &std::rc::Rc<Qube>) -> Result<(), Failure> {
    for class in CLASSES.iter().filter(|class| is_served(**class, case.context.root)) {
        for own in of_class(qube, class.name()) {
            present(*class, case, own)?;
        }
    }
    Ok(())
}

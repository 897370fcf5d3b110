//! Devices that qubes get by themselves once they run (spec 30 §5). A process of its own sees to it, so that no start waits
//! for guests, or for what somebody is asked.

use std::collections::BTreeSet;

use common::call::{Call, Content, Destination, Granted, Row, World};
use common::failure::Failure;
use common::model::{Device, Qube};
use common::names::{ANY, Mode, QubeName};
use common::root::Root;
use common::store::Store;
use common::{log, run};

use super::attach::{Frontend, meant};
use super::class::{DeviceClass, is_served};
use super::exposed::Exposed;
use super::{AUTO, CLASSES, ask};
use crate::property::{Case, Context};

const NAME: &str = "internal.AttachDevices";

/// `internal.AttachDevices`: attaches what is assigned to a running qube, is there, and is nobody's.
pub(super) struct AttachAll;

impl Call for AttachAll {
    const ROW: Row = Row::write(NAME, "Attaches the devices that are assigned to a running qube.")
        .on(Destination::Qube)
        .internal();
    common::no_input!();

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let (store, context) = (world.store(), Context::of(world));
        for class in CLASSES.iter().filter(|class| class.is_hot() && is_served(**class, world.root())) {
            attach_assigned(store, context, *class, granted.destination())?;
        }
        Ok(Content::new())
    }
}

/// Has the assigned devices of a qube that starts attached, once it runs. What fails is logged.
pub(super) fn arm(root: &Root, qube: &Qube) {
    let waits = |device: &Device| CLASSES.iter().any(|class| is_due(*class, device));
    if !qube.devices.iter().any(waits) {
        return;
    }
    let request = format!("{NAME}+ dom0 name {}\0", qube.name);
    if let Err(error) = run::in_background(root, AUTO.name, NAME, request.as_bytes()) {
        log::line(&format!("devices of {} are not attached: {error}", qube.name));
    }
}

/// Whether an assignment is brought about once its qube runs: required disks are there by then.
fn is_due(class: &dyn DeviceClass, device: &Device) -> bool {
    let is_early = class.name() == "block" && device.mode == Mode::Required;
    device.class == class.name() && class.is_hot() && is_wished(device) && !is_early
}

/// Whether an assignment is brought about by itself.
pub(super) fn is_wished(device: &Device) -> bool {
    device.mode != Mode::Manual
}

fn attach_assigned(
    store: &Store,
    context: Context<'_>,
    class: &'static dyn DeviceClass,
    name: &QubeName,
) -> Result<(), Failure> {
    let mut seen = BTreeSet::new();
    for assigned in assignments(store, class, name)? {
        for device in free(store, context, class, &assigned)? {
            if seen.insert((device.backend.clone(), device.port.clone())) {
                let frontend = Frontend { store, context, class, name };
                bring_about(&frontend, &assigned, &device, false);
            }
        }
    }
    Ok(())
}

/// What is due of a qube, the most specific first.
fn assignments(store: &Store, class: &dyn DeviceClass, name: &QubeName) -> Result<Vec<Device>, Failure> {
    let qube = store.read_one()?.qube(name)?;
    let devices = qube.map(|qube| qube.devices.clone()).unwrap_or_default();
    let mut due: Vec<Device> = devices.into_iter().filter(|device| is_due(class, device)).collect();
    due.sort_by_key(|device| (device.id == ANY, device.identity == ANY));
    Ok(due)
}

/// The devices that an assignment stands for and that nobody uses.
fn free(
    store: &Store,
    context: Context<'_>,
    class: &dyn DeviceClass,
    assigned: &Device,
) -> Result<Vec<Exposed>, Failure> {
    let view = store.read_one()?;
    let mut devices = meant(class, &Case { view: &view, context, qube: None }, &assigned.name())?;
    devices.retain(|device| device.attachment.is_none());
    Ok(devices)
}

/// Attaches a device as its assignment says, after asking where that says so and nobody was asked yet.
pub(super) fn bring_about(frontend: &Frontend<'_>, assigned: &Device, device: &Exposed, was_asked: bool) {
    let name = frontend.name;
    if assigned.mode == Mode::AskToAttach
        && !was_asked
        && ask::who_gets(frontend.store, frontend.context, frontend.class, device, std::slice::from_ref(name))
            .as_ref()
            != Some(name)
    {
        return;
    }
    if let Err(failure) = frontend.attach(&device.name(), &assigned.options) {
        log::line(&format!("{} is not attached to {name}: {}", device.name(), failure.into_text()));
    }
}

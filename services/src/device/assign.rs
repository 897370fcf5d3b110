//! Assignments: which devices a qube shall use, and how that is brought about (spec 30 §2.4, §2.5, §2.8).

use std::marker::PhantomData;
use std::rc::Rc;

use common::call::{Call, Content, Granted, Presence, Received, Row, Values, World, no_such_domain};
use common::event::Event;
use common::failure::{Exception, Failure, Refusal};
use common::model::{Device, Qube};
use common::names::{AssignedMode, BadDevice, Decoded, DeviceName, Mode, QubeName, RequiredSwitch, Wish};
use common::quote::quote;
use common::store::{Txn, View};

use super::class::{self, DeviceClass};
use super::exposed::shown;
use super::{OfClass, served};
use crate::input;

/// A device, and what is asked for it.
pub(super) struct Wanted {
    pub(super) device: DeviceName,
    pub(super) wish: Wish,
}

/// How a payload says what is asked for a device of a class.
type ParseWish = fn(&str, &str, &mut DeviceName) -> Result<Wish, BadDevice>;

impl Wanted {
    pub(super) fn of(
        received: &Received,
        class: &dyn DeviceClass,
        parse: ParseWish,
    ) -> Result<Self, Refusal> {
        let mut device = input::argument(received)?;
        let payload: Decoded = received.payload.sanitise()?;
        let wish = parse(payload.text()?, class.name(), &mut device)?;
        Ok(Self { device, wish })
    }

    pub(super) fn facts(&self) -> Values {
        let mode = self.wish.mode.map_or("", Mode::as_str);
        about(&self.device).with("mode", mode).with("options", shown(&self.wish.options))
    }
}

/// A device as rules see it.
pub(super) fn about(device: &DeviceName) -> Values {
    Values::argument(device.to_argument()).with("device", device.to_string())
}

pub(super) struct Assign<K>(PhantomData<K>);

impl<K: OfClass> Call for Assign<K> {
    const ROW: Row =
        Row::write(K::NAMES.assign, "Lets the qube use a device from its next start or chance on.")
            .argument(Presence::Required)
            .payload(Presence::Required);
    type Input = Wanted;

    fn sanitise(received: &Received) -> Result<Wanted, Refusal> {
        Wanted::of(received, K::CLASS, Wish::parse)
    }

    fn facts(wanted: &Wanted) -> Values {
        wanted.facts()
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let class = served(K::CLASS, world, &Self::ROW)?;
        world.change(&granted, |txn| assign_known(txn, class, granted.destination(), granted.input()))?;
        Ok(Content::new())
    }
}

/// Checks what can be checked of a device's name, whether or not it is there.
pub(super) fn load(
    view: &View<'_>,
    class: &dyn DeviceClass,
    device: &DeviceName,
) -> Result<Option<Rc<Qube>>, Failure> {
    let backend = class::backend(view, device)?;
    if class.can_be(device) {
        return Ok(backend);
    }
    Err(Failure::dropped(format!("a port that no {} device can have", class.name())))
}

/// The qube, if it can have devices.
pub(super) fn frontend(view: &View<'_>, name: &QubeName) -> Result<Rc<Qube>, Failure> {
    let qube = view.qube(name)?.ok_or_else(|| no_such_domain(name.as_str()))?;
    if qube.class.is_local() {
        return Ok(qube);
    }
    Err(Failure::new(Exception::QubesException, "This qube doesn't support devices"))
}

fn find<'q>(qube: &'q Qube, class: &dyn DeviceClass, device: &DeviceName) -> Option<&'q Device> {
    qube.devices.iter().find(|own| own.class == class.name() && own.name() == *device)
}

/// Adds an assignment of a device that there can be.
fn assign_known(
    txn: &mut Txn<'_>,
    class: &dyn DeviceClass,
    name: &QubeName,
    wanted: &Wanted,
) -> Result<(), Failure> {
    load(txn, class, &wanted.device)?;
    assign(txn, class, name, wanted)
}

/// Adds an assignment, with its events.
pub(super) fn assign(
    txn: &mut Txn<'_>,
    class: &dyn DeviceClass,
    name: &QubeName,
    Wanted { device, wish }: &Wanted,
) -> Result<(), Failure> {
    let qube = frontend(txn, name)?;
    if find(&qube, class, device).is_some() {
        let text = format!("{} device {device} already assigned to {name}", class.name());
        return Err(Failure::new(Exception::DeviceAlreadyAssigned, quote(&text)));
    }
    let Some(mode) = wish.mode.filter(|mode| *mode != Mode::Manual) else {
        return Err(Refusal::protocol("Only auto-attachable devices can be assigned.").into());
    };
    let options = shown(&wish.options);
    for kind in ["device-pre-assign", "device-assign"] {
        txn.event(event(name, kind, class).with("device", device.to_string()).with("options", &*options));
    }
    let DeviceName { backend, port: id, identity } = device.clone();
    let class = class.name().to_owned();
    let assigned = Device { class, backend, id, mode, identity, options: wish.options.clone() };
    Ok(txn.edit_qube(name, |qube| qube.devices.push(assigned))?)
}

/// An event about a device.
pub(super) fn event(name: &QubeName, kind: &str, class: &dyn DeviceClass) -> Event {
    Event::on(name, format!("{kind}:{}", class.name()))
}

pub(super) struct Unassign<K>(PhantomData<K>);

impl<K: OfClass> Call for Unassign<K> {
    const ROW: Row = Row::write(K::NAMES.unassign, "Takes an assignment back; what is attached stays so.")
        .argument(Presence::Required);
    type Input = DeviceName;

    fn sanitise(received: &Received) -> Result<DeviceName, Refusal> {
        input::argument(received)
    }

    fn facts(device: &DeviceName) -> Values {
        about(device)
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let class = served(K::CLASS, world, &Self::ROW)?;
        world.change(&granted, |txn| unassign(txn, class, granted.destination(), granted.input()))?;
        Ok(Content::new())
    }
}

fn unassign(
    txn: &mut Txn<'_>,
    class: &dyn DeviceClass,
    name: &QubeName,
    device: &DeviceName,
) -> Result<(), Failure> {
    load(txn, class, device)?;
    if find(&*frontend(txn, name)?, class, device).is_none() {
        let text = format!("{} device {device} not assigned to {name}", class.name());
        return Err(Failure::new(Exception::DeviceNotAssigned, quote(&text)));
    }
    txn.edit_qube(name, |qube| {
        qube.devices.retain(|own| own.class != class.name() || own.name() != *device);
    })?;
    txn.event(event(name, "device-unassign", class).with("device", device.to_string()));
    Ok(())
}

/// Declares a call that changes an assignment's mode, which its payload says in that way.
macro_rules! set_mode {
    ($call:ident, $name:ident, $payload:ident, $help:literal) => {
        pub(super) struct $call<K>(PhantomData<K>);

        impl<K: OfClass> Call for $call<K> {
            const ROW: Row =
                Row::write(K::NAMES.$name, $help).argument(Presence::Required).payload(Presence::Required);
            type Input = (DeviceName, Mode);

            fn sanitise(received: &Received) -> Result<Self::Input, Refusal> {
                let mode = received.payload.sanitise::<$payload>()?.0;
                Ok((input::argument(received)?, mode))
            }

            fn facts((device, mode): &Self::Input) -> Values {
                about(device).with("mode", mode.as_str())
            }

            fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
                let class = served(K::CLASS, world, &Self::ROW)?;
                let (device, mode) = granted.input();
                world.change(&granted, |txn| set_mode(txn, class, granted.destination(), device, *mode))?;
                Ok(Content::new())
            }
        }
    };
}

set_mode!(
    SetAssignment,
    set_assignment,
    AssignedMode,
    "Sets an assignment's mode: `required`, `auto-attach` or `ask-to-attach`."
);
set_mode!(
    SetRequired,
    set_required,
    RequiredSwitch,
    "Sets an assignment's mode in older words: `True` is required, `False` auto-attach."
);

fn set_mode(
    txn: &mut Txn<'_>,
    class: &dyn DeviceClass,
    name: &QubeName,
    device: &DeviceName,
    mode: Mode,
) -> Result<(), Failure> {
    class::backend(txn, device)?;
    let qube = frontend(txn, name)?;
    let Some(assigned) = find(&qube, class, device) else {
        let text = format!("Device {device} not assigned to {name}");
        return Err(Failure::new(Exception::QubesValueError, text));
    };
    if assigned.mode == mode {
        return Ok(());
    }
    let (told, options) = (device.to_string(), shown(&assigned.options));
    txn.event(event(name, "device-pre-assign", class).with("device", &*told).with("options", options));
    txn.edit_qube(name, |qube| {
        let mut own = qube.devices.iter_mut();
        if let Some(own) = own.find(|own| own.class == class.name() && own.name() == *device) {
            own.mode = mode;
        }
    })?;
    txn.event(event(name, "device-assignment-changed", class).with("device", told));
    Ok(())
}

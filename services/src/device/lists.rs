//! Which devices there are, which are assigned and which are attached (spec 30 §2.2, §2.3, §7).

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::rc::Rc;

use common::call::{
    Call, Content, Destination, Granted, Presence, Received, Row, Values, World, no_such_domain,
};
use common::failure::{Exception, Failure, Refusal};
use common::model::{Device, Qube};
use common::names::{Ascii, DeviceName, Mode, PortName, QubeName};

use super::class::{DeviceClass, is_served};
use super::exposed::{Attached as AttachedDevice, assignment};
use super::{CLASSES, OfClass, served};
use crate::input;
use crate::listing::{self, Item};
use crate::property::{Case, Context};

pub(super) struct Classes;

impl Call for Classes {
    const ROW: Row =
        Row::read_one("admin.deviceclass.List", "Names of the classes of devices, one per line.")
            .global()
            .on(Destination::Dom0)
            .argument(Presence::Optional);
    type Input = Option<Ascii>;

    fn sanitise(received: &Received) -> Result<Self::Input, Refusal> {
        input::optional_argument(received)
    }

    fn facts(input: &Self::Input) -> Values {
        Values::argument(input.as_ref().map(Ascii::as_str).unwrap_or_default())
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let there = CLASSES.iter().filter(|class| is_served(**class, world.root()));
        listing::print(
            there.map(|class| Item::plain(class.name())),
            granted.input().as_ref(),
            "device classes",
        )
    }
}

pub(super) struct Available<K>(PhantomData<K>);

impl<K: OfClass> Call for Available<K> {
    const ROW: Row = Row::read_one(K::NAMES.available, "Devices that the qube has for others, one per line.")
        .argument(Presence::Optional);
    type Input = Option<Ascii>;

    fn sanitise(received: &Received) -> Result<Self::Input, Refusal> {
        input::optional_argument(received)
    }

    fn facts(input: &Self::Input) -> Values {
        Values::argument(input.as_ref().map(Ascii::as_str).unwrap_or_default())
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let class = served(K::CLASS, world, &Self::ROW)?;
        available(class, granted.destination(), granted.input().as_ref().map(Ascii::as_str), world)
    }
}

fn available(
    class: &dyn DeviceClass,
    name: &QubeName,
    port: Option<&str>,
    world: &World<'_>,
) -> Result<Content, Failure> {
    let qube = qube(name, world)?;
    let mut devices =
        if qube.class.is_local() { class.exposed(&case(&qube, world), &qube)? } else { Vec::new() };
    devices.retain(|device| port.is_none_or(|port| device.port == port));
    class.describe(world.root(), &mut devices);
    let lines = devices.iter().map(|device| (device.key(), device.pairs().to_string()));
    print(lines.collect(), port.is_some())
}

/// Lines in the order of their keys. What names a single port may not mean several devices.
fn print(lines: BTreeMap<String, String>, is_of_one: bool) -> Result<Content, Failure> {
    if is_of_one && lines.len() > 1 {
        return Err(Failure::new(Exception::DeviceNotFound, ""));
    }
    Ok(lines.iter().map(|(key, line)| format!("{key} {line}\n")).collect::<String>().into_bytes())
}

fn qube(name: &QubeName, world: &World<'_>) -> Result<Rc<Qube>, Failure> {
    world.view().qube(name)?.ok_or_else(|| no_such_domain(name.as_str()))
}

fn case<'a>(qube: &'a Qube, world: &'a World<'_>) -> Case<'a> {
    Case { view: world.view(), context: Context::of(world), qube: Some(qube) }
}

/// The qube's assignments of a class.
fn assigned(class: &dyn DeviceClass, qube: &Qube) -> Vec<Device> {
    let is_shown = |device: &&Device| device.class == class.name() && qube.class.is_local();
    qube.devices.iter().filter(is_shown).cloned().collect()
}

/// What is attached to the qube, as its assignment has it if there is one of exactly that.
fn attached(class: &dyn DeviceClass, qube: &Qube, world: &World<'_>) -> Result<Vec<Device>, Failure> {
    if !qube.class.is_local() {
        return Ok(Vec::new());
    }
    let meant = |AttachedDevice { device, options }: AttachedDevice| {
        let assigned = qube.devices.iter().find(|own| own.class == class.name() && own.name() == device);
        assigned.cloned().unwrap_or_else(|| {
            let DeviceName { backend, port, identity } = device;
            Device {
                class: class.name().to_owned(),
                backend,
                id: port,
                mode: Mode::Manual,
                identity,
                options,
            }
        })
    };
    Ok(class.attached(&case(qube, world), qube)?.into_iter().map(meant).collect())
}

/// Keys and lines of devices at a port, if one is named.
fn lines<'a>(
    devices: impl IntoIterator<Item = &'a Device>,
    port: Option<&PortName>,
    frontend: Option<&QubeName>,
) -> Result<Content, Failure> {
    let is_meant =
        |device: &&Device| port.is_none_or(|port| device.backend == port.backend && device.id == port.port);
    let line = |device: &Device| {
        let key = format!("{}+{}:{}", device.backend, device.id, device.identity);
        (key, assignment(device, frontend).to_string())
    };
    print(devices.into_iter().filter(is_meant).map(line).collect(), port.is_some())
}

/// What is told of a qube's devices of a class, at a port if one is named.
type Tell = fn(&dyn DeviceClass, &Qube, Option<&PortName>, &World<'_>) -> Result<Content, Failure>;

fn told(
    tell: Tell,
    class: &dyn DeviceClass,
    name: &QubeName,
    port: Option<&PortName>,
    world: &World<'_>,
) -> Result<Content, Failure> {
    tell(class, &*qube(name, world)?, port, world)
}

/// Declares a list that a port may narrow.
macro_rules! list_of_ports {
    ($call:ident, $name:ident, $help:literal, $tell:expr) => {
        pub(super) struct $call<K>(PhantomData<K>);

        impl<K: OfClass> Call for $call<K> {
            const ROW: Row = Row::read_one(K::NAMES.$name, $help).argument(Presence::Optional);
            type Input = Option<PortName>;

            fn sanitise(received: &Received) -> Result<Self::Input, Refusal> {
                if received.argument.is_empty() { Ok(None) } else { input::argument(received).map(Some) }
            }

            fn facts(input: &Self::Input) -> Values {
                let told = input.as_ref().map(|port| format!("{}+{}", port.backend, port.port));
                Values::argument(told.unwrap_or_default())
            }

            fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
                let class = served(K::CLASS, world, &Self::ROW)?;
                told($tell, class, granted.destination(), granted.input().as_ref(), world)
            }
        }
    };
}

list_of_ports!(
    Assigned,
    assigned,
    "Devices that the qube shall use, one per line.",
    |class, qube, port, _| lines(&assigned(class, qube), port, None)
);
list_of_ports!(
    Attached,
    attached,
    "Devices that the qube uses now, one per line.",
    |class, qube, port, world| lines(&attached(class, qube, world)?, port, Some(&qube.name))
);

pub(super) struct List<K>(PhantomData<K>);

impl<K: OfClass> Call for List<K> {
    const ROW: Row =
        Row::read_one(K::NAMES.list, "Devices that the qube uses now or shall use, in the oldest form.");
    common::no_input!();

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        in_oldest_form(served(K::CLASS, world, &Self::ROW)?, granted.destination(), world)
    }
}

fn in_oldest_form(class: &dyn DeviceClass, name: &QubeName, world: &World<'_>) -> Result<Content, Failure> {
    let qube = qube(name, world)?;
    let mut lines: BTreeMap<String, String> = BTreeMap::new();
    for (devices, end) in [(attached(class, &qube, world)?, ""), (assigned(class, &qube), " persistent=yes")]
    {
        for device in devices {
            let options: String =
                device.options.iter().map(|(key, value)| format!(" {key}={value}")).collect();
            lines.insert(format!("{}+{}", device.backend, device.id), format!("{options}{end}"));
        }
    }
    let lines = lines.into_iter().map(|(port, rest)| format!("{port}{rest}\n"));
    Ok(lines.collect::<String>().into_bytes())
}

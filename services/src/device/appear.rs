//! Devices that come and go while their qube runs (spec 30 §5). A process beside each running qube that has a QubesDB waits
//! for its word: listeners hear of devices, and those who wait for one get it. Killed, it costs lateness only.

use std::collections::BTreeMap;
use std::time::Duration;

use common::call::{Call, Content, Destination, Granted, Row, World};
use common::event::Event;
use common::failure::Failure;
use common::hypervisor::{HotDevice, Request};
use common::log;
use common::model::{Device, Qube};
use common::names::QubeName;
use common::qubesdb::Database;
use common::root::Root;
use common::run;
use common::store::Store;

use super::attach::Frontend;
use super::auto::{bring_about, is_wished};
use super::class::{DeviceClass, is_served, running};
use super::exposed::Exposed;
use super::needed::most_specific;
use super::{CLASSES, HOT, ended};
use crate::lifecycle;
use crate::property::{Case, Context};

const NAME: &str = "internal.WatchDevices";

/// How long the database may say nothing before it is looked at anyway.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// `internal.WatchDevices`: tells of a running qube's devices until it ends.
pub(super) struct Watch;

impl Call for Watch {
    const ROW: Row =
        Row::write(NAME, "Tells of the devices that a running qube has for others, until it ends.")
            .on(Destination::Qube)
            .internal();
    common::no_input!();

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let (store, name) = (world.store(), granted.destination());
        let Some(_turn) = store.try_lock_devices(name)? else { return Ok(Content::new()) };
        let served = |class: &&&dyn DeviceClass| class.folder().is_some() && is_served(**class, world.root());
        let classes = CLASSES.iter().filter(served).copied().collect();
        let backend = Backend { store, context: Context::of(world), name, classes };
        if let Err(error) = backend.watch() {
            log::line(&format!("devices of {name}: {error}"));
        }
        Ok(Content::new())
    }
}

/// Has the devices of a qube that starts told of. What fails is logged.
pub(super) fn arm(root: &Root, qube: &QubeName) {
    if !common::qubesdb::exists(root, qube) {
        return;
    }
    let request = format!("{NAME}+ dom0 name {qube}\0");
    if let Err(error) = run::in_background(root, HOT.name, NAME, request.as_bytes()) {
        log::line(&format!("devices of {qube} are not told of: {error}"));
    }
}

type Known = BTreeMap<String, Exposed>;

struct Backend<'a> {
    store: &'a Store,
    context: Context<'a>,
    name: &'a QubeName,
    classes: Vec<&'static dyn DeviceClass>,
}

impl Backend<'_> {
    /// Goes on until the database is gone.
    fn watch(&self) -> std::io::Result<()> {
        let Some(mut database) = Database::of(self.context.root, self.name)? else { return Ok(()) };
        for folder in self.classes.iter().filter_map(|class| class.folder()) {
            // Written last, once all of a change is there.
            database.watch(folder.trim_end_matches('/'))?;
        }
        let mut known: Vec<Known> = self.classes.iter().map(|_| Known::new()).collect();
        loop {
            for (class, known) in self.classes.iter().zip(&mut known) {
                match self.devices(*class) {
                    Ok(now) => self.follow(*class, std::mem::replace(known, now.clone()), now),
                    Err(failure) => log::line(&format!("devices of {}: {}", self.name, failure.into_text())),
                }
            }
            // One that is gone ends the loop, as does one that talks nonsense.
            if database.has_changed_within(LONGEST_WAIT).is_err() {
                return Ok(());
            }
        }
    }

    fn devices(&self, class: &dyn DeviceClass) -> Result<Known, Failure> {
        let view = self.store.read_one()?;
        let Some(qube) = view.qube(self.name)? else { return Ok(Known::new()) };
        let devices =
            class.exposed(&Case { view: &view, context: self.context, qube: Some(&qube) }, &qube)?;
        Ok(devices.into_iter().map(|device| (device.port.clone(), device)).collect())
    }

    /// Tells what is different, takes away what is gone, and hands out what is new.
    fn follow(&self, class: &'static dyn DeviceClass, before: Known, now: Known) {
        let is_same = |port: &String, device: &Exposed, other: &Known| {
            other.get(port).is_some_and(|known| known.identity == device.identity)
        };
        let gone: Vec<&Exposed> =
            before.iter().filter(|(port, it)| !is_same(port, it, &now)).map(|(_, it)| it).collect();
        let new: Vec<&Exposed> =
            now.iter().filter(|(port, it)| !is_same(port, it, &before)).map(|(_, it)| it).collect();
        if gone.is_empty() && new.is_empty() {
            return;
        }
        let event = |kind: &str| Event::on(self.name, format!("{kind}:{}", class.name()));
        let mut events = vec![event("device-list-change")];
        events.extend(gone.iter().flat_map(|device| self.freed(class, device)));
        let port = |device: &Exposed| format!("{}:{}", self.name, device.port);
        events.extend(gone.iter().map(|device| event("device-removed").with("port", port(device))));
        events.extend(new.iter().map(|it| event("device-added").with("device", it.name().to_string())));
        if let Err(failure) = lifecycle::announce(self.store, events) {
            log::line(&format!("devices of {} are not told of: {}", self.name, failure.into_text()));
        }
        new.iter()
            .filter(|device| device.attachment.is_none())
            .for_each(|device| self.hand_out(class, device));
    }

    /// Takes a device that is gone from the qube that used it.
    fn freed(&self, class: &dyn DeviceClass, device: &Exposed) -> Vec<Event> {
        let disks = match class.name() {
            "block" => ended::users_of(self.context, device),
            _ => Vec::new(),
        };
        for (frontend, disk) in &disks {
            let detach = Request::Detach(Box::new(HotDevice::Disk(disk.clone())));
            if let Err(failure) = lifecycle::ask_held(self.context.root, frontend, &detach) {
                log::line(&format!("{} stays with {frontend}: {}", device.name(), failure.into_text()));
            }
        }
        let of_disks = disks.into_iter().map(|(frontend, _)| frontend);
        let users = of_disks.chain(device.attachment.clone().filter(|_| class.name() != "block"));
        let port = format!("{}:{}", self.name, device.port);
        let detached = |frontend: QubeName| {
            Event::on(&frontend, format!("device-detach:{}", class.name())).with("port", &*port)
        };
        users.map(detached).collect()
    }

    /// Gives a new device to the one who waits for it; who of several, the user says.
    fn hand_out(&self, class: &'static dyn DeviceClass, device: &Exposed) {
        let waiting = self.waiting(class, device).unwrap_or_else(|failure| {
            log::line(&format!("{} waits: {}", device.name(), failure.into_text()));
            Vec::new()
        });
        let names: Vec<QubeName> = waiting.iter().map(|(name, _)| name.clone()).collect();
        let chosen = match names.as_slice() {
            [] => return,
            // It is asked for where the assignment says so.
            [only] => Some(only.clone()),
            _ => super::ask::who_gets(self.store, self.context, class, device, &names),
        };
        let is_chosen = |(name, _): &&(QubeName, Device)| Some(name) == chosen.as_ref();
        if let Some((name, assigned)) = waiting.iter().find(is_chosen) {
            let frontend = Frontend { store: self.store, context: self.context, class, name };
            bring_about(&frontend, assigned, device, names.len() > 1);
        }
    }

    /// The running qubes that shall have a device, with the assignment of each that says most.
    fn waiting(&self, class: &dyn DeviceClass, device: &Exposed) -> Result<Vec<(QubeName, Device)>, Failure> {
        let view = self.store.read_one()?;
        let case = Case { view: &view, context: self.context, qube: None };
        let assigned = |qube: &Qube| {
            let own = qube.devices.iter().filter(|own| own.class == class.name() && is_wished(own));
            most_specific(own, &device.name()).cloned()
        };
        let qubes = running(&case)?;
        Ok(qubes.iter().filter_map(|qube| Some((qube.name.clone(), assigned(qube)?))).collect())
    }
}

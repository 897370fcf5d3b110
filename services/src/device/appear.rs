//! Devices that come and go while their qube runs (spec 30 §5). A process beside each running qube that has a QubesDB waits
//! for its word: listeners hear of devices, and those who wait for one get it. Killed, it costs lateness only.

use std::collections::BTreeMap;
use std::time::Duration;

use common::call::{Call, Content, Destination, Granted, Row, World};
use common::event::Event;
use common::failure::Failure;
use common::log;
use common::model::{Device, Place, Qube};
use common::names::{ANY, QubeName};
use common::qubesdb::Database;
use common::root::Root;
use common::run;
use common::store::{Note, Store, Txn};

use super::attach::Frontend;
use super::auto::{bring_about, is_wished};
use super::block::Block;
use super::book;
use super::class::{DeviceClass, is_served, running};
use super::exposed::Exposed;
use super::needed::most_specific;
use super::{AUTO, CLASSES, ended};
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

/// `internal.LookForDevices`: tells of dom0's disks that came or went, whenever the machine says that some did.
pub(super) struct Look;

impl Call for Look {
    const ROW: Row =
        Row::write("internal.LookForDevices", "Tells of the block devices of dom0 that came or went.")
            .on(Destination::Dom0)
            .internal();
    common::no_input!();

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let (store, name) = (world.store(), granted.destination());
        let backend = Backend { store, context: Context::of(world), name, classes: vec![&Block] };
        backend.look_once(&Block)?;
        Ok(Content::new())
    }
}

/// Has the devices of a qube that starts told of. What fails is logged.
pub(super) fn arm(root: &Root, qube: &QubeName) {
    if !common::qubesdb::exists(root, qube) {
        return;
    }
    let request = format!("{NAME}+ dom0 name {qube}\0");
    if let Err(error) = run::in_background(root, AUTO.name, NAME, request.as_bytes()) {
        log::line(&format!("devices of {qube} are not told of: {error}"));
    }
}

type Known = BTreeMap<String, Exposed>;

/// What became different.
#[derive(Default)]
struct Changes<'k> {
    gone: Vec<&'k Exposed>,
    new: Vec<&'k Exposed>,
    /// Who lost which device.
    lost: Vec<(&'k QubeName, &'k Exposed)>,
    /// Who has got which.
    got: Vec<(&'k QubeName, &'k Exposed)>,
}

impl<'k> Changes<'k> {
    fn between(before: &'k Known, now: &'k Known) -> Self {
        let mut changes = Self::default();
        missing(before, now, &mut changes.gone, &mut changes.lost);
        missing(now, before, &mut changes.new, &mut changes.got);
        // What disks are used for is known without their backend.
        changes.lost.retain(|(_, device)| device.class != "block");
        changes.got.retain(|(_, device)| device.class != "block");
        changes
    }

    fn are_none(&self) -> bool {
        self.gone.is_empty() && self.new.is_empty() && self.lost.is_empty() && self.got.is_empty()
    }
}

/// The devices of one that the other has not, and their users likewise.
fn missing<'k>(
    one: &'k Known,
    other: &Known,
    devices: &mut Vec<&'k Exposed>,
    uses: &mut Vec<(&'k QubeName, &'k Exposed)>,
) {
    for (port, device) in one {
        let same = other.get(port).filter(|other| other.identity == device.identity);
        devices.extend(same.is_none().then_some(device));
        let is_known = |user: &&QubeName| same.and_then(|same| same.attachment.as_ref()) == Some(user);
        let user = device.attachment.as_ref().filter(|user| !is_known(user));
        uses.extend(user.map(|user| (user, device)));
    }
}

fn place(device: &Exposed) -> Place {
    let (class, backend) = (device.class.to_owned(), device.backend.as_str().to_owned());
    Place { class, backend, port: device.port.clone() }
}

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
        let changes = Changes::between(&before, &now);
        if changes.are_none() {
            return;
        }
        let told = self.told(class, &changes).and_then(|txn| Ok(txn.commit()?));
        if let Err(failure) = told {
            log::line(&format!("devices of {} are not told of: {}", self.name, failure.into_text()));
        }
        self.hand_out_all(class, &changes);
    }

    fn hand_out_all(&self, class: &'static dyn DeviceClass, changes: &Changes<'_>) {
        let free = changes.new.iter().filter(|device| device.attachment.is_none());
        free.for_each(|device| self.hand_out(class, device));
    }

    /// Tells listeners. Disks are taken from those who had them; of other devices the backend itself says who has them.
    fn told(&self, class: &dyn DeviceClass, changes: &Changes<'_>) -> Result<Txn<'_>, Failure> {
        let disks: Vec<_> = changes.gone.iter().filter(|device| device.class == "block").collect();
        let users: Vec<_> = disks.iter().flat_map(|device| ended::users_of(self.context, device)).collect();
        ended::take(self.store, self.context, &users)?;
        let event = |kind: &str| Event::on(self.name, format!("{kind}:{}", class.name()));
        let mut txn = self.store.write()?;
        txn.event(event("device-list-change"));
        let is_gone = |known: &Place| disks.iter().any(|device| place(device) == *known);
        for (frontend, place) in ended::freed(&mut txn, self.context.hypervisor, is_gone)? {
            txn.event(book::detached(&place, &frontend));
        }
        for (frontend, device) in &changes.lost {
            let place = place(device);
            book::follow(&mut txn, frontend, &place, false, book::detached(&place, frontend))?;
        }
        for device in &changes.gone {
            txn.event(event("device-removed").with("port", place(device).to_string()));
        }
        for device in &changes.new {
            txn.event(event("device-added").with("device", device.name().to_string()));
        }
        for (frontend, device) in changes.got.iter().filter(|(frontend, _)| self.is_running(frontend)) {
            let told = Event::on(frontend, format!("device-attach:{}", class.name()));
            let told = told.with("device", device.name().to_string()).with("options", "{}");
            book::follow(&mut txn, frontend, &place(device), true, told)?;
        }
        Ok(txn)
    }

    /// Whether a qube runs that a backend speaks of.
    fn is_running(&self, qube: &QubeName) -> bool {
        self.context.hypervisor.domain(qube).is_some()
    }

    /// Compares dom0's disks with those that were told of, tells what is different and hands out what is new. Nobody waits for
    /// them: this is called whenever some came or went.
    fn look_once(&self, class: &'static dyn DeviceClass) -> Result<(), Failure> {
        // Looked at by one after the other; the user may take long to say who gets one.
        let turn = self.store.lock_device(self.name, ANY)?;
        // What a killed call told is noted then.
        drop(self.store.read()?);
        let known = self.store.note(Note::Exposed, self.name)?.unwrap_or_default();
        let device = |line: &str| {
            let (port, identity) = line.split_once(' ')?;
            Some((port.to_owned(), Exposed::new(class.name(), self.name, port, identity.to_owned())))
        };
        let before: Known = String::from_utf8_lossy(&known).lines().filter_map(device).collect();
        let now = self.devices(class)?;
        let changes = Changes::between(&before, &now);
        if changes.are_none() {
            return Ok(());
        }
        let mut txn = self.told(class, &changes)?;
        let known: String =
            now.iter().map(|(port, device)| format!("{port} {}\n", device.identity)).collect();
        txn.note(Note::Exposed, self.name, &known);
        txn.commit()?;
        drop(turn);
        self.hand_out_all(class, &changes);
        Ok(())
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

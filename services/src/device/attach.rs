//! Attaching devices to running qubes and detaching them (spec 30 §2.6, §2.7, §6).

use std::marker::PhantomData;
use std::rc::Rc;

use common::call::{Call, Content, Granted, Presence, Received, Row, Values, World};
use common::event::Event;
use common::failure::{Exception, Failure, Refusal};
use common::hypervisor;
use common::log;
use common::model::{Device, Halfway, Place, Qube};
use common::names::{ANY, DeviceName, Interface, Mode, QubeName, UNKNOWN_IDENTITY, Wish};
use common::policy::{IndexedSystem, Policy, Question};
use common::quote::quote;
use common::store::{Note, Store, Txn};

use super::assign::{self, Wanted, about, assign, event, load};
use super::class::{self, DeviceClass, at_port};
use super::exposed::{Attached, Exposed, shown};
use super::halfway;
use super::work::{Plan, Work};
use super::{OfClass, denied, hwdata, served};
use crate::property::{Case, Context};
use crate::{input, lifecycle};

pub(super) struct Attach<K>(PhantomData<K>);

impl<K: OfClass> Call for Attach<K> {
    const ROW: Row = Row::write(K::NAMES.attach, "Lets the running qube use a device until it ends.")
        .argument(Presence::Required)
        .payload(Presence::Optional);
    type Input = Wanted;

    fn sanitise(received: &Received) -> Result<Wanted, Refusal> {
        Wanted::of(received, K::CLASS, Wish::parse_any)
    }

    fn facts(wanted: &Wanted) -> Values {
        wanted.facts()
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let class = served(K::CLASS, world, &Self::ROW)?;
        let Wanted { device, wish } = granted.input();
        load(world.view(), class, device)?;
        let frontend = Frontend::of(world, class, granted.destination());
        frontend.check_denied(device)?;
        let wanted = wish.is_persistent.then(|| persistent(class, device, wish));
        if wanted.is_some() {
            frontend.check_may_assign(granted.caller(), K::NAMES.assign, device)?;
        }
        let look = |_: &World<'_>| frontend.foreseen(device, wish);
        world.foresee(&granted, look, |txn| frontend.assign_if_wanted(txn, wanted.as_ref()))?;
        if wanted.is_some() {
            world.change(&granted, |txn| frontend.assign_if_wanted(txn, wanted.as_ref()))?;
            if frontend.is_halted()? {
                return Ok(Content::new());
            }
        }
        frontend.attach(device, &wish.options)?;
        Ok(Content::new())
    }
}

/// What a wish in the oldest form means for the time after this run.
fn persistent(class: &dyn DeviceClass, device: &DeviceName, wish: &Wish) -> Wanted {
    let usual = if class.is_hot() { Mode::AutoAttach } else { Mode::Required };
    let mode = wish.mode.filter(|mode| *mode != Mode::Manual).or(Some(usual));
    Wanted { device: device.clone(), wish: Wish { mode, ..wish.clone() } }
}

pub(super) struct Detach<K>(PhantomData<K>);

impl<K: OfClass> Call for Detach<K> {
    const ROW: Row = Row::write(K::NAMES.detach, "Takes a device away from the qube that uses it.")
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
        load(world.view(), class, granted.input())?;
        let frontend = Frontend::of(world, class, granted.destination());
        world.foresee(&granted, |_| frontend.foreseen_without(granted.input()), |_| Ok(()))?;
        frontend.detach(granted.input())?;
        Ok(Content::new())
    }
}

/// A qube, and the class of devices that it gets or loses.
pub(super) struct Frontend<'a> {
    pub(super) store: &'a Store,
    pub(super) context: Context<'a>,
    pub(super) class: &'static dyn DeviceClass,
    pub(super) name: &'a QubeName,
}

impl<'a> Frontend<'a> {
    fn of(world: &World<'a>, class: &'static dyn DeviceClass, name: &'a QubeName) -> Self {
        Self { store: world.store(), context: Context::of(world), class, name }
    }

    /// Looks at the state as it is now. No lock is held, as guests may be asked.
    fn look<T>(&self, look: impl FnOnce(&Case<'_>, &Rc<Qube>) -> Result<T, Failure>) -> Result<T, Failure> {
        let view = self.store.read_one()?;
        let qube = assign::frontend(&view, self.name)?;
        look(&Case { view: &view, context: self.context, qube: Some(&qube) }, &qube)
    }

    fn is_halted(&self) -> Result<bool, Failure> {
        self.look(|_, qube| Ok(hypervisor::is_halted(self.context.hypervisor, qube)))
    }

    fn announce(&self, event: Event) -> Result<(), Failure> {
        lifecycle::announce(self.store, [event])
    }

    /// Refuses what the qube may not get, and what cannot be told from that.
    fn check_denied(&self, device: &DeviceName) -> Result<(), Failure> {
        self.look(|case, _| {
            let denied = denied::denied(case.view, self.name)?;
            if denied.is_empty() {
                return Ok(());
            }
            let backend = class::backend(case.view, device)?;
            let found = match backend.filter(|_| device.port != ANY && device.identity != ANY) {
                Some(backend) => at_port(self.class, case, &backend, &device.port)?,
                None => None,
            };
            let unknown = "Could not load interfaces to verify against denied list";
            let is_known =
                |found: &Exposed| found.identity == device.identity && !found.interfaces.is_empty();
            let found = found.filter(is_known);
            let found = found.ok_or_else(|| Refusal::denied(unknown))?;
            let patterns = Interface::all_in(&denied);
            let is_banned = |code: &&Interface| patterns.iter().any(|pattern| code.matches(pattern));
            match found.interfaces.iter().find(is_banned) {
                Some(banned) => {
                    let what = hwdata::interface(self.context.root, banned);
                    Err(Refusal::denied(format!("Device exposes a banned interface: {what}")).into())
                }
                None => Ok(()),
            }
        })
    }

    /// Whoever may attach a device need not be one who may assign it.
    fn check_may_assign(&self, caller: &QubeName, call: &str, device: &DeviceName) -> Result<(), Failure> {
        let may = || {
            let policy = Policy::load_or_log(self.context.root)?;
            let view = self.store.read_one().ok()?;
            let system = IndexedSystem::of(&view, self.context.hypervisor).ok()?;
            let argument = format!("+{}", device.to_argument());
            let (source, target) = (caller.as_str(), self.name.as_str());
            let question = Question { service: call, argument: &argument, source, target, relay: None };
            Some(policy.decide_and_log(&system, &question))
        };
        if caller.is_dom0() || may() == Some(true) {
            return Ok(());
        }
        Err(Refusal::denied("Policy does not allow to assign devices").into())
    }

    fn assign_if_wanted(&self, txn: &mut Txn<'_>, wanted: Option<&Wanted>) -> Result<(), Failure> {
        wanted.map_or(Ok(()), |wanted| assign(txn, self.class, self.name, wanted))
    }

    /// What an attachment would do to the qube now.
    fn foreseen(&self, device: &DeviceName, wish: &Wish) -> Result<String, Failure> {
        if wish.is_persistent && self.is_halted()? {
            return Ok(format!("{} is halted and gets no device now", self.name));
        }
        self.check_running()?;
        let (device, _) = self.plan(device, &wish.options)?;
        Ok(format!("{} gets {} device {device}", self.name, self.class.name()))
    }

    /// What the end of an attachment would do.
    fn foreseen_without(&self, device: &DeviceName) -> Result<String, Failure> {
        let (device, _) = self.undoing(device)?;
        Ok(format!("{} loses {} device {device}", self.name, self.class.name()))
    }

    fn check_running(&self) -> Result<(), Failure> {
        if self.is_halted()? {
            let text = "VM not running, cannot attach device, do you mean `assign`?";
            return Err(Failure::new(Exception::QubesVMNotRunningError, text));
        }
        Ok(())
    }

    /// Attaches a device to the qube, which shall run, with the events of it.
    pub(super) fn attach(&self, device: &DeviceName, options: &[(String, String)]) -> Result<(), Failure> {
        self.check_running()?;
        let device = self.look(|case, _| self.one(case, device))?;
        let _run = lifecycle::lock(self.store, self.context.root, self.name)?;
        halfway::settle(self.store, self.context, self.name)?;
        let _device = self.store.lock_device(&device.backend, &device.port)?;
        self.attach_held(&device.name(), options)
    }

    /// The same under the locks of the qube's run and of the device.
    fn attach_held(&self, device: &DeviceName, options: &[(String, String)]) -> Result<(), Failure> {
        let (device, plan) = self.plan(device, options)?;
        let told = |kind: &str, options: &[(String, String)]| {
            let event = event(self.name, kind, self.class).with("device", device.to_string());
            event.with("options", shown(options))
        };
        self.announce(told("device-pre-attach", options))?;
        self.perform(&plan.work, &device, true, told("device-attach", &plan.options))
    }

    /// The device that is meant, and how it is attached.
    fn plan(&self, device: &DeviceName, options: &[(String, String)]) -> Result<(DeviceName, Plan), Failure> {
        self.look(|case, qube| {
            let device = self.one(case, device)?;
            self.check_free(case, qube, &device)?;
            let plan = self.class.plan(case, qube, &device, options)?;
            Ok((device.name(), plan))
        })
    }

    /// Does what is to be done to a device, and tells so: once, also where this is killed.
    fn perform(
        &self,
        work: &Work,
        device: &DeviceName,
        is_attach: bool,
        event: Event,
    ) -> Result<(), Failure> {
        let class = self.class.name().to_owned();
        let place = Place { class, backend: device.backend.clone(), port: device.port.clone() };
        let (hot, rule) = (work.hot().cloned(), work.rule().cloned());
        let noted = Halfway { place, is_attach, event, hot, rule };
        halfway::note(self.store, self.name, &noted)?;
        if let Err(failure) = work.perform(self) {
            self.store.drop_note(Note::Halfway, self.name);
            return Err(failure);
        }
        if let Err(failure) = halfway::tell(self.store, self.name, &noted) {
            log::line(&format!("a device of {} waits to be told of: {}", self.name, failure.into_text()));
        }
        Ok(())
    }

    /// The one device that is meant.
    fn one(&self, case: &Case<'_>, device: &DeviceName) -> Result<Exposed, Failure> {
        let mut meant = meant(self.class, case, device)?.into_iter();
        match (meant.next(), meant.next()) {
            (Some(device), None) => Ok(device),
            _ => {
                let text = format!("Cannot attach ambiguous {} device.", self.class.name());
                Err(Refusal::protocol(text).into())
            }
        }
    }

    fn check_free(&self, case: &Case<'_>, qube: &Qube, device: &Exposed) -> Result<(), Failure> {
        let is_it = |other: &Attached| {
            other.device.backend == device.backend.as_str() && other.device.port == device.port
        };
        if !self.class.attached(case, qube)?.iter().any(is_it) {
            return Ok(());
        }
        let (device, class) = (device.name(), self.class.name());
        let text = format!("device {device} of class {class} already attached to {}", self.name);
        Err(Failure::new(Exception::DeviceAlreadyAttached, quote(&text)))
    }

    /// Detaches a device from the qube, with the events of it.
    fn detach(&self, device: &DeviceName) -> Result<(), Failure> {
        self.look(|case, qube| self.attachment(case, qube, device))?;
        let _run = lifecycle::lock(self.store, self.context.root, self.name)?;
        halfway::settle(self.store, self.context, self.name)?;
        let (device, work) = self.undoing(device)?;
        let port = format!("{}:{}", device.backend, device.port);
        let told = |kind: &str| event(self.name, kind, self.class).with("port", &*port);
        self.announce(told("device-pre-detach"))?;
        self.perform(&work, &device, false, told("device-detach"))
    }

    /// The device that is meant, and how it is detached.
    fn undoing(&self, device: &DeviceName) -> Result<(DeviceName, Work), Failure> {
        self.look(|case, qube| {
            let attached = self.attachment(case, qube, device)?;
            check_dispensable(self.class, qube, &attached.device)?;
            let work = self.class.undoing(case, qube, &attached)?;
            Ok((attached.device, work))
        })
    }

    fn attachment(&self, case: &Case<'_>, qube: &Qube, device: &DeviceName) -> Result<Attached, Failure> {
        let is_it = |attached: &Attached| {
            let own = &attached.device;
            own.port == device.port && (device.backend == ANY || own.backend == device.backend)
        };
        self.class.attached(case, qube)?.into_iter().find(is_it).ok_or_else(|| {
            let (class, port) = (self.class.name(), &device.port);
            let text = format!("{class} device {port} not attached to {}", self.name);
            Failure::new(Exception::DeviceNotAssigned, quote(&text))
        })
    }
}

/// The devices that are there now and that a name stands for.
///
/// # Errors
/// What the store says.
pub(super) fn meant(
    class: &dyn DeviceClass,
    case: &Case<'_>,
    device: &DeviceName,
) -> Result<Vec<Exposed>, Failure> {
    let Some(backend) = class::backend(case.view, device)? else { return Ok(Vec::new()) };
    // Nobody means all devices of which nothing is known.
    let is_any_unknown = device.port == ANY && device.identity == UNKNOWN_IDENTITY;
    let mut devices = class.exposed(&case.at(&backend), &backend)?;
    devices.retain(|found| matches(device, &found.name()) && !is_any_unknown);
    Ok(devices)
}

/// Whether a name stands for a device.
pub(super) fn matches(name: &DeviceName, device: &DeviceName) -> bool {
    let stands = |wanted: &str, found: &str| wanted == ANY || wanted == found;
    stands(&name.backend, &device.backend)
        && stands(&name.port, &device.port)
        && stands(&name.identity, &device.identity)
}

fn check_dispensable(class: &dyn DeviceClass, qube: &Qube, device: &DeviceName) -> Result<(), Failure> {
    let needs = |own: &Device| {
        own.class == class.name() && own.mode == Mode::Required && matches(&own.name(), device)
    };
    if !qube.devices.iter().any(needs) {
        return Ok(());
    }
    let text = "Can not detach a required device from a non halted qube. You need to unassign device first.";
    Err(Failure::new(Exception::QubesVMNotHaltedError, text))
}

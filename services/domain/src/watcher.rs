//! The watcher of one qube's run, from before its domain is made: makes it, tells its state, does what calls ask, sees it
//! end, and clears away what the run leaves. Killed at any moment it leaves a domain that goes on and a file that is no
//! longer locked, by which the next call knows to start another.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use common::hypervisor::{
    Connection, Devices, Domain, DomainConfig, Domid, HotDevice, PowerState, Reply, Request, Run, VirtMode,
};
use common::log;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::control::{Control, Done, Info, Refused, Woken, words_for};
use crate::door::{Came, Door, number};
use crate::place::Place;
use crate::published::Published;

/// How long a domain is left alone that could not be cleared away or asked about, before it is tried again.
const RETRY_MS: u16 = 2_000;

/// Watches one run to its end, for the call whose first request this is. It may have come with the lifecycle lock, which
/// is held until the run is published.
///
/// # Errors
/// What the system says, before there is anything to watch.
pub fn watch(
    place: &Place<'_>,
    control: &mut dyn Control,
    starter: Connection,
    request: &Request,
    lifecycle: Option<OwnedFd>,
) -> io::Result<()> {
    match request {
        Request::Begin => match Watcher::begin(place, control) {
            Ok(watcher) => watcher.work_for(starter, lifecycle),
            Err(error) => starter.send(&unable(&error))?,
        },
        Request::Settle(reason) => match settled(place, control, reason.as_deref()) {
            Ok(Some(watcher)) => {
                let _ = starter.send(&Reply::Domain(watcher.domid()));
                drop(starter);
                watcher.work();
            }
            Ok(None) => starter.send(&Reply::Gone)?,
            Err(Refused(text)) => starter.send(&Reply::Refused(text))?,
        },
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    }
    Ok(())
}

/// Takes over what a killed watcher left: a domain that goes on is watched again, anything else cleared away.
fn settled<'a>(
    place: &'a Place<'a>,
    control: &'a mut dyn Control,
    reason: Option<&str>,
) -> Done<Option<Watcher<'a>>> {
    let held = place.lock()?;
    let Some(left) = place.left()? else { return Ok(None) };
    let found = place.uuid()?.map_or(Ok(None), |uuid| control.find(&uuid))?;
    let info = found.map_or(Ok(None), |domid| control.info(domid))?;
    match found.zip(info).filter(|(_, info)| !left.run.is_starting && !has_stopped(info.state)) {
        Some((domid, info)) => {
            let known = informed(&without_halfway(Domain { domid, ..left }, control), info);
            Watcher::new(place, control, known).map(Some).map_err(|error| Refused(error.to_string()))
        }
        None => {
            found.map_or(Ok(()), |domid| control.destroy(domid))?;
            place.clear(held, left, reason).map(|()| None)
        }
    }
}

/// A watcher's own affairs are files below the run-time directory.
fn unable(error: &io::Error) -> Reply {
    Reply::Unable(format!("/run/qubes/admin cannot be written to: {}", words_for(error)))
}

fn has_stopped(state: PowerState) -> bool {
    matches!(state, PowerState::Halting | PowerState::Crashed | PowerState::Dying)
}

/// The domain with what the hypervisor tells of it.
fn informed(domain: &Domain, info: Info) -> Domain {
    Domain {
        state: info.state,
        memory_kib: info.memory_kib,
        cpu_time_ns: info.cpu_time_ns,
        stubdom: info.stubdom,
        guest_memory: info.guest_memory,
        ..domain.clone()
    }
}

/// The domain without the device that a killed watcher was giving it or taking away.
fn without_halfway(left: Domain, control: &mut dyn Control) -> Domain {
    let devices = left.devices();
    let Some(device) = devices.halfway.clone() else { return left };
    if let Err(Refused(text)) = control.detach(left.domid, &device) {
        log::line(&format!("a device of domain {} is not there: {text}", left.domid.0));
    }
    Domain { devices: Devices { halfway: None, ..devices.without(&device) }.text(), ..left }
}

/// Whether its guest would reach all of the machine's memory through a device.
fn needs_iommu(config: &DomainConfig) -> bool {
    config.virt_mode == VirtMode::Hvm && !config.pci.is_empty()
}

/// A domain that was just made.
fn made(config: &DomainConfig, domid: Domid, run: Run) -> Domain {
    Domain {
        state: PowerState::Paused,
        domid,
        start_time_us: Run::now().begun_us,
        memory_kib: config.memory_kib,
        memory_max_kib: Some(config.max_memory_kib.max(config.hotplug_max_kib.unwrap_or_default())),
        vcpus: config.vcpus,
        needs_agent: config.needs_agent,
        devices: Devices { disks: config.disks.clone(), pci: config.pci.clone(), halfway: None }.text(),
        ..Domain::to_come(run)
    }
}

struct Watcher<'a> {
    place: &'a Place<'a>,
    control: &'a mut dyn Control,
    published: Published,
    door: Door,
    /// The call that began the run, which ends with it until it is complete.
    starter: Option<u64>,
    calls: Vec<Connection>,
    /// Whether the hypervisor could not tell of the domain when it was asked last.
    is_in_doubt: bool,
}

impl<'a> Watcher<'a> {
    /// The run is published before anything else of it is there, so that nothing is ever left unseen.
    fn new(place: &'a Place<'a>, control: &'a mut dyn Control, known: Domain) -> io::Result<Self> {
        let published = Published::new(&place.state(), known)?;
        let door = Door::at(&place.socket())?;
        Ok(Self { place, control, published, door, starter: None, calls: Vec::new(), is_in_doubt: false })
    }

    fn begin(place: &'a Place<'a>, control: &'a mut dyn Control) -> io::Result<Self> {
        let known = Domain::to_come(Run { is_starting: true, ..Run::now() });
        Self::new(place, control, known)
    }

    /// Works for the call that begins the run, whose lifecycle lock is held until here.
    fn work_for(mut self, starter: Connection, lifecycle: Option<OwnedFd>) {
        self.starter = Some(number(&starter));
        // One that has gone already is noticed when its end is heard of.
        let _ = starter.send(&Reply::Done);
        self.hold(starter);
        drop(lifecycle);
        self.work();
    }

    fn domid(&self) -> Domid {
        self.published.domain().domid
    }

    /// Works until the run is over, and tells so by closing everything.
    fn work(mut self) {
        self.look();
        while self.published.has_domain() || self.starter.is_some() {
            match self.wait() {
                Ok(woken) if woken == Woken::Domain || !self.published.is_told() => self.look(),
                Ok(_) => {}
                Err(Refused(text)) => {
                    log::line(&format!("watching domain {}: {text}", self.domid().0));
                    return;
                }
            }
            self.serve();
        }
        let Self { place, published, door, .. } = self;
        drop(door);
        place.finish(published.domain());
    }

    /// Sleeps until there is something to do, as there is where a domain has yet to be cleared away.
    fn wait(&mut self) -> Done<Woken> {
        if self.is_in_doubt {
            let is_asked = self.is_asked_within(PollTimeout::from(RETRY_MS))?;
            return Ok(if is_asked { Woken::Request } else { Woken::Domain });
        }
        if has_stopped(self.published.domain().state) {
            return Ok(Woken::Domain);
        }
        if self.published.has_domain() {
            return self.control.wait(self.domid(), self.door.as_fd());
        }
        self.is_asked_within(PollTimeout::NONE).map(|_| Woken::Request)
    }

    fn is_asked_within(&self, time: PollTimeout) -> Done<bool> {
        let asked = poll(&mut [PollFd::new(self.door.as_fd(), PollFlags::POLLIN)], time);
        asked.map(|count| count > 0).map_err(|error| Refused(error.desc().to_owned()))
    }

    /// Publishes what is so now; gives back what an ended domain still holds. Of a domain that nobody can tell of, all
    /// stays as it was known last.
    fn look(&mut self) {
        if !self.published.has_domain() {
            return;
        }
        let told = self.control.info(self.domid());
        self.note_doubt(told.as_ref().err());
        let Ok(info) = told else { return };
        let state = info.as_ref().map(|info| info.state);
        if let Some(info) = info {
            self.published.update(informed(self.published.domain(), info));
        }
        if state.is_none_or(|state| has_stopped(state) && self.is_cleared_away()) {
            let gone = Domain { state: PowerState::Halted, ..self.published.domain().clone() };
            self.published.update(gone);
        }
    }

    /// Tells of a doubt once.
    fn note_doubt(&mut self, doubt: Option<&Refused>) {
        if let Some(Refused(text)) = doubt
            && !self.is_in_doubt
        {
            log::line(&format!("domain {} cannot be asked about: {text}", self.domid().0));
        }
        self.is_in_doubt = doubt.is_some();
    }

    fn is_cleared_away(&mut self) -> bool {
        let domid = self.domid();
        let Err(Refused(text)) = self.control.destroy(domid) else { return true };
        log::line(&format!("domain {} is not cleared away: {text}", domid.0));
        let is_gone = self.control.info(domid).is_ok_and(|info| info.is_none());
        if !is_gone {
            std::thread::sleep(Duration::from_millis(RETRY_MS.into()));
        }
        is_gone
    }

    fn hold(&mut self, call: Connection) {
        match self.door.heed(&call) {
            Ok(()) => self.calls.push(call),
            Err(error) => {
                log::line(&format!("taking a call in: {error}"));
                self.forget(&call);
            }
        }
    }

    /// What follows from a call's end: a start that died half-way leaves no domain.
    fn forget(&mut self, call: &Connection) {
        if self.starter == Some(number(call))
            && let Err(Refused(text)) = self.give_up()
        {
            log::line(&format!("ending the domain of a start that was cut off: {text}"));
        }
    }

    /// Ends a run whose start is not complete and does not go on.
    fn give_up(&mut self) -> Done {
        self.starter = None;
        if self.published.has_domain() {
            self.control.destroy(self.domid())?;
        }
        self.look();
        Ok(())
    }

    /// Answers who has something to ask, then takes in who waits at the door: who came before is not overtaken, so that
    /// an answer tells that all is done which was asked for earlier.
    fn serve(&mut self) {
        let mut new = Vec::new();
        for came in self.door.came() {
            match came {
                Came::New(call) => new.push(call),
                Came::Known(end) => self.heed(end),
            }
        }
        new.into_iter().for_each(|call| self.welcome(call));
    }

    /// Takes a call in. Nearly all have asked by then, and many want nothing more.
    fn welcome(&mut self, call: Connection) {
        let has_asked = call.is_heard_within(Duration::ZERO).unwrap_or(false);
        if !has_asked || self.answer(&call).is_some_and(|request| !request.is_of_the_moment()) {
            self.hold(call);
        }
    }

    fn heed(&mut self, end: u64) {
        let Some(place) = self.calls.iter().position(|call| number(call) == end) else { return };
        let call = self.calls.swap_remove(place);
        match self.answer(&call) {
            Some(_) => self.calls.push(call),
            None => {
                self.door.leave(&call);
                self.forget(&call);
            }
        }
    }

    /// Does what a call asks. It is gone, or talks nonsense, where that is nothing.
    fn answer(&mut self, call: &Connection) -> Option<Request> {
        let request = call.receive::<Request>().ok()??;
        let reply = self.done(&request).unwrap_or_else(|Refused(text)| Reply::Refused(text));
        let _ = call.send(&reply);
        Some(request)
    }

    fn done(&mut self, request: &Request) -> Done<Reply> {
        match request {
            Request::Create(config) => self.create(config),
            Request::Fail(reason) => {
                let mut known = self.published.domain().clone();
                known.run.failed = Some(reason.clone());
                self.published.update(known);
                self.give_up().map(|()| Reply::Done)
            }
            Request::Begin | Request::Settle(_) => Err(Refused("there is a watcher already".to_owned())),
            _ if !self.published.has_domain() => Err(Refused("there is no domain".to_owned())),
            _ => self.done_to_domain(request),
        }
    }

    fn create(&mut self, config: &DomainConfig) -> Done<Reply> {
        let Domain { state, run, .. } = self.published.domain().clone();
        if state != PowerState::Halted || !run.is_starting {
            return Err(Refused("there is a domain already".to_owned()));
        }
        // Made by a watcher that was killed before it could tell.
        if let Some(forgotten) = self.control.find(&config.uuid)? {
            self.control.destroy(forgotten)?;
        }
        let domid = match self.control.create(config) {
            Err(_) if needs_iommu(config) && !self.control.has_iommu() => return Ok(Reply::NoIommu),
            made => made?,
        };
        // One that nobody can know of is none.
        if let Err(error) = self.published.publish(made(config, domid, run)) {
            self.control.destroy(domid)?;
            return Ok(unable(&error));
        }
        self.look();
        Ok(Reply::Domain(domid))
    }

    fn publish_devices(&mut self, devices: &Devices) {
        let known = self.published.domain().clone();
        self.published.update(Domain { devices: devices.text(), ..known });
    }

    /// Gives the domain a device, or leaves it as it was.
    fn attach(&mut self, device: &HotDevice) -> Done {
        let (domid, before) = (self.domid(), self.published.domain().devices());
        self.publish_devices(&Devices { halfway: Some(device.clone()), ..before.clone() });
        let done = self.control.attach(domid, device);
        if done.is_err() {
            // Mostly there is nothing.
            let _ = self.control.detach(domid, device);
        }
        self.publish_devices(&if done.is_ok() { before.with(device) } else { before });
        done
    }

    /// Takes a device away from the domain; one that stays is told of as before.
    fn detach(&mut self, device: &HotDevice) -> Done {
        let (domid, before) = (self.domid(), self.published.domain().devices());
        self.publish_devices(&Devices { halfway: Some(device.clone()), ..before.clone() });
        let done = self.control.detach(domid, device);
        self.publish_devices(&if done.is_ok() { before.without(device) } else { before });
        done
    }

    fn done_to_domain(&mut self, request: &Request) -> Done<Reply> {
        let domid = self.domid();
        match request {
            Request::Keep => match self.published.publish_run(|run| run.is_starting = false) {
                Ok(()) => self.starter = None,
                Err(error) => return Ok(unable(&error)),
            },
            Request::Unpause => self.control.unpause(domid)?,
            Request::Pause => self.control.pause(domid)?,
            Request::Shutdown => self.control.shutdown(domid)?,
            Request::Suspend if !self.put_to_sleep()? => return Ok(Reply::CannotSleep),
            Request::Resume => self.control.resume(domid)?,
            Request::Destroy => self.control.destroy(domid)?,
            Request::Connect(nic) => {
                self.control.disconnect(domid)?;
                self.control.connect(domid, nic)?;
            }
            Request::Disconnect => self.control.disconnect(domid)?,
            Request::Attach(device) => self.attach(device)?,
            Request::Detach(device) => self.detach(device)?,
            Request::Console => return self.control.console(domid).map(Reply::Console),
            _ => {}
        }
        // The caller finds the new state published when it gets its answer.
        self.look();
        match request {
            Request::Tell => Ok(Reply::Told(Box::new(self.published.domain().clone()))),
            _ => Ok(Reply::Done),
        }
    }

    /// A guest whose processors stand still cannot be told.
    fn put_to_sleep(&mut self) -> Done<bool> {
        let domain = self.published.domain();
        let (domid, state) = (domain.domid, domain.state);
        if state == PowerState::Paused { Ok(false) } else { self.control.suspend(domid) }
    }
}

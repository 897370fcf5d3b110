//! The watcher of one domain: makes it, tells its state, does what calls ask, and sees it end. Killed at any moment it
//! leaves a domain that goes on and a file that is no longer locked, by which the next call knows to start another.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use common::hypervisor::{Connection, Domain, DomainConfig, Domid, Listener, PowerState, Reply, Request};
use common::log;
use common::names::{QubeName, QubeUuid};
use common::root::Root;
use common::store::LiveFile;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::control::{Control, Done, Info, Refused, Woken};

/// Watches one domain to its end, for the call whose first request this is.
///
/// # Errors
/// What the system says, before there is a domain; without it there is nothing to be done then.
pub fn watch(
    root: &Root,
    name: &QubeName,
    control: &mut dyn Control,
    starter: Connection,
    request: &Request,
) -> io::Result<()> {
    let places = Places::of(root, name);
    // All that may fail comes before there is a domain.
    let door = Door::at(&places.socket)?;
    let found = match request {
        Request::Create(config) => begin(&places, control, config).map(Some),
        Request::Adopt(uuid) => adopt(&places, control, uuid),
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    };
    match found {
        Ok(Some(published)) => {
            let is_kept = matches!(request, Request::Adopt(_));
            Watcher::new(door, control, published, starter, is_kept).work();
            Ok(())
        }
        Ok(None) => starter.send(&Reply::Gone),
        Err(Refused(text)) => starter.send(&Reply::Refused(text)),
    }
}

/// Where a watcher tells of its domain and listens to calls.
struct Places {
    state: PathBuf,
    socket: PathBuf,
}

impl Places {
    fn of(root: &Root, name: &QubeName) -> Self {
        let run = root.run();
        Self {
            state: run.join("domains").join(name.as_str()),
            socket: run.join("watchers").join(name.as_str()),
        }
    }
}

/// What is published of a domain.
struct Published {
    file: LiveFile,
    domain: Domain,
}

impl Published {
    fn new(places: &Places, domain: Domain) -> Done<Self> {
        let content = serde_json::to_vec(&domain).map_err(|error| Refused(error.to_string()))?;
        let file = LiveFile::write(&places.state, &content).map_err(|error| Refused(error.to_string()))?;
        Ok(Self { file, domain })
    }

    /// Tells what is known now, where that is news.
    fn update(&mut self, info: Info) {
        let known = Domain {
            state: info.state,
            memory_kib: info.memory_kib,
            cpu_time_ns: info.cpu_time_ns,
            ..self.domain.clone()
        };
        if known == self.domain {
            return;
        }
        let told = serde_json::to_vec(&known)
            .map_err(io::Error::from)
            .and_then(|content| self.file.replace(&content));
        match told {
            Ok(()) => self.domain = known,
            Err(error) => log::line(&format!("publishing a domain's state: {error}")),
        }
    }
}

fn begin(places: &Places, control: &mut dyn Control, config: &DomainConfig) -> Done<Published> {
    // Made by a watcher that was killed before it could tell.
    if let Some(forgotten) = control.find(&config.uuid)? {
        control.destroy(forgotten)?;
    }
    let domid = control.create(config)?;
    let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_micros());
    let domain = Domain {
        state: PowerState::Paused,
        domid,
        start_time_us: u64::try_from(started).unwrap_or_default(),
        memory_kib: config.memory_kib,
        memory_max_kib: Some(config.max_memory_kib.max(config.hotplug_max_kib.unwrap_or_default())),
        guest_memory: None,
        cpu_time_ns: 0,
        vcpus: config.vcpus,
        stubdom: None,
    };
    let published = Published::new(places, domain);
    if published.is_err() {
        control.destroy(domid)?;
    }
    published
}

/// Takes over what a killed watcher published, if its domain is still there.
fn adopt(places: &Places, control: &mut dyn Control, uuid: &QubeUuid) -> Done<Option<Published>> {
    let Some(domid) = control.find(uuid)? else { return Ok(None) };
    let Some(info) = control.info(domid) else { return Ok(None) };
    let known = common::files::read_if_present(&places.state).ok().flatten();
    let known = known.and_then(|bytes| serde_json::from_slice::<Domain>(&bytes).ok());
    let domain = known.filter(|known| known.domid == domid).unwrap_or(Domain {
        state: info.state,
        domid,
        start_time_us: 0,
        memory_kib: info.memory_kib,
        memory_max_kib: None,
        guest_memory: None,
        cpu_time_ns: info.cpu_time_ns,
        vcpus: info.vcpus,
        stubdom: None,
    });
    let mut published = Published::new(places, domain)?;
    published.update(info);
    Ok(Some(published))
}

/// Where calls come in, and what wakes the watcher for them.
struct Door {
    listener: Listener,
    wakes: Epoll,
}

impl Door {
    fn at(path: &Path) -> io::Result<Self> {
        let door =
            Self { listener: Listener::at(path)?, wakes: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)? };
        door.heed(&door.listener)?;
        Ok(door)
    }

    /// Wakes for this end, too.
    fn heed(&self, end: &impl AsFd) -> io::Result<()> {
        Ok(self.wakes.add(end, EpollEvent::new(EpollFlags::EPOLLIN, number(end)))?)
    }
}

struct Watcher<'a> {
    control: &'a mut dyn Control,
    published: Published,
    door: Door,
    /// The call that began this; unless the domain is to be kept, it ends with it.
    starter: u64,
    is_kept: bool,
    calls: Vec<Connection>,
}

impl<'a> Watcher<'a> {
    fn new(
        door: Door,
        control: &'a mut dyn Control,
        published: Published,
        starter: Connection,
        is_kept: bool,
    ) -> Self {
        // One that has gone already is noticed when its end is heard of.
        let _ = starter.send(&Reply::Domain(published.domain.domid));
        let mut watcher =
            Self { control, published, door, starter: number(&starter), is_kept, calls: Vec::new() };
        watcher.hold(starter);
        watcher
    }

    fn domid(&self) -> Domid {
        self.published.domain.domid
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
        if number(call) == self.starter && !self.is_kept {
            self.is_kept = true;
            if let Err(Refused(text)) = self.control.destroy(self.domid()) {
                log::line(&format!("ending the domain of a start that was cut off: {text}"));
            }
        }
    }

    /// Works until the domain is gone, and tells so by closing everything.
    fn work(mut self) {
        loop {
            let woken = self.control.wait(self.domid(), self.door.wakes.0.as_fd());
            match woken {
                Ok(Woken::Request) => self.serve(),
                Ok(Woken::Domain) => {}
                Err(Refused(text)) => {
                    log::line(&format!("watching domain {}: {text}", self.domid().0));
                    return;
                }
            }
            if self.has_ended() {
                break;
            }
        }
        let _ = self.published.file.remove();
    }

    /// Publishes what is so now; gives back what an ended domain still holds.
    fn has_ended(&mut self) -> bool {
        let domid = self.domid();
        match self.control.info(domid) {
            None => true,
            Some(info)
                if matches!(info.state, PowerState::Halting | PowerState::Crashed | PowerState::Dying) =>
            {
                self.published.update(info);
                match self.control.destroy(domid) {
                    Ok(()) => true,
                    Err(Refused(text)) => {
                        log::line(&format!("clearing domain {} away: {text}", domid.0));
                        self.control.info(domid).is_none()
                    }
                }
            }
            Some(info) => {
                self.published.update(info);
                false
            }
        }
    }

    /// Takes in who waits at the door, then answers who has something to ask.
    fn serve(&mut self) {
        let mut ready = [EpollEvent::empty(); 16];
        let count = self.door.wakes.wait(&mut ready, EpollTimeout::ZERO).unwrap_or_default();
        for event in ready.iter().take(count) {
            if event.data() == number(&self.door.listener) {
                if let Some(call) = self.door.listener.accept() {
                    self.hold(call);
                }
            } else if let Some(place) = self.calls.iter().position(|call| number(call) == event.data()) {
                self.answer(place);
            }
        }
    }

    fn answer(&mut self, place: usize) {
        let call = self.calls.swap_remove(place);
        match call.receive::<Request>() {
            Ok(Some(request)) => {
                let reply = self.done(&request).unwrap_or_else(|Refused(text)| Reply::Refused(text));
                let _ = call.send(&reply);
                self.calls.push(call);
            }
            // Gone, or talking nonsense: its end is closed here, too.
            _ => self.forget(&call),
        }
    }

    fn done(&mut self, request: &Request) -> Done<Reply> {
        let domid = self.domid();
        match request {
            Request::Keep => self.is_kept = true,
            Request::Unpause => self.control.unpause(domid)?,
            Request::Pause => self.control.pause(domid)?,
            Request::Shutdown => self.control.shutdown(domid)?,
            Request::Suspend => self.control.suspend(domid)?,
            Request::Resume => self.control.resume(domid)?,
            Request::Destroy => self.control.destroy(domid)?,
            Request::Console => return self.control.console(domid).map(Reply::Console),
            Request::Publish => {}
            Request::Create(_) | Request::Adopt(_) => {
                return Err(Refused("there is a domain already".to_owned()));
            }
        }
        // The caller finds the new state published when it gets its answer.
        if let Some(info) = self.control.info(domid) {
            self.published.update(info);
        }
        Ok(Reply::Done)
    }
}

fn number(end: &impl AsFd) -> u64 {
    u64::try_from(end.as_fd().as_raw_fd()).unwrap_or(u64::MAX)
}

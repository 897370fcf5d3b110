//! The hypervisor of machines without Xen: each domain is a process, which lives on when its watcher dies, is stopped
//! when paused, may ignore a request to shut down, and may crash. Its number is the domain's.
//!
//! Words of the guest's command line make it behave badly: `simulated.refuses` cannot be made, `simulated.hangs` is not
//! made until its process gets the signal to wake, `simulated.ignores-shutdown` goes on, `simulated.refuses-devices` takes
//! none while it runs, `simulated.cannot-sleep` stays awake.

mod console;
pub mod guest;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::files;
use common::hypervisor::{Connection, Disk, DomainConfig, Domid, HotDevice, Nic, Pci, PowerState};
use common::names::QubeUuid;
use common::root::Root;
use common::run;
use common::store::is_locked_by_another;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::control::{Control, Done, Info, Refused, Woken, words_for};
use guest::{Ending, State};

/// How long a process may take to begin, or to notice a signal that the kernel delivers.
const DEADLINE: Duration = Duration::from_secs(10);

/// The devices of a domain.
#[derive(Serialize, Deserialize)]
struct Devices {
    disks: Vec<Disk>,
    pci: Vec<Pci>,
    /// Whether it takes and gives away none.
    refuses: bool,
}

impl Devices {
    /// Takes one out; tells whether it was there.
    fn remove(&mut self, device: &HotDevice) -> bool {
        let before = (self.disks.len(), self.pci.len());
        match device {
            HotDevice::Disk(disk) => self.disks.retain(|own| own.target != disk.target),
            HotDevice::Pci(pci) => self.pci.retain(|own| own.address != pci.address),
        }
        before != (self.disks.len(), self.pci.len())
    }
}

/// The processes of one root.
pub struct Simulated {
    root: Root,
    folder: PathBuf,
    /// The domain that is waited for, and the descriptor of its process.
    watched: Option<(Domid, OwnedFd)>,
}

impl Simulated {
    /// The processes of a root.
    ///
    /// # Errors
    /// What the system says.
    pub fn at(root: &Root) -> Done<Self> {
        let folder = root.run().join("simulated");
        files::make_directories(&folder, 0o2770).map_err(|error| Refused(unwritable(&error)))?;
        Ok(Self { root: root.clone(), folder, watched: None })
    }

    fn file(&self, domid: Domid) -> PathBuf {
        self.folder.join(domid.0.to_string())
    }

    /// Where its network interfaces are told.
    fn nics(&self, domid: Domid) -> PathBuf {
        self.folder.join(format!("{}.nics", domid.0))
    }

    fn set_nics(&self, domid: Domid, nics: &[Nic]) -> Done {
        let content = serde_json::to_vec(nics).map_err(|error| refused(&error.into()))?;
        files::replace(&self.nics(domid), &content, 0o660).map_err(|error| Refused(unwritable(&error)))
    }

    /// Where its devices are told.
    fn devices_file(&self, domid: Domid) -> PathBuf {
        self.folder.join(format!("{}.devices", domid.0))
    }

    fn set_devices(&self, domid: Domid, devices: &Devices) -> Done {
        let content = serde_json::to_vec(devices).map_err(|error| refused(&error.into()))?;
        files::replace(&self.devices_file(domid), &content, 0o660).map_err(|error| refused(&error))
    }

    fn devices(&self, domid: Domid) -> Done<Devices> {
        let content = files::read(&self.devices_file(domid)).map_err(|error| refused(&error))?;
        serde_json::from_slice(&content).map_err(|error| refused(&error.into()))
    }

    /// What its process tells of it; nothing if there is no such process.
    fn state(&self, domid: Domid) -> Done<Option<State>> {
        let told = files::present(files::read_once(&self.file(domid))).map_err(|error| refused(&error))?;
        Ok(told.and_then(|told| serde_json::from_slice(&told).ok()))
    }

    fn is_asleep(&self, domid: Domid) -> Option<bool> {
        self.state(domid).ok().flatten().map(|state| state.asleep)
    }

    /// Whether the process is there: its number may be another's by now, but not its descriptor nor its file's lock.
    fn is_alive(&self, domid: Domid) -> bool {
        match &self.watched {
            Some((watched, process)) if *watched == domid => !has_ended(process),
            _ => is_locked_by_another(&self.file(domid)),
        }
    }

    /// Keeps the descriptor of a process that is there.
    fn watch(&mut self, domid: Domid) {
        if self.watched.as_ref().is_none_or(|(watched, _)| *watched != domid) {
            let process = run::process_descriptor(process(domid)).ok();
            // The number may have been another's when we took the descriptor.
            self.watched = process.filter(|_| self.is_alive(domid)).map(|process| (domid, process));
        }
    }

    fn signal(&self, domid: Domid, signal: Signal) -> Done {
        if !self.is_alive(domid) {
            return Err(Refused("the domain has ended".to_owned()));
        }
        kill(process(domid), signal).map_err(|error| Refused(error.desc().to_owned()))
    }

    /// Waits until a signal has done what it does, which it has not at once.
    fn reach(&self, domid: Domid, reached: impl Fn(&Self) -> bool) -> Done {
        let (begun, mut pause) = (Instant::now(), Duration::from_micros(50));
        while !reached(self) {
            if begun.elapsed() > DEADLINE {
                return Err(Refused(format!("domain {} does not answer", domid.0)));
            }
            std::thread::sleep(pause);
            pause = pause.saturating_mul(2).min(Duration::from_millis(1));
        }
        Ok(())
    }

    fn power(&self, domid: Domid, state: &State) -> PowerState {
        match (self.is_alive(domid), &state.ending) {
            (false, Some(Ending::PowerOff)) => PowerState::Halting,
            (false, None) => PowerState::Crashed,
            (true, _) if is_stopped(domid) => PowerState::Paused,
            (true, _) if state.asleep => PowerState::Suspended,
            (true, _) => PowerState::Running,
        }
    }
}

impl Control for Simulated {
    fn create(&mut self, config: &DomainConfig) -> Done<Domid> {
        let words = config.cmdline.as_deref().unwrap_or_default();
        let is_told = |told: &str| words.split_ascii_whitespace().any(|word| word == told);
        if is_told("simulated.refuses") {
            return Err(Refused("the domain refuses to be made".to_owned()));
        }
        let (ours, theirs) = Connection::pair().map_err(|error| refused(&error))?;
        let myself = Path::new("/proc/self/exe");
        let process = run::detached(myself, &[guest::ARGUMENT], &self.root, theirs.as_fd(), None);
        let process = process.map_err(|error| refused(&error))?;
        drop(theirs);
        let domid = Domid(u32::try_from(process.as_raw()).unwrap_or_default());
        let begun = begin(&ours, config)
            .and_then(|()| self.set_nics(domid, &config.nics))
            .and_then(|()| {
                let (disks, pci) = (config.disks.clone(), config.pci.clone());
                self.set_devices(
                    domid,
                    &Devices { disks, pci, refuses: is_told("simulated.refuses-devices") },
                )
            })
            .and_then(|()| self.pause(domid));
        if begun.is_err() {
            self.destroy(domid)?;
        }
        begun.map(|()| domid)
    }

    fn has_iommu(&mut self) -> bool {
        true
    }

    fn find(&mut self, uuid: &QubeUuid) -> Done<Option<Domid>> {
        let names = files::list(&self.folder).map_err(|error| refused(&error))?;
        for domid in names.iter().filter_map(|name| name.parse().ok().map(Domid)) {
            if self.state(domid)?.is_some_and(|state| state.uuid == *uuid) {
                return Ok(Some(domid));
            }
        }
        Ok(None)
    }

    /// A process goes on from the moment of the signal.
    fn unpause(&mut self, domid: Domid) -> Done {
        self.signal(domid, Signal::SIGCONT)
    }

    fn pause(&mut self, domid: Domid) -> Done {
        self.signal(domid, Signal::SIGSTOP)?;
        self.reach(domid, |it| is_stopped(domid) || !it.is_alive(domid))
    }

    fn shutdown(&mut self, domid: Domid) -> Done {
        self.signal(domid, Signal::SIGTERM)
    }

    fn suspend(&mut self, domid: Domid) -> Done<bool> {
        if self.state(domid)?.is_some_and(|state| !state.can_sleep) {
            return Ok(false);
        }
        self.signal(domid, Signal::SIGUSR1)?;
        self.reach(domid, |it| it.is_asleep(domid).unwrap_or(true) || !it.is_alive(domid))?;
        Ok(true)
    }

    fn resume(&mut self, domid: Domid) -> Done {
        self.signal(domid, Signal::SIGUSR2)?;
        self.reach(domid, |it| !it.is_asleep(domid).unwrap_or(false) || !it.is_alive(domid))
    }

    fn destroy(&mut self, domid: Domid) -> Done {
        if self.is_alive(domid) {
            self.signal(domid, Signal::SIGKILL)?;
            self.reach(domid, |it| !it.is_alive(domid))?;
        }
        let kept = [self.nics(domid), self.devices_file(domid), self.file(domid)];
        kept.iter().try_for_each(|file| files::remove(file)).map_err(|error| refused(&error))
    }

    fn connect(&mut self, domid: Domid, nic: &Nic) -> Done {
        self.set_nics(domid, std::slice::from_ref(nic))
    }

    fn disconnect(&mut self, domid: Domid) -> Done {
        self.set_nics(domid, &[])
    }

    fn attach(&mut self, domid: Domid, device: &HotDevice) -> Done {
        let mut devices = self.devices(domid)?;
        if devices.refuses || devices.remove(device) {
            return Err(Refused("the domain refuses the device".to_owned()));
        }
        match device {
            HotDevice::Disk(disk) => devices.disks.push(disk.clone()),
            HotDevice::Pci(pci) => devices.pci.push(pci.clone()),
        }
        self.set_devices(domid, &devices)
    }

    fn detach(&mut self, domid: Domid, device: &HotDevice) -> Done {
        let mut devices = self.devices(domid)?;
        if devices.refuses || !devices.remove(device) {
            return Err(Refused("the domain keeps the device or has not got it".to_owned()));
        }
        self.set_devices(domid, &devices)
    }

    fn console(&mut self, domid: Domid) -> Done<PathBuf> {
        let told = self.state(domid)?.and_then(|state| state.console);
        told.ok_or_else(|| Refused("the domain has no console".to_owned()))
    }

    fn info(&mut self, domid: Domid) -> Done<Option<Info>> {
        let Some(state) = self.state(domid)? else { return Ok(None) };
        Ok(Some(Info {
            state: self.power(domid, &state),
            memory_kib: state.memory_kib,
            cpu_time_ns: cpu_time_ns(domid),
            vcpus: state.vcpus,
            stubdom: None,
            guest_memory: None,
        }))
    }

    fn wait(&mut self, domid: Domid, requests: BorrowedFd<'_>) -> Done<Woken> {
        self.watch(domid);
        let Some((_, ended)) = &self.watched else { return Ok(Woken::Domain) };
        let mut polled = [&ended.as_fd(), &requests].map(|end| PollFd::new(*end, PollFlags::POLLIN));
        match poll(&mut polled, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => Ok(Woken::Request),
            Err(error) => Err(Refused(error.desc().to_owned())),
            Ok(_) => {
                let [ended, _] = polled;
                Ok(if ended.any().unwrap_or(true) { Woken::Domain } else { Woken::Request })
            }
        }
    }
}

/// Tells a guest what it is, and waits until its file is there and locked.
fn begin(guest: &Connection, config: &DomainConfig) -> Done {
    guest.send(config).map_err(|error| refused(&error))?;
    let begun: Option<guest::Begun> = guest.receive().map_err(|error| refused(&error))?;
    let silent = || Err("the domain's process did not begin".to_owned());
    begun.unwrap_or_else(silent).map_err(Refused)
}

fn unwritable(error: &std::io::Error) -> String {
    format!("/run/qubes/admin/simulated cannot be written to: {}", words_for(error))
}

fn refused(error: &std::io::Error) -> Refused {
    Refused(error.to_string())
}

fn process(domid: Domid) -> Pid {
    Pid::from_raw(i32::try_from(domid.0).unwrap_or(i32::MAX))
}

fn has_ended(process: &OwnedFd) -> bool {
    poll(&mut [PollFd::new(process.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO)
        .is_ok_and(|ended| ended > 0)
}

/// Whether a process is stopped; its parent can ask at little cost.
fn is_stopped(domid: Domid) -> bool {
    let look = WaitPidFlag::WSTOPPED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    match waitid(Id::Pid(process(domid)), look) {
        Ok(status) => matches!(status, WaitStatus::Stopped(..)),
        Err(_) => is_told_stopped(domid),
    }
}

fn is_told_stopped(domid: Domid) -> bool {
    let line = files::read_once(Path::new(&format!("/proc/{}/stat", domid.0))).unwrap_or_default();
    String::from_utf8_lossy(&line).rsplit_once(") ").is_some_and(|(_, fields)| fields.starts_with('T'))
}

/// What a process has used of the processors.
fn cpu_time_ns(domid: Domid) -> u64 {
    let time = clock_getcpuclockid(process(domid)).and_then(clock_gettime).map(Duration::from);
    time.ok().and_then(|time| u64::try_from(time.as_nanos()).ok()).unwrap_or_default()
}

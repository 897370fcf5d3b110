//! What every hypervisor does with domains, and what it tells of them.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use common::hypervisor::{DomainConfig, Domid, GuestMemory, HotDevice, Nic, PowerState, Stubdom};
use common::names::QubeUuid;
use nix::errno::Errno;

/// Why a hypervisor refused, in its own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused(pub String);

/// The system's own words for an error, without its number.
pub(crate) fn words_for(error: &io::Error) -> String {
    let words = error.raw_os_error().map(|number| Errno::from_raw(number).desc().to_owned());
    words.unwrap_or_else(|| error.kind().to_string())
}

/// What a hypervisor did, or why it did not.
pub type Done<T = ()> = Result<T, Refused>;

/// What there is to know of a domain now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Its state. [`PowerState::Running`] whether or not it is of use yet.
    pub state: PowerState,
    /// Memory assigned, KiB.
    pub memory_kib: u64,
    /// CPU time since its start, nanoseconds.
    pub cpu_time_ns: u64,
    /// Processors in use.
    pub vcpus: u32,
    /// The domain that emulates its devices, if there is one.
    pub stubdom: Option<Stubdom>,
    /// What the guest itself reports of its memory, if it does.
    pub guest_memory: Option<GuestMemory>,
}

/// What a wait ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// The descriptor is readable.
    Request,
    /// The domain stopped, slept or is gone: [`Control::info`] tells.
    Domain,
}

/// A hypervisor as the watcher of one domain uses it.
///
/// Every method fails with the hypervisor's own text. A domain that is gone is no error but for those who want it to do
/// something.
#[allow(clippy::missing_errors_doc, reason = "told above for all")]
pub trait Control {
    /// Makes a domain, which does nothing yet.
    fn create(&mut self, config: &DomainConfig) -> Done<Domid>;

    /// Whether the machine keeps devices that a domain is given within that domain's memory.
    fn has_iommu(&mut self) -> bool;

    /// The domain of a qube, if there is one that is not about to go.
    fn find(&mut self, uuid: &QubeUuid) -> Done<Option<Domid>>;

    /// Lets a paused domain go on.
    fn unpause(&mut self, domid: Domid) -> Done;

    /// Stops a domain's processors; that they are stopped already is fine.
    fn pause(&mut self, domid: Domid) -> Done;

    /// Asks the guest to shut down. Whether and when it does is its own affair.
    fn shutdown(&mut self, domid: Domid) -> Done;

    /// Sends the guest to sleep; tells whether it can.
    fn suspend(&mut self, domid: Domid) -> Done<bool>;

    /// Wakes a sleeping guest.
    fn resume(&mut self, domid: Domid) -> Done;

    /// Ends a domain at once and gives back all that it has.
    fn destroy(&mut self, domid: Domid) -> Done;

    /// Gives it a network interface.
    fn connect(&mut self, domid: Domid, nic: &Nic) -> Done;

    /// Takes all of its network interfaces away; that it has none is fine.
    fn disconnect(&mut self, domid: Domid) -> Done;

    /// Gives it a device.
    fn attach(&mut self, domid: Domid, device: &HotDevice) -> Done;

    /// Takes a device away; that it has not got it is an error.
    fn detach(&mut self, domid: Domid, device: &HotDevice) -> Done;

    /// The terminal of its console.
    fn console(&mut self, domid: Domid) -> Done<PathBuf>;

    /// What there is to know of it; nothing if it is gone, which is more than that nobody can tell.
    fn info(&mut self, domid: Domid) -> Done<Option<Info>>;

    /// Sleeps until a domain changes of its own or a descriptor is readable.
    fn wait(&mut self, domid: Domid, requests: BorrowedFd<'_>) -> Done<Woken>;
}

//! The watcher of one qube's domain, over Xen's own library or over processes that stand in for domains.

pub mod control;
mod door;
#[cfg(libxl)]
pub mod libxl;
pub mod place;
mod published;
pub mod simulated;
pub mod watcher;

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use common::environment;
use common::hypervisor::{Connection, Kind, Published, Reply};
use common::log;
use common::names::QubeName;
use common::root::Root;

use nix::sys::socket::{SockType, getsockopt, sockopt};

use control::{Control, Done, Refused};
use place::Place;
use simulated::{Simulated, guest};

/// Does what this process was started for: watches a domain, or is a simulated one.
///
/// # Errors
/// What the system says, and for arguments that nothing of ours gives.
pub fn run() -> io::Result<()> {
    log::catch_panics();
    let root = Root::from_environment();
    let words = environment::arguments();
    let mut words = words.iter().skip(1).filter_map(|word| word.to_str());
    match (words.next(), conversation(words.next())?) {
        (Some(guest::ARGUMENT), hypervisor) => guest::run(&root, hypervisor),
        (Some(name), starter) => watch(&root, name, starter),
        (None, _) => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// The conversation with whoever started this: at the place that is told, else on standard input.
fn conversation(place: Option<&str>) -> io::Result<Connection> {
    match place {
        Some(place) => Connection::to(place.as_ref()),
        None => on_standard_input().ok_or_else(|| io::ErrorKind::InvalidInput.into()),
    }
}

#[allow(unsafe_code, reason = "the process owns its standard input, which std gives out only to borrow")]
fn on_standard_input() -> Option<Connection> {
    getsockopt(&io::stdin(), sockopt::SockType).ok().filter(|kind| *kind == SockType::SeqPacket)?;
    // SAFETY: nothing else in this process uses descriptor 0, which is open.
    Some(Connection::on(unsafe { OwnedFd::from_raw_fd(0) }))
}

fn watch(root: &Root, name: &str, starter: Connection) -> io::Result<()> {
    let name = QubeName::parse(name).map_err(|_| io::ErrorKind::InvalidInput)?;
    // Read before anything can fail: an answer would be lost where a question lies unread.
    let (request, lifecycle) = starter.receive_with()?.ok_or(io::ErrorKind::UnexpectedEof)?;
    match hypervisor(root) {
        Ok(mut control) => {
            watcher::watch(&Place::of(root, &name), control.as_mut(), starter, &request, lifecycle)
        }
        Err(Refused(text)) => starter.send(&Reply::Refused(text)),
    }
}

fn hypervisor(root: &Root) -> Done<Box<dyn Control>> {
    match Published::at(root).kind() {
        Kind::Simulated => Ok(Box::new(Simulated::at(root)?)),
        Kind::Libxl => xen(),
    }
}

#[cfg(libxl)]
fn xen() -> Done<Box<dyn Control>> {
    Ok(Box::new(libxl::Libxl::open()?))
}

#[cfg(not(libxl))]
fn xen() -> Done<Box<dyn Control>> {
    Err(Refused("this executable was built without libxl's headers".to_owned()))
}

//! The watcher of one qube's domain, over Xen's own library or over processes that stand in for domains.

pub mod control;
#[cfg(libxl)]
pub mod libxl;
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
use simulated::{Simulated, guest};

/// Does what this process was started for: watches a domain, or is a simulated one.
///
/// # Errors
/// What the system says, and for arguments that nothing of ours gives.
pub fn run() -> io::Result<()> {
    log::catch_panics();
    let root = Root::from_environment();
    let argument = environment::arguments().get(1).and_then(|word| word.to_str()).map(str::to_owned);
    match (argument, conversation()) {
        (Some(word), Some(hypervisor)) if word == guest::ARGUMENT => guest::run(&root, hypervisor),
        (Some(name), Some(starter)) => watch(&root, &name, starter),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// Standard input, if it is a conversation.
#[allow(unsafe_code, reason = "the process owns its standard input, which std gives out only to borrow")]
fn conversation() -> Option<Connection> {
    getsockopt(&io::stdin(), sockopt::SockType).ok().filter(|kind| *kind == SockType::SeqPacket)?;
    // SAFETY: nothing else in this process uses descriptor 0, which is open.
    Some(Connection::on(unsafe { OwnedFd::from_raw_fd(0) }))
}

fn watch(root: &Root, name: &str, starter: Connection) -> io::Result<()> {
    let name = QubeName::parse(name).map_err(|_| io::ErrorKind::InvalidInput)?;
    // Read before anything can fail: an answer would be lost where a question lies unread.
    let request = starter.receive()?.ok_or(io::ErrorKind::UnexpectedEof)?;
    match hypervisor(root) {
        Ok(mut control) => watcher::watch(root, &name, control.as_mut(), starter, &request),
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

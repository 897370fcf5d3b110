//! The process that stands in for a guest: it does nothing until it is asked to sleep, to wake or to end, but give back
//! what is typed at its console.

use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;

use common::hypervisor::{Connection, DomainConfig};
use common::names::QubeUuid;
use common::root::Root;
use common::store::LiveFile;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use serde::{Deserialize, Serialize};

use super::console::Console;

/// The argument with which the executable is a guest.
pub const ARGUMENT: &str = "--guest";

/// How a guest ended of its own. One that says nothing crashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// It powered off.
    PowerOff,
}

/// What a guest tells of itself, in a file that it locks while it lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The qube's UUID.
    pub uuid: QubeUuid,
    /// Memory, KiB.
    pub memory_kib: u64,
    /// Processors.
    pub vcpus: u32,
    /// Whether it sleeps.
    pub asleep: bool,
    /// Whether it can.
    pub can_sleep: bool,
    /// The terminal of its console, where the machine has such.
    pub console: Option<PathBuf>,
    /// How it ended, if it has.
    pub ending: Option<Ending>,
}

/// What a guest tells of its beginning: why there is none, else.
pub type Begun = Result<(), String>;

/// Runs a guest, for the hypervisor at the other end.
///
/// # Errors
/// What the system says before the guest has begun, or of its file.
pub fn run(root: &Root, hypervisor: Connection) -> io::Result<()> {
    let orders = [Signal::SIGTERM, Signal::SIGUSR1, Signal::SIGUSR2].into_iter().collect::<SigSet>();
    orders.thread_block()?;
    let config: DomainConfig = hypervisor.receive()?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let console = Console::open(config.name.as_str()).ok();
    let words = config.cmdline.as_deref().unwrap_or_default().to_owned();
    let is_told = |told: &str| words.split_ascii_whitespace().any(|word| word == told);
    let mut state = State {
        uuid: config.uuid,
        memory_kib: config.memory_kib,
        vcpus: config.vcpus,
        asleep: false,
        can_sleep: !is_told("simulated.cannot-sleep"),
        console: console.as_ref().map(|console| console.path().to_owned()),
        ending: None,
    };
    let file = LiveFile::write(&path(root), &serde_json::to_vec(&state)?);
    let mut file = match file {
        Ok(file) => file,
        Err(error) => return hypervisor.send(&Begun::Err(super::unwritable(&error))),
    };
    while is_told("simulated.hangs") && orders.wait()? != Signal::SIGUSR2 {}
    hypervisor.send(&Begun::Ok(()))?;
    drop(hypervisor);
    let ignores_shutdown = is_told("simulated.ignores-shutdown");
    let orders = SignalFd::with_flags(&orders, SfdFlags::SFD_CLOEXEC)?;
    while state.ending.is_none() {
        match next_order(&orders, console.as_ref())? {
            Signal::SIGUSR1 => state.asleep = true,
            Signal::SIGUSR2 => state.asleep = false,
            _ if ignores_shutdown => continue,
            _ => state.ending = Some(Ending::PowerOff),
        }
        file.replace(&serde_json::to_vec(&state)?)?;
    }
    Ok(())
}

/// Waits for a signal, and gives back what is typed meanwhile.
fn next_order(orders: &SignalFd, console: Option<&Console>) -> io::Result<Signal> {
    loop {
        let ends = [Some(orders.as_fd()), console.map(AsFd::as_fd)];
        let mut polled: Vec<_> =
            ends.into_iter().flatten().map(|end| PollFd::new(end, PollFlags::POLLIN)).collect();
        poll(&mut polled, PollTimeout::NONE)?;
        let mut is_ready = polled.iter().map(|end| end.any().unwrap_or(true));
        if is_ready.next() == Some(true)
            && let Some(order) = orders.read_signal()?
        {
            let number = i32::try_from(order.ssi_signo).unwrap_or_default();
            return Ok(Signal::try_from(number)?);
        }
        if is_ready.next() == Some(true)
            && let Some(console) = console
        {
            console.give_back();
        }
    }
}

fn path(root: &Root) -> PathBuf {
    root.run().join("simulated").join(std::process::id().to_string())
}

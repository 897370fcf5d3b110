//! The process that stands in for a guest: it does nothing until it is asked to sleep, to wake or to end.

use std::io;
use std::path::PathBuf;

use common::hypervisor::{Connection, DomainConfig};
use common::names::QubeUuid;
use common::root::Root;
use common::store::LiveFile;
use nix::sys::signal::{SigSet, Signal};
use serde::{Deserialize, Serialize};

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
    /// How it ended, if it has.
    pub ending: Option<Ending>,
}

/// Runs a guest, for the hypervisor at the other end.
///
/// # Errors
/// What the system says before the guest has begun, or of its file.
pub fn run(root: &Root, hypervisor: Connection) -> io::Result<()> {
    let orders = [Signal::SIGTERM, Signal::SIGUSR1, Signal::SIGUSR2].into_iter().collect::<SigSet>();
    orders.thread_block()?;
    let config: DomainConfig = hypervisor.receive()?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let (uuid, memory_kib, vcpus) = (config.uuid, config.memory_kib, config.vcpus);
    let mut state = State { uuid, memory_kib, vcpus, asleep: false, ending: None };
    let mut file = LiveFile::write(&path(root), &serde_json::to_vec(&state)?)?;
    let words = config.cmdline.unwrap_or_default();
    let is_told = |told: &str| words.split_ascii_whitespace().any(|word| word == told);
    while is_told("simulated.hangs") && orders.wait()? != Signal::SIGUSR2 {}
    hypervisor.send(&())?;
    drop(hypervisor);
    let ignores_shutdown = is_told("simulated.ignores-shutdown");
    while state.ending.is_none() {
        match orders.wait()? {
            Signal::SIGUSR1 => state.asleep = true,
            Signal::SIGUSR2 => state.asleep = false,
            _ if ignores_shutdown => continue,
            _ => state.ending = Some(Ending::PowerOff),
        }
        file.replace(&serde_json::to_vec(&state)?)?;
    }
    Ok(())
}

fn path(root: &Root) -> PathBuf {
    root.run().join("simulated").join(std::process::id().to_string())
}

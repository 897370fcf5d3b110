//! Memory for a domain, asked of the daemon that balances it among the running ones (spec 40 §3.2).

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use common::failure::{Exception, Failure};
use common::names::QubeName;
use common::quote::quote;
use common::root::Root;
use common::{files, log, peer};

use crate::property::Case;

/// Where the daemon listens.
pub const SOCKET: &str = "/run/qubes/qmemman.sock";
/// How long the others may take to give memory up.
const DEADLINE: Duration = Duration::from_secs(60);

const MIB: u64 = 1 << 20;
/// What the hypervisor itself needs for a domain, for each of its processors, and for each MiB that it may get.
const FOR_DOMAIN: u64 = 4 * MIB;
const FOR_PROCESSOR: u64 = MIB + MIB / 2;
const FOR_MIB: u64 = 8192;
/// Memory of helper domains, MiB: with Linux, with the small old system, and for pictures in each.
const LINUX_STUBDOM: u64 = 128;
const SMALL_STUBDOM: u64 = 28;
const VIDEO: u64 = 16;

/// The memory that a start asks for, bytes.
///
/// # Errors
/// What the store says.
pub fn amount(case: &Case<'_>) -> Result<u64, Failure> {
    let (memory, maxmem) = (case.number("memory")?, case.number("maxmem")?);
    let mode = case.text("virt_mode")?;
    let stubdom = if mode == "hvm" { stubdom(case)? } else { 0 };
    let most = if maxmem > 0 { maxmem } else { memory };
    let tables = if mode == "pv" { 0 } else { most.saturating_mul(FOR_MIB) };
    let parts = [
        memory.saturating_add(stubdom).saturating_mul(MIB),
        FOR_DOMAIN,
        case.number("vcpus")?.saturating_mul(FOR_PROCESSOR),
        tables,
    ];
    Ok(parts.into_iter().fold(0, u64::saturating_add))
}

/// Whether the memory of a qube changes while it runs, as it needs it.
///
/// # Errors
/// What the store says.
pub fn is_balanced(case: &Case<'_>) -> Result<bool, Failure> {
    Ok(files::exists(&case.context.root.path(SOCKET)) && case.number("maxmem")? > 0)
}

fn stubdom(case: &Case<'_>) -> Result<u64, Failure> {
    let is_linux = case.feature("linux-stubdom")?.is_none_or(|value| !value.is_empty());
    let own = match case.number("stubdom_mem")? {
        0 if is_linux => LINUX_STUBDOM,
        0 => SMALL_STUBDOM,
        own => own,
    };
    Ok(own.saturating_add(VIDEO))
}

/// Memory that is kept for a domain until this goes away.
#[must_use]
pub struct Grant {
    _connection: UnixStream,
}

impl Grant {
    /// Asks for so many bytes; nothing where there is no memory daemon.
    ///
    /// # Errors
    /// `QubesMemoryError` if there is not that much; `QubesException` if the daemon cannot be asked.
    pub fn request(root: &Root, qube: &QubeName, bytes: u64) -> Result<Option<Self>, Failure> {
        let asked = ask(root, bytes).map_err(|error| {
            log::line(&format!("{SOCKET}: {error}"));
            Failure::new(Exception::QubesException, "Cannot reach the memory daemon, see the log for details")
        })?;
        match asked {
            Some((_, false)) => {
                let text = format!("Not enough memory to start domain {}", quote(qube.as_str()));
                Err(Failure::new(Exception::QubesMemoryError, text))
            }
            Some((_connection, true)) => Ok(Some(Self { _connection })),
            None => Ok(None),
        }
    }
}

/// The connection, and whether the daemon agrees.
fn ask(root: &Root, bytes: u64) -> io::Result<Option<(UnixStream, bool)>> {
    let Some(mut connection) = peer::reach(&root.path(SOCKET), DEADLINE)? else { return Ok(None) };
    connection.write_all(format!("{bytes}\n").as_bytes())?;
    let mut answer = [0; 16];
    let length = connection.read(&mut answer)?;
    let agrees = answer.get(..length).is_some_and(|answer| answer.trim_ascii() == b"OK");
    Ok(Some((connection, agrees)))
}

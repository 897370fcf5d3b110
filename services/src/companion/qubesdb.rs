//! The daemon of a running qube's QubesDB, and filling the database (spec 40 §3, steps 20 and 21).

use std::io;

use common::failure::{Exception, Failure};
use common::hypervisor::Domid;
use common::names::QubeName;
use common::qubesdb::{self, Database, Entry};
use common::root::Root;
use common::{files, log, random, run};

use super::{START_DEADLINE, base64};

/// The daemon's program.
pub const DAEMON: &str = "/usr/sbin/qubesdb-daemon";

/// Starts the daemon for a domain, where there is one.
///
/// # Errors
/// `QubesException` if it does not start.
pub fn start(root: &Root, qube: &QubeName, domid: Domid) -> Result<(), Failure> {
    if !files::exists(&root.path(DAEMON)) {
        return Ok(());
    }
    let arguments = [&domid.0.to_string(), qube.as_str()];
    let said = match run::as_user(root, DAEMON, &arguments, &[], START_DEADLINE) {
        Ok(outcome) if outcome.is_success() => return Ok(()),
        Ok(outcome) => format!("{}: {}", outcome.status(), outcome.errors()),
        Err(error) => error.to_string(),
    };
    log::line(&format!("{DAEMON}: {said}"));
    Err(Failure::new(Exception::QubesException, "Cannot execute qubesdb-daemon"))
}

/// Writes everything that a qube finds in its database, where the daemon is installed.
///
/// # Errors
/// `QubesException` if the database is not there any more.
pub fn fill(root: &Root, qube: &QubeName, entries: &[Entry]) -> Result<(), Failure> {
    let written = Database::of(root, qube).and_then(|database| match database {
        Some(mut database) => database.put(entries).and_then(|()| database.put(&[random_seed()?])),
        None if files::exists(&root.path(DAEMON)) => Err(io::ErrorKind::NotConnected.into()),
        None => Ok(()),
    });
    written.map_err(|error| {
        log::line(&format!("QubesDB of {qube}: {error}"));
        let text = "qubesdb not connected, VM was killed in the meantime";
        Failure::new(Exception::QubesException, text)
    })
}

/// What a guest starts its own random numbers from: as many bytes as a SHA-512 has, which would add nothing to the
/// system's own.
fn random_seed() -> io::Result<Entry> {
    Ok(Entry::new("/qubes-random-seed", base64::padded(&random::bytes::<64>()?)))
}

/// Tells another running qube of a change. It may end at any moment, and finds all when it starts again.
pub fn tell(root: &Root, qube: &QubeName, entries: &[Entry]) {
    let told = Database::of(root, qube).and_then(|database| match database {
        Some(mut database) => database.put(entries),
        None => Ok(()),
    });
    if let Err(error) = told {
        log::line(&format!("QubesDB of {qube}: {error}"));
    }
}

/// Ends the daemon of a domain that is gone.
pub fn stop(root: &Root, qube: &QubeName) {
    if let Err(error) = qubesdb::end(root, qube) {
        log::line(&format!("ending the QubesDB of {qube}: {error}"));
    }
}

//! The passphrase of a backup: what the profile says, or what a service in a qube answers (spec 40 §12).

use std::io::{self, ErrorKind};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use common::capture::Finished;
use common::failure::{Exception, Failure};
use common::quote::quote;
use common::root::Root;
use common::run;

use super::job::{Secret, Server};
use super::profile::refused;
use super::run::cancelled;
use crate::companion::service;

const SERVICE: &str = "qubes.BackupPassphrase";
/// How long the user may take to type it.
const DEADLINE: Duration = Duration::from_secs(900);
/// Longer than any.
const MOST: usize = 4096;

/// The passphrase, asked for now where it has to be.
///
/// # Errors
/// `BackupCancelledError` for an empty answer, and where the run is to stop; `ProtocolError` for one of several lines;
/// `QubesException` where there is no answer, or the profile says an empty one.
pub(super) fn of(root: &Root, id: &str, secret: Secret, stop: BorrowedFd<'_>) -> Result<Vec<u8>, Failure> {
    let passphrase = match secret {
        Secret::Said(text) if text.is_empty() => return Err(refused("No passphrase set")),
        Secret::Said(text) => text.into_bytes(),
        Secret::Asked(server) => match asked(root, id, &server, stop) {
            Ok(done) if done.is_success() => done.output().trim_ascii().to_vec(),
            Err(error) if error.kind() == ErrorKind::Interrupted => return Err(cancelled()),
            _ => {
                let name = quote(server.qube.as_str());
                return Err(refused(format!("Failed to retrieve passphrase from {name} VM")));
            }
        },
    };
    match passphrase {
        empty if empty.is_empty() => Err(cancelled()),
        lines if lines.contains(&b'\n') => {
            Err(Failure::new(Exception::ProtocolError, "Passphrase must not contain newline character"))
        }
        long if long.len() > MOST => Err(refused("The passphrase is too long")),
        passphrase => Ok(passphrase),
    }
}

fn asked(root: &Root, id: &str, server: &Server, stop: BorrowedFd<'_>) -> io::Result<Finished> {
    let process = service::ask(root, &server.qube, &server.user, &format!("{SERVICE}+{id}"))?;
    run::finish_unless(process, DEADLINE, [stop])
}

//! Services that this machine runs in its qubes (spec 40 §3.6).

use std::io;
use std::time::Duration;

use common::capture::Finished;
use common::failure::{Exception, Failure};
use common::hypervisor::PowerState;
use common::model::Qube;
use common::names::QubeName;
use common::quote::quote;
use common::root::Root;
use common::run::{self, Process};

use super::qrexec;
use crate::property::Context;

/// The program that does it.
const CLIENT: &str = "/usr/bin/qrexec-client";

/// The program that does it in dom0.
const MULTIPLEXER: &str = "/usr/lib/qubes/qubes-rpc-multiplexer";

/// Whether a service can be run in a qube.
///
/// # Errors
/// `QubesVMNotRunningError` or `QubesVMError`.
pub fn check(context: &Context<'_>, qube: &Qube) -> Result<(), Failure> {
    let name = quote(qube.name.as_str());
    let state = context.hypervisor.domain(&qube.name).map(|domain| domain.state);
    let (exception, text) = match state {
        None => (
            Exception::QubesVMNotRunningError,
            format!("Domain not running (either powered off or paused): {name}"),
        ),
        Some(PowerState::Paused) => (Exception::QubesVMNotRunningError, format!("Domain {name} is paused")),
        _ if qrexec::is_connected(context.root, &qube.name) => return Ok(()),
        _ => (Exception::QubesVMError, format!("Domain {name}: qrexec not connected")),
    };
    Err(Failure::new(exception, text))
}

/// Runs a service in a qube, as a user there, with a text as its input.
///
/// # Errors
/// If it cannot be started, or does not end before the deadline.
pub fn run(
    root: &Root,
    qube: &QubeName,
    user: &str,
    service: &str,
    input: &str,
    deadline: Duration,
) -> io::Result<Finished> {
    run_in(root, qube.as_str(), user, service, input, deadline)
}

/// The same in whatever qrexec knows by that name: a qube, or its helper domain.
///
/// # Errors
/// As [`run`].
pub fn run_in(
    root: &Root,
    name: &str,
    user: &str,
    service: &str,
    input: &str,
    deadline: Duration,
) -> io::Result<Finished> {
    run::with_input(&root.path(CLIENT), &["-d", name, &command(user, service)], input, deadline)
}

/// Begins a service in a qube, as a user there, that gets no input and whose output nobody reads.
///
/// # Errors
/// If it cannot be started.
pub fn begin(root: &Root, qube: &QubeName, user: &str, service: &str) -> io::Result<Process> {
    run::begin(&root.path(CLIENT), &["-d", qube.as_str(), &command(user, service)])
}

/// Begins a service in a qube, as a user there, that is to answer; in dom0 as its own user. It gets no input.
///
/// # Errors
/// If it cannot be started.
pub fn ask(root: &Root, qube: &QubeName, user: &str, service: &str) -> io::Result<Process> {
    if qube.is_dom0() {
        return run::asked_as_user(root, MULTIPLEXER, &[service, "dom0", "name", "dom0"]);
    }
    run::asked(&root.path(CLIENT), &["-d", qube.as_str(), &command(user, service)])
}

/// Begins a service in a qube, as a user there, that is told something.
///
/// # Errors
/// If it cannot be started.
pub fn tell(root: &Root, qube: &QubeName, user: &str, service: &str) -> io::Result<Process> {
    run::told(&root.path(CLIENT), &["-d", qube.as_str(), &command(user, service)])
}

fn command(user: &str, service: &str) -> String {
    format!("{user}:QUBESRPC {service} dom0")
}

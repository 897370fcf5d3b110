//! How the watcher of a domain is started: with root's rights, in nobody's session, so that it outlives all calls.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use super::watcher::{Connection, Listener};
use crate::command;
use crate::files;
use crate::names::QubeName;
use crate::root::Root;
use crate::run;

const EXECUTABLE: &str = "qubes-domain";
/// Is there where systemd manages the machine.
const SYSTEMD: &str = "/run/systemd/system";
const SYSTEMD_RUN: &str = "/usr/bin/systemd-run";
/// At the machine's end watchers are stopped after the unit that shuts the qubes down.
const OUTLIVES: &str = "--property=Before=qubes-admin-qubes.service";
/// A watcher that ends leaves alone what it started: emulators of a domain that goes on, and processes of our own.
const LEAVES: &str = "--property=KillMode=process";
/// How long a watcher may take until it speaks to us.
const DEADLINE: Duration = Duration::from_secs(30);

/// Starts a process that waits for [`super::Request::Begin`] or [`super::Request::Settle`] about a qube, whose lifecycle
/// lock is held.
///
/// # Errors
/// What the system says.
pub fn launch(root: &Root, name: &QubeName) -> io::Result<Connection> {
    let program = command::ours(root, EXECUTABLE)?;
    if root.is_system() && files::exists(Path::new(SYSTEMD)) {
        as_unit(root, &program, name)
    } else {
        as_process(root, &program, name)
    }
}

/// A process of its own session, with the conversation as its standard input and a log of its own.
fn as_process(root: &Root, program: &Path, name: &QubeName) -> io::Result<Connection> {
    let (ours, theirs) = Connection::pair()?;
    let log = run::log_file(root, &format!("vm-{name}"));
    let log = log.as_ref().ok().map(AsFd::as_fd);
    run::detached(program, &[name.as_str()], root, theirs.as_fd(), log)?;
    Ok(ours)
}

/// A unit of systemd's own, which gets no descriptor of ours: it is told where to find us.
fn as_unit(root: &Root, program: &Path, name: &QubeName) -> io::Result<Connection> {
    let place = root.run().join("watchers").join(format!(".{name}"));
    let meeting = Listener::at(&place)?;
    let description = format!("--description=Watcher of the qube {name}");
    let words = [program, &place].map(|path| path.display().to_string());
    let [program, place] = &words;
    let options = ["--quiet", "--collect", "--no-block", OUTLIVES, LEAVES, &description, "--"];
    let arguments = [&options[..], &[program, name.as_str(), place]].concat();
    let started = run::as_root(root, SYSTEMD_RUN, &arguments, DEADLINE)?;
    if !started.is_success() {
        return Err(io::Error::other(started.errors()));
    }
    meeting.accept_within(DEADLINE)?.ok_or_else(|| io::ErrorKind::TimedOut.into())
}

//! Other programs: the only module that starts them, by absolute path and with an empty environment.
#![allow(clippy::disallowed_methods, reason = "the one place that starts programs")]

use std::io::{self, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::root::{ROOT_VARIABLE, Root};

/// Runs a program as root: directly if we are root, else through `sudo -n`, dom0's own convention. Tells whether
/// it succeeded; one that outlives the deadline is killed and counts as failed.
///
/// # Errors
/// If it cannot be started or waited for.
pub fn as_root(program: &str, arguments: &[&str], deadline: Duration) -> io::Result<bool> {
    let mut command = if nix::unistd::geteuid().is_root() {
        Command::new(program)
    } else {
        let mut sudo = Command::new("/usr/bin/sudo");
        sudo.args(["-n", "--", program]);
        sudo
    };
    command.args(arguments).env_clear().env("LC_ALL", "C");
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = command.spawn()?;
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        if started.elapsed() > deadline {
            child.kill()?;
            child.wait()?;
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Starts a service executable against a root. Its standard input gets the header and then what `payload` gives, both
/// written while the reply is read; its standard output is the reply.
///
/// # Errors
/// If it cannot be started.
pub fn service(
    program: &Path,
    root: &Root,
    header: Vec<u8>,
    payload: Option<impl io::Read + Send + 'static>,
) -> io::Result<Child> {
    let mut command = Command::new(program);
    command.env_clear().env(ROOT_VARIABLE, root.path("/"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        std::thread::spawn(move || {
            // A service may answer without reading all of its input.
            stdin.write_all(&header)?;
            payload.map_or(Ok(0), |mut payload| io::copy(&mut payload, &mut stdin))
        });
    }
    Ok(child)
}

/// Shows a notification on the desktop of whoever runs us, whose environment says where that is.
///
/// # Errors
/// If the program cannot be started or waited for.
pub fn notification(program: &Path, title: &str, body: &str) -> io::Result<()> {
    let mut command = Command::new(program);
    // What follows the separator is text, whatever it begins with.
    command.args(["--app-name=qubes-admin", "--", title, body]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).status().map(drop)
}

//! Other programs: the only module that starts them, by absolute path and with an empty environment.
#![allow(clippy::disallowed_methods, reason = "the one place that starts programs")]

use std::io;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

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

/// Runs a service executable against a root, with a whole request on its standard input, and gives back its reply.
///
/// # Errors
/// If it cannot be started or its reply not be read.
pub fn service(program: &std::path::Path, root: &crate::root::Root, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut command = Command::new(program);
    command.env_clear().env(crate::root::ROOT_VARIABLE, root.path("/"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A service may answer without reading all of its input.
        let _ = io::Write::write_all(&mut stdin, request);
    }
    Ok(child.wait_with_output()?.stdout)
}

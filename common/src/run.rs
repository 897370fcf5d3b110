//! Other programs: the only module that starts them, by absolute path and with an empty environment.
#![allow(clippy::disallowed_methods, reason = "the one place that starts programs")]
#![allow(unsafe_code, reason = "pidfd_open has no wrapper in nix")]

use std::ffi::CString;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::root::{ROOT_VARIABLE, Root};

/// Runs a program as root: directly if we are root, else through `sudo -n`, dom0's own convention. Tells whether
/// it succeeded; one that outlives the deadline is killed, if we may, and counts as failed.
///
/// # Errors
/// If it cannot be started or waited for.
pub fn as_root(program: &str, arguments: &[&str], deadline: Duration) -> io::Result<bool> {
    let mut words =
        if nix::unistd::geteuid().is_root() { Vec::new() } else { vec!["/usr/bin/sudo", "-n", "--"] };
    words.push(program);
    words.extend(arguments);
    succeeds(&words, deadline)
}

fn succeeds(words: &[&str], deadline: Duration) -> io::Result<bool> {
    let words: Result<Vec<CString>, _> = words.iter().map(|word| CString::new(*word)).collect();
    let child = spawn(&words?)?;
    if ends_within(child, deadline)? {
        return Ok(matches!(waitpid(child, None)?, WaitStatus::Exited(_, 0)));
    }
    // What sudo started is not ours to kill, nor to wait for.
    if kill(child, Signal::SIGKILL).is_ok() {
        waitpid(child, None)?;
    }
    Ok(false)
}

/// Starts a program with an empty input, no output and a plain environment. Smaller than std's `Command`, which the
/// service executables need for nothing else.
fn spawn(words: &[CString]) -> io::Result<Pid> {
    let mut files = PosixSpawnFileActions::init()?;
    for (descriptor, flags) in [(0, OFlag::O_RDONLY), (1, OFlag::O_WRONLY)] {
        files.add_open(descriptor, "/dev/null", flags, Mode::empty())?;
    }
    let mut attributes = PosixSpawnAttr::init()?;
    // We ignore broken pipes; others need not.
    attributes.set_sigdefault(&SigSet::from(Signal::SIGPIPE))?;
    attributes.set_flags(PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF)?;
    let program = words.first().map(CString::as_c_str).unwrap_or_default();
    Ok(posix_spawn(program, &files, &attributes, words, &[c"LC_ALL=C"])?)
}

fn ends_within(child: Pid, deadline: Duration) -> io::Result<bool> {
    let process = process_descriptor(child)?;
    let timeout = PollTimeout::try_from(deadline).unwrap_or(PollTimeout::MAX);
    Ok(poll(&mut [PollFd::new(process.as_fd(), PollFlags::POLLIN)], timeout)? > 0)
}

/// A descriptor that is readable once the process has ended.
fn process_descriptor(process: Pid) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes two plain numbers and touches no memory of ours.
    let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, process.as_raw(), 0) };
    let descriptor = RawFd::try_from(nix::errno::Errno::result(descriptor)?).map_err(io::Error::other)?;
    // SAFETY: the system has just given us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// How a program ended.
#[derive(Debug)]
pub struct Outcome {
    /// Whether it exited with 0.
    pub succeeded: bool,
    /// The ASCII it wrote to standard error, as far as that is not too long.
    pub said: String,
}

/// Runs a program with a text on its standard input. One that outlives the deadline is killed and counts as failed.
///
/// # Errors
/// If it cannot be started or waited for.
pub fn with_input(
    program: &Path,
    arguments: &[&str],
    input: &str,
    deadline: Duration,
) -> io::Result<Outcome> {
    const SAID_MAX: u64 = 4096;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("LC_ALL", "C");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program may end without reading its input.
        let _ = stdin.write_all(input.as_bytes());
    }
    let ended = ends_within(Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?), deadline)?;
    if !ended {
        child.kill()?;
    }
    let succeeded = child.wait()?.success() && ended;
    let mut said = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        stderr.take(SAID_MAX).read_to_end(&mut said)?;
    }
    said.retain(u8::is_ascii);
    Ok(Outcome { succeeded, said: String::from_utf8(said).unwrap_or_default() })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_succeed_fail_and_are_cut_off() {
        let long = Duration::from_secs(60);
        assert!(succeeds(&["/bin/true"], long).unwrap());
        assert!(!succeeds(&["/bin/false"], long).unwrap());
        assert!(!succeeds(&["/bin/sleep", "60"], Duration::ZERO).unwrap());
        assert!(succeeds(&["/nonexistent"], long).is_err());
    }

    #[test]
    fn programs_get_nothing_of_ours_but_the_log() {
        let script = r#"test "$LC_ALL" = C && test -z "$CARGO$HOME" && ! read -r line"#;
        assert!(succeeds(&["/bin/sh", "-c", script], Duration::from_secs(60)).unwrap());
    }
}

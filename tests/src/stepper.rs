//! Runs a program up to its n-th stop at a system call and kills it there.
#![allow(unsafe_code, reason = "a child asks to be traced between fork and exec")]

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

/// What became of a traced program.
pub struct Traced {
    /// Whether it was killed before it ended by itself.
    pub killed: bool,
    /// What it had written to standard output.
    pub output: Vec<u8>,
}

/// Runs `command`, whose standard input must not be a pipe we write, and kills it at its `stop`-th stop: each system
/// call has two, one before and one after it.
#[allow(clippy::zombie_processes, reason = "waited for by number, as tracing needs")]
pub fn kill_at(mut command: Command, stop: usize) -> Traced {
    // SAFETY: only the traceme request is made between fork and exec, a single system call without allocation.
    unsafe {
        command.pre_exec(|| ptrace::traceme().map_err(Into::into));
    }
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    let mut stops = 0;
    // The first stop is the one after exec.
    let mut status = waitpid(pid, None).unwrap();
    let killed = loop {
        match status {
            WaitStatus::Exited(..) => break false,
            WaitStatus::Signaled(..) => break true,
            _ if stops == stop => {
                kill(pid, Signal::SIGKILL).unwrap();
                waitpid(pid, None).unwrap();
                break true;
            }
            _ => {
                stops += 1;
                ptrace::syscall(pid, None).unwrap();
                status = waitpid(pid, None).unwrap();
            }
        }
    };
    let mut output = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut output).unwrap();
    Traced { killed, output }
}

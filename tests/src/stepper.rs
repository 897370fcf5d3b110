//! Runs a program up to one of its system calls and makes trouble there: a kill, or an error instead of the call. Or
//! tells which calls it makes.
#![allow(unsafe_code, reason = "a child asks to be traced between fork and exec")]

use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Output, Stdio};

use libc::{
    SYS_access, SYS_faccessat, SYS_faccessat2, SYS_fchmod, SYS_fdatasync, SYS_flock, SYS_fstat, SYS_fsync,
    SYS_ftruncate, SYS_getdents64, SYS_ioctl, SYS_lseek, SYS_mkdir, SYS_mkdirat, SYS_newfstatat, SYS_open,
    SYS_openat, SYS_poll, SYS_pwrite64, SYS_read, SYS_rename, SYS_renameat, SYS_renameat2, SYS_rmdir,
    SYS_stat, SYS_statx, SYS_symlink, SYS_symlinkat, SYS_unlink, SYS_unlinkat, SYS_utimensat, SYS_write,
    SYS_writev,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

/// System calls that a disk, a file system or a lack of descriptors can make fail.
const ELIGIBLE: [i64; 32] = [
    SYS_access,
    SYS_faccessat,
    SYS_faccessat2,
    SYS_fchmod,
    SYS_fdatasync,
    SYS_flock,
    SYS_fstat,
    SYS_fsync,
    SYS_ftruncate,
    SYS_getdents64,
    SYS_ioctl,
    SYS_lseek,
    SYS_mkdir,
    SYS_mkdirat,
    SYS_newfstatat,
    SYS_open,
    SYS_openat,
    SYS_pwrite64,
    SYS_read,
    SYS_rename,
    SYS_renameat,
    SYS_renameat2,
    SYS_rmdir,
    SYS_stat,
    SYS_statx,
    SYS_symlink,
    SYS_symlinkat,
    SYS_unlink,
    SYS_unlinkat,
    SYS_utimensat,
    SYS_write,
    SYS_writev,
];

/// What to do to a program, and where.
#[derive(Debug, Clone, Copy)]
pub enum Trouble {
    /// Kill it at this stop, counted from 0: each system call has two, one before and one after it.
    Kill(usize),
    /// Let this call fail without effect: counted from 0 among those that can fail, from the program's first look at
    /// its standard input on. What comes before is the loader's.
    Fail(usize, i32),
}

/// What became of a traced program.
pub struct Traced {
    /// Whether it came as far as the trouble.
    pub met: bool,
    /// What it had written to standard output.
    pub output: Vec<u8>,
}

/// Runs `command`, whose standard input must not be a pipe we write, into `trouble`.
#[allow(clippy::zombie_processes, reason = "waited for by number, as tracing needs")]
pub fn run(mut command: Command, trouble: Trouble) -> Traced {
    let mut child = traced(command.stdout(Stdio::piped()).stderr(Stdio::null()));
    // What it holds for the child would keep conversations of the child open.
    drop(command);
    let met = match trouble {
        Trouble::Kill(stop) => kill_at(&child, stop),
        Trouble::Fail(call, errno) => fail_at(&child, call, errno),
    };
    let mut output = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut output).unwrap();
    Traced { met, output }
}

/// Runs `command` to its end, with an error in the place of its first system call of that number. Its standard input must
/// not be a pipe we write.
pub fn run_without(mut command: Command, call: i64, errno: i32) -> Output {
    let child = traced(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    drop(command);
    let pid = stopped(&child);
    loop {
        next_stop(pid).unwrap();
        let registers = ptrace::getregs(pid).unwrap();
        if i64::try_from(registers.orig_rax) == Ok(call) {
            answer(pid, registers, u64::from(errno.unsigned_abs()).wrapping_neg());
            break;
        }
        next_stop(pid).unwrap();
    }
    ptrace::detach(pid, None).unwrap();
    child.wait_with_output().unwrap()
}

/// Runs `command` with our own standard streams, and kills it at a stop; tells whether it came so far.
#[allow(clippy::zombie_processes, reason = "waited for by number, as tracing needs")]
pub fn kill_in_place(mut command: Command, stop: usize) -> bool {
    kill_at(&traced(&mut command), stop)
}

/// Numbers of the system calls that `command` makes from its start to its end, in order. Its standard input must not
/// be a pipe we write.
#[allow(clippy::zombie_processes, reason = "waited for by number, as tracing needs")]
pub fn system_calls(mut command: Command) -> Vec<i64> {
    let pid = stopped(&traced(command.stdout(Stdio::null()).stderr(Stdio::null())));
    let mut calls = Vec::new();
    while next_stop(pid).is_some() {
        calls.push(i64::try_from(ptrace::getregs(pid).unwrap().orig_rax).unwrap());
        // Out of the call, which the last one has not.
        if next_stop(pid).is_none() {
            break;
        }
    }
    calls
}

fn traced(command: &mut Command) -> Child {
    // SAFETY: only the traceme request is made between fork and exec, a single system call without allocation.
    unsafe {
        command.pre_exec(|| ptrace::traceme().map_err(Into::into));
    }
    command.spawn().unwrap()
}

/// The child's number, once it has stopped right after exec.
fn stopped(child: &Child) -> Pid {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    waitpid(pid, None).unwrap();
    ptrace::setoptions(pid, ptrace::Options::PTRACE_O_TRACESYSGOOD).unwrap();
    pid
}

/// Lets the child run to its next system call, or out of one. Nothing if it has ended.
fn next_stop(pid: Pid) -> Option<()> {
    let mut signal = None;
    loop {
        ptrace::syscall(pid, signal).unwrap();
        match waitpid(pid, None).unwrap() {
            WaitStatus::PtraceSyscall(_) => return Some(()),
            WaitStatus::Stopped(_, sent) => signal = Some(sent),
            _ => return None,
        }
    }
}

fn kill_at(child: &Child, stop: usize) -> bool {
    let pid = stopped(child);
    for _ in 0..stop {
        if next_stop(pid).is_none() {
            return false;
        }
    }
    kill(pid, Signal::SIGKILL).unwrap();
    waitpid(pid, None).unwrap();
    true
}

/// Answers in the kernel's place: for it there is no such call, so that it does nothing.
fn answer(pid: Pid, mut registers: libc::user_regs_struct, answer: u64) {
    registers.orig_rax = u64::MAX;
    ptrace::setregs(pid, registers).unwrap();
    next_stop(pid).unwrap();
    registers.rax = answer;
    ptrace::setregs(pid, registers).unwrap();
}

/// Runs `command`, whose standard input is a pipe that stays open, and which is told that its time is over where it waits
/// for more than there is in that pipe. `input` is the end it reads from.
#[allow(clippy::zombie_processes, reason = "waited for by number, as tracing needs")]
pub fn run_into_silence(mut command: Command, input: &impl AsFd) -> Traced {
    let mut child = traced(command.stdout(Stdio::piped()).stderr(Stdio::null()));
    drop(command);
    let pid = stopped(&child);
    let mut met = false;
    while next_stop(pid).is_some() {
        let registers = ptrace::getregs(pid).unwrap();
        if i64::try_from(registers.orig_rax) == Ok(SYS_poll)
            && is_about_input(pid, registers.rdi)
            && is_empty(input)
        {
            answer(pid, registers, 0);
            met = true;
        } else if next_stop(pid).is_none() {
            break;
        }
    }
    let mut output = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut output).unwrap();
    Traced { met, output }
}

/// Whether the first descriptor that the child waits for is its standard input.
fn is_about_input(pid: Pid, waited_for: u64) -> bool {
    ptrace::read(pid, waited_for as ptrace::AddressType).unwrap() as u32 == 0
}

fn is_empty(input: &impl AsFd) -> bool {
    let mut waiting = [PollFd::new(input.as_fd(), PollFlags::POLLIN)];
    poll(&mut waiting, PollTimeout::ZERO).unwrap() == 0
}

fn fail_at(child: &Child, call: usize, errno: i32) -> bool {
    let pid = stopped(child);
    let (mut began, mut seen, mut last) = (false, 0, -1);
    while next_stop(pid).is_some() {
        let registers = ptrace::getregs(pid).unwrap();
        let number = i64::try_from(registers.orig_rax).unwrap_or(-1);
        began |= registers.rdi == 0 && [SYS_read, SYS_fstat, SYS_statx, SYS_ioctl].contains(&number);
        // Another test's child may hold a lock for a moment between fork and exec: trying again is no new call.
        let tries_again = number == SYS_flock && last == SYS_flock;
        let chosen = began && ELIGIBLE.contains(&number) && !tries_again;
        if ELIGIBLE.contains(&number) {
            last = number;
        }
        if chosen && seen == call {
            answer(pid, registers, u64::from(errno.unsigned_abs()).wrapping_neg());
            while next_stop(pid).is_some() {}
            return true;
        }
        seen += usize::from(chosen);
        if next_stop(pid).is_none() {
            return false;
        }
    }
    false
}

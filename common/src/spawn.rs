//! Starting another program: `posix_spawn`, which is smaller than std's `Command`.
#![allow(unsafe_code, reason = "pidfd_open has no wrapper in nix, and forking is unsafe in it")]

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, pipe2};

/// What a program gets as one of its standard streams.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// `/dev/null`.
    Nothing,
    /// One end of a pipe, whose other end we keep.
    Pipe,
    /// Our own.
    Ours,
    /// A descriptor of ours.
    Given(RawFd),
}

/// What a program leads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leads {
    /// Nothing: it is one of our own group.
    Nothing,
    /// A group, so that it can be ended together with its children.
    Group,
    /// A session, so that it outlives ours.
    Session,
}

/// The flag that nix has no name for.
const SETSID: libc::c_int = libc::POSIX_SPAWN_SETSID as libc::c_int;

/// A program that was started. It is neither ended nor waited for when this goes away.
#[derive(Debug)]
pub struct Process {
    id: Pid,
    /// Our ends of its pipes: input, output, errors.
    pipes: [Option<File>; 3],
}

/// Starts a program; the first of the words is its name.
///
/// # Errors
/// What the system says.
pub(crate) fn start(
    program: &CStr,
    words: &[CString],
    environment: &[CString],
    streams: [Stream; 3],
    leads: Leads,
) -> io::Result<Process> {
    let mut files = PosixSpawnFileActions::init()?;
    let mut pipes = [const { None }; 3];
    let mut theirs = Vec::new();
    for ((stream, ours), number) in streams.iter().zip(&mut pipes).zip(0..) {
        match stream {
            Stream::Ours => {}
            Stream::Given(descriptor) => files.add_dup2(*descriptor, number)?,
            Stream::Nothing => files.add_open(number, "/dev/null", OFlag::O_RDWR, Mode::empty())?,
            Stream::Pipe => {
                let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
                let (our_end, their_end) = if number == 0 { (writer, reader) } else { (reader, writer) };
                files.add_dup2(their_end.as_raw_fd(), number)?;
                *ours = Some(File::from(our_end));
                theirs.push(their_end);
            }
        }
    }
    let id = posix_spawn(program, &files, &attributes(leads)?, words, environment)?;
    Ok(Process { id, pipes })
}

fn attributes(leads: Leads) -> io::Result<PosixSpawnAttr> {
    let mut attributes = PosixSpawnAttr::init()?;
    let mut flags = PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF;
    flags.set(PosixSpawnFlags::POSIX_SPAWN_SETPGROUP, leads == Leads::Group);
    flags.set(PosixSpawnFlags::from_bits_retain(SETSID), leads == Leads::Session);
    attributes.set_flags(flags)?;
    // We ignore broken pipes; others need not.
    attributes.set_sigdefault(&SigSet::from(Signal::SIGPIPE))?;
    Ok(attributes)
}

impl Process {
    /// The end of its standard input, the first time.
    pub fn input(&mut self) -> Option<File> {
        self.pipe(0)
    }

    /// The end of its standard output, the first time.
    pub fn output(&mut self) -> Option<File> {
        self.pipe(1)
    }

    /// The end of its standard error, the first time.
    pub(crate) fn errors(&mut self) -> Option<File> {
        self.pipe(2)
    }

    fn pipe(&mut self, number: usize) -> Option<File> {
        self.pipes.get_mut(number).and_then(Option::take)
    }

    /// Ends it, if it still runs.
    ///
    /// # Errors
    /// What the system says.
    pub fn kill(&self) -> io::Result<()> {
        Ok(kill(self.id, Signal::SIGKILL)?)
    }

    /// Ends it with its children, where it leads a group.
    ///
    /// # Errors
    /// What the system says.
    pub fn kill_group(&self) -> io::Result<()> {
        Ok(kill(Pid::from_raw(self.id.as_raw().saturating_neg()), Signal::SIGKILL)?)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// What the system says.
    pub fn wait(&self) -> io::Result<()> {
        self.status(WaitPidFlag::empty()).map(drop)
    }

    /// Waits for its end, and tells whether it succeeded.
    ///
    /// # Errors
    /// What the system says.
    pub fn succeeds(&self) -> io::Result<bool> {
        Ok(matches!(self.status(WaitPidFlag::empty())?, WaitStatus::Exited(_, 0)))
    }

    /// How it ended, which is told once.
    pub(crate) fn status(&self, how: WaitPidFlag) -> io::Result<WaitStatus> {
        loop {
            match waitpid(self.id, Some(how)) {
                Err(Errno::EINTR) => {}
                ended => return Ok(ended?),
            }
        }
    }

    /// A descriptor that is readable once it has ended.
    pub(crate) fn descriptor(&self) -> io::Result<OwnedFd> {
        descriptor(self.id)
    }

    pub(crate) fn id(&self) -> Pid {
        self.id
    }
}

/// Makes a copy of this process, which has the same open descriptors and nothing else in common with it. Tells whether we
/// are the copy.
///
/// # Errors
/// What the system says; also where this process has several threads, whose locks nobody would give back in the copy.
pub fn copy() -> io::Result<bool> {
    // A process's folder of threads has a link for each, and two of its own.
    const OF_ONE_THREAD: u64 = 3;
    if nix::sys::stat::stat("/proc/self/task")?.st_nlink != OF_ONE_THREAD {
        return Err(io::ErrorKind::Unsupported.into());
    }
    // SAFETY: nobody but this very thread can hold a lock or be in the middle of anything.
    Ok(matches!(unsafe { fork() }?, ForkResult::Child))
}

/// A descriptor that is readable once a process has ended.
pub(crate) fn descriptor(process: Pid) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes two plain numbers and touches no memory of ours.
    let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, process.as_raw(), 0) };
    let descriptor = RawFd::try_from(Errno::result(descriptor)?).map_err(io::Error::other)?;
    // SAFETY: the system has just given us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

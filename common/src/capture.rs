//! What a program prints, taken up to a limit and a deadline.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{WaitPidFlag, WaitStatus};

use crate::spawn::Process;

/// How much of standard output is kept; a program that prints more has failed.
const OUTPUT_MAX: usize = 16 << 20;
/// How much of standard error is kept; the rest is dropped.
const ERRORS_MAX: usize = 4096;
const BLOCK: usize = 1 << 16;
/// How long a program that was killed is waited for.
const KILL_DEADLINE: Duration = Duration::from_secs(1);

/// A program that ended by itself.
#[derive(Debug)]
pub struct Finished {
    status: WaitStatus,
    output: Vec<u8>,
    errors: Vec<u8>,
}

impl Finished {
    /// Whether it said that it did its work.
    pub fn is_success(&self) -> bool {
        matches!(self.status, WaitStatus::Exited(_, 0))
    }

    /// The number it ended with; nothing if a signal ended it.
    pub fn number(&self) -> Option<i32> {
        match self.status {
            WaitStatus::Exited(_, number) => Some(number),
            _ => None,
        }
    }

    /// How it ended, as people know it: a number, or the signal that ended it.
    pub fn status(&self) -> String {
        match self.status {
            WaitStatus::Exited(_, number) => format!("status {number}"),
            WaitStatus::Signaled(_, signal, _) => format!("signal {}", signal.as_str()),
            _ => "no status".to_owned(),
        }
    }

    /// All of its standard output.
    pub fn output(&self) -> &[u8] {
        &self.output
    }

    /// The beginning of its standard error, lines of printable ASCII; anything else is shown as `_`.
    pub fn errors(&self) -> String {
        self.printable(Some('_'))
    }

    /// As [`Finished::errors`], in one line: of what a qube says, nothing may look like a line of ours.
    pub fn errors_in_a_line(&self) -> String {
        self.errors().replace('\n', "_")
    }

    /// As [`Finished::errors`], but anything else is left out: spec 20 §4.6, of what a qube's own program says.
    pub fn readable_errors(&self) -> String {
        self.printable(None)
    }

    fn printable(&self, instead: Option<char>) -> String {
        let shown = |byte: &u8| match byte {
            b'\n' | 0x20..=0x7e => Some(char::from(*byte)),
            _ => instead,
        };
        self.errors.iter().filter_map(shown).collect::<String>().trim().to_owned()
    }
}

/// Awaits the end of a program, which leads a group and is told no more.
///
/// # Errors
/// If it has not ended and closed its output at the deadline ([`io::ErrorKind::TimedOut`]; the whole group is killed
/// then), or if it prints more than 16 MiB.
pub(crate) fn finish(mut process: Process, deadline: Duration) -> io::Result<Finished> {
    drop(process.input());
    finish_unless(process, deadline, [])
}

/// Awaits the end of a program, which leads a group, unless one of some descriptors has something or is closed before: then the
/// whole group is killed.
///
/// # Errors
/// As [`finish`], and [`io::ErrorKind::Interrupted`].
pub(crate) fn finish_unless<const STOPS: usize>(
    mut process: Process,
    deadline: Duration,
    stops: [BorrowedFd<'_>; STOPS],
) -> io::Result<Finished> {
    let captured = capture(&mut process, Instant::now().checked_add(deadline), stops);
    // One that runs as root outlives us where we do not: then it is left alone.
    if captured.is_err() && process.kill_group().is_ok() {
        reap(&process);
    }
    captured
}

/// Waits for a program that was killed, unless the system keeps it.
fn reap(process: &Process) {
    let end = Instant::now().checked_add(KILL_DEADLINE);
    let _ = process.descriptor().and_then(|ended| wait([Some(&ended)], [], end));
    let _ = process.status(WaitPidFlag::WNOHANG);
}

fn capture<const STOPS: usize>(
    process: &mut Process,
    end: Option<Instant>,
    stops: [BorrowedFd<'_>; STOPS],
) -> io::Result<Finished> {
    let ended = process.descriptor()?;
    let mut output = Pipe { open: process.output(), taken: Vec::new(), most: OUTPUT_MAX };
    let mut errors = Pipe { open: process.errors(), taken: Vec::new(), most: ERRORS_MAX };
    while output.open.is_some() || errors.open.is_some() {
        wait([output.open.as_ref(), errors.open.as_ref()], stops, end)?;
        output.take()?;
        errors.take()?;
        if output.taken.len() > OUTPUT_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it prints too much"));
        }
    }
    wait([Some(&ended)], stops, end)?;
    let status = process.status(WaitPidFlag::empty())?;
    errors.taken.truncate(ERRORS_MAX);
    Ok(Finished { status, output: output.taken, errors: errors.taken })
}

/// Waits until one of some descriptors has something or is closed, and none of those that stop it.
fn wait<D: AsFd, const N: usize, const STOPS: usize>(
    descriptors: [Option<&D>; N],
    stops: [BorrowedFd<'_>; STOPS],
    end: Option<Instant>,
) -> io::Result<()> {
    let open = descriptors.into_iter().flatten();
    let mut waiting: Vec<_> = open.map(|open| PollFd::new(open.as_fd(), PollFlags::POLLIN)).collect();
    let open = waiting.len();
    waiting.extend(stops.map(|stop| PollFd::new(stop, PollFlags::POLLIN)));
    loop {
        match poll(&mut waiting, remaining(end)?) {
            Err(Errno::EINTR) | Ok(0) => {}
            Ok(_) if STOPS > 0 && waiting.iter().skip(open).any(|stop| stop.any() != Some(false)) => {
                return Err(io::ErrorKind::Interrupted.into());
            }
            Ok(_) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Milliseconds left.
fn remaining(end: Option<Instant>) -> io::Result<PollTimeout> {
    let left = end.map(|end| end.saturating_duration_since(Instant::now())).unwrap_or_default();
    if left.is_zero() {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "it did not end in time"));
    }
    Ok(PollTimeout::try_from(left.as_millis().saturating_add(1)).unwrap_or(PollTimeout::MAX))
}

/// What comes through a pipe.
struct Pipe {
    /// None once it is closed.
    open: Option<File>,
    taken: Vec<u8>,
    /// More than so many bytes and one are dropped.
    most: usize,
}

impl Pipe {
    /// Takes what there is, if there is something.
    fn take(&mut self) -> io::Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let mut ready = [PollFd::new(open.as_fd(), PollFlags::POLLIN)];
        if poll(&mut ready, PollTimeout::ZERO)? == 0 {
            return Ok(());
        }
        let mut block = vec![0; BLOCK];
        let read = open.read(&mut block)?;
        if read == 0 {
            self.open = None;
        }
        let room = self.most.saturating_add(1).saturating_sub(self.taken.len()).min(read);
        self.taken.extend_from_slice(block.get(..room).unwrap_or_default());
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "files of the programs under test")]
mod tests {
    use super::*;
    use crate::run;

    fn shell(script: &str, deadline: Duration) -> io::Result<Finished> {
        run::with_input("/bin/sh".as_ref(), &["-c", script], "", deadline)
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn output_errors_and_status_are_taken() {
        let finished = shell("echo out; printf 'a\\033[31m\\377\\n' >&2; exit 3", LONG).unwrap();
        assert!(!finished.is_success());
        assert_eq!(finished.output(), b"out\n");
        assert_eq!(finished.errors(), "a_[31m_");
        assert_eq!(finished.readable_errors(), "a[31m");
        assert_eq!(finished.status(), "status 3");
        assert_eq!(shell("kill -9 $$", LONG).unwrap().status(), "signal SIGKILL");
    }

    #[test]
    fn one_that_hangs_is_ended_with_its_children() {
        let folder = std::env::temp_dir().join(format!("capture-{}", std::process::id()));
        let script = format!("sleep 1000 & echo $! > {}; wait", folder.display());
        let error = shell(&script, Duration::from_millis(300)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let child = std::fs::read_to_string(&folder).unwrap();
        std::fs::remove_file(&folder).unwrap();
        let state = || std::fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
        while !state().is_empty() && !state().contains(") Z ") {
            std::thread::yield_now();
        }
    }

    #[test]
    fn one_that_prints_without_end_is_ended() {
        let error = shell("while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; done", LONG)
            .unwrap_err();
        assert_eq!(error.to_string(), "it prints too much");
        let finished = shell("head -c 1000000 /dev/zero >&2", LONG).unwrap();
        assert_eq!(finished.errors().len(), ERRORS_MAX);
        assert!(finished.is_success());
    }
}

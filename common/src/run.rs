//! Other programs: which are run, with whose rights and in which environment.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::unistd::Pid;

use crate::capture::{self, Finished};
use crate::command::Command;
use crate::environment::{REMOTE_DOMAIN, REQUESTED_TARGET};
use crate::root::Root;
use crate::spawn::{self, Leads};
use crate::{files, progress};

pub use crate::spawn::{Process, Stream, copy};

/// Where programs are that are known by their names.
const PROGRAMS: [&str; 4] = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"];
/// Where processes without a caller tell of what goes wrong.
const LOGS: &str = "/var/log/qubes";
/// Streams of a program that answers without being told anything.
const ASKED: [Stream; 3] = [Stream::Nothing, Stream::Pipe, Stream::Pipe];

/// Runs a program as root: directly if we are root, else through `sudo -n`. Below a throwaway root it is a stand-in,
/// which needs no rights unless there is one for `sudo` too.
///
/// # Errors
/// If it cannot be started, does not end before the deadline, or prints more than 16 MiB.
pub fn as_root(root: &Root, program: &str, arguments: &[&str], deadline: Duration) -> io::Result<Finished> {
    Command::as_root(root, &root.path(program), arguments)?.run(None, deadline)
}

/// Runs this executable once more, as root and with a descriptor of ours as its standard input.
///
/// # Errors
/// As [`as_root`].
pub(crate) fn ourselves_as_root(
    root: &Root,
    arguments: &[&str],
    input: BorrowedFd<'_>,
    deadline: Duration,
) -> io::Result<Finished> {
    let ourselves = nix::fcntl::readlink("/proc/self/exe")?;
    let streams = [Stream::Given(input.as_raw_fd()), Stream::Nothing, Stream::Pipe];
    let command = Command::as_root(root, ourselves.as_ref(), arguments)?;
    capture::finish(command.begin(streams, Leads::Group)?, deadline)
}

/// Runs a program as the desktop user, with these variables too: directly, unless we are root, for whom the first member
/// of group `qubes` takes its place. Below a throwaway root it is a stand-in, which runs as we do.
///
/// # Errors
/// As [`as_root`].
pub fn as_user(
    root: &Root,
    program: &str,
    arguments: &[&str],
    variables: &[(&str, String)],
    deadline: Duration,
) -> io::Result<Finished> {
    let command = Command::as_user(root, program, arguments)?;
    let with = |command: Command, (name, value): &(&str, String)| command.with(name, value.as_ref());
    variables.iter().try_fold(command, with)?.run(None, deadline)
}

/// Runs an executable of ours on the same root, with our own rights.
///
/// # Errors
/// As [`as_root`].
pub fn of_ours(root: &Root, name: &str, arguments: &[&str], deadline: Duration) -> io::Result<Finished> {
    Command::of_ours(root, name, arguments)?.run(None, deadline)
}

/// The same with a text on its standard input.
///
/// # Errors
/// As [`as_root`].
pub fn of_ours_told(
    root: &Root,
    name: &str,
    arguments: &[&str],
    input: &str,
    deadline: Duration,
) -> io::Result<Finished> {
    Command::of_ours(root, name, arguments)?.run(Some(input), deadline)
}

/// The same with a descriptor of ours as its standard input, which it keeps open for as long as it runs, and with our log.
///
/// # Errors
/// As [`as_root`].
pub fn of_ours_holding(
    root: &Root,
    name: &str,
    arguments: &[&str],
    held: BorrowedFd<'_>,
    deadline: Duration,
) -> io::Result<Finished> {
    let streams = [Stream::Given(held.as_raw_fd()), Stream::Pipe, Stream::Ours];
    capture::finish(ours_with(root, name, arguments, streams)?, deadline)
}

/// Begins an executable of ours on the same root, with descriptors of ours as its standard streams. It leads a group.
///
/// # Errors
/// If it cannot be started.
pub fn ours_with(root: &Root, name: &str, arguments: &[&str], streams: [Stream; 3]) -> io::Result<Process> {
    Command::of_ours(root, name, arguments)?.begin(streams, Leads::Group)
}

/// The same in a session of its own, so that it outlives us.
///
/// # Errors
/// If it cannot be started.
pub fn ours_apart(root: &Root, name: &str, arguments: &[&str], streams: [Stream; 3]) -> io::Result<Process> {
    Command::of_ours(root, name, arguments)?.begin(streams, Leads::Session)
}

/// Runs a program with our own rights and a text on its standard input.
///
/// # Errors
/// As [`as_root`].
pub fn with_input(
    program: &Path,
    arguments: &[&str],
    input: &str,
    deadline: Duration,
) -> io::Result<Finished> {
    Command::plain(program, arguments)?.run(Some(input), deadline)
}

/// Starts a program as [`as_root`] does that outlives us, in a session of its own, with one end of a conversation as its
/// standard input, and a log that whoever waits for the end of ours has nothing to do with. It gets the root that it works
/// on.
///
/// # Errors
/// If it cannot be started.
pub fn detached(
    program: &Path,
    arguments: &[&str],
    root: &Root,
    input: BorrowedFd<'_>,
    log: Option<BorrowedFd<'_>>,
) -> io::Result<Pid> {
    let log = log.map_or(Stream::Nothing, |log| Stream::Given(log.as_raw_fd()));
    let streams = [Stream::Given(input.as_raw_fd()), Stream::Nothing, log];
    Ok(Command::as_root(root, program, arguments)?.on(root)?.begin(streams, Leads::Session)?.id())
}

/// Opens a log of our own, to be written to at its end.
///
/// # Errors
/// What the system says.
pub fn log_file(root: &Root, name: &str) -> io::Result<File> {
    let folder = root.path(LOGS);
    files::make_directories(&folder, 0o2770)?;
    files::open_log(&folder.join(format!("{name}.log")), 0o660)
}

/// Lets a call of our own be made by a process that outlives us, with nobody to answer to. Its request fits into a pipe.
///
/// # Errors
/// If it cannot be started.
pub fn in_background(root: &Root, family: &str, method: &str, request: &[u8]) -> io::Result<()> {
    let (input, mut writer) = io::pipe()?;
    writer.write_all(request)?;
    drop(writer);
    let log = log_file(root, family).ok();
    let errors = log.as_ref().map_or(Stream::Nothing, |log| Stream::Given(log.as_raw_fd()));
    let streams = [Stream::Given(input.as_raw_fd()), Stream::Nothing, errors];
    Command::call_of_ours(root, family, method)?.begin(streams, Leads::Session).map(drop)
}

/// Makes a call of our own by another family's executable, and gives its reply. Its request fits into a pipe.
///
/// # Errors
/// If it cannot be started, or does not answer before the deadline.
pub fn own_call(
    root: &Root,
    family: &str,
    method: &str,
    request: &str,
    deadline: Duration,
) -> io::Result<Finished> {
    finish(begin_own_call(root, family, method, request)?, deadline)
}

/// Begins such a call, whose end is awaited later.
///
/// # Errors
/// If it cannot be started.
pub fn begin_own_call(root: &Root, family: &str, method: &str, request: &str) -> io::Result<Process> {
    let command = Command::call_of_ours(root, family, method)?;
    let mut process = command.begin([Stream::Pipe, Stream::Pipe, Stream::Pipe], Leads::Group)?;
    if let Some(mut input) = process.input() {
        // A call may answer without reading its request.
        let _ = input.write_all(request.as_bytes());
    }
    Ok(process)
}

/// Begins a program with our own rights that nobody talks with.
///
/// # Errors
/// If it cannot be started.
pub fn begin(program: &Path, arguments: &[&str]) -> io::Result<Process> {
    Command::plain(program, arguments)?.begin([Stream::Nothing; 3], Leads::Group)
}

/// Begins a program with our own rights that is told something on its standard input. It leads a group.
///
/// # Errors
/// If it cannot be started.
pub fn told(program: &Path, arguments: &[&str]) -> io::Result<Process> {
    Command::plain(program, arguments)?.begin([Stream::Pipe, Stream::Nothing, Stream::Pipe], Leads::Group)
}

/// Begins a program as [`as_user`] does, without input. It leads a group.
///
/// # Errors
/// If it cannot be started.
pub fn asked_as_user(root: &Root, program: &str, arguments: &[&str]) -> io::Result<Process> {
    Command::as_user(root, program, arguments)?.begin(ASKED, Leads::Group)
}

/// Begins a program with our own rights that answers on its standard output, without input. It leads a group.
///
/// # Errors
/// If it cannot be started.
pub fn asked(program: &Path, arguments: &[&str]) -> io::Result<Process> {
    Command::plain(program, arguments)?.begin(ASKED, Leads::Group)
}

/// Begins a program with our own rights that tells us something on its standard output.
///
/// # Errors
/// If it cannot be started.
pub fn telling(program: &Path, arguments: &[&str]) -> io::Result<Process> {
    let streams = [Stream::Nothing, Stream::Pipe, Stream::Ours];
    Command::plain(program, arguments)?.begin(streams, Leads::Nothing)
}

/// Begins a program with our own rights that makes its output of its input, found by its name where programs are.
///
/// # Errors
/// If there is none, or it cannot be started.
pub fn filter(name: &str, arguments: &[&str]) -> io::Result<Process> {
    let places = PROGRAMS.iter().map(|folder| Path::new(folder).join(name));
    let program = places.into_iter().find(|path| files::exists(path)).ok_or(io::ErrorKind::NotFound)?;
    let streams = [Stream::Pipe, Stream::Pipe, Stream::Nothing];
    Command::plain(&program, arguments)?.begin(streams, Leads::Nothing)
}

/// Awaits the end of what was begun.
///
/// # Errors
/// As [`as_root`].
pub fn finish(process: Process, deadline: Duration) -> io::Result<Finished> {
    capture::finish(process, deadline)
}

/// The same, unless one of some descriptors has something or is closed before: then it is killed with its children.
///
/// # Errors
/// As [`as_root`], and [`io::ErrorKind::Interrupted`].
pub fn finish_unless<const STOPS: usize>(
    process: Process,
    deadline: Duration,
    stops: [BorrowedFd<'_>; STOPS],
) -> io::Result<Finished> {
    capture::finish_unless(process, deadline, stops)
}

/// A descriptor that is readable once a process has ended.
///
/// # Errors
/// If there is no such process.
pub fn process_descriptor(process: Pid) -> io::Result<OwnedFd> {
    spawn::descriptor(process)
}

/// Starts a service executable against a root. Its standard input gets the header and then what `payload` gives, both
/// written while the reply is read; its standard output is the reply. Where there is a pipe to tell progress to, it gets
/// its path.
///
/// # Errors
/// If it cannot be started.
pub fn service(
    program: &Path,
    root: &Root,
    header: Vec<u8>,
    payload: Option<impl io::Read + Send + 'static>,
    progress: Option<&Path>,
) -> io::Result<Process> {
    let mut command = Command::plain(program, &[])?.on(root)?;
    if let Some(pipe) = progress {
        command = command.with(progress::VARIABLE, pipe)?;
    }
    let mut process = command.begin([Stream::Pipe, Stream::Pipe, Stream::Ours], Leads::Nothing)?;
    if let Some(mut stdin) = process.input() {
        std::thread::spawn(move || {
            // A service may answer without reading all of its input.
            stdin.write_all(&header)?;
            payload.map_or(Ok(0), |mut payload| io::copy(&mut payload, &mut stdin))
        });
    }
    Ok(process)
}

/// Starts a service executable the way qrexec does, as one needs whose payload is a stream: `input` is that stream, its
/// standard output is the reply.
///
/// # Errors
/// If it cannot be started.
pub fn streamed_service(
    program: &Path,
    root: &Root,
    argument: &str,
    caller: &str,
    destination: &str,
    input: Stream,
) -> io::Result<Process> {
    let command = Command::plain(program, &[argument])?.on(root)?;
    let command = command.with(REMOTE_DOMAIN, caller.as_ref())?;
    let command = command.with(REQUESTED_TARGET, destination.as_ref())?;
    command.begin([input, Stream::Pipe, Stream::Ours], Leads::Nothing)
}

/// Shows a notification on the desktop of whoever runs us, whose environment says where that is.
///
/// # Errors
/// If the program cannot be started or waited for.
pub fn notification(program: &Path, title: &str, body: &str) -> io::Result<()> {
    // What follows the separator is text, whatever it begins with.
    let command = Command::of_desktop(program, &["--app-name=qubes-admin", "--", title, body])?;
    command.begin([Stream::Nothing, Stream::Nothing, Stream::Ours], Leads::Nothing)?.wait()
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a file that a program must not get")]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn run(program: &str, arguments: &[&str], deadline: Duration) -> io::Result<Finished> {
        Command::plain(program.as_ref(), arguments)?.run(None, deadline)
    }

    #[test]
    fn programs_succeed_fail_and_are_cut_off() {
        assert!(run("/bin/true", &[], LONG).unwrap().is_success());
        assert!(!run("/bin/false", &[], LONG).unwrap().is_success());
        assert!(run("/bin/sleep", &["60"], Duration::ZERO).is_err());
        assert!(run("/nonexistent", &[], LONG).is_err());
    }

    #[test]
    fn programs_get_nothing_of_ours() {
        let ours = std::env::current_exe().unwrap();
        let open = std::fs::File::open(&ours).unwrap();
        let script =
            r#"test "$LC_ALL" = C.UTF-8 && test -z "$CARGO$HOME" && ! read -r line && ls -l /proc/$$/fd"#;
        let finished = run("/bin/sh", &["-c", script], LONG).unwrap();
        drop(open);
        assert!(finished.is_success());
        assert!(!String::from_utf8_lossy(finished.output()).contains(ours.to_str().unwrap()));
    }

    #[test]
    fn programs_get_their_input() {
        let finished = with_input("/bin/cat".as_ref(), &[], "text", LONG).unwrap();
        assert_eq!(finished.output(), b"text");
    }
}

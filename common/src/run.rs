//! Other programs: which are run, with whose rights and in which environment.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::{Group, Pid};

use crate::capture::{self, Finished};
use crate::environment::{self, REMOTE_DOMAIN, REQUESTED_TARGET};
use crate::files;
use crate::progress;
use crate::root::{ROOT_VARIABLE, Root};
use crate::spawn::{self, Leads};

pub use crate::spawn::{Process, Stream, copy};

/// What programs get of an environment: untranslated messages, and where to look for the programs they start.
const ENVIRONMENT: [&std::ffi::CStr; 2] = [c"LC_ALL=C.UTF-8", c"PATH=/usr/sbin:/usr/bin:/sbin:/bin"];
/// Where programs are that are known by their names.
const PROGRAMS: [&str; 4] = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"];
/// Where our executables are installed.
const INSTALLED: &str = "/usr/lib/qubes/admin";
/// Where processes without a caller tell of what goes wrong.
const LOGS: &str = "/var/log/qubes";
/// Streams of a program that answers without being told anything.
const ASKED: [Stream; 3] = [Stream::Nothing, Stream::Pipe, Stream::Pipe];
/// How a caller without rights becomes root: dom0's own convention.
const SUDO: &str = "/usr/bin/sudo";
/// How root becomes someone else.
const RUNUSER: &str = "/usr/sbin/runuser";

/// Runs a program as root: directly if we are root, else through `sudo -n`. Below a throwaway root it is a stand-in,
/// which needs no rights unless there is one for `sudo` too.
///
/// # Errors
/// If it cannot be started, does not end before the deadline, or prints more than 16 MiB.
pub fn as_root(root: &Root, program: &str, arguments: &[&str], deadline: Duration) -> io::Result<Finished> {
    let sudo = sudo(root);
    captured(&becoming_root(sudo.as_deref()), &root.path(program), arguments, &[], None, deadline)
}

/// The program by which we become root, unless there is no need.
fn sudo(root: &Root) -> Option<String> {
    let sudo = root.path(SUDO);
    let is_needed = !nix::unistd::geteuid().is_root() && (root.is_system() || sudo.exists());
    is_needed.then(|| sudo.display().to_string())
}

/// What comes before the words of a program that shall run as root.
fn becoming_root(sudo: Option<&str>) -> Vec<&str> {
    sudo.map_or_else(Vec::new, |sudo| vec![sudo, "-n", "--"])
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
    let sudo = sudo(root);
    let words = words(&becoming_root(sudo.as_deref()), ourselves.as_ref(), arguments)?;
    let streams = [Stream::Given(input.as_raw_fd()), Stream::Nothing, Stream::Pipe];
    let process = spawn::start(&words, &ENVIRONMENT.map(CString::from), streams, Leads::Group)?;
    capture::finish(process, "", deadline)
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
    let is_direct = !nix::unistd::geteuid().is_root() || !root.is_system();
    let user = if is_direct { None } else { desktop_user() };
    let before = user.as_deref().map(|user| [RUNUSER, "-u", user, "--"]);
    let before = before.as_ref().map_or(&[][..], |words| words);
    captured(before, &root.path(program), arguments, variables, None, deadline)
}

fn desktop_user() -> Option<String> {
    Group::from_name("qubes").ok().flatten()?.mem.into_iter().next()
}

/// Runs an executable of ours on the same root, with our own rights.
///
/// # Errors
/// As [`as_root`].
pub fn of_ours(root: &Root, name: &str, arguments: &[&str], deadline: Duration) -> io::Result<Finished> {
    of_ours_told(root, name, arguments, "", deadline)
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
    let variables = [(ROOT_VARIABLE, root.path("/").display().to_string())];
    captured(&[], &ours(root, name)?, arguments, &variables, Some(input), deadline)
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
    let words = words(&[], &ours(root, name)?, arguments)?;
    let mut environment = vec![root_variable(root)?];
    environment.extend(ENVIRONMENT.map(CString::from));
    let streams = [Stream::Given(held.as_raw_fd()), Stream::Pipe, Stream::Ours];
    capture::finish(spawn::start(&words, &environment, streams, Leads::Group)?, "", deadline)
}

/// Begins an executable of ours on the same root, with descriptors of ours as its standard streams. It leads a group.
///
/// # Errors
/// If it cannot be started.
pub fn ours_with(root: &Root, name: &str, arguments: &[&str], streams: [Stream; 3]) -> io::Result<Process> {
    begin_ours(root, name, arguments, streams, Leads::Group)
}

/// The same in a session of its own, so that it outlives us.
///
/// # Errors
/// If it cannot be started.
pub fn ours_apart(root: &Root, name: &str, arguments: &[&str], streams: [Stream; 3]) -> io::Result<Process> {
    begin_ours(root, name, arguments, streams, Leads::Session)
}

fn begin_ours(
    root: &Root,
    name: &str,
    arguments: &[&str],
    streams: [Stream; 3],
    leads: Leads,
) -> io::Result<Process> {
    let words = words(&[], &ours(root, name)?, arguments)?;
    let mut environment = vec![root_variable(root)?];
    environment.extend(ENVIRONMENT.map(CString::from));
    spawn::start(&words, &environment, streams, leads)
}

/// An executable of ours: they lie in one folder where they are installed, and where they are built.
///
/// # Errors
/// What the system says.
pub(crate) fn ours(root: &Root, name: &str) -> io::Result<PathBuf> {
    let beside = files::real_path("/proc/self/exe".as_ref())?.with_file_name(name);
    Ok(if files::exists(&beside) { beside } else { root.path(INSTALLED).join(name) })
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
    captured(&[], program, arguments, &[], Some(input), deadline)
}

fn captured(
    before: &[&str],
    program: &Path,
    arguments: &[&str],
    variables: &[(&str, String)],
    input: Option<&str>,
    deadline: Duration,
) -> io::Result<Finished> {
    let stdin = if input.is_some() { Stream::Pipe } else { Stream::Nothing };
    let words = words(before, program, arguments)?;
    let variables = variables.iter().map(|(name, value)| CString::new(format!("{name}={value}")));
    let mut environment = variables.collect::<Result<Vec<_>, _>>()?;
    environment.extend(ENVIRONMENT.map(CString::from));
    let process = spawn::start(&words, &environment, [stdin, Stream::Pipe, Stream::Pipe], Leads::Group)?;
    capture::finish(process, input.unwrap_or_default(), deadline)
}

/// The words of a command line.
fn words(before: &[&str], program: &Path, arguments: &[&str]) -> io::Result<Vec<CString>> {
    let bytes = |word: &&str| word.as_bytes().to_vec();
    let program = [program.as_os_str().as_bytes().to_vec()];
    let words = before.iter().map(bytes).chain(program).chain(arguments.iter().map(bytes));
    Ok(words.map(CString::new).collect::<Result<_, _>>()?)
}

/// Tells a program of ours which root it works on.
fn root_variable(root: &Root) -> io::Result<CString> {
    variable(ROOT_VARIABLE, &root.path("/"))
}

fn variable(name: &str, value: &Path) -> io::Result<CString> {
    Ok(CString::new([name.as_bytes(), b"=", value.as_os_str().as_bytes()].concat())?)
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
    let environment = [c"LC_ALL=C".to_owned(), root_variable(root)?];
    let sudo = sudo(root);
    let words = words(&becoming_root(sudo.as_deref()), program, arguments)?;
    Ok(spawn::start(&words, &environment, streams, Leads::Session)?.id())
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
    let program = CString::new(ours(root, family)?.as_os_str().as_bytes())?;
    let (input, mut writer) = io::pipe()?;
    writer.write_all(request)?;
    drop(writer);
    let log = log_file(root, family).ok();
    let errors = log.as_ref().map_or(Stream::Nothing, |log| Stream::Given(log.as_raw_fd()));
    let streams = [Stream::Given(input.as_raw_fd()), Stream::Nothing, errors];
    let words = [CString::new(method)?];
    spawn::start_as(&program, &words, &[root_variable(root)?], streams, Leads::Session).map(drop)
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
    let program = CString::new(ours(root, family)?.as_os_str().as_bytes())?;
    let (words, environment) = ([CString::new(method)?], [root_variable(root)?]);
    let streams = [Stream::Pipe, Stream::Pipe, Stream::Pipe];
    let mut process = spawn::start_as(&program, &words, &environment, streams, Leads::Group)?;
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
    let (words, environment) = (words(&[], program, arguments)?, ENVIRONMENT.map(CString::from));
    spawn::start(&words, &environment, [Stream::Nothing; 3], Leads::Group)
}

/// Begins a program with our own rights that is told something on its standard input. It leads a group.
///
/// # Errors
/// If it cannot be started.
pub fn told(program: &Path, arguments: &[&str]) -> io::Result<Process> {
    let (words, environment) = (words(&[], program, arguments)?, ENVIRONMENT.map(CString::from));
    spawn::start(&words, &environment, [Stream::Pipe, Stream::Nothing, Stream::Pipe], Leads::Group)
}

/// Begins a program as [`as_user`] does, without input. It leads a group.
///
/// # Errors
/// If it cannot be started.
pub fn asked_as_user(root: &Root, program: &str, arguments: &[&str]) -> io::Result<Process> {
    let is_direct = !nix::unistd::geteuid().is_root() || !root.is_system();
    let user = if is_direct { None } else { desktop_user() };
    let before = user.as_deref().map_or_else(Vec::new, |user| vec![RUNUSER, "-u", user, "--"]);
    let (words, environment) =
        (words(&before, &root.path(program), arguments)?, ENVIRONMENT.map(CString::from));
    spawn::start(&words, &environment, ASKED, Leads::Group)
}

/// Begins a program with our own rights that answers on its standard output, without input. It leads a group.
///
/// # Errors
/// If it cannot be started.
pub fn asked(program: &Path, arguments: &[&str]) -> io::Result<Process> {
    let (words, environment) = (words(&[], program, arguments)?, ENVIRONMENT.map(CString::from));
    spawn::start(&words, &environment, ASKED, Leads::Group)
}

/// Begins a program with our own rights that tells us something on its standard output.
///
/// # Errors
/// If it cannot be started.
pub fn telling(program: &Path, arguments: &[&str]) -> io::Result<Process> {
    let (words, environment) = (words(&[], program, arguments)?, ENVIRONMENT.map(CString::from));
    spawn::start(&words, &environment, [Stream::Nothing, Stream::Pipe, Stream::Ours], Leads::Nothing)
}

/// Begins a program with our own rights that makes its output of its input, found by its name where programs are.
///
/// # Errors
/// If there is none, or it cannot be started.
pub fn filter(name: &str, arguments: &[&str]) -> io::Result<Process> {
    let places = PROGRAMS.iter().map(|folder| Path::new(folder).join(name));
    let program = places.into_iter().find(|path| files::exists(path)).ok_or(io::ErrorKind::NotFound)?;
    let (words, environment) = (words(&[], &program, arguments)?, ENVIRONMENT.map(CString::from));
    spawn::start(&words, &environment, [Stream::Pipe, Stream::Pipe, Stream::Nothing], Leads::Nothing)
}

/// Awaits the end of what was begun.
///
/// # Errors
/// As [`as_root`].
pub fn finish(process: Process, deadline: Duration) -> io::Result<Finished> {
    capture::finish(process, "", deadline)
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
    let streams = [Stream::Pipe, Stream::Pipe, Stream::Ours];
    let mut environment = vec![root_variable(root)?];
    environment.extend(progress.map(|pipe| variable(progress::VARIABLE, pipe)).transpose()?);
    let mut process = spawn::start(&words(&[], program, &[])?, &environment, streams, Leads::Nothing)?;
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
    let environment = [
        root_variable(root)?,
        variable(REMOTE_DOMAIN, caller.as_ref())?,
        variable(REQUESTED_TARGET, destination.as_ref())?,
    ];
    let streams = [input, Stream::Pipe, Stream::Ours];
    spawn::start(&words(&[], program, &[argument])?, &environment, streams, Leads::Nothing)
}

/// Shows a notification on the desktop of whoever runs us, whose environment says where that is.
///
/// # Errors
/// If the program cannot be started or waited for.
pub fn notification(program: &Path, title: &str, body: &str) -> io::Result<()> {
    // What follows the separator is text, whatever it begins with.
    let words = words(&[], program, &["--app-name=qubes-admin", "--", title, body])?;
    let streams = [Stream::Nothing, Stream::Nothing, Stream::Ours];
    spawn::start(&words, &environment::all(), streams, Leads::Nothing)?.wait()
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a file that a program must not get")]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn run(program: &str, arguments: &[&str], deadline: Duration) -> io::Result<Finished> {
        captured(&[], program.as_ref(), arguments, &[], None, deadline)
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

//! A program about to be started: its command line, by which it has its rights, and its environment.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::Group;

use crate::capture::{self, Finished};
use crate::root::{ROOT_VARIABLE, Root};
use crate::spawn::{self, Leads, Process, Stream};
use crate::{environment, files};

/// What programs get of an environment: untranslated messages, and where to look for the programs they start.
const ENVIRONMENT: [&CStr; 2] = [c"LC_ALL=C.UTF-8", c"PATH=/usr/sbin:/usr/bin:/sbin:/bin"];
/// Where our executables are installed.
const INSTALLED: &str = "/usr/lib/qubes/admin";
/// How a caller without rights becomes root: dom0's own convention.
const SUDO: &str = "/usr/bin/sudo";
/// How root becomes someone else.
const RUNUSER: &str = "/usr/sbin/runuser";

/// A program that is about to be started.
pub(crate) struct Command {
    program: CString,
    words: Vec<CString>,
    environment: Vec<CString>,
}

impl Command {
    /// One with our own rights.
    pub(crate) fn plain(program: &Path, arguments: &[&str]) -> io::Result<Self> {
        Self::after(&[], program, arguments)
    }

    /// One whose command line has words before it, which give it other rights.
    fn after(before: &[&str], program: &Path, arguments: &[&str]) -> io::Result<Self> {
        let bytes = |word: &&str| word.as_bytes().to_vec();
        let program = [program.as_os_str().as_bytes().to_vec()];
        let words = before.iter().map(bytes).chain(program).chain(arguments.iter().map(bytes));
        let words: Vec<CString> = words.map(CString::new).collect::<Result<_, _>>()?;
        let program = words.first().cloned().unwrap_or_default();
        Ok(Self { program, words, environment: ENVIRONMENT.map(CString::from).to_vec() })
    }

    /// One that runs as root: directly if we are root, else through `sudo -n`.
    pub(crate) fn as_root(root: &Root, program: &Path, arguments: &[&str]) -> io::Result<Self> {
        let sudo = root.path(SUDO);
        let is_needed = !nix::unistd::geteuid().is_root() && (root.is_system() || sudo.exists());
        let sudo = sudo.display().to_string();
        let before = [sudo.as_str(), "-n", "--"];
        Self::after(if is_needed { &before } else { &[] }, program, arguments)
    }

    /// One that runs as the desktop user: directly, unless we are root.
    pub(crate) fn as_user(root: &Root, program: &str, arguments: &[&str]) -> io::Result<Self> {
        let is_direct = !nix::unistd::geteuid().is_root() || !root.is_system();
        let user = if is_direct { None } else { desktop_user() };
        let before = user.as_deref().map(|user| [RUNUSER, "-u", user, "--"]);
        let before = before.as_ref().map_or(&[][..], |words| words);
        Self::after(before, &root.path(program), arguments)
    }

    /// One with the environment of whoever runs us.
    pub(crate) fn of_desktop(program: &Path, arguments: &[&str]) -> io::Result<Self> {
        Ok(Self { environment: environment::all(), ..Self::plain(program, arguments)? })
    }

    /// An executable of ours, on the same root.
    pub(crate) fn of_ours(root: &Root, name: &str, arguments: &[&str]) -> io::Result<Self> {
        Self::plain(&ours(root, name)?, arguments)?.on(root)
    }

    /// A call that a family's executable makes: it goes by its name.
    pub(crate) fn call_of_ours(root: &Root, family: &str, method: &str) -> io::Result<Self> {
        Ok(Self { words: vec![CString::new(method)?], ..Self::of_ours(root, family, &[])? })
    }

    /// Tells a program of ours which root it works on.
    pub(crate) fn on(self, root: &Root) -> io::Result<Self> {
        self.with(ROOT_VARIABLE, &root.path("/"))
    }

    /// The same with one more variable.
    pub(crate) fn with(mut self, name: &str, value: &Path) -> io::Result<Self> {
        self.environment.push(CString::new([name.as_bytes(), b"=", value.as_os_str().as_bytes()].concat())?);
        Ok(self)
    }

    /// Starts it.
    pub(crate) fn begin(&self, streams: [Stream; 3], leads: Leads) -> io::Result<Process> {
        spawn::start(&self.program, &self.words, &self.environment, streams, leads)
    }

    /// Starts it, tells it this, and awaits its end. It finds what it is told in a file, so that we never wait for it to read.
    pub(crate) fn run(&self, input: Option<&str>, deadline: Duration) -> io::Result<Finished> {
        let told = input.map(|text| files::in_memory(text.as_bytes())).transpose()?;
        let stdin = told.as_ref().map_or(Stream::Nothing, |file| Stream::Given(file.as_raw_fd()));
        let process = self.begin([stdin, Stream::Pipe, Stream::Pipe], Leads::Group)?;
        capture::finish(process, deadline)
    }
}

/// An executable of ours: they lie in one folder where they are installed, and where they are built.
///
/// # Errors
/// What the system says.
pub(crate) fn ours(root: &Root, name: &str) -> io::Result<PathBuf> {
    let beside = files::real_path("/proc/self/exe".as_ref())?.with_file_name(name);
    Ok(if files::exists(&beside) { beside } else { root.path(INSTALLED).join(name) })
}

/// The first member of group `qubes`.
fn desktop_user() -> Option<String> {
    Group::from_name("qubes").ok().flatten()?.mem.into_iter().next()
}

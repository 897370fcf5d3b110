//! The gateway: the sockets of the daemon whose place we take, where dom0's tools call (DESIGN §6, spec 50 §9).
//!
//! Each connection is served by a copy of this process, so no call waits for another, and none is lost with the gateway.
//! What policy asks for all the time is answered without one.

mod answer;

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::exit;
use std::thread::sleep;
use std::time::Duration;

use common::root::Root;
use common::{files, log, run, serve};
use listenfd::ListenFd;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Group, chown, dup2_stdin, dup2_stdout};
use services::FAMILIES;

use super::out::Stop;
use answer::Answer;

/// The sockets, and how the names of the calls begin that each of them is for.
pub(crate) const SOCKETS: [(&str, &str); 3] =
    [("qubesd.sock", "admin."), ("qubesd.internal.sock", "internal."), ("qubesd.misc.sock", "qubes.")];
/// After how many seconds without work systemd's gateway ends.
const IDLE: u32 = 60;
/// How long to wait when the system has no room for another connection.
const RETRY: Duration = Duration::from_millis(100);

/// Options of `gateway`.
#[derive(Debug, clap::Args)]
pub(super) struct Gateway {
    /// Make the sockets in this folder, instead of taking over those that systemd has made.
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    dir: Option<PathBuf>,
    /// End when nobody is served and has called for so many seconds: a minute with systemd's sockets, else never.
    #[arg(long, value_name = "SECONDS")]
    idle: Option<u32>,
}

struct Listener {
    socket: UnixListener,
    prefix: &'static str,
}

/// What a copy does.
enum Task {
    /// Serves a call whose name begins like this.
    Serve(UnixStream, &'static str),
    /// Sends the rest of an answer for which its caller had no room at once.
    Finish(Answer),
}

struct Server {
    listeners: Vec<Listener>,
    ended: SignalFd,
    /// How many copies are at work.
    serving: usize,
    patience: PollTimeout,
}

/// Serves until there is nothing to do any more. A copy that serves somebody never comes back.
pub(super) fn run(options: &Gateway, root: &Root) -> Result<(), Stop> {
    let listeners = match &options.dir {
        Some(folder) => bind_all(folder)?,
        None => inherited().map_err(|error| error.to_string())?,
    };
    let idle = options.idle.or_else(|| options.dir.is_none().then_some(IDLE));
    // The copy has given up all that is the gateway's by then.
    let next = Server::new(listeners, idle).and_then(|server| server.copy_for_connection(root));
    match next.map_err(|error| error.to_string())? {
        Some(Task::Serve(connection, prefix)) => exit(serve(&connection, prefix, root)),
        Some(Task::Finish(answer)) => exit(answer.finish()),
        None => Ok(()),
    }
}

fn serve(connection: &UnixStream, prefix: &str, root: &Root) -> i32 {
    let is_ready = dup2_stdin(connection).and_then(|()| dup2_stdout(connection));
    match is_ready.and_then(|()| SigSet::from(Signal::SIGCHLD).thread_unblock()) {
        Ok(()) => serve::serve_any(FAMILIES, prefix, root),
        Err(error) => {
            log::line(&format!("a connection cannot be served: {error}"));
            1
        }
    }
}

impl Server {
    fn new(listeners: Vec<Listener>, idle: Option<u32>) -> io::Result<Self> {
        let signals = SigSet::from(Signal::SIGCHLD);
        signals.thread_block()?;
        let ended = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        for listener in &listeners {
            listener.socket.set_nonblocking(true)?;
        }
        let milliseconds = |seconds: u32| u64::from(seconds).saturating_mul(1000);
        let patience = idle.map_or(PollTimeout::NONE, |seconds| {
            PollTimeout::try_from(milliseconds(seconds)).unwrap_or(PollTimeout::MAX)
        });
        Ok(Self { listeners, ended, serving: 0, patience })
    }

    /// Comes back in a copy of this process for each connection, with what is to be done there; in this process itself only
    /// when nobody has called for long.
    fn copy_for_connection(mut self, root: &Root) -> io::Result<Option<Task>> {
        while self.wait()? {
            self.bury();
            for Listener { socket, prefix } in &self.listeners {
                let Some(connection) = accept(socket) else { continue };
                let Some(task) = task(connection, prefix, root) else { continue };
                match run::copy() {
                    Ok(true) => return Ok(Some(task)),
                    Ok(false) => self.serving = self.serving.saturating_add(1),
                    Err(error) => log::line(&format!("a connection is given up: {error}")),
                }
            }
        }
        Ok(None)
    }

    /// Waits for a connection or the end of a copy; tells whether there is a reason to go on.
    fn wait(&self) -> io::Result<bool> {
        let descriptors = self.listeners.iter().map(|listener| listener.socket.as_fd());
        let descriptors = descriptors.chain([self.ended.as_fd()]);
        let mut waited: Vec<PollFd<'_>> = descriptors.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        let ready = poll(&mut waited, self.patience)?;
        Ok(ready > 0 || self.serving > 0)
    }

    /// Takes note of the copies that have ended.
    fn bury(&mut self) {
        while let Ok(Some(_)) = self.ended.read_signal() {}
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            match status {
                WaitStatus::StillAlive => break,
                _ => self.serving = self.serving.saturating_sub(1),
            }
        }
    }
}

/// What is left to do for a connection once we have answered what we can.
fn task(connection: UnixStream, prefix: &'static str, root: &Root) -> Option<Task> {
    match Answer::to(connection, prefix, root) {
        Ok(mut answer) => answer.send().then_some(Task::Finish(answer)),
        Err(connection) => Some(Task::Serve(connection, prefix)),
    }
}

/// The next connection, if there is one.
fn accept(socket: &UnixListener) -> Option<UnixStream> {
    match socket.accept() {
        Ok((connection, _)) => Some(connection),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => None,
        Err(error) => {
            log::line(&format!("a connection has to wait: {error}"));
            sleep(RETRY);
            None
        }
    }
}

/// The sockets that systemd has made for us.
fn inherited() -> io::Result<Vec<Listener>> {
    let mut given = ListenFd::from_env();
    let mut listeners = Vec::new();
    for number in 0..given.len() {
        if let Some(socket) = given.take_unix_listener(number)? {
            let address = socket.local_addr()?;
            let name = address.as_pathname().and_then(Path::file_name);
            let known = SOCKETS.into_iter().find(|(known, _)| name.is_some_and(|name| name == *known));
            let (_, prefix) = known
                .ok_or_else(|| io::Error::other("systemd has handed over a socket with another name"))?;
            listeners.push(Listener { socket, prefix });
        }
    }
    if listeners.is_empty() {
        return Err(io::Error::other("systemd has handed over no sockets; --dir makes some"));
    }
    Ok(listeners)
}

fn bind_all(folder: &Path) -> Result<Vec<Listener>, Stop> {
    let bound = SOCKETS.map(|(name, prefix)| {
        let path = folder.join(name);
        let socket = bind(&path).map_err(|error| Stop::from(format!("{}: {error}", path.display())))?;
        Ok(Listener { socket, prefix })
    });
    bound.into_iter().collect()
}

/// Makes a socket for those of our group, in the place of one that nobody serves any more.
fn bind(path: &Path) -> io::Result<UnixListener> {
    match UnixStream::connect(path) {
        Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => files::remove(path)?,
        Err(_) => {}
    }
    let others = umask(Mode::S_IXUSR | Mode::S_IXGRP | Mode::S_IRWXO);
    let bound = UnixListener::bind(path);
    umask(others);
    if let Ok(Some(group)) = Group::from_name("qubes") {
        // Whoever may not give it away keeps it.
        let _ = chown(path, None, Some(group.gid));
    }
    bound
}

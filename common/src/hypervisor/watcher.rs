//! How calls talk to the watcher of a domain: one message each way over a local socket, the connection then stays until
//! the watcher is done with its domain.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, accept4, bind, connect, listen, recv,
    send, socket, socketpair,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{DomainConfig, Domid};
use crate::files;
use crate::names::QubeUuid;

/// What a watcher is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Make a domain, paused, and watch it. Comes first, on the watcher's standard input.
    Create(Box<DomainConfig>),
    /// Watch the domain that is there, in place of a watcher that was killed. Comes first likewise.
    Adopt(QubeUuid),
    /// The start is complete: from now on the domain goes on without the one who began it.
    Keep,
    /// Let the domain go on.
    Unpause,
    /// Stop its processors.
    Pause,
    /// Ask the guest to shut down.
    Shutdown,
    /// Send the guest to sleep.
    Suspend,
    /// Wake the guest.
    Resume,
    /// End the domain at once.
    Destroy,
    /// Tell the terminal of its console.
    Console,
    /// Publish the figures as they are now.
    Publish,
}

/// What a watcher answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// It is done.
    Done,
    /// The domain that is watched from now on.
    Domain(Domid),
    /// There is no domain to watch.
    Gone,
    /// The path of the console's terminal.
    Console(PathBuf),
    /// The hypervisor refused, with its own words.
    Refused(String),
}

/// The largest message: a configuration with some hundred disks.
const LARGEST: usize = 64 * 1024;

/// One end of a conversation.
#[derive(Debug)]
pub struct Connection(OwnedFd);

impl Connection {
    /// Both ends of a new one.
    ///
    /// # Errors
    /// What the system says.
    pub fn pair() -> io::Result<(Self, Self)> {
        let ends = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        Ok((Self(ends.0), Self(ends.1)))
    }

    /// The end that this descriptor is.
    pub fn on(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }

    /// Reaches the watcher that listens at `path`.
    ///
    /// # Errors
    /// What the system says: nobody listens, for example.
    pub fn to(path: &Path) -> io::Result<Self> {
        let end = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
        connect(end.as_raw_fd(), &UnixAddr::new(path)?)?;
        Ok(Self(end))
    }

    /// Sends one message.
    ///
    /// # Errors
    /// What the system says, and for messages that are too large.
    pub fn send(&self, message: &impl Serialize) -> io::Result<()> {
        let bytes = serde_json::to_vec(message)?;
        send(self.0.as_raw_fd(), &bytes, MsgFlags::MSG_NOSIGNAL)?;
        Ok(())
    }

    /// Waits for one message; nothing once the other end is closed.
    ///
    /// # Errors
    /// What the system says, and for what is no message.
    pub fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<T>> {
        let mut bytes = vec![0; LARGEST];
        let length = recv(self.0.as_raw_fd(), &mut bytes, MsgFlags::empty())?;
        if length == 0 {
            return Ok(None);
        }
        Ok(Some(serde_json::from_slice(bytes.get(..length).unwrap_or_default())?))
    }

    /// Asks, and waits for the answer; a watcher that is killed meanwhile gives none.
    ///
    /// # Errors
    /// What the system says.
    pub fn ask(&self, request: &Request) -> io::Result<Option<Reply>> {
        self.send(request)?;
        self.receive()
    }

    /// Waits until the other end is closed; tells whether it was within the deadline, which none makes endless.
    ///
    /// # Errors
    /// What the system says.
    pub fn closes_within(&self, deadline: Option<Duration>) -> io::Result<bool> {
        let timeout = deadline.map_or(PollTimeout::NONE, |deadline| {
            PollTimeout::try_from(deadline).unwrap_or(PollTimeout::MAX)
        });
        Ok(poll(&mut [PollFd::new(self.as_fd(), PollFlags::POLLIN)], timeout)? > 0)
    }
}

impl From<Connection> for OwnedFd {
    fn from(connection: Connection) -> Self {
        connection.0
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Where calls reach a watcher; gone with it.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    path: PathBuf,
}

impl Listener {
    /// Listens at `path`, in place of a watcher that was killed. Whoever may write to the directory's files may connect.
    ///
    /// # Errors
    /// What the system says.
    pub fn at(path: &Path) -> io::Result<Self> {
        files::remove(path)?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
        bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
        files::set_mode(path, 0o660)?;
        listen(&socket, Backlog::new(16)?)?;
        Ok(Self { socket, path: path.to_owned() })
    }

    /// A caller who waits, if there is one.
    pub fn accept(&self) -> Option<Connection> {
        use std::os::fd::FromRawFd;
        let accepted = accept4(self.socket.as_raw_fd(), SockFlag::SOCK_CLOEXEC).ok()?;
        #[allow(unsafe_code, reason = "nix gives a plain number here")]
        // SAFETY: the system has just given us this descriptor.
        Some(Connection(unsafe { OwnedFd::from_raw_fd(accepted) }))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = files::remove(&self.path);
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

//! How calls talk to the watcher of a domain: one message each way over a local socket. The connection then stays until
//! the watcher is done with its domain, but for those that ask for the state of the moment.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr,
    accept4, bind, connect, listen, recv, recvmsg, send, sendmsg, setsockopt, socket, socketpair, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Domain, DomainConfig, Domid, HotDevice, Nic, PowerState};
use crate::files;

/// What a watcher is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Publish that a run of the qube has begun. Comes first, with the lifecycle lock's descriptor, by which the lock is
    /// held until that is done even if whoever asked is killed; from then on the run ends with that one, unless it is told
    /// to [`Request::Keep`].
    Begin,
    /// Take the place of a watcher that was killed: watch the domain if its start was complete and it is still there,
    /// else clear away what is left of the run. The text is why its start failed, if that is known. Comes first likewise.
    Settle(Option<String>),
    /// Make the domain, paused.
    Create(Box<DomainConfig>),
    /// The start is complete: from now on the domain goes on without the one who began it.
    Keep,
    /// The start failed, for this reason: clear all away. The one who asks gives up the lifecycle lock then.
    Fail(String),
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
    /// Give the domain this network interface, in place of any that it has.
    Connect(Box<Nic>),
    /// Take its network interfaces away.
    Disconnect,
    /// Give the domain a device.
    Attach(Box<HotDevice>),
    /// Take a device away from it.
    Detach(Box<HotDevice>),
    /// Tell the terminal of its console.
    Console,
    /// Tell the domain with the figures of this moment, which are not published as time goes by.
    Tell,
}

impl Request {
    /// Whether the watcher may hang up when it has answered, as nobody waits for the domain's end who asks this: it is not
    /// woken by the end of the call then.
    pub fn is_of_the_moment(&self) -> bool {
        matches!(self, Self::Pause | Self::Unpause | Self::Tell)
    }

    /// Whether a domain in this state is what was asked for. Nothing meets a request for an end.
    pub fn is_met_by(&self, state: PowerState) -> bool {
        match self {
            Self::Pause => state == PowerState::Paused,
            Self::Unpause => state != PowerState::Paused,
            Self::Suspend => state == PowerState::Suspended,
            Self::Resume => state != PowerState::Suspended,
            _ => false,
        }
    }
}

/// What a watcher answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// It is done.
    Done,
    /// The domain that is watched from now on.
    Domain(Domid),
    /// There is nothing (any more).
    Gone,
    /// The domain as it is now.
    Told(Box<Domain>),
    /// The path of the console's terminal.
    Console(PathBuf),
    /// The guest cannot sleep.
    CannotSleep,
    /// The domain cannot be made, as the machine cannot keep the devices that it is given within its memory.
    NoIommu,
    /// The hypervisor refused, with its own words.
    Refused(String),
    /// The system refused what the watcher itself needs: what that was, and the system's words.
    Unable(String),
}

/// The largest message: a configuration with some hundred disks.
const LARGEST: usize = 64 * 1024;
/// How long a hypervisor may take for one thing. Making a large domain takes it some seconds.
const DEADLINE: Duration = Duration::from_secs(120);

fn is_ready_within(end: BorrowedFd<'_>, deadline: Duration) -> io::Result<bool> {
    let timeout = PollTimeout::try_from(deadline).unwrap_or(PollTimeout::MAX);
    Ok(poll(&mut [PollFd::new(end, PollFlags::POLLIN)], timeout)? > 0)
}

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
        Self::to_within(path, DEADLINE)
    }

    /// The same for those who have no such patience with a watcher that takes nobody in.
    ///
    /// # Errors
    /// As [`Connection::to`].
    pub fn to_within(path: &Path, deadline: Duration) -> io::Result<Self> {
        let end = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
        let micros = i64::try_from(deadline.as_micros()).unwrap_or(i64::MAX);
        setsockopt(&end, sockopt::SendTimeout, &TimeVal::microseconds(micros))?;
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

    /// Sends one message, and with it a descriptor that the other end has then, too.
    ///
    /// # Errors
    /// As [`Connection::send`].
    pub fn send_with(&self, message: &impl Serialize, descriptor: BorrowedFd<'_>) -> io::Result<()> {
        let bytes = serde_json::to_vec(message)?;
        let handed = [descriptor.as_raw_fd()];
        let handed = [ControlMessage::ScmRights(&handed)];
        sendmsg::<()>(self.0.as_raw_fd(), &[IoSlice::new(&bytes)], &handed, MsgFlags::MSG_NOSIGNAL, None)?;
        Ok(())
    }

    /// Waits for one message, which may come with a descriptor; nothing once the other end is closed.
    ///
    /// # Errors
    /// As [`Connection::receive`].
    pub fn receive_with<T: DeserializeOwned>(&self) -> io::Result<Option<(T, Option<OwnedFd>)>> {
        let mut bytes = vec![0; LARGEST];
        let mut space = cmsg_space!(RawFd);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let received = recvmsg::<()>(self.0.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
        let handed = received.cmsgs()?.find_map(handed_over);
        let length = received.bytes;
        if length == 0 {
            return Ok(None);
        }
        Ok(Some((serde_json::from_slice(bytes.get(..length).unwrap_or_default())?, handed)))
    }

    /// Waits for one message; nothing once the other end is closed.
    ///
    /// # Errors
    /// What the system says, and for what is no message.
    pub fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<T>> {
        // Nearly all messages are short, and room for the largest has to be cleared.
        let length = recv(self.0.as_raw_fd(), &mut [], MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC)?;
        if length == 0 {
            return Ok(None);
        }
        let mut bytes = vec![0; length.min(LARGEST)];
        let length = recv(self.0.as_raw_fd(), &mut bytes, MsgFlags::empty())?;
        Ok(Some(serde_json::from_slice(bytes.get(..length).unwrap_or_default())?))
    }

    /// Asks, and waits for the answer; a watcher that is killed meanwhile gives none.
    ///
    /// # Errors
    /// What the system says, and if there is no answer at the deadline.
    pub fn ask(&self, request: &Request) -> io::Result<Option<Reply>> {
        unless_ended(self.send(request).and_then(|()| self.answer()))
    }

    /// The same with a descriptor that the other end has then, too.
    ///
    /// # Errors
    /// As [`Connection::ask`].
    pub fn ask_with(&self, request: &Request, descriptor: BorrowedFd<'_>) -> io::Result<Option<Reply>> {
        self.send_with(request, descriptor)?;
        self.answer()
    }

    fn answer(&self) -> io::Result<Option<Reply>> {
        if self.is_heard_within(DEADLINE)? { self.receive() } else { Err(io::ErrorKind::TimedOut.into()) }
    }

    /// Waits until the other end is closed, whatever it says meanwhile.
    ///
    /// # Errors
    /// What the system says.
    pub fn outlast(&self) -> io::Result<()> {
        poll(&mut [PollFd::new(self.as_fd(), PollFlags::empty())], PollTimeout::NONE)?;
        Ok(())
    }

    /// Waits for a message or until the other end is closed, and tells whether that was within the deadline.
    ///
    /// # Errors
    /// What the system says, and [`io::ErrorKind::Interrupted`] where a descriptor that stops it has something before.
    pub fn is_heard_unless(&self, stop: BorrowedFd<'_>, deadline: Duration) -> io::Result<bool> {
        let mut both = [stop, self.as_fd()].map(|end| PollFd::new(end, PollFlags::POLLIN));
        let timeout = PollTimeout::try_from(deadline).unwrap_or(PollTimeout::MAX);
        let ready = loop {
            match poll(&mut both, timeout) {
                Err(Errno::EINTR) => {}
                ready => break ready?,
            }
        };
        let [stop, _] = both;
        if stop.any() == Some(true) { Err(io::ErrorKind::Interrupted.into()) } else { Ok(ready > 0) }
    }

    /// Waits for a message or until the other end is closed; tells whether that was within the deadline.
    ///
    /// # Errors
    /// What the system says.
    pub fn is_heard_within(&self, deadline: Duration) -> io::Result<bool> {
        is_ready_within(self.as_fd(), deadline)
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

/// A watcher that ends while it is asked gives no answer, as one that has ended.
fn unless_ended(answer: io::Result<Option<Reply>>) -> io::Result<Option<Reply>> {
    match answer {
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => Ok(None),
        answer => answer,
    }
}

/// The descriptor that came with a message.
fn handed_over(message: ControlMessageOwned) -> Option<OwnedFd> {
    let ControlMessageOwned::ScmRights(descriptors) = message else { return None };
    descriptors.first().map(|descriptor| owned(*descriptor))
}

#[allow(unsafe_code, reason = "nix gives plain numbers for descriptors that come from others")]
fn owned(descriptor: RawFd) -> OwnedFd {
    // SAFETY: the system has just given us this descriptor, and nobody else knows its number.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
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

    /// A caller, if one comes within the deadline.
    ///
    /// # Errors
    /// What the system says.
    pub fn accept_within(&self, deadline: Duration) -> io::Result<Option<Connection>> {
        Ok(if is_ready_within(self.as_fd(), deadline)? { self.accept() } else { None })
    }

    /// A caller who waits, if there is one.
    pub fn accept(&self) -> Option<Connection> {
        accept4(self.socket.as_raw_fd(), SockFlag::SOCK_CLOEXEC).ok().map(|end| Connection(owned(end)))
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

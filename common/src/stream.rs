//! Streams of events: sent until the caller goes away, which is noticed without any traffic (spec 50 §7).

use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{MsgFlags, Shutdown, send, shutdown};

use crate::event::Event;
use crate::{log, reply, standard};

/// The first event of every stream: whoever reads the state after it misses no change.
const ESTABLISHED: &str = "connection-established";

/// Why a stream ends, for the log. The caller gets no message after an event: it sees its connection closed.
#[derive(Debug)]
pub struct Ended(pub String);

/// Where a stream's events come from.
pub trait Source {
    /// A descriptor that is readable when there may be events.
    fn wakes(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// When there will be events whatever happens.
    fn due(&self) -> Option<Instant> {
        None
    }

    /// The events there are now; asked at the beginning and after each wake-up.
    ///
    /// # Errors
    /// [`Ended`] if the stream cannot go on.
    fn events(&mut self) -> Result<Vec<Event>, Ended>;
}

/// Sends a source's events to standard output until the caller goes away or the source ends.
pub fn run(source: &mut dyn Source) {
    match follow(source) {
        Ok(()) => {}
        Err(Failed::Gone) => {}
        Err(Failed::Ended(Ended(reason))) => log::line(&reason),
    }
}

enum Failed {
    Gone,
    Ended(Ended),
}

impl From<Ended> for Failed {
    fn from(ended: Ended) -> Self {
        Self::Ended(ended)
    }
}

impl From<Errno> for Failed {
    fn from(error: Errno) -> Self {
        Self::Ended(Ended(format!("waiting for events: {error}")))
    }
}

fn follow(source: &mut dyn Source) -> Result<(), Failed> {
    let caller = Caller::watched()?;
    if let Some(descriptor) = source.wakes() {
        caller.epoll.add(descriptor, EpollEvent::new(EpollFlags::EPOLLIN, Token::Source as u64))?;
    }
    send_all(&[Event::system(ESTABLISHED)])?;
    loop {
        send_all(&source.events()?)?;
        caller.wait(source.due())?;
    }
}

/// One write for all messages. A caller that went away is no error worth a word.
fn send_all(events: &[Event]) -> Result<(), Failed> {
    let bytes: Vec<u8> = events.iter().flat_map(reply::event).collect();
    if bytes.is_empty() {
        return Ok(());
    }
    standard::output().write_all(&bytes).map_err(|_| Failed::Gone)
}

/// What a wait ended by.
enum Token {
    Source = 0,
    Caller = 1,
}

/// The caller's end of standard output.
struct Caller {
    epoll: Epoll,
}

impl Caller {
    /// Edge-triggered readiness is what tells of a peer that only stopped receiving. Nothing is read from standard
    /// output; with that direction shut, nothing but the peer's going makes an edge. Readiness for writing would make
    /// one whenever the caller has read an event. A plain file as output cannot be watched, and does not go away.
    fn watched() -> Result<Self, Failed> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        // A pipe cannot be shut, and tells of its reader's going anyway.
        let _ = shutdown(io::stdout().as_raw_fd(), Shutdown::Read);
        let flags = EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
        match epoll.add(io::stdout().as_fd(), EpollEvent::new(flags, Token::Caller as u64)) {
            Ok(()) | Err(Errno::EPERM) => Ok(Self { epoll }),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until the source wakes or is due.
    fn wait(&self, due: Option<Instant>) -> Result<(), Failed> {
        loop {
            let mut woken = [EpollEvent::empty(); 2];
            let count = match self.epoll.wait(&mut woken, timeout(due)) {
                Err(Errno::EINTR) => continue,
                result => result?,
            };
            let woken = woken.get(..count).unwrap_or_default();
            if woken.iter().any(|event| event.data() == Token::Caller as u64 && has_gone(event.events())) {
                return Err(Failed::Gone);
            }
            let is_woken = woken.iter().any(|event| event.data() == Token::Source as u64);
            if is_woken || due.is_some_and(|due| due <= Instant::now()) {
                return Ok(());
            }
        }
    }
}

/// The time left until an instant, rounded up to whole milliseconds.
fn timeout(due: Option<Instant>) -> EpollTimeout {
    let Some(due) = due else { return EpollTimeout::NONE };
    let left = due.saturating_duration_since(Instant::now());
    let milliseconds = left.as_nanos().div_ceil(1_000_000);
    i32::try_from(milliseconds)
        .ok()
        .and_then(|left| EpollTimeout::try_from(left).ok())
        .unwrap_or(EpollTimeout::MAX)
}

/// Whether nobody reads standard output any more, asked without waiting. A plain file never goes away.
pub(crate) fn has_caller_gone() -> bool {
    let stdout = io::stdout();
    let mut output = [PollFd::new(stdout.as_fd(), PollFlags::POLLOUT)];
    let _ = poll(&mut output, PollTimeout::ZERO);
    let said = output.first().and_then(PollFd::revents).unwrap_or(PollFlags::empty());
    said.contains(PollFlags::POLLERR) || has_gone(EpollFlags::empty())
}

/// Whether nobody reads standard output any more. A message of length zero tells, where it is a socket.
fn has_gone(flags: EpollFlags) -> bool {
    flags.intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP)
        || send(io::stdout().as_raw_fd(), &[], MsgFlags::MSG_NOSIGNAL) == Err(Errno::EPIPE)
}

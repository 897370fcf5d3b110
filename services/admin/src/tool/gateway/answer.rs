//! The one answer that the gateway gives itself: the kept one to `internal.GetSystemInfo`, for which every qrexec call of
//! the machine asks. It needs no copy of the process, and no thought.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;

use common::root::Root;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::sendfile::sendfile;
use nix::sys::socket::{MsgFlags, recv};
use services::system_info;

/// The request, as those who ask for it send it. Any other is for a call.
const REQUEST: &[u8] = b"internal.GetSystemInfo+ dom0 name dom0\0";
/// How many milliseconds the end of a request is awaited, which comes right behind it.
const PATIENCE: u8 = 1;
/// How much the system is asked to send, which is more than a caller has room for.
const AT_ONCE: usize = 1 << 24;

/// An answer on its way to a caller.
pub(super) struct Answer {
    caller: UnixStream,
    kept: File,
}

impl Answer {
    /// The answer to whoever asks for it at a socket for such calls, if it holds still. Else the request is left unread.
    pub(super) fn to(caller: UnixStream, prefix: &str, root: &Root) -> Result<Self, UnixStream> {
        let asks = REQUEST.starts_with(prefix.as_bytes()) && is_asked_for(&caller);
        let kept = if asks { system_info::kept(root) } else { None };
        match kept.filter(|_| has_taken_request(&caller)) {
            Some(kept) => Ok(Self { caller, kept }),
            None => Err(caller),
        }
    }

    /// Sends the rest as the caller takes it in; gives the exit status.
    pub(super) fn finish(mut self) -> i32 {
        i32::from(self.caller.set_nonblocking(false).is_err() || self.send())
    }

    /// Sends as much as the caller has room for. Tells whether there is more to send: a caller who is gone gets no more.
    pub(super) fn send(&mut self) -> bool {
        loop {
            match sendfile(&self.caller, &self.kept, None, AT_ONCE) {
                Ok(sent) if sent > 0 => {}
                Err(Errno::EINTR) => {}
                outcome => return outcome == Err(Errno::EAGAIN),
            }
        }
    }
}

/// Whether the whole request is there, and is this.
fn is_asked_for(caller: &UnixStream) -> bool {
    let ended = PollFlags::from_bits_retain(libc::POLLRDHUP);
    let mut waited = [PollFd::new(caller.as_fd(), ended)];
    poll(&mut waited, PollTimeout::from(PATIENCE)).is_ok_and(|ready| ready > 0)
        && is_next(caller, MsgFlags::MSG_PEEK)
}

/// Takes the request in, so that the caller finds nothing of it refused, and lets no write to them wait from now on.
fn has_taken_request(caller: &UnixStream) -> bool {
    caller.set_nonblocking(true).is_ok() && is_next(caller, MsgFlags::empty())
}

fn is_next(caller: &UnixStream, how: MsgFlags) -> bool {
    let mut bytes = [0; REQUEST.len().saturating_add(1)];
    let length = recv(caller.as_raw_fd(), &mut bytes, how | MsgFlags::MSG_DONTWAIT);
    length.ok().and_then(|length| bytes.get(..length)) == Some(REQUEST)
}

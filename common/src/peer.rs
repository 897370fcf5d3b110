//! Daemons of other packages, reached at local sockets. No wait for one is without a deadline.

use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::unistd::Pid;

/// How long a daemon that was asked to end is waited for.
const END_DEADLINE: Duration = Duration::from_secs(5);

/// Reaches the daemon whose socket is at `path`; nothing if there is no such socket. Each wait for it, to read or to
/// write, ends at the deadline with [`io::ErrorKind::WouldBlock`].
///
/// # Errors
/// What the system says: nobody listens any more, for example.
pub fn reach(path: &Path, deadline: Duration) -> io::Result<Option<UnixStream>> {
    let end = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let limit = TimeVal::seconds(i64::try_from(deadline.as_secs()).unwrap_or(i64::MAX));
    setsockopt(&end, sockopt::SendTimeout, &limit)?;
    setsockopt(&end, sockopt::ReceiveTimeout, &limit)?;
    match connect(end.as_raw_fd(), &UnixAddr::new(path)?) {
        Ok(()) => Ok(Some(end.into())),
        Err(Errno::ENOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Asks the daemon whose socket is at `path` to end, and waits for it. One that is gone already is fine.
///
/// # Errors
/// If it is another user's, or does not end in time.
pub fn end(path: &Path) -> io::Result<()> {
    let mut connection = match reach(path, END_DEADLINE) {
        Ok(Some(connection)) => connection,
        Ok(None) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(()),
        Err(error) => return Err(error),
    };
    // The process that listens. Sockets of the first process are services', 0 stands for one that we cannot see.
    let daemon = getsockopt(&connection, sockopt::PeerCredentials)?.pid();
    if daemon <= 1 {
        return Err(io::ErrorKind::Unsupported.into());
    }
    kill(Pid::from_raw(daemon), Signal::SIGTERM)?;
    loop {
        match connection.read(&mut [0; 64]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            // Closed, or never taken in.
            Ok(0) | Err(_) => return Ok(()),
            Ok(_) => {}
        }
    }
}

//! Opening what only root may, block devices above all: a copy of this executable that is root opens it and hands the
//! descriptor over (ADR 9). Nothing that goes through the descriptor is root's business.
#![allow(unsafe_code, reason = "nix gives received descriptors as bare numbers")]

use std::ffi::{OsString, c_int};
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::cmsg_space;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg,
    socketpair,
};
use nix::unistd::geteuid;

use crate::root::Root;
use crate::{files, log, run};

const DEADLINE: Duration = Duration::from_secs(30);
/// Standard input of the copy, through which it hands over.
const STANDARD_INPUT: c_int = 0;

/// What a file or device is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Its content is read.
    Reading,
    /// Its content is changed in place.
    Writing,
    /// It is a terminal, which is read and written.
    Talking,
}

impl Purpose {
    const ALL: [Self; 3] = [Self::Reading, Self::Writing, Self::Talking];

    /// How a copy of this executable is told.
    const fn word(self) -> &'static str {
        match self {
            Self::Reading => "open-for-reading",
            Self::Writing => "open-for-writing",
            Self::Talking => "open-for-talking",
        }
    }

    fn open(self, path: &Path) -> io::Result<File> {
        match self {
            Self::Reading => files::open(path),
            Self::Writing => files::open_to_write(path),
            Self::Talking => files::open_terminal(path),
        }
    }
}

/// Opens a file or device that is there, as root where we may not ourselves.
///
/// # Errors
/// What the system says.
pub fn open(path: &Path, purpose: Purpose) -> io::Result<File> {
    let refused = match purpose.open(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !geteuid().is_root() => error,
        opened => return opened,
    };
    handed_over(path, purpose).map_err(|error| {
        log::line(&format!("opening {} as root: {error}", path.display()));
        refused
    })
}

fn handed_over(path: &Path, purpose: Purpose) -> io::Result<File> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)?;
    let path = path.to_str().ok_or(io::ErrorKind::InvalidInput)?;
    let root = Root::from_environment();
    let done = run::ourselves_as_root(&root, &[purpose.word(), path], theirs.as_fd(), DEADLINE)?;
    received(&ours)?.ok_or_else(|| io::Error::other(done.errors()))
}

fn received(from: &OwnedFd) -> io::Result<Option<File>> {
    let mut byte = [0];
    let mut content = [IoSliceMut::new(&mut byte)];
    let mut space = cmsg_space!([c_int; 1]);
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let Ok(message) = recvmsg::<()>(from.as_raw_fd(), &mut content, Some(&mut space), flags) else {
        return Ok(None);
    };
    let descriptors = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::ScmRights(descriptors) => descriptors.first().copied(),
        _ => None,
    });
    // SAFETY: the system has just made this descriptor for us.
    Ok(descriptors.map(|descriptor| unsafe { File::from_raw_fd(descriptor) }))
}

/// What this process is asked to open, if it is such a copy: one that was started by the executable's own name, which no
/// call has.
pub fn asked<'a>(own_name: &str, arguments: &'a [OsString]) -> Option<(Purpose, &'a Path)> {
    let [program, word, path] = arguments else { return None };
    let is_own_name = Path::new(program).file_name().is_some_and(|name| name == own_name);
    let purpose = Purpose::ALL.into_iter().find(|purpose| word == purpose.word());
    purpose.filter(|_| is_own_name).map(|purpose| (purpose, Path::new(path)))
}

/// Opens it, hands it over and gives the exit status.
pub fn hand_over(purpose: Purpose, path: &Path) -> c_int {
    let handed = purpose.open(path).and_then(|file| {
        let rights = [file.as_raw_fd()];
        let (content, control) = ([IoSlice::new(b"0")], [ControlMessage::ScmRights(&rights)]);
        Ok(sendmsg::<()>(STANDARD_INPUT, &content, &control, MsgFlags::MSG_NOSIGNAL, None)?)
    });
    if let Err(error) = &handed {
        log::line(&error.to_string());
    }
    c_int::from(handed.is_err())
}

//! How a service executable starts: straight from the C library, without std's own start-up (ADR 6).
#![allow(unsafe_code, reason = "the C library's start has no wrapper")]

use std::ffi::{CStr, OsStr, OsString, c_char, c_int};
use std::io;
use std::os::fd::IntoRawFd;
use std::os::unix::ffi::OsStrExt;
use std::slice;

use crate::call::Family;
use crate::{files, opened};

/// Makes the program that serves one [`Family`], in a crate that is `no_main`; with another way to serve where that is
/// named, which the programs without it do not link.
#[macro_export]
macro_rules! service {
    ($family:expr) => {
        $crate::service!($family, $crate::serve::serve);
    };
    ($family:expr, $serve:path) => {
        #[allow(unsafe_code, reason = "the C library finds main by this name, which nothing else has")]
        #[cfg_attr(not(test), unsafe(no_mangle))]
        extern "C" fn main(count: std::ffi::c_int, words: *const *const std::ffi::c_char) -> std::ffi::c_int {
            // SAFETY: the C library calls main once, with the process's own arguments.
            unsafe { $crate::start::main(&$family, $serve, count, words) }
        }
    };
}

/// Serves the one request that a process was started for and gives the exit status.
type Serve = fn(&Family, &[OsString]) -> c_int;

/// Does the part of std's start that calls need, serves the one request and gives the exit status.
///
/// # Safety
/// `count` and `words` are what the C library passed to `main`.
pub unsafe fn main(family: &Family, serve: Serve, count: c_int, words: *const *const c_char) -> c_int {
    ignore_broken_pipes();
    if fill_standard_descriptors().is_err() {
        return 1;
    }
    // SAFETY: our caller vouches for both.
    let arguments = unsafe { arguments(count, words) };
    match opened::asked(family.name, &arguments) {
        Some((purpose, path)) => opened::hand_over(purpose, path),
        None => serve(family, &arguments),
    }
}

/// The arguments, the program's own name first. Not std's, which some C libraries leave empty without std's start.
///
/// # Safety
/// As for [`main`].
unsafe fn arguments(count: c_int, words: *const *const c_char) -> Vec<OsString> {
    let count = usize::try_from(count).unwrap_or_default();
    // SAFETY: main gets `count` pointers to texts with a NUL at their end, which live as long as the process.
    let words = unsafe { slice::from_raw_parts(words, count) }.iter();
    // SAFETY: as above.
    words.map(|word| OsStr::from_bytes(unsafe { CStr::from_ptr(*word) }.to_bytes()).to_owned()).collect()
}

/// A caller that went away makes writing fail, instead of killing us between a commit and what follows it.
fn ignore_broken_pipes() {
    // SAFETY: ignoring a signal installs no handler.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// Opens `/dev/null` for each of descriptors 0 to 2 that is closed, so that no file of the store ever gets one of
/// those numbers and with it what is meant for the caller or the log.
fn fill_standard_descriptors() -> io::Result<()> {
    let mut standard = [0, 1, 2].map(|fd| libc::pollfd { fd, events: 0, revents: 0 });
    // SAFETY: poll reads and writes these three entries alone.
    unsafe { libc::poll(standard.as_mut_ptr(), 3, 0) };
    for _ in standard.iter().filter(|entry| entry.revents & libc::POLLNVAL != 0) {
        // The system gives the lowest free number, and we go upwards.
        let _kept_open = files::open_or_create("/dev/null".as_ref(), 0)?.into_raw_fd();
    }
    Ok(())
}

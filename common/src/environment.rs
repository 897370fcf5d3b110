//! The process's arguments and environment: the only module that reads them.
#![allow(clippy::disallowed_methods, reason = "the one place that reads the environment")]
#![allow(unsafe_code, reason = "getauxval has no wrapper in nix")]

use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStringExt;

/// Names of the variables in which qrexec tells caller and destination.
pub(crate) const REMOTE_DOMAIN: &str = "QREXEC_REMOTE_DOMAIN";
pub(crate) const REQUESTED_TARGET: &str = "QREXEC_REQUESTED_TARGET";

/// The arguments, the program's own name first. Service executables get theirs in `crate::start`.
pub fn arguments() -> Vec<OsString> {
    std::env::args_os().collect()
}

/// One variable.
pub fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// All variables, for a program that lives on the same desktop.
pub fn all() -> Vec<CString> {
    let text = |(name, value): (OsString, OsString)| [&name.into_vec()[..], b"=", &value.into_vec()].concat();
    std::env::vars_os().filter_map(|variable| CString::new(text(variable)).ok()).collect()
}

/// Whether someone with fewer rights may have chosen our environment: the kernel's AT_SECURE mark or `sudo`.
pub fn is_privileged_by_another() -> bool {
    variable("SUDO_UID").is_some() || is_secure_execution()
}

/// The kernel's mark on a process that has more rights than the one that started it.
fn is_secure_execution() -> bool {
    // SAFETY: getauxval reads a value the kernel gave this process at its start; it takes and returns plain words.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

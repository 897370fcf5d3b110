//! The process's arguments and environment: the only module that reads them.
#![allow(clippy::disallowed_methods, reason = "the one place that reads the environment")]
#![allow(unsafe_code, reason = "getauxval has no wrapper in nix")]

use std::ffi::OsString;

/// The arguments, the program's own name first. Service executables get theirs in `crate::start`.
pub fn arguments() -> Vec<OsString> {
    std::env::args_os().collect()
}

/// One variable.
pub fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
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

//! The process's arguments and environment: the only module that reads them.
#![allow(clippy::disallowed_methods, reason = "the one place that reads the environment")]

use std::ffi::OsString;

/// The arguments, the program's own name first.
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

/// Reads AT_SECURE from the auxiliary vector: pairs of native words, ended by a zero kind.
fn is_secure_execution() -> bool {
    const AT_SECURE: usize = 23;
    const WORD: usize = size_of::<usize>();
    let Ok(vector) = crate::files::read("/proc/self/auxv".as_ref()) else { return true };
    let words: Vec<usize> = vector
        .chunks_exact(WORD)
        .filter_map(|chunk| chunk.try_into().ok().map(usize::from_ne_bytes))
        .collect();
    words.chunks_exact(2).any(|pair| matches!(pair, [AT_SECURE, secure] if *secure != 0))
}

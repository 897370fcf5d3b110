//! The local log: standard error, which qrexec keeps in `/var/log/qubes/qrexec.<vm>.log`.
#![allow(clippy::disallowed_macros, reason = "the one place that writes the log")]

/// Writes one line. Callers pass fixed texts, paths and sanitised values only.
pub fn line(text: &str) {
    eprintln!("qubes-admin: {text}");
}

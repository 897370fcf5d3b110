//! The local log: standard error, which qrexec keeps in `/var/log/qubes/qrexec.<vm>.log`.

use std::io::{self, Write};
use std::panic::PanicHookInfo;

use crate::trace;

/// Writes one line. Callers pass fixed texts, paths and sanitised values only. A log that takes no more, on a full
/// disk for example, ends no call.
pub fn line(text: &str) {
    let _ = io::stderr().write_all(format!("qubes-admin: {text}\n").as_bytes());
}

/// Writes a text as it is, for callers who know it by its exact bytes.
pub fn text(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// From here on a panic is logged with its place and a backtrace, and ends the call without a byte of an answer.
/// What the panic says is left out, as it may hold input; so is the memory image that aborting would leave.
pub fn catch_panics() {
    std::panic::set_hook(Box::new(|panic| {
        line(&told(panic));
        std::process::exit(0);
    }));
}

fn told(panic: &PanicHookInfo<'_>) -> String {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    format!("internal error at {place}\n{}", trace::frames())
}

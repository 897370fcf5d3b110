//! What the tool prints. A reader that went away is no error.

use std::io::{self, Write};

/// One line on standard output.
pub(super) fn line(text: &str) {
    bytes(format!("{text}\n").as_bytes());
}

/// Bytes on standard output.
pub(super) fn bytes(bytes: &[u8]) {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
}

/// One line on standard error.
pub(super) fn error(text: &str) {
    let _ = writeln!(io::stderr(), "qubes-admin: {text}");
}

//! What the tool prints: bytes for programs, and text for people with nothing in it that a terminal obeys.

use std::io::{self, ErrorKind, Write};

use common::failure::Failure;
use common::store::StoreError;
use serde_json::Value;

/// Why a command ends early.
pub(super) enum Stop {
    /// Whoever read the output went away, which is no error.
    Unread,
    /// To be told, with exit status 1.
    Failed(String),
}

impl From<String> for Stop {
    fn from(text: String) -> Self {
        Self::Failed(text)
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        let is_denied =
            matches!(&error, StoreError::Io { source, .. } if source.kind() == ErrorKind::PermissionDenied);
        let hint = if is_denied { "; the store is for root and the group qubes" } else { "" };
        Self::Failed(format!("{error}{hint}"))
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure.into_text().into_owned())
    }
}

/// Text with everything written out that a terminal would obey or that hides how the text reads: control characters
/// but the tab, marks of direction and characters without width.
pub(super) fn readable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character != '\t' && (character.is_control() || is_unseen(character)) {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    out
}

const fn is_unseen(character: char) -> bool {
    matches!(character, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// One line for people on standard output.
pub(super) fn line(text: &str) -> Result<(), Stop> {
    bytes(format!("{}\n", readable(text)).as_bytes())
}

/// One line of JSON on standard output, in which the same characters stand as JSON writes them out.
pub(super) fn json(value: &Value) -> Result<(), Stop> {
    let mut text = String::new();
    for character in value.to_string().chars() {
        if character.is_control() || is_unseen(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            text.push(character);
        }
    }
    bytes(format!("{text}\n").as_bytes())
}

/// Bytes as they are on standard output.
pub(super) fn bytes(bytes: &[u8]) -> Result<(), Stop> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Stop::Unread),
        Err(error) => Err(Stop::Failed(format!("writing the output: {error}"))),
    }
}

/// One line on standard error.
pub(super) fn error(text: &str) {
    let _ = writeln!(io::stderr(), "qubes-admin: {}", readable(text));
}

#[cfg(test)]
mod tests {
    use super::readable;

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        assert_eq!(readable("a\tb \u{1b}[31m\r\n\u{7f}\u{9b}"), "a\tb \\u{1b}[31m\\r\\n\\u{7f}\\u{9b}");
        assert_eq!(readable("ex\u{202e}gpj.ün"), "ex\\u{202e}gpj.ün");
    }
}

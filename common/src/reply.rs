//! The bytes of replies: OK, EVENT and EXCEPTION (spec 10 §1.5, §1.6).

use std::borrow::Cow;

use crate::event::Event;
use crate::failure::{Exception, Failure};

/// `30 00 content`.
pub fn ok(content: &[u8]) -> Vec<u8> {
    [b"0\0", content].concat()
}

/// `31 00 subject 00 event 00 (key 00 value 00)* 00`, with `?` for every character that is not ASCII.
pub fn event(event: &Event) -> Vec<u8> {
    let subject = event.subject.as_ref().map_or("", |name| name.as_str());
    let mut bytes = b"1\0".to_vec();
    for text in [subject, &event.name] {
        push_text(&mut bytes, text);
    }
    for (key, value) in &event.details {
        push_text(&mut bytes, key);
        push_text(&mut bytes, &in_ascii(value));
    }
    bytes.push(0);
    bytes
}

/// `32 00 type 00 traceback 00 text 00`, with every `%` doubled where clients format the text.
pub fn exception(exception: Exception, traceback: &str, message: &str) -> Vec<u8> {
    let mut bytes = b"2\0".to_vec();
    push_text(&mut bytes, exception.class());
    push_text(&mut bytes, traceback);
    if exception.is_formatted() {
        push_text(&mut bytes, &message.replace('%', "%%"));
    } else {
        push_text(&mut bytes, message);
    }
    bytes
}

/// The content of an OK; what an EXCEPTION says is the failure.
///
/// # Errors
/// The exception, as our own calls answer it.
pub fn content(reply: &[u8]) -> Result<&[u8], Failure> {
    if let Some(content) = reply.strip_prefix(b"0\0") {
        return Ok(content);
    }
    let text = String::from_utf8_lossy(reply.strip_prefix(b"2\0").unwrap_or_default()).into_owned();
    let mut fields = text.split('\0');
    match (fields.next().and_then(Exception::of_class), fields.nth(1)) {
        (Some(exception), Some(text)) if exception.is_formatted() => {
            Err(Failure::new(exception, text.replace("%%", "%")))
        }
        (Some(exception), Some(text)) => Err(Failure::new(exception, text.to_owned())),
        _ => Err(Failure::dropped("a call of our own gave no answer")),
    }
}

fn in_ascii(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        text.into()
    } else {
        text.replace(|character: char| !character.is_ascii(), "?").into()
    }
}

/// Adds a text and its end. A NUL inside, which a message may echo, would end it too early.
fn push_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend_from_slice(text.replace('\0', "\\x00").as_bytes());
    bytes.push(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_the_specification() {
        assert_eq!(ok(b""), b"0\0");
        let bytes = exception(Exception::QubesException, "", "qubes-exception");
        assert_eq!(bytes, b"2\0QubesException\0\0qubes-exception\0");
        let sent = Event::system("event").with("payload", "payload");
        assert_eq!(event(&sent), b"1\0\0event\0payload\0payload\0\0");
        assert_eq!(event(&Event::system("e").with("k", "naïve")), b"1\0\0e\0k\0na?ve\0\0");
    }

    #[test]
    fn what_was_answered_is_read_again() {
        assert_eq!(content(b"0\0a\0b"), Ok(&b"a\0b"[..]));
        for (exception, text) in [(Exception::QubesVMError, "50%"), (Exception::ProtocolError, "50%")] {
            let Err(Failure::Exception { exception: read, message, .. }) =
                content(&super::exception(exception, "trace", text))
            else {
                panic!("no exception")
            };
            assert_eq!((read, &*message), (exception, text));
        }
        for bytes in [&b""[..], b"2", b"2\0", b"2\0Unknown\0\0text\0", b"1\0\0e\0\0"] {
            assert!(matches!(content(bytes), Err(Failure::Dropped(_))));
        }
    }

    #[test]
    fn percent_is_doubled_only_where_clients_format() {
        assert_eq!(
            exception(Exception::QubesLabelNotFoundError, "", "50%s"),
            b"2\0QubesLabelNotFoundError\0\x0050%%s\0"
        );
        assert_eq!(exception(Exception::ProtocolError, "", "50%s"), b"2\0ProtocolError\0\x0050%s\0");
    }
}

//! What comes back from a call, message by message.

use std::io::BufRead;

use super::event::{Event, field, unreadable};
use super::out::Stop;

/// A message that is no refusal.
pub(super) enum Message {
    /// All that an OK holds.
    Content(Vec<u8>),
    /// One of a stream's events.
    Event(Event),
}

impl Message {
    /// The next message, or nothing at the end; an exception is the error.
    pub(super) fn read(reply: &mut impl BufRead) -> Result<Option<Self>, Stop> {
        match field(reply)?.as_deref() {
            Some("0") => {
                let mut content = Vec::new();
                reply.read_to_end(&mut content).map_err(unreadable)?;
                Ok(Some(Self::Content(content)))
            }
            Some("1") => Ok(Some(Self::Event(Event::read(reply)?))),
            Some("2") => Err(refusal(reply)?.into()),
            Some(_) => Err("the answer is none of the protocol".to_owned().into()),
            None => Ok(None),
        }
    }
}

/// What a call that gives no answer is told of as.
pub(super) fn dropped() -> Stop {
    "the call was dropped without an answer; the log tells why".to_owned().into()
}

/// The one content that a call answers with.
pub(super) fn content(mut reply: impl BufRead) -> Result<Vec<u8>, Stop> {
    match Message::read(&mut reply)? {
        Some(Message::Content(content)) => Ok(content),
        Some(Message::Event(_)) => Err("the answer is a stream of events".to_owned().into()),
        None => Err(dropped()),
    }
}

/// What an exception says: its class and its text.
fn refusal(reply: &mut impl BufRead) -> Result<String, Stop> {
    let class = field(reply)?.unwrap_or_default();
    let _traceback = field(reply)?;
    let text = field(reply)?.unwrap_or_default();
    // Clients put the other classes' texts through `%` formatting, so that it came doubled.
    let is_plain = matches!(class.as_str(), "PermissionDenied" | "ProtocolError");
    let text = if is_plain { text } else { text.replace("%%", "%") };
    Ok(format!("{class}: {text}"))
}

//! An event as it comes over the wire, and how people and programs read it.

use std::io::{self, BufRead};

use serde_json::{Map, Value, json};

use super::out::Stop;

/// The text before the next NUL; nothing at the end.
pub(super) fn field(reply: &mut impl BufRead) -> Result<Option<String>, Stop> {
    let mut bytes = Vec::new();
    reply.read_until(0, &mut bytes).map_err(unreadable)?;
    let text = || String::from_utf8_lossy(bytes.strip_suffix(b"\0").unwrap_or(&bytes)).into_owned();
    Ok((!bytes.is_empty()).then(text))
}

pub(super) fn unreadable(error: io::Error) -> Stop {
    format!("reading the answer: {error}").into()
}

/// Subject, name, then keys and values in turn.
pub(super) struct Event {
    fields: Vec<String>,
}

impl Event {
    /// Reads up to the empty field that ends it; the subject may be empty too, and so may a value.
    pub(super) fn read(reply: &mut impl BufRead) -> Result<Self, Stop> {
        let mut fields = Vec::new();
        while let Some(text) = field(reply)? {
            let is_key = fields.len() >= 2 && fields.len().is_multiple_of(2);
            if is_key && text.is_empty() {
                break;
            }
            fields.push(text);
        }
        Ok(Self { fields })
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        format!("1\0{}\0\0", self.fields.join("\0")).into_bytes()
    }

    /// Subject and event under those keys, then what came with it.
    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let head = ["subject", "event"].into_iter().zip(self.fields.iter().map(String::as_str));
        let details = self.fields.get(2..).unwrap_or_default().chunks_exact(2);
        head.chain(details.filter_map(|pair| Some((pair.first()?.as_str(), pair.get(1)?.as_str()))))
    }

    pub(super) fn to_json(&self) -> Value {
        self.pairs().map(|(key, value)| (key.to_owned(), json!(value))).collect::<Map<_, _>>().into()
    }

    pub(super) fn to_text(&self) -> String {
        let word = |(number, (key, value))| if number < 2 { value } else { format!("{key}={value}") };
        let owned = self.pairs().map(|(key, value)| (key, value.to_owned()));
        owned.enumerate().map(word).collect::<Vec<_>>().join(" ")
    }

    /// Its name, `property-set:label` for example.
    pub(super) fn name(&self) -> &str {
        self.fields.get(1).map(String::as_str).unwrap_or_default()
    }

    /// What came with it under a key.
    pub(super) fn detail(&self, key: &str) -> Option<&str> {
        self.pairs().skip(2).find(|(known, _)| *known == key).map(|(_, value)| value)
    }

    /// The qube it is about; none for an event of the system.
    pub(super) fn subject(&self) -> Option<&str> {
        self.fields.first().map(String::as_str).filter(|subject| !subject.is_empty())
    }
}

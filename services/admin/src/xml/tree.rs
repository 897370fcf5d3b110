//! An XML document as a tree of elements that know where they began.

use quick_xml::Reader;
use quick_xml::escape::unescape;
use quick_xml::events::{BytesStart, Event};

use super::ImportError;

/// One element.
#[derive(Debug, Default, Clone)]
pub(super) struct Element {
    pub(super) name: String,
    pub(super) attributes: Vec<(String, String)>,
    pub(super) text: String,
    pub(super) children: Vec<Element>,
    /// Byte at which it began.
    pub(super) position: u64,
}

impl Element {
    /// The value of an attribute.
    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The value of an attribute that must be there.
    pub(super) fn required(&self, name: &str) -> Result<&str, ImportError> {
        self.attribute(name).ok_or_else(|| self.invalid(format!("<{}> without {name}", self.name)))
    }

    /// Children of that name.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// Grandchildren: `outer/inner`.
    pub(super) fn nested<'a>(&'a self, outer: &'a str, inner: &'a str) -> impl Iterator<Item = &'a Self> {
        self.all(outer).flat_map(move |child| child.all(inner))
    }

    /// An error at this element.
    pub(super) fn invalid(&self, text: impl Into<String>) -> ImportError {
        ImportError::Invalid { position: self.position, text: text.into() }
    }
}

/// Parses a whole document.
pub(super) fn parse(text: &str) -> Result<Element, ImportError> {
    let mut reader = Reader::from_str(text);
    reader.config_mut().expand_empty_elements = true;
    let mut open = vec![Element::default()];
    loop {
        let position = reader.buffer_position();
        let malformed = |text: String| ImportError::Malformed { position, text };
        match reader.read_event().map_err(|error| malformed(error.to_string()))? {
            Event::Start(start) => open.push(begin(&start, position)?),
            Event::End(_) => end(&mut open),
            Event::Text(text) => {
                let text = text.decode().map_err(|error| malformed(error.to_string()))?;
                add_text(&mut open, &text);
            }
            Event::CData(data) => {
                let text = data.decode().map_err(|error| malformed(error.to_string()))?;
                add_text(&mut open, &text);
            }
            Event::GeneralRef(reference) => {
                let name = reference.decode().map_err(|error| malformed(error.to_string()))?;
                let text = unescape(&format!("&{name};"))
                    .map_err(|error| malformed(error.to_string()))?
                    .into_owned();
                add_text(&mut open, &text);
            }
            Event::Eof => break,
            _ => {}
        }
    }
    let root = open.pop().and_then(|mut document| document.children.pop());
    match root {
        Some(root) if open.is_empty() => Ok(root),
        _ => Err(ImportError::Malformed {
            position: reader.buffer_position(),
            text: "ends too early".to_owned(),
        }),
    }
}

fn begin(start: &BytesStart<'_>, position: u64) -> Result<Element, ImportError> {
    let malformed = |text: String| ImportError::Malformed { position, text };
    let mut element = Element {
        name: String::from_utf8_lossy(start.name().as_ref()).into_owned(),
        position,
        ..Element::default()
    };
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|error| malformed(error.to_string()))?;
        let value = attribute.unescape_value().map_err(|error| malformed(error.to_string()))?;
        let name = String::from_utf8_lossy(attribute.key.as_ref()).into_owned();
        element.attributes.push((name, value.into_owned()));
    }
    Ok(element)
}

fn end(open: &mut Vec<Element>) {
    if let Some(done) = open.pop()
        && let Some(parent) = open.last_mut()
    {
        parent.children.push(done);
    }
}

fn add_text(open: &mut [Element], text: &str) {
    if let Some(element) = open.last_mut() {
        element.text.push_str(text);
    }
}

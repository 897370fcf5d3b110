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
    /// Line on which it began.
    pub(super) line: usize,
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
        ImportError::Invalid { line: self.line, text: text.into() }
    }
}

/// Deeper than any element of ours.
const DEEPEST: usize = 16;

/// Parses a whole document.
pub(super) fn parse(text: &str) -> Result<Element, ImportError> {
    let mut reader = Reader::from_str(text);
    reader.config_mut().expand_empty_elements = true;
    let mut lines = Lines { text, position: 0, line: 1 };
    let mut open = vec![Element::default()];
    loop {
        let line = lines.at(reader.buffer_position());
        let event = reader.read_event();
        let event = event.map_err(|error| malformed(lines.at(reader.error_position()), error))?;
        match event {
            Event::Start(_) if open.len() > DEEPEST => return Err(malformed(line, "nested too deeply")),
            Event::Start(start) => open.push(begin(&start, line)?),
            Event::End(_) => end(&mut open),
            Event::Eof => break,
            other => {
                let text = text_of(&other).map_err(|error| malformed(line, error))?;
                require_xml(&text, line)?;
                add_text(&mut open, &text);
            }
        }
    }
    let root = open.pop().and_then(|mut document| document.children.pop());
    match root {
        Some(root) if open.is_empty() => Ok(root),
        _ => Err(malformed(lines.at(reader.buffer_position()), "ends too early")),
    }
}

fn malformed(line: usize, why: impl ToString) -> ImportError {
    ImportError::Malformed { line, text: why.to_string() }
}

/// Counts lines on the way through a text.
struct Lines<'t> {
    text: &'t str,
    position: usize,
    line: usize,
}

impl Lines<'_> {
    /// Number, from 1, of the line that holds a byte not before the last one asked for.
    fn at(&mut self, position: u64) -> usize {
        let position = usize::try_from(position).unwrap_or(usize::MAX).min(self.text.len());
        let passed = self.text.as_bytes().get(self.position..position).unwrap_or_default();
        let ends = passed.iter().filter(|byte| **byte == b'\n').count();
        self.position = position.max(self.position);
        self.line = self.line.saturating_add(ends);
        self.line
    }
}

fn begin(start: &BytesStart<'_>, line: usize) -> Result<Element, ImportError> {
    let mut element = Element {
        name: String::from_utf8_lossy(start.name().as_ref()).into_owned(),
        line,
        ..Element::default()
    };
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|error| malformed(line, error))?;
        let value = attribute.unescape_value().map_err(|error| malformed(line, error))?;
        let name = String::from_utf8_lossy(attribute.key.as_ref()).into_owned();
        require_xml(&value, line)?;
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

/// Text, however it is written; nothing for comments, declarations and the like.
fn text_of(event: &Event<'_>) -> Result<String, quick_xml::Error> {
    Ok(match event {
        Event::Text(text) => text.decode()?.into_owned(),
        Event::CData(data) => data.decode()?.into_owned(),
        Event::GeneralRef(reference) => unescape(&format!("&{};", reference.decode()?))?.into_owned(),
        _ => String::new(),
    })
}

fn add_text(open: &mut [Element], text: &str) {
    if let Some(element) = open.last_mut() {
        element.text.push_str(text);
    }
}

/// XML has no control characters but tab and line ends, not even written as references.
fn require_xml(text: &str, line: usize) -> Result<(), ImportError> {
    let is_foreign =
        |it: char| (it < ' ' && !matches!(it, '\t' | '\n' | '\r')) || matches!(it, '\u{fffe}' | '\u{ffff}');
    if text.chars().any(is_foreign) {
        Err(malformed(line, "a character that XML does not have"))
    } else {
        Ok(())
    }
}

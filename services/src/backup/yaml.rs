//! A YAML document as a tree: what profiles are written in.

use std::rc::Rc;

use saphyr_parser::{Event, Parser, ScalarStyle};

/// Deeper than any profile.
const DEEPEST: usize = 32;

/// A part of a document. What an alias names is shared.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// Text; whether it was written without quotes, so that it may be a null.
    Scalar(String, bool),
    List(Vec<Rc<Node>>),
    Map(Vec<(Rc<Node>, Rc<Node>)>),
}

impl Node {
    /// The document in a text; none if it is malformed, or not exactly one.
    pub(super) fn parse(text: &str) -> Option<Rc<Self>> {
        let mut tree = Tree::default();
        for event in Parser::new_from_str(text) {
            tree.take(event.ok()?.0)?;
        }
        let mut documents = tree.open.pop()?.parts.into_iter();
        documents.next().filter(|_| documents.next().is_none())
    }

    /// The value of a key; of several the last. What is merged in (`<<`) gives way to what is said.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        let Self::Map(pairs) = self else { return None };
        let value = |key: &str| {
            let mut said = pairs.iter().rev();
            said.find(|(name, _)| name.text() == Some(key)).map(|(_, value)| &**value)
        };
        value(key).or_else(|| match value("<<")? {
            Self::List(merged) => merged.iter().find_map(|map| map.get(key)),
            merged => merged.get(key),
        })
    }

    /// A scalar that is not null.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Scalar(text, _) if !self.is_null() => Some(text),
            _ => None,
        }
    }

    /// A switch, as YAML knows them.
    pub(super) fn switch(&self) -> Option<bool> {
        let Self::Scalar(text, true) = self else { return None };
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Some(true),
            "false" | "no" | "off" => Some(false),
            _ => None,
        }
    }

    pub(super) fn is_null(&self) -> bool {
        self.is_one_of(&["", "~", "null", "Null", "NULL"])
    }

    fn is_one_of(&self, words: &[&str]) -> bool {
        matches!(self, Self::Scalar(text, true) if words.contains(&text.as_str()))
    }
}

/// A list or map whose end is still to come; the first is the stream itself.
#[derive(Default)]
struct Open {
    anchor: usize,
    is_map: bool,
    parts: Vec<Rc<Node>>,
}

impl Open {
    fn closed(self) -> Node {
        if !self.is_map {
            return Node::List(self.parts);
        }
        let mut parts = self.parts.into_iter();
        let mut pairs = Vec::new();
        while let (Some(key), Some(value)) = (parts.next(), parts.next()) {
            pairs.push((key, value));
        }
        Node::Map(pairs)
    }
}

#[derive(Default)]
struct Tree {
    open: Vec<Open>,
    anchors: Vec<(usize, Rc<Node>)>,
}

impl Tree {
    fn take(&mut self, event: Event<'_>) -> Option<()> {
        match event {
            Event::StreamStart => self.begin(0, false),
            Event::SequenceStart(anchor, _) => self.begin(anchor, false),
            Event::MappingStart(anchor, _) => self.begin(anchor, true),
            Event::SequenceEnd | Event::MappingEnd => {
                let open = self.open.pop()?;
                self.add(open.anchor, open.closed())
            }
            Event::Scalar(text, style, anchor, tag) => {
                let is_plain = style == ScalarStyle::Plain && tag.is_none();
                self.add(anchor, Node::Scalar(text.into_owned(), is_plain))
            }
            Event::Alias(anchor) => {
                let (_, node) = self.anchors.iter().rev().find(|(known, _)| *known == anchor)?;
                self.open.last_mut()?.parts.push(Rc::clone(node));
                Some(())
            }
            Event::Nothing | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => Some(()),
        }
    }

    fn begin(&mut self, anchor: usize, is_map: bool) -> Option<()> {
        self.open.push(Open { anchor, is_map, parts: Vec::new() });
        (self.open.len() <= DEEPEST).then_some(())
    }

    fn add(&mut self, anchor: usize, node: Node) -> Option<()> {
        let node = Rc::new(node);
        if anchor != 0 {
            self.anchors.push((anchor, Rc::clone(&node)));
        }
        self.open.last_mut()?.parts.push(node);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::Node;

    fn said(text: &str, key: &str) -> Option<String> {
        Node::parse(text)?.get(key)?.text().map(str::to_owned)
    }

    #[test]
    fn documents_are_read_as_they_are_written() {
        let words = |text: &str| said(text, "a").unwrap();
        assert_eq!(words("a: b"), "b");
        assert_eq!(words("{a: 'it''s', b: c}"), "it's");
        assert_eq!(words("a: \"x\\ty\" # words"), "x\ty");
        assert_eq!(words("a: >\n  two\n  lines\nb: c\n"), "two lines\n");
        assert_eq!(words("%YAML 1.1\n---\na: b\n...\n"), "b");
        assert_eq!(words("b: &x c\na: *x"), "c");
        assert_eq!(words("b: &x {a: 1}\n<<: *x"), "1");
        assert_eq!(words("b: &x {a: 1}\n<<: [{c: d}, *x]\na: 2"), "2");
        assert_eq!(words("a: 1\na: 2"), "2");
        assert_eq!(words("a: \"null\""), "null");
        assert_eq!(words("a: 0x1F"), "0x1F");
        let switch = |text: &str| Node::parse(text).unwrap().get("a").unwrap().switch();
        for (text, expected) in [
            ("a: True", Some(true)),
            ("a: yes", Some(true)),
            ("a: False", Some(false)),
            ("a: off", Some(false)),
            ("a: 'True'", None),
            ("a: xz", None),
            ("a: 1", None),
        ] {
            assert_eq!(switch(text), expected, "{text}");
        }
    }

    #[test]
    fn nulls_and_what_is_no_document_are_told_apart() {
        for null in ["a:", "a: ~", "a: null"] {
            assert!(Node::parse(null).unwrap().get("a").unwrap().is_null(), "{null}");
        }
        for bad in ["", "a: [", "a: b: c", "a: *x", "--- a\n--- b", &"[".repeat(100)] {
            assert!(Node::parse(bad).is_none(), "{bad}");
        }
    }
}

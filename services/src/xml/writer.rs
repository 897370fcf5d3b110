//! XML as existing systems write it.

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// White space but the space is written as a reference: readers turn it into spaces otherwise.
fn escape_attribute(value: &str) -> String {
    let escaped = escape(value).replace('"', "&quot;");
    escaped.replace('\t', "&#9;").replace('\n', "&#10;").replace('\r', "&#13;")
}

/// Elements with two-space indentation.
#[derive(Default)]
pub struct Writer {
    text: String,
    depth: usize,
}

impl Writer {
    /// All that was written.
    pub fn into_text(self) -> String {
        self.text
    }

    fn start(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.text.push_str(&"  ".repeat(self.depth));
        self.text.push('<');
        self.text.push_str(name);
        for (key, value) in attributes {
            self.text.push_str(&format!(" {key}=\"{}\"", escape_attribute(value)));
        }
    }

    /// Begins an element with children.
    pub fn open(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.start(name, attributes);
        self.text.push_str(">\n");
        self.depth = self.depth.saturating_add(1);
    }

    /// Ends it.
    pub fn close(&mut self, name: &str) {
        self.depth = self.depth.saturating_sub(1);
        self.text.push_str(&"  ".repeat(self.depth));
        self.text.push_str(&format!("</{name}>\n"));
    }

    /// An element that never has text.
    pub(super) fn empty(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.start(name, attributes);
        self.text.push_str("/>\n");
    }

    /// An element that holds text, possibly none.
    pub fn leaf(&mut self, name: &str, attributes: &[(&str, &str)], text: &str) {
        self.start(name, attributes);
        let text = escape(text).replace('\r', "&#13;");
        self.text.push_str(&format!(">{text}</{name}>\n"));
    }

    /// An element with children, or an empty one.
    pub fn section(
        &mut self,
        name: &str,
        attributes: &[(&str, &str)],
        has_children: bool,
        children: impl FnOnce(&mut Self),
    ) {
        if !has_children {
            return self.empty(name, attributes);
        }
        self.open(name, attributes);
        children(self);
        self.close(name);
    }
}

//! The part of TOML that constraints are written in: tables `[[constraint]]`, keys of one or two words, and as values lists of
//! texts and whole numbers. What is accepted means the same to any reader of TOML.

/// A table as written. After an error nothing more of it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its first line, from 1.
    pub line: usize,
    /// Its keys in order.
    pub entries: Vec<Entry>,
    /// What is wrong with it.
    pub error: Option<Error>,
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its line.
    pub line: usize,
    /// One word or two.
    pub key: Vec<String>,
    /// The value.
    pub value: Value,
}

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A list of texts.
    Texts(Vec<String>),
    /// A whole number.
    Number(u64),
}

/// What is wrong in a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Error {
    /// The line, from 1.
    pub line: usize,
    /// What.
    pub text: &'static str,
}

/// Most words of a key.
const WORDS: usize = 2;

/// Reads a file. Where something is wrong, the table that it is in has the error, and reading goes on at the next.
pub fn read(bytes: &[u8]) -> Vec<Table> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => return vec![broken(1, "not UTF-8")],
    };
    if let Some(line) = line_of_control_character(text) {
        return vec![broken(line, "a control character")];
    }
    let mut cursor = Cursor { rest: text, begun: text, line: 1 };
    let mut tables: Vec<Table> = Vec::new();
    while cursor.skip_to_content() {
        let line = cursor.line;
        let is_header = cursor.rest.starts_with('[');
        let wrong = if is_header {
            cursor.header().map(|()| tables.push(new(line)))
        } else {
            cursor.entry_of(&mut tables)
        };
        let Err(text) = wrong else { continue };
        let error = Error { line: cursor.line, text };
        match tables.last_mut().filter(|_| !is_header) {
            Some(table) => table.error = Some(error),
            None => tables.push(broken(error.line, error.text)),
        }
        cursor.skip_to_table(is_header);
    }
    tables
}

const fn new(line: usize) -> Table {
    Table { line, entries: Vec::new(), error: None }
}

/// A table of which nothing can be read.
pub(super) const fn broken(line: usize, text: &'static str) -> Table {
    Table { line, entries: Vec::new(), error: Some(Error { line, text }) }
}

/// TOML has no control characters but the tab and ends of lines.
fn line_of_control_character(text: &str) -> Option<usize> {
    let is_bad = |line: &str| {
        line.strip_suffix('\r').unwrap_or(line).chars().any(|it| it.is_ascii_control() && it != '\t')
    };
    let mut lines = text.split('\n').enumerate();
    // A carriage return at the very end ends no line.
    let last = text.split('\n').count();
    lines.find_map(|(at, line)| {
        let number = at.saturating_add(1);
        (is_bad(line) || (number == last && line.ends_with('\r'))).then_some(number)
    })
}

/// What is still to be read.
struct Cursor<'a> {
    rest: &'a str,
    /// The same at the beginning of the line.
    begun: &'a str,
    line: usize,
}

impl<'a> Cursor<'a> {
    /// Skips what means nothing; tells whether anything follows.
    fn skip_to_content(&mut self) -> bool {
        loop {
            self.skip_spaces();
            self.skip_comment();
            if !self.skip_line_end() {
                return !self.rest.is_empty();
            }
        }
    }

    fn skip_spaces(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    fn skip_comment(&mut self) {
        if self.rest.starts_with('#') {
            self.rest = self.rest.find('\n').and_then(|end| self.rest.get(end..)).unwrap_or_default();
        }
    }

    fn skip_line_end(&mut self) -> bool {
        let is_there = self.take("\n") || self.take("\r\n");
        if is_there {
            (self.line, self.begun) = (self.line.saturating_add(1), self.rest);
        }
        is_there
    }

    /// Goes on behind an error: at the next line that begins a table. That may be this one, where a list did not end.
    fn skip_to_table(&mut self, is_header: bool) {
        if !is_header {
            self.rest = self.begun;
            self.skip_spaces();
            if self.rest.starts_with("[[") {
                return;
            }
        }
        while let Some(end) = self.rest.find('\n') {
            self.rest = self.rest.get(end..).unwrap_or_default();
            self.skip_line_end();
            self.skip_spaces();
            if self.rest.starts_with("[[") {
                return;
            }
        }
        self.rest = "";
    }

    fn take(&mut self, text: &str) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// What the characters at the beginning are that a test accepts.
    fn take_while(&mut self, accepts: fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|character| !accepts(character)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        self.rest = rest;
        taken
    }

    fn end_line(&mut self) -> Result<(), &'static str> {
        self.skip_spaces();
        self.skip_comment();
        if self.rest.is_empty() || self.skip_line_end() {
            Ok(())
        } else {
            Err("more than one thing in a line")
        }
    }

    fn header(&mut self) -> Result<(), &'static str> {
        let opens = self.take("[[");
        self.skip_spaces();
        let is_ours = self.take("constraint");
        self.skip_spaces();
        if opens && is_ours && self.take("]]") {
            self.end_line()
        } else {
            Err("another table than [[constraint]]")
        }
    }

    fn entry_of(&mut self, tables: &mut [Table]) -> Result<(), &'static str> {
        let table = tables.last_mut().ok_or("a key before the first [[constraint]]")?;
        let line = self.line;
        let key = self.key()?;
        self.skip_spaces();
        if !self.take("=") {
            return Err("no = behind a key");
        }
        self.skip_spaces();
        let value = self.value()?;
        self.end_line()?;
        if table.entries.iter().any(|entry| entry.key == key) {
            return Err("a key is given twice");
        }
        table.entries.push(Entry { line, key, value });
        Ok(())
    }

    fn key(&mut self) -> Result<Vec<String>, &'static str> {
        let mut words = Vec::new();
        loop {
            self.skip_spaces();
            words.push(if self.rest.starts_with('"') { self.text()? } else { self.bare()? });
            self.skip_spaces();
            if words.len() > WORDS {
                return Err("a key has more than two words");
            } else if !self.take(".") {
                return Ok(words);
            }
        }
    }

    fn bare(&mut self) -> Result<String, &'static str> {
        let word = self.take_while(|it| it.is_ascii_alphanumeric() || it == '_' || it == '-');
        if word.is_empty() { Err("no key") } else { Ok(word.to_owned()) }
    }

    fn value(&mut self) -> Result<Value, &'static str> {
        if self.take("[") { self.texts().map(Value::Texts) } else { self.number().map(Value::Number) }
    }

    fn number(&mut self) -> Result<u64, &'static str> {
        let digits = self.take_while(|it| it.is_ascii_digit());
        let number = digits.parse::<i64>().ok().filter(|_| digits == "0" || !digits.starts_with('0'));
        number
            .and_then(|number| u64::try_from(number).ok())
            .ok_or("neither a list of texts nor a whole number")
    }

    /// The rest of a list, which may go over several lines.
    fn texts(&mut self) -> Result<Vec<String>, &'static str> {
        let mut texts = Vec::new();
        loop {
            self.skip_to_content();
            if self.take("]") {
                return Ok(texts);
            }
            texts.push(self.text()?);
            self.skip_to_content();
            if !self.take(",") && !self.rest.starts_with(']') {
                return Err("no comma between texts");
            }
        }
    }

    /// A text in double quotes, in which a backslash stands before a quote or a backslash.
    fn text(&mut self) -> Result<String, &'static str> {
        if !self.take("\"") {
            return Err("no text in double quotes");
        }
        let mut text = String::new();
        loop {
            text.push_str(self.take_while(|it| !matches!(it, '"' | '\\' | '\n')));
            if self.take("\"") {
                return Ok(text);
            } else if self.take("\\\"") {
                text.push('"');
            } else if self.take("\\\\") {
                text.push('\\');
            } else {
                return Err(
                    "a text that does not end, or a backslash before another character than itself and the quote",
                );
            }
        }
    }
}

//! The content of replies, for people and for programs: which calls answer with what structure.

use serde_json::{Map, Value, json};

use super::out::{self, Stop};
use super::table;

/// Names and values in the order of the reply.
pub(super) type Record = Vec<(String, Value)>;

/// A structured content.
#[derive(Debug)]
pub(super) enum Content {
    /// One item a line.
    Items(Vec<String>),
    /// One thing with its values.
    Record(Record),
    /// Several things, told apart by one of their values or by their order.
    Records(Vec<Record>),
    /// Several things by name.
    Named(Vec<(String, Record)>),
}

/// Reads a content's text.
pub(super) type Shape = fn(&str) -> Content;

/// Which calls have a structured content: the first pattern that fits decides.
const SHAPES: [(&str, Shape); 20] = [
    ("admin.vm.List", |text| Content::Records(text.lines().map(|line| headed("name", line)).collect())),
    ("admin.vm.CurrentState", |text| Content::Record(words(text))),
    ("admin.*property.Get", |text| Content::Record(property(text))),
    ("admin.*property.GetDefault", |text| Content::Record(property(text))),
    ("admin.*property.GetAll", |text| Content::Named(text.lines().filter_map(named_property).collect())),
    ("admin.vm.device.*.Available", devices),
    ("admin.vm.device.*.Assigned", devices),
    ("admin.vm.device.*.Attached", devices),
    ("admin.vm.firewall.Get", |text| Content::Records(text.lines().map(words).collect())),
    ("admin.pool.Info", pairs),
    ("admin.pool.UsageDetails", pairs),
    ("admin.*.volume.Info", pairs),
    ("admin.*.volume.ListSnapshots", items),
    ("admin.pool.ListDrivers", items),
    ("admin.*.List", items),
    ("policy.*List", items),
    ("policy.GetFiles", items),
    ("policy.Eval", pairs),
    ("admin.Events", |text| Content::Record(words(text))),
    ("admin.vm.Stats", |text| Content::Record(words(text))),
];

/// The shape of a method's content, if it has one.
pub(super) fn shape(method: &str) -> Option<Shape> {
    SHAPES.iter().find(|(pattern, _)| fits(pattern, method)).map(|(_, shape)| *shape)
}

/// Whether a name fits a pattern, in which a star stands for anything.
fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        Some((head, tail)) => name.strip_prefix(head).is_some_and(|rest| rest.ends_with(tail)),
        None => pattern == name,
    }
}

fn items(text: &str) -> Content {
    Content::Items(text.lines().map(str::to_owned).collect())
}

/// Lines `key=value`.
fn pairs(text: &str) -> Content {
    let pair = |line: &str| line.split_once('=').map(|(key, value)| (key.to_owned(), json!(value)));
    Content::Record(text.lines().filter_map(pair).collect())
}

fn devices(text: &str) -> Content {
    Content::Records(text.lines().map(|line| headed("device", line)).collect())
}

/// A word under the given key, then `key=value` words.
fn headed(key: &str, line: &str) -> Record {
    let (head, rest) = line.split_once(' ').unwrap_or((line, ""));
    let mut record = vec![(key.to_owned(), json!(head))];
    record.extend(words(rest));
    record
}

/// Words `key=value` or `key='quoted value'`; a comment takes the rest of the line.
fn words(text: &str) -> Record {
    let mut record = Record::new();
    let mut rest = text;
    while let Some((key, after)) = rest.split_once('=') {
        let (value, next) = match after.strip_prefix('\'') {
            _ if key == "comment" => (after.to_owned(), ""),
            Some(quoted) => unquote(quoted),
            None => {
                after.split_once(' ').map_or((after.to_owned(), ""), |(word, next)| (word.to_owned(), next))
            }
        };
        record.push((key.to_owned(), json!(value)));
        rest = next.trim_start();
    }
    record
}

/// What stands before the closing quote, and what follows it. A backslash takes the next character's meaning.
fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\'' => break,
            '\\' => value.extend(characters.next()),
            other => value.push(other),
        }
    }
    (value, characters.as_str())
}

/// `[default=… ]type=… VALUE`; the value takes the JSON form of its type.
fn property(text: &str) -> Record {
    let mut record = Record::new();
    let mut rest = text;
    for key in ["default", "type"] {
        let Some(after) = rest.strip_prefix(key).and_then(|after| after.strip_prefix('=')) else { continue };
        let (word, next) = after.split_once(' ').unwrap_or((after, ""));
        record.push((key.to_owned(), json!(word)));
        rest = next;
    }
    let kind = record.iter().find(|(key, _)| key == "type").and_then(|(_, word)| word.as_str());
    let value = typed(kind.unwrap_or_default(), rest);
    record.insert(0, ("value".to_owned(), value));
    for (_, word) in record.iter_mut().filter(|(key, _)| key == "default") {
        *word = json!(*word == json!("True"));
    }
    record
}

fn typed(kind: &str, text: &str) -> Value {
    match kind {
        "bool" => json!(text == "True"),
        "int" => text.parse::<i64>().map_or(Value::Null, |number| json!(number)),
        "vm" | "label" if text.is_empty() => Value::Null,
        _ => json!(text),
    }
}

fn named_property(line: &str) -> Option<(String, Record)> {
    let (name, rest) = line.split_once(' ')?;
    Some((name.to_owned(), property(&unescape(rest))))
}

/// Undoes the escaping of bulk reads: `\\` and `\n`.
fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => out.push(if characters.next() == Some('n') { '\n' } else { '\\' }),
            other => out.push(other),
        }
    }
    out
}

impl Content {
    /// For programs.
    pub(super) fn to_json(&self) -> Value {
        let object = |record: &Record| Value::from(record.iter().cloned().collect::<Map<_, _>>());
        match self {
            Self::Items(items) => json!(items),
            Self::Record(record) => object(record),
            Self::Records(records) => records.iter().map(object).collect(),
            Self::Named(named) => named
                .iter()
                .map(|(name, record)| (name.clone(), object(record)))
                .collect::<Map<_, _>>()
                .into(),
        }
    }

    /// For people: items as they are, all else as an aligned table.
    pub(super) fn print(&self) -> Result<(), Stop> {
        match self {
            Self::Items(items) => items.iter().try_for_each(|item| out::line(item)),
            Self::Record(record) => {
                let row = |(key, value): &(String, Value)| vec![key.clone(), cell(value)];
                table::print(&record.iter().map(row).collect::<Vec<_>>())
            }
            Self::Records(records) => table::print(&headings(records)),
            Self::Named(named) => {
                let with_name = |(name, record): &(String, Record)| {
                    let mut row = vec![("name".to_owned(), json!(name))];
                    // The longest column comes last.
                    row.extend(record.iter().skip(1).chain(record.first()).cloned());
                    row
                };
                table::print(&headings(&named.iter().map(with_name).collect::<Vec<_>>()))
            }
        }
    }
}

/// Rows under a heading: the keys of all records in the order of their first appearance.
fn headings(records: &[Record]) -> Vec<Vec<String>> {
    let mut keys: Vec<&str> = Vec::new();
    for (key, _) in records.iter().flatten() {
        if !keys.contains(&key.as_str()) {
            keys.push(key);
        }
    }
    if keys.is_empty() {
        return Vec::new();
    }
    let row = |record: &Record| {
        let value_of =
            |key: &&str| record.iter().find(|(known, _)| known == key).map(|(_, value)| cell(value));
        keys.iter().map(|key| value_of(key).unwrap_or_default()).collect()
    };
    let mut rows = vec![keys.iter().map(|key| key.to_uppercase()).collect()];
    rows.extend(records.iter().map(row));
    rows
}

/// A value as people write it: switches as the calls do, nothing for none.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(method: &str, text: &str) -> Value {
        shape(method).unwrap()(text).to_json()
    }

    #[test]
    fn values_take_the_form_of_their_type() {
        let get = |text: &str| read("admin.vm.property.Get", text);
        assert_eq!(get("default=True type=int 2"), json!({"default": true, "type": "int", "value": 2}));
        assert_eq!(get("default=False type=vm "), json!({"default": false, "type": "vm", "value": null}));
        let all = read("admin.property.GetAll", "a default=True type=str x\\ny\\\\z\n");
        assert_eq!(all["a"]["value"], json!("x\ny\\z"));
        assert_eq!(read("admin.property.GetDefault", "type=str a b"), json!({"type": "str", "value": "a b"}));
    }

    #[test]
    fn lines_become_records() {
        let list = read("admin.vm.List", "work class=AppVM state=Halted uuid=1\n");
        assert_eq!(list, json!([{"name": "work", "class": "AppVM", "state": "Halted", "uuid": "1"}]));
        let devices = read("admin.vm.device.pci.Available", "00_14.0:x product='it\\'s a=b' _sbdf='0'\n");
        assert_eq!(devices, json!([{"device": "00_14.0:x", "product": "it's a=b", "_sbdf": "0"}]));
        let rules = read("admin.vm.firewall.Get", "action=drop comment=a=b c\naction=accept\n");
        assert_eq!(rules, json!([{"action": "drop", "comment": "a=b c"}, {"action": "accept"}]));
        assert_eq!(read("admin.pool.Info", "driver=file\nname=x\n"), json!({"driver": "file", "name": "x"}));
        assert_eq!(read("admin.vm.tag.List", "a\nb\n"), json!(["a", "b"]));
        assert!(shape("admin.vm.notes.Get").is_none());
    }
}

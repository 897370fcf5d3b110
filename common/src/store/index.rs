//! The index: one line per qube with what lists and reference checks need. A cache, rebuilt when lost.

use std::collections::BTreeMap;
use std::io;

use serde::de::IgnoredAny;

use super::events::Segment;
use super::{Key, Store, StoreError, decode};
use crate::log;
use crate::model::{Class, Qube, Value};
use crate::names::QubeName;

const FILE: &str = "index";
/// Where policy's picture of all qubes is kept in `/run`, by the generation it follows from.
pub const SYSTEM_INFO: &str = "system-info";
/// Width of the first line, which is overwritten in place.
const HEADER: usize = 42;

/// What the index knows of one qube.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    line: String,
}

/// Columns of an entry, in order.
#[derive(Clone, Copy)]
enum Column {
    Name,
    Class,
    Uuid,
    Qid,
    Dispid,
    Label,
    Flags,
    Tags,
    References,
}

impl Entry {
    /// The entry of a qube.
    pub fn of(qube: &Qube) -> Self {
        let property = |name: &str| qube.properties.get(name);
        let dispid = property("dispid").and_then(Value::as_int).map(|id| id.to_string()).unwrap_or_default();
        let label = property("label").map(Value::to_text).unwrap_or_default();
        let flag = |name: &str, mark: &'static str| {
            if property(name).is_some_and(Value::is_true) { mark } else { "" }
        };
        let flags = [flag("template_for_dispvms", "d"), flag("provides_network", "n")].concat();
        let tags: Vec<&str> = qube.tags.iter().map(|tag| tag.as_str()).collect();
        let line = [
            qube.name.as_str(),
            qube.class.as_str(),
            &qube.uuid.to_string(),
            &qube.qid.to_string(),
            &dispid,
            &label,
            &flags,
            &tags.join(","),
            &references(qube).join(","),
        ]
        .join("\t");
        Self { line }
    }

    fn column(&self, column: Column) -> &str {
        self.line.split('\t').nth(column as usize).unwrap_or_default()
    }

    /// The qube's name.
    pub fn name(&self) -> &str {
        self.column(Column::Name)
    }

    /// Its class.
    pub fn class(&self) -> Class {
        Class::parse(self.column(Column::Class)).unwrap_or(Class::AppVM)
    }

    /// Its UUID's text.
    pub fn uuid(&self) -> &str {
        self.column(Column::Uuid)
    }

    /// Its persistent number.
    pub fn qid(&self) -> u16 {
        self.column(Column::Qid).parse().unwrap_or_default()
    }

    /// A disposable's number.
    pub fn dispid(&self) -> Option<u16> {
        self.column(Column::Dispid).parse().ok()
    }

    /// Text of its label property; empty if it has none.
    pub fn label(&self) -> &str {
        self.column(Column::Label)
    }

    /// Whether it may serve as template of disposables.
    pub fn is_template_for_dispvms(&self) -> bool {
        self.column(Column::Flags).contains('d')
    }

    /// Whether it provides network.
    pub fn provides_network(&self) -> bool {
        self.column(Column::Flags).contains('n')
    }

    /// Its tags, sorted.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.column(Column::Tags).split(',').filter(|tag| !tag.is_empty())
    }

    /// Explicit properties that hold a qube's name, with that name; a readable none is the empty name.
    pub fn references(&self) -> impl Iterator<Item = (&str, &str)> {
        let references = self.column(Column::References).split(',');
        references.filter_map(|pair| pair.split_once('=')).filter(|(property, _)| !property.starts_with('@'))
    }

    /// The explicit value of one such property: outer none if it is default.
    pub fn reference(&self, property: &str) -> Option<&str> {
        self.references().find(|(name, _)| *name == property).map(|(_, target)| target)
    }

    /// Its feature `internal`.
    pub fn internal(&self) -> Option<String> {
        self.mark("@internal=")
    }

    /// The service by which calls to a remote qube are carried.
    pub fn transport_rpc(&self) -> Option<String> {
        self.mark("@transport_rpc=")
    }

    fn mark(&self, name: &str) -> Option<String> {
        let mut references = self.column(Column::References).split(',');
        references.find_map(|pair| pair.strip_prefix(name)).map(unpacked)
    }

    /// Assigned devices: names of the qubes that provide them, and their ports.
    pub fn device_backends(&self) -> impl Iterator<Item = (&str, String)> {
        let references = self.column(Column::References).split(',');
        let devices = references.filter_map(|pair| pair.strip_prefix("@device=")?.split_once('+'));
        devices.map(|(backend, port)| (backend, unpacked(port)))
    }
}

/// Properties that hold the name of a qube.
const REFERENCES: [&str; 7] =
    ["audiovm", "default_dispvm", "guivm", "management_dispvm", "netvm", "relayvm", "template"];

fn references(qube: &Qube) -> Vec<String> {
    let properties = REFERENCES.iter().filter_map(|name| {
        let value = qube.properties.get(*name)?;
        Some(format!("{name}={}", value.to_text()))
    });
    let devices =
        qube.devices.iter().map(|device| format!("@device={}+{}", device.backend, packed(&device.id)));
    let transport = qube.properties.get("transport_rpc").and_then(Value::as_text);
    let marks = [("@internal", qube.feature("internal")), ("@transport_rpc", transport)];
    let marks = marks.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", packed(value?))));
    properties.chain(devices).chain(marks).collect()
}

/// A text without a grammar of its own, a port's identifier for example, as one word of a column: what would end the word,
/// the column or the line is written as `%` and two digits.
fn packed(text: &str) -> String {
    let pack = |character: char| match character {
        '%' | ',' | '\0'..='\x1f' => format!("%{:02x}", u32::from(character)),
        _ => character.to_string(),
    };
    text.chars().map(pack).collect()
}

/// The text that became a word.
fn unpacked(word: &str) -> String {
    let mut parts = word.split('%');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (code, rest) = part.split_at_checked(2).unwrap_or((part, ""));
        text.extend(u8::from_str_radix(code, 16).map(char::from));
        text.push_str(rest);
    }
    text
}

/// All entries, dom0 first and then by name, with the store's generation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Index {
    /// Generation of the newest committed change.
    pub generation: u64,
    /// The newest segment of the event log, or one before.
    segment: Segment,
    entries: Vec<Entry>,
    /// The first object that could not be read: the index is then good for showing, not for keeping nor deciding.
    pub(super) left_out: Option<String>,
}

/// The order of lists: dom0 first, then by name.
fn order(name: &str) -> (bool, &str) {
    (name != "dom0", name)
}

impl Index {
    /// All entries in the order of lists.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry of a qube.
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.position(name).ok().and_then(|position| self.entries.get(position))
    }

    fn position(&self, name: &str) -> Result<usize, usize> {
        self.entries.binary_search_by(|entry| order(entry.name()).cmp(&order(name)))
    }

    /// The same with the entries of an older one whose qubes are gone.
    #[must_use]
    pub fn with_departed(&self, before: &Self) -> Self {
        let mut both = self.clone();
        for entry in before.entries.iter().filter(|entry| self.entry(entry.name()).is_none()) {
            both.put(entry.clone());
        }
        both
    }

    /// Puts an entry in its place; tells whether that changed anything.
    pub(super) fn put(&mut self, entry: Entry) -> bool {
        match self.position(entry.name()) {
            Ok(position) => match self.entries.get_mut(position) {
                Some(old) if *old != entry => {
                    *old = entry;
                    true
                }
                _ => false,
            },
            Err(position) => {
                self.entries.insert(position, entry);
                true
            }
        }
    }

    /// Takes an entry out; tells whether there was one.
    pub(super) fn remove(&mut self, name: &str) -> bool {
        self.position(name).map(|position| self.entries.remove(position)).is_ok()
    }

    /// Reads the file's bytes; nothing if they are torn or not an index.
    pub fn parse(bytes: Vec<u8>) -> Option<Self> {
        let text = String::from_utf8(bytes).ok()?;
        let (header, lines) = text.split_at_checked(HEADER)?;
        let Header { generation, segment } = Header::parse(header)?;
        let body = lines.strip_suffix(".\n").filter(|body| body.is_empty() || body.ends_with('\n'))?;
        let entries = body.split_terminator('\n').map(|line| Entry { line: line.to_owned() }).collect();
        Some(Self { generation, segment, entries, left_out: None })
    }

    /// The file's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = Header { generation: self.generation, segment: self.segment }.print();
        for entry in &self.entries {
            text.push_str(&entry.line);
            text.push('\n');
        }
        text.push_str(".\n");
        text.into_bytes()
    }
}

/// The first line.
#[derive(Clone, Copy)]
struct Header {
    generation: u64,
    segment: Segment,
}

impl Header {
    fn of_file(start: &[u8]) -> Option<Self> {
        std::str::from_utf8(start).ok().filter(|line| line.len() == HEADER).and_then(Self::parse)
    }

    fn parse(line: &str) -> Option<Self> {
        let (generation, segment) = line.trim_end().split_once(' ')?;
        Some(Self { generation: generation.parse().ok()?, segment: Segment::of_file(segment)? })
    }

    fn print(&self) -> String {
        format!("{:020} {}\n", self.generation, self.segment.file())
    }
}

/// Whether an error is one object's own. The others, lack of descriptors for example, fail the whole reading.
fn concerns_object(error: &StoreError) -> bool {
    match error {
        StoreError::Damaged(_) | StoreError::Newer(_) => true,
        StoreError::Io { source, .. } => {
            matches!(source.raw_os_error(), Some(libc::EACCES | libc::EIO | libc::EISDIR))
        }
        _ => false,
    }
}

impl Store {
    /// The index without a lock: perhaps of a moment ago, and never written back.
    pub(super) fn glance_index(&self) -> Result<Index, StoreError> {
        self.stored_index()?.map_or_else(|| self.rebuild_index(), Ok)
    }

    /// The index; rebuilt from the objects if it is lost or unreadable. The store must be locked.
    pub(super) fn load_index(&self) -> Result<Index, StoreError> {
        match self.stored_index()? {
            Some(index) => Ok(index),
            None => {
                let index = self.rebuild_index()?;
                self.save_index(&index, true)?;
                Ok(index)
            }
        }
    }

    /// The generation that the index was last written for, if that can be read.
    pub(super) fn indexed_generation(&self) -> Result<Option<u64>, StoreError> {
        let start = self.vfs.read_start(&self.run.join(FILE), HEADER);
        let start = start.map_err(StoreError::io("reading the index"))?.unwrap_or_default();
        Ok(Header::of_file(&start).map(|header| header.generation))
    }

    /// Writes the generation of the next change, which concerns no qube; nothing where the last one's cannot be read.
    pub(super) fn begin_generation(&self) -> Result<Option<u64>, StoreError> {
        let mut begun = None;
        let renewed = self.renew_header(|generation| {
            begun = generation.map(|last| last.saturating_add(1));
            begun
        });
        match (renewed, begun) {
            (Err(error), None) => return Err(StoreError::io("reading the index")(error)),
            (Err(_), Some(_)) => self.drop_index()?,
            (Ok(()), _) => {}
        }
        Ok(begun)
    }

    /// The index as it was last written, if it can be read.
    pub(super) fn stored_index(&self) -> Result<Option<Index>, StoreError> {
        let stored = self.vfs.read(&self.run.join(FILE)).map_err(StoreError::io("reading the index"))?;
        Ok(stored.and_then(Index::parse))
    }

    /// Reads every object. One that cannot be read is logged and left out, so that the others are still served.
    pub(super) fn rebuild_index(&self) -> Result<Index, StoreError> {
        // In the order of lists.
        let mut entries = BTreeMap::new();
        let mut left_out = None;
        let mut generation = self.newest_published()?;
        let files = self.vfs.list(&self.state.join("qubes")).map_err(StoreError::io("listing qubes"))?;
        let names = files.iter().filter_map(|file| QubeName::parse(file.strip_suffix(".json")?).ok());
        for name in names {
            match self.load_qube(&name) {
                Ok(None) => {}
                Ok(Some((written, qube))) => {
                    generation = generation.max(written);
                    entries.insert((!name.is_dom0(), name), Entry::of(&qube));
                }
                Err(error) if concerns_object(&error) => {
                    log::line(&format!("{error}; left out"));
                    left_out = left_out.or(Some(Key::Qube(name).file()));
                }
                Err(error) => return Err(error),
            }
        }
        for key in [Key::System, Key::Labels, Key::Pools] {
            if let Ok(Some((written, _))) = self.load::<IgnoredAny>(&key.file()) {
                generation = generation.max(written);
            }
        }
        let (segment, entries) = (Segment::default(), entries.into_values().collect());
        Ok(Index { generation, segment, entries, left_out })
    }

    /// Writes the index back after a commit. If it cannot be written it is dropped, which costs a rebuild.
    pub(super) fn save_index(&self, index: &Index, entries_changed: bool) -> Result<(), StoreError> {
        if index.left_out.is_some() {
            return self.drop_index();
        }
        if !entries_changed {
            return self.save_generation(index.generation);
        }
        self.put(&self.run.join(FILE), &index.to_bytes(), false).or_else(|_| self.drop_index())
    }

    /// Writes the generation of a change whose entries are what they were.
    fn save_generation(&self, generation: u64) -> Result<(), StoreError> {
        self.renew_header(|_| Some(generation)).or_else(|_| self.drop_index())
    }

    /// Overwrites the first line with the generation that `next` makes of its own, if any. The newest segment is learnt from
    /// that line where it is not known, and written there.
    fn renew_header(&self, mut next: impl FnMut(Option<u64>) -> Option<u64>) -> io::Result<()> {
        self.vfs.renew_start(&self.run.join(FILE), HEADER, &mut |start| {
            let header = Header::of_file(start);
            let segment = self.newest.get().or(header.map(|header| header.segment)).unwrap_or_default();
            self.newest.set(Some(segment));
            let generation = next(header.map(|header| header.generation))?;
            Some(Header { generation, segment }.print().into_bytes())
        })
    }

    /// Drops the index: it may be behind. What is kept by its generation goes first, as one that nothing else tells may be given
    /// out again.
    pub(super) fn drop_index(&self) -> Result<(), StoreError> {
        let drop = |file: &str| self.vfs.remove(&self.run.join(file));
        drop(SYSTEM_INFO).and_then(|()| drop(FILE)).map_err(StoreError::io("dropping the index"))
    }

    /// A qube and its generation. One in the file of another is damage: changing it would change the other.
    pub(super) fn load_qube(&self, name: &QubeName) -> Result<Option<(u64, Qube)>, StoreError> {
        let file = Key::Qube(name.clone()).file();
        match self.load::<Qube>(&file)? {
            Some((_, qube)) if qube.name != *name => Err(StoreError::Damaged(file)),
            loaded => Ok(loaded),
        }
    }

    /// One object and its generation.
    pub(super) fn load<T: serde::de::DeserializeOwned>(
        &self,
        file: &str,
    ) -> Result<Option<(u64, T)>, StoreError> {
        self.read_object(file)?.map(|bytes| decode(file, &bytes)).transpose()
    }

    pub(super) fn read_object(&self, file: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.state.join(file);
        self.vfs.read(&path).map_err(|source| StoreError::Io { what: format!("reading {file}"), source })
    }
}

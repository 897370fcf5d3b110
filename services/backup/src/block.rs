//! Blocks of tar: the header of an entry, its extended header, and what fills up the last block.

/// What archives are made of.
pub(crate) const BLOCK: u64 = 512;
const BLOCK_BYTES: usize = 512;
/// The longest name a header has room for.
const NAME: usize = 100;
/// Lengths from here on have no place in a header.
const LONG: u64 = 1 << 33;
/// Numbers of users and groups from here on neither.
const MANY: u32 = 1 << 21;

/// What an entry is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Records about the entry that follows.
    Extended,
    File,
    Link,
    Directory,
    Pipe,
}

impl Kind {
    fn flag(self) -> &'static [u8] {
        match self {
            Self::Extended => b"x",
            Self::File => b"0",
            Self::Link => b"2",
            Self::Directory => b"5",
            Self::Pipe => b"6",
        }
    }
}

/// What a header says about an entry.
#[derive(Clone)]
pub(crate) struct About {
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) user: u32,
    pub(crate) group: u32,
    pub(crate) length: u64,
    pub(crate) time: u64,
    /// Where a link leads.
    pub(crate) target: Vec<u8>,
}

impl About {
    /// A file that is for its owner alone.
    pub(crate) fn file(length: u64, time: u64) -> Self {
        Self { kind: Kind::File, mode: 0o600, user: 0, group: 0, length, time, target: Vec::new() }
    }
}

/// A record of an extended header.
pub(crate) type Record = (&'static str, Vec<u8>);

/// A header of POSIX's form. What is too long is cut: the extended header has it.
fn header(name: &[u8], about: &About) -> Vec<u8> {
    let mut block = vec![0; BLOCK_BYTES];
    let short = |number: u32| if number < MANY { number } else { 0 };
    let (mode, user, group) = (about.mode & 0o7777, short(about.user), short(about.group));
    let length = if about.length < LONG { about.length } else { 0 };
    put(&mut block, 0, name.get(..NAME).unwrap_or(name));
    put(&mut block, 100, format!("{mode:07o}\0{user:07o}\0{group:07o}\0").as_bytes());
    put(&mut block, 124, format!("{length:011o}\0{:011o}\0", about.time.min(LONG - 1)).as_bytes());
    put(&mut block, 148, &[b' '; 8]);
    put(&mut block, 156, about.kind.flag());
    put(&mut block, 157, about.target.get(..NAME).unwrap_or(&about.target));
    put(&mut block, 257, b"ustar\x0000");
    let sum: u32 = block.iter().copied().map(u32::from).sum();
    put(&mut block, 148, format!("{sum:06o}\0").as_bytes());
    block
}

fn put(block: &mut [u8], offset: usize, bytes: &[u8]) {
    for (to, from) in block.iter_mut().skip(offset).zip(bytes) {
        *to = *from;
    }
}

/// An entry's header, with an extended one before it where anything asks for that.
pub(crate) fn entry(name: &[u8], about: &About, records: &[Record]) -> Vec<u8> {
    let has_no_room = |text: &[u8]| text.len() > NAME || !text.is_ascii();
    let more = [
        has_no_room(name).then(|| ("path", name.to_vec())),
        has_no_room(&about.target).then(|| ("linkpath", about.target.clone())),
        (about.length >= LONG).then(|| ("size", about.length.to_string().into_bytes())),
        (about.user >= MANY).then(|| ("uid", about.user.to_string().into_bytes())),
        (about.group >= MANY).then(|| ("gid", about.group.to_string().into_bytes())),
    ];
    let records: Vec<u8> =
        records.iter().cloned().chain(more.into_iter().flatten()).flat_map(record).collect();
    let mut entry = Vec::new();
    if !records.is_empty() {
        let name = beside(name, &format!("PaxHeaders.{}", std::process::id()));
        let about = About { kind: Kind::Extended, ..About::file(records.len() as u64, about.time) };
        entry.extend(header(&name, &about));
        entry.extend(&records);
        entry.resize(entry.len().next_multiple_of(BLOCK_BYTES), 0);
    }
    entry.extend(header(name, about));
    entry
}

/// The name with a folder before its last part.
pub(crate) fn beside(name: &[u8], folder: &str) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = name.split(|byte| *byte == b'/').collect();
    if parts.len() == 1 {
        parts.insert(0, b".");
    }
    parts.insert(parts.len().saturating_sub(1), folder.as_bytes());
    parts.join(&b'/')
}

/// A record: its own length, too, is part of its length.
fn record((key, value): Record) -> Vec<u8> {
    let rest = [b" ", key.as_bytes(), b"=", &value, b"\n"].concat();
    let mut length = rest.len();
    while length != rest.len().saturating_add(length.to_string().len()) {
        length = rest.len().saturating_add(length.to_string().len());
    }
    [length.to_string().as_bytes(), &rest].concat()
}

/// What is missing after this many bytes up to a whole number of these units.
pub(crate) fn padding(length: u64, unit: u64) -> u64 {
    length.checked_next_multiple_of(unit).map_or(0, |whole| whole.saturating_sub(length))
}

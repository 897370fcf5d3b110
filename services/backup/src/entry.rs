//! Reads archives of tar: headers and extended headers, as the programs and ours write them.

use std::io::{self, Read};

use crate::block::BLOCK;
use crate::{Error, Result};

/// Extended headers and long names of more than this are none of ours.
const MOST_RECORDS: u64 = 64 << 10;
/// How many extended headers an entry may have.
const MOST_HEADERS: usize = 8;
const MALFORMED: Error = Error::Altered("an archive in it is malformed");

pub(crate) type Block = [u8; BLOCK as usize];

/// A header and what the extended ones before it say.
pub(crate) struct Entry {
    pub(crate) name: Vec<u8>,
    pub(crate) kind: u8,
    /// Length of what follows.
    pub(crate) length: u64,
    /// Where a link leads.
    pub(crate) target: Vec<u8>,
    /// Records whose keys begin with `GNU.sparse.`, without that.
    pub(crate) sparse: Vec<(String, Vec<u8>)>,
    pub(crate) block: Block,
}

impl Entry {
    /// A record about where there is data.
    pub(crate) fn sparse(&self, key: &str) -> Option<&str> {
        self.record(key).and_then(text)
    }

    /// Its name, which is another one where there are holes.
    pub(crate) fn whole_name(&self) -> &[u8] {
        self.record("name").unwrap_or(&self.name)
    }

    fn record(&self, key: &str) -> Option<&[u8]> {
        self.sparse.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_slice())
    }
}

/// Reads a block, or finds the end where one would begin.
pub(crate) fn block(input: &mut dyn Read) -> Result<Option<Block>> {
    let mut block = [0; BLOCK as usize];
    let mut filled = 0;
    while let Some(rest) = block.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match input.read(rest) {
            Ok(0) if filled == 0 => return Ok(None),
            Ok(0) => return Err(Error::Truncated),
            Ok(length) => filled = filled.saturating_add(length),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::reading(error)),
        }
    }
    Ok(Some(block))
}

/// Reads the entry that begins with this block.
pub(crate) fn entry(mut block: Block, input: &mut dyn Read) -> Result<Entry> {
    let (mut name, mut target, mut length, mut sparse) = (None, None, None, Vec::new());
    for _ in 0..MOST_HEADERS {
        check_sum(&block)?;
        let own_length = number(field(&block, 124, 12)).ok_or(MALFORMED)?;
        match kind(&block) {
            b'x' => {
                for (key, value) in records(&body(own_length, input)?)? {
                    match (key.as_str(), key.strip_prefix("GNU.sparse.")) {
                        ("path", _) => name = Some(value),
                        ("linkpath", _) => target = Some(value),
                        ("size", _) => length = Some(text(&value).and_then(decimal).ok_or(MALFORMED)?),
                        (_, Some(key)) => sparse.push((key.to_owned(), value)),
                        _ => {}
                    }
                }
            }
            b'L' => name = Some(until_nul(&body(own_length, input)?).to_vec()),
            b'K' => target = Some(until_nul(&body(own_length, input)?).to_vec()),
            kind => {
                let name = name.unwrap_or_else(|| own_name(&block));
                let target = target.unwrap_or_else(|| until_nul(field(&block, 157, 100)).to_vec());
                return Ok(Entry { name, kind, length: length.unwrap_or(own_length), target, sparse, block });
            }
        }
        block = self::block(input)?.ok_or(Error::Truncated)?;
    }
    Err(MALFORMED)
}

/// What follows an extended header.
fn body(length: u64, input: &mut dyn Read) -> Result<Vec<u8>> {
    if length > MOST_RECORDS {
        return Err(MALFORMED);
    }
    let mut body = Vec::new();
    for _ in 0..length.div_ceil(BLOCK) {
        body.extend(block(input)?.ok_or(Error::Truncated)?);
    }
    let padding = body.split_off(usize::try_from(length).unwrap_or_default());
    if padding.iter().any(|byte| *byte != 0) { Err(MALFORMED) } else { Ok(body) }
}

/// The records of an extended header, each of which tells its own length.
fn records(mut bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let space = bytes.iter().position(|byte| *byte == b' ').ok_or(MALFORMED)?;
        let length = bytes.get(..space).and_then(text).and_then(decimal).ok_or(MALFORMED)?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let (record, rest) = bytes.split_at_checked(length).ok_or(MALFORMED)?;
        let record = record.get(space.saturating_add(1)..).and_then(|record| record.strip_suffix(b"\n"));
        let record = record.ok_or(MALFORMED)?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or(MALFORMED)?;
        let (key, value) = record.split_at_checked(equals).ok_or(MALFORMED)?;
        records.push((text(key).ok_or(MALFORMED)?.to_owned(), value.get(1..).unwrap_or_default().to_vec()));
        bytes = rest;
    }
    Ok(records)
}

fn kind(block: &Block) -> u8 {
    block.get(156).copied().unwrap_or_default()
}

/// The name in the header itself. POSIX's form has room for what comes before it.
fn own_name(block: &Block) -> Vec<u8> {
    let name = until_nul(field(block, 0, 100));
    let prefix = until_nul(field(block, 345, 155));
    let has_prefix = field(block, 257, 6) == b"ustar\0" && !prefix.is_empty();
    if has_prefix { [prefix, b"/", name].concat() } else { name.to_vec() }
}

/// The sum of a header's bytes must be what it says, as all programs write it.
fn check_sum(block: &Block) -> Result<()> {
    let said = field(block, 148, 8);
    let others = block.iter().copied().map(u32::from).sum::<u32>();
    let sum = others.saturating_sub(said.iter().copied().map(u32::from).sum()).saturating_add(8 * 32);
    let forms = [format!("{sum:06o}\0 "), format!("{sum:07o}\0"), format!("{sum:06o} \0")];
    let is_right = forms.iter().any(|form| form.as_bytes() == said);
    if is_right { Ok(()) } else { Err(MALFORMED) }
}

/// A part of a block.
pub(crate) fn field(block: &[u8], offset: usize, length: usize) -> &[u8] {
    block.get(offset..offset.saturating_add(length)).unwrap_or_default()
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// A decimal number, of digits alone.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_plain { text.parse().ok() } else { None }
}

/// A number in a header: octal digits, or bytes where those do not suffice.
pub(crate) fn number(field: &[u8]) -> Option<u64> {
    if let Some((0x80, rest)) = field.split_first() {
        let (high, low) = rest.split_last_chunk::<8>()?;
        return high.iter().all(|byte| *byte == 0).then(|| u64::from_be_bytes(*low));
    }
    let text = text(until_nul(field))?.trim_matches(' ');
    if text.is_empty() || !text.bytes().all(|byte| matches!(byte, b'0'..=b'7')) {
        return None;
    }
    u64::from_str_radix(text, 8).ok()
}

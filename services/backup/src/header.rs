//! The header: plain text that tells how the rest is to be read.

use std::collections::BTreeMap;
use std::fmt;

use crate::{Error, Result};

/// The only version that is written, and that can be read.
pub(crate) const VERSION: u8 = 4;
/// What authenticates each member of such a backup.
const AUTHENTICATION: &str = "scrypt";
/// The filter where none is named.
const USUAL: &str = "gzip";

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whether each file went through the filter.
    pub compressed: bool,
    /// The filter, one word; it stands there whether used or not.
    pub filter: String,
    /// Tells backups apart.
    pub id: BackupId,
}

/// A backup's id: letters, digits and dashes, not beginning with a dash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupId(String);

impl BackupId {
    /// # Errors
    /// If the text is none.
    pub fn new(text: &str) -> Result<Self> {
        if text.is_empty() || text.starts_with('-') || !text.bytes().all(is_plain) {
            return Err(Error::Header("has an id that is none"));
        }
        Ok(Self(text.to_owned()))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Header {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "version={VERSION}\nencrypted=True")?;
        writeln!(formatter, "compressed={}", if self.compressed { "True" } else { "False" })?;
        if !self.filter.is_empty() {
            writeln!(formatter, "compression-filter={}", self.filter)?;
        }
        writeln!(formatter, "hmac-algorithm={AUTHENTICATION}\nbackup-id={}", self.id.0)
    }
}

impl Header {
    /// Reads a header. Keys that nobody knows are passed over.
    ///
    /// # Errors
    /// If it is malformed, or of a backup that cannot be read.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let fields = fields(bytes)?;
        let of = |key: &str| fields.get(key).copied();
        let version: u8 = of("version")
            .and_then(|text| text.parse().ok())
            .filter(|version| (1..=VERSION).contains(version))
            .ok_or(Error::Header("has no version that is known"))?;
        if version != VERSION {
            return Err(Error::Header("is of an old version, which cannot be read"));
        } else if !of("encrypted").is_some_and(is_true) {
            return Err(Error::Header("is of a backup that is not encrypted, which cannot be read"));
        } else if of("crypto-algorithm").is_some() || of("hmac-algorithm") != Some(AUTHENTICATION) {
            return Err(Error::Header("names algorithms that its version does not have"));
        }
        let filter = of("compression-filter").unwrap_or(USUAL);
        if filter.is_empty() {
            return Err(Error::Header("names no filter"));
        }
        let id = of("backup-id").ok_or(Error::Header("has no id"))?;
        Ok(Self {
            compressed: of("compressed").is_some_and(is_true),
            filter: filter.to_owned(),
            id: BackupId::new(id)?,
        })
    }
}

/// The version that a header tells, proven or not: others are proven in other ways.
pub(crate) fn version(bytes: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(bytes).ok()?;
    text.lines().find_map(|line| line.strip_prefix("version="))?.parse().ok()
}

/// The fields, none of which may stand there twice.
fn fields(bytes: &[u8]) -> Result<BTreeMap<&str, &str>> {
    let text = std::str::from_utf8(bytes).map_err(|_| Error::Header("is not plain text"))?;
    let text = text.strip_suffix('\n').ok_or(Error::Header("does not end with a line"))?;
    let mut fields = BTreeMap::new();
    for line in text.split('\n') {
        let (key, value) = line.split_once('=').ok_or(Error::Header("has a line without a value"))?;
        if !key.bytes().chain(value.bytes()).all(is_plain) {
            return Err(Error::Header("has forbidden characters"));
        } else if fields.insert(key, value).is_some() {
            return Err(Error::Header("tells the same twice"));
        }
    }
    Ok(fields)
}

/// One character of those that keys and values are made of.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}

fn is_true(value: &str) -> bool {
    ["1", "true", "yes"].iter().any(|word| value.eq_ignore_ascii_case(word))
}

//! The past of the store's objects: the files that changes of configuration put aside, each with who made it (ADR 15).
//!
//! Such a change exchanges the new file with the one that is there, by one operation on their directory. So the old one is
//! kept exactly when the change takes effect, and becomes durable with it.

use std::fmt;
use std::path::Path;

use serde_json::Value as Json;

use super::{Key, Store, StoreError, decode};
use crate::files;

/// How many old states of an object are kept.
pub const KEPT: u64 = 16;

/// Who made an object's configuration what it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stamp {
    /// The change: the generation that it made. Nothing is known of one numbered 0.
    pub change: u64,
    /// How many changes of the configuration there were before.
    pub before: u64,
    /// Seconds since 1970.
    pub time: u64,
    /// The calling qube.
    pub caller: String,
    /// The method; empty for what no call did.
    pub method: String,
}

/// One state of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Who made it.
    pub stamp: Stamp,
    /// The object.
    pub content: Json,
}

/// The words that an object's file has.
impl fmt::Display for Stamp {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { change, before, time, caller, method } = self;
        write!(out, "{change} {before} {time} {caller} {method}")
    }
}

impl Stamp {
    fn of_words(words: &str) -> Option<Self> {
        let mut words = words.split(' ');
        let mut number = || words.next()?.parse().ok();
        let (change, before, time) = (number()?, number()?, number()?);
        let mut text = || words.next().map(str::to_owned);
        Some(Self { change, before, time, caller: text()?, method: text()? })
    }
}

/// The stamp in an object's file, as our own writer puts it; one that somebody else wrote has none.
pub(super) fn stamp_of(bytes: &[u8]) -> Stamp {
    const HEAD: usize = 4;
    let stamp = |line: &[u8]| {
        let words = line.strip_prefix(b"  \"changed\": \"")?.strip_suffix(b"\",")?;
        Stamp::of_words(str::from_utf8(words).ok()?)
    };
    bytes.split(|byte| *byte == b'\n').take(HEAD).find_map(stamp).unwrap_or_default()
}

/// Where an object's file goes when it is replaced for the so-and-so-many-th time. Whoever writes the new one writes it there
/// first.
pub(super) fn place(file: &str, before: u64) -> String {
    let slot = before.checked_rem(KEPT).unwrap_or_default();
    files::beside(Path::new(file), &format!(".{slot}")).to_string_lossy().into_owned()
}

impl Store {
    /// All known states of an object, oldest first. The last is the present one, unless the object is gone.
    ///
    /// # Errors
    /// What the file system says, and what cannot be read of the present state.
    pub fn versions(&self, key: &Key) -> Result<Vec<Version>, StoreError> {
        let file = key.file();
        let present = self.version(&file)?.transpose()?;
        let mut versions = Vec::new();
        for number in 0..KEPT {
            // What cannot be read was never whole.
            versions.extend(self.version(&place(&file, number))?.and_then(Result::ok));
        }
        // One that a killed change wrote, and did not put in place, is newer.
        versions.retain(|old| present.as_ref().is_none_or(|now| old.stamp.change < now.stamp.change));
        versions.sort_by_key(|version| version.stamp.change);
        versions.extend(present);
        Ok(versions)
    }

    fn version(&self, file: &str) -> Result<Option<Result<Version, StoreError>>, StoreError> {
        let bytes =
            self.vfs.read(&self.state.join(file)).map_err(StoreError::io(format!("reading {file}")))?;
        Ok(bytes.map(|bytes| {
            let (_, content) = decode::<Json>(file, &bytes)?;
            Ok(Version { stamp: stamp_of(&bytes), content })
        }))
    }

    /// Every object there is or was.
    ///
    /// # Errors
    /// What the file system says.
    pub fn past_and_present(&self) -> Result<Vec<Key>, StoreError> {
        let files = self.vfs.list(&self.state.join("qubes")).map_err(StoreError::io("listing qubes"))?;
        let whole = |file: &String| match file.strip_prefix('.') {
            Some(hidden) => hidden.rsplit_once('.').map_or_else(String::new, |(name, _)| name.to_owned()),
            None => file.clone(),
        };
        let qubes = files.iter().filter_map(|file| Key::of_file(&format!("qubes/{}", whole(file))));
        let mut keys: Vec<Key> = [Key::System, Key::Labels, Key::Pools].into_iter().chain(qubes).collect();
        keys.sort();
        keys.dedup();
        Ok(keys)
    }
}

#[cfg(test)]
mod tests {
    use super::super::object::encode_stamped;
    use super::*;

    #[test]
    fn stamps_are_read_as_they_were_written() {
        for method in ["admin.vm.tag.Set", ""] {
            let (caller, method) = ("mgmt".to_owned(), method.to_owned());
            let stamp = Stamp { change: 7, before: 3, time: 1_700_000_000, caller, method };
            assert_eq!(stamp_of(&encode_stamped(9, &stamp, &"object").unwrap()), stamp);
        }
        let none = Stamp::default();
        assert_eq!(stamp_of(&encode_stamped(9, &none, &"object").unwrap()), none);
        for bytes in [&b""[..], b"{\"changed\": \"1 2 3 a b\"}", b"\n  \"changed\": \"1 2 x a b\",\n"] {
            assert_eq!(stamp_of(bytes), none);
        }
    }
}

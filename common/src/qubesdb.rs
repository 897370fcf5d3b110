//! QubesDB: the small database that dom0 keeps for each running qube and that the qube reads. Its daemon is another
//! package's; this is what is said to it, and what it tells.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::names::QubeName;
use crate::root::Root;
use crate::untrusted::Untrusted;
use crate::{files, log, peer};

/// The longest key and the longest value.
const KEY_MAX: usize = 63;
const VALUE_MAX: usize = 3072;
/// How long an answer of the daemon may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// Numbers of the messages we know.
const WRITE: u8 = 1;
const READ_BELOW: u8 = 2;
const REMOVE: u8 = 4;
const WATCH: u8 = 5;
const OK: u8 = 7;
const NO_ENTRY: u8 = 8;
const BELOW: u8 = 11;
const CHANGED: u8 = 13;
/// The most entries that are taken in at once: a guest may write as many as it likes.
const ENTRIES_MAX: usize = 4096;
/// Each message has the same head: its number, the key up to here, and the length of the value that follows.
const KEY_END: usize = 68;
const HEAD: usize = 72;

/// One entry as it shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its key; one that ends with a slash stands for all entries below.
    pub key: String,
    /// Its value; none if there shall be no such entry.
    pub value: Option<String>,
}

impl Entry {
    /// One that shall be there.
    pub fn new(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { key: key.into(), value: Some(value.into()) }
    }

    /// One that shall not be there.
    pub fn none(key: impl Into<String>) -> Self {
        Self { key: key.into(), value: None }
    }

    fn fits(&self) -> bool {
        let value = self.value.as_ref().map_or(0, String::len);
        self.key.len() <= KEY_MAX && value <= VALUE_MAX
    }
}

/// The database of a running qube.
pub struct Database(UnixStream);

impl Database {
    /// The one of that qube; nothing if it has none.
    ///
    /// # Errors
    /// What the system says.
    pub fn of(root: &Root, qube: &QubeName) -> io::Result<Option<Self>> {
        Ok(peer::reach(&socket(root, qube), DEADLINE)?.map(Self))
    }

    /// Brings entries about, in this order. What a key or value of the database cannot hold is left out.
    ///
    /// # Errors
    /// If the daemon refuses, goes away or does not answer in time.
    pub fn put(&mut self, entries: &[Entry]) -> io::Result<()> {
        for entry in entries {
            if entry.fits() {
                self.put_one(entry)?;
            } else {
                log::line(&format!("QubesDB: {} is too long and left out", entry.key));
            }
        }
        Ok(())
    }

    fn put_one(&mut self, entry: &Entry) -> io::Result<()> {
        let number = if entry.value.is_some() { WRITE } else { REMOVE };
        self.0.write_all(&message(number, &entry.key, entry.value.as_deref().unwrap_or_default())?)?;
        let mut answer = [0; HEAD];
        self.0.read_exact(&mut answer)?;
        match answer[0] {
            OK => Ok(()),
            NO_ENTRY if number == REMOVE => Ok(()),
            _ => Err(io::Error::other(format!("QubesDB refuses {}", entry.key))),
        }
    }
}

/// Key and value of an entry that the qube itself may have written.
pub type Written = (Untrusted, Untrusted);

impl Database {
    /// All entries whose keys begin with `prefix`, in the order of keys.
    ///
    /// # Errors
    /// If the daemon talks of something else, goes away, or has too much to say for the time it has.
    pub fn below(&mut self, prefix: &str) -> io::Result<Vec<Written>> {
        let begun = Instant::now();
        self.0.write_all(&message(READ_BELOW, prefix, "")?)?;
        let mut entries = Vec::new();
        while let Some(entry) = self.entry()? {
            entries.push(entry);
            if entries.len() > ENTRIES_MAX || begun.elapsed() > DEADLINE {
                return Err(io::Error::other("QubesDB has too many entries"));
            }
        }
        Ok(entries)
    }

    /// From here on changes of what begins like that are heard of.
    ///
    /// # Errors
    /// As [`Database::put`].
    pub fn watch(&mut self, prefix: &str) -> io::Result<()> {
        self.0.write_all(&message(WATCH, prefix, "")?)?;
        loop {
            match self.number()? {
                OK => return Ok(()),
                CHANGED => {}
                _ => return Err(io::Error::other("QubesDB does not watch")),
            }
        }
    }

    /// Waits for a change of what is watched; tells whether there was one before the deadline.
    ///
    /// # Errors
    /// If the daemon goes away, or talks of something else.
    pub fn has_changed_within(&mut self, deadline: Duration) -> io::Result<bool> {
        self.0.set_read_timeout(Some(deadline))?;
        match self.number() {
            Ok(CHANGED) => Ok(true),
            Ok(_) => Err(io::Error::other("QubesDB answers something else")),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The number of the next message, which has no value.
    fn number(&mut self) -> io::Result<u8> {
        let mut head = [0; HEAD];
        self.0.read_exact(&mut head)?;
        let [number, ..] = head;
        Ok(number)
    }

    /// One entry of an answer; the last has no key.
    fn entry(&mut self) -> io::Result<Option<Written>> {
        let mut head = [0; HEAD];
        self.0.read_exact(&mut head)?;
        let [number, key @ .., a, b, c, d] = head;
        let length = usize::try_from(u32::from_ne_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        if number != BELOW || length > VALUE_MAX {
            return Err(io::Error::other("QubesDB answers something else"));
        }
        let mut value = vec![0; length];
        self.0.read_exact(&mut value)?;
        let key: Vec<u8> = key.into_iter().take_while(|byte| *byte != 0).collect();
        Ok((!key.is_empty()).then(|| (Untrusted::new(key), Untrusted::new(value))))
    }
}

fn message(number: u8, key: &str, value: &str) -> io::Result<Vec<u8>> {
    let length = u32::try_from(value.len()).map_err(io::Error::other)?;
    let mut message = vec![number];
    message.extend_from_slice(key.as_bytes());
    message.resize(KEY_END, 0);
    message.extend_from_slice(&length.to_ne_bytes());
    message.extend_from_slice(value.as_bytes());
    Ok(message)
}

/// Where the daemon of a qube's database listens.
fn socket(root: &Root, qube: &QubeName) -> PathBuf {
    root.path(&format!("/run/qubes/qubesdb.{qube}.sock"))
}

/// Whether a qube seems to have a database now.
pub fn exists(root: &Root, qube: &QubeName) -> bool {
    files::exists(&socket(root, qube))
}

/// Ends the daemon of a qube's database, if it still runs.
///
/// # Errors
/// As [`peer::end`].
pub fn end(root: &Root, qube: &QubeName) -> io::Result<()> {
    peer::end(&socket(root, qube))
}

//! QubesDB: the small database that dom0 keeps for each running qube and that the qube reads. Its daemon is another
//! package's; this is what is said to it.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use crate::names::QubeName;
use crate::root::Root;
use crate::{files, log, peer};

/// The longest key and the longest value.
const KEY_MAX: usize = 63;
const VALUE_MAX: usize = 3072;
/// How long an answer of the daemon may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// Numbers of the messages we know.
const WRITE: u8 = 1;
const REMOVE: u8 = 4;
const OK: u8 = 7;
const NO_ENTRY: u8 = 8;
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

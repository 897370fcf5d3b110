//! The past of files that are configuration, as policy and notes: each change keeps the old file beside the new one, under a
//! hidden name that tells who made the change (ADR 15).
//!
//! What a change was follows from comparing the state before it with the next one. So one that was killed before it took
//! effect is none, whatever it left. The past is kept as far as the file system lets: no change waits or fails for it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::names::QubeName;
use crate::{clock, files};

/// How many old states of a file are kept.
pub const KEPT: usize = 16;

/// Stands between the parts of a hidden name: none of them has it.
const BETWEEN: &str = "+";
/// Ends the name of what stands for the state before there was a file.
const MADE: &str = "made";

/// One change of a file, which took effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Which of the file's changes it is.
    pub number: u64,
    /// Seconds since 1970.
    pub time: u64,
    /// The calling qube.
    pub caller: String,
    /// The method.
    pub method: String,
    /// The content before, where there was a file.
    pub before: Option<Vec<u8>>,
    /// The content after.
    pub after: Option<Vec<u8>>,
    /// Whether somebody wrote to the file since, by no call.
    pub is_edited: bool,
}

/// Replaces a file durably, or removes it where there is no content, and keeps the old one.
///
/// # Errors
/// What the system says; the old file is then still there.
pub fn change(
    path: &Path,
    content: Option<&[u8]>,
    mode: u32,
    caller: &QubeName,
    method: &str,
) -> io::Result<()> {
    let records = records(path).unwrap_or_default();
    let number = records.last().map_or(1, |last| last.number.saturating_add(1));
    // Before its number, so that no file is younger than its change unless somebody edited it.
    let new = content.map(|content| files::write_beside(path, content, mode)).transpose()?;
    let kept =
        keep(path, mode, &[&number.to_string(), &clock::seconds_now().to_string(), caller.as_str(), method]);
    let done = match new {
        Some(new) => files::put_in_place(&new, path),
        None => files::remove(path).and_then(|()| files::sync_directory(path)),
    };
    let is_changed = || files::read_if_present(path).is_ok_and(|now| now.as_deref() == content);
    if done.is_ok() || is_changed() {
        forget(&records);
    } else {
        let _ = files::remove(&kept);
    }
    done
}

/// Keeps the present state under a hidden name of these parts; gives that name.
fn keep(path: &Path, mode: u32, parts: &[&str]) -> PathBuf {
    let name = |parts: &[&str]| files::beside(path, &format!("{BETWEEN}{}", parts.join(BETWEEN)));
    let kept = name(parts);
    match files::hard_link(path, &kept) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let made = name(&[parts, &[MADE]].concat());
            let _ = files::touch(&made, mode);
            made
        }
        _ => kept,
    }
}

/// Removes the oldest states but for as many as are kept.
fn forget(records: &[Record]) {
    let many = records.len().saturating_add(1).saturating_sub(KEPT);
    for record in records.iter().take(many) {
        let _ = files::remove(&record.path);
    }
}

/// All known changes of a file, oldest first.
///
/// # Errors
/// What the file system says.
pub fn changes(path: &Path) -> io::Result<Vec<Change>> {
    let records = records(path)?;
    let mut states = Vec::new();
    for record in &records {
        states.push(if record.is_made { (None, 0) } else { state(&record.path)? });
    }
    states.push(state(path)?);
    let pairs = records.into_iter().zip(states.iter().zip(states.iter().skip(1)));
    let changes = pairs.map(|(record, ((before, _), (after, written)))| Change {
        number: record.number,
        is_edited: *written > record.time,
        time: record.time,
        caller: record.caller,
        method: record.method,
        before: before.clone(),
        after: after.clone(),
    });
    Ok(changes.filter(|change| change.before != change.after).collect())
}

/// Content and time of a file, if it is there.
fn state(path: &Path) -> io::Result<(Option<Vec<u8>>, u64)> {
    let content = files::read_if_present(path)?;
    let written = files::present(files::about(path))?.and_then(|about| about.modified().ok());
    let written = written.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    Ok((content, written.map_or(0, |time| time.as_secs())))
}

/// Names of the files in a directory that have a past, whether or not they are there still.
///
/// # Errors
/// What the file system says.
pub fn files_with_past(directory: &Path) -> io::Result<Vec<String>> {
    let names = files::present(files::list(directory))?.unwrap_or_default();
    let mut files: Vec<String> =
        names.iter().filter_map(|name| Record::of(directory, name)).map(|(file, _)| file).collect();
    files.sort();
    files.dedup();
    Ok(files)
}

/// An old state of a file.
struct Record {
    path: PathBuf,
    number: u64,
    time: u64,
    caller: String,
    method: String,
    is_made: bool,
}

impl Record {
    /// What a hidden name tells, and the file whose state it is.
    fn of(directory: &Path, name: &str) -> Option<(String, Self)> {
        let mut parts = name.strip_prefix('.')?.split(BETWEEN);
        let file = parts.next()?.to_owned();
        let (number, time) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let (caller, method) = (parts.next()?.to_owned(), parts.next()?.to_owned());
        let is_made = parts.next() == Some(MADE);
        let path = directory.join(name);
        Some((file, Self { path, number, time, caller, method, is_made }))
    }
}

/// A file's old states, oldest first.
fn records(path: &Path) -> io::Result<Vec<Record>> {
    let directory = path.parent().unwrap_or(path);
    let names = files::list(directory)?;
    let own = names.iter().filter_map(|name| Record::of(directory, name));
    let own = own.filter(|(file, _)| path.file_name().is_some_and(|name| name == file.as_str()));
    let mut records: Vec<Record> = own.map(|(_, record)| record).collect();
    records.sort_by_key(|record| record.number);
    Ok(records)
}

//! The format of backups, in both directions against the programs that it is made for: `tar`, `gzip`, `scrypt` (spec 40 §15, §16).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "test code"
)]

use std::fs::File;
use std::io::Write;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::Path;

use backup::{
    BackupId, Content, Cost, Header, Options, Passphrase, Reader, Reading, Result, Sink, Verified, Writer,
};

mod altered;
mod programs;
mod reading;
mod round_trip;
mod runs;
mod writing;

/// As people choose them.
const PASSPHRASE: &str = "pässwörd ✓ 'quoted'";
const ID: &str = "20230405T123455-1234";
/// Keys of almost no cost: what they cost is no part of the format.
const CHEAP: Cost = Cost { log_n: 4, r: 8, p: 1 };

fn header(filter: Option<&str>) -> Header {
    let filter_name = filter.unwrap_or("gzip").to_owned();
    Header { compressed: filter.is_some(), filter: filter_name, id: BackupId::new(ID).unwrap() }
}

fn passphrase() -> Passphrase {
    Passphrase::new(PASSPHRASE)
}

fn options(chunk: u64) -> Options {
    Options { cost: CHEAP, chunk, ..Options::usual(std::env::temp_dir()) }
}

/// A backup of these files, with chunks of this length.
fn written(filter: Option<&str>, chunk: u64, files: &[(&str, Content<'_>)]) -> Vec<u8> {
    let mut writer = Writer::begin(Vec::new(), header(filter), passphrase(), options(chunk)).unwrap();
    for (name, content) in files {
        writer.file(name, *content, &mut |_| ControlFlow::Continue(())).unwrap();
    }
    writer.finish().unwrap()
}

/// The usual way of reading, with chunks of this length.
fn reading(chunk: u64) -> Reading {
    let mut reading = Reading::usual(std::env::temp_dir());
    reading.limits.chunk = chunk;
    reading
}

/// A file in memory.
#[derive(Debug, Default, PartialEq, Eq)]
struct Unpacked {
    bytes: Vec<u8>,
    /// How much of it was written.
    data: usize,
}

impl Sink for Unpacked {
    fn begin(&mut self, size: u64) -> std::io::Result<()> {
        if size > 1 << 30 {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.bytes = vec![0; size as usize];
        Ok(())
    }

    fn data(&mut self, offset: u64, data: Verified<'_>) -> std::io::Result<()> {
        let bytes = data.bytes();
        self.bytes[offset as usize..][..bytes.len()].copy_from_slice(bytes);
        self.data += bytes.len();
        Ok(())
    }
}

/// All files of a backup.
fn read(backup: &[u8], chunk: u64) -> Result<Vec<(String, Unpacked)>> {
    let mut reader = Reader::begin(backup, passphrase(), reading(chunk))?;
    let mut files = Vec::new();
    while let Some(packed) = reader.next()? {
        let (name, mut unpacked) = (packed.name().to_owned(), Unpacked::default());
        let complete = packed.image(&mut unpacked)?;
        assert_eq!(complete.size(), unpacked.bytes.len() as u64);
        files.push((name, unpacked));
    }
    Ok(files)
}

/// A file with these pieces of data at these offsets, and of this size.
fn sparse_file(path: &Path, size: u64, data: &[(u64, &[u8])]) -> File {
    let file = File::options().read(true).write(true).create_new(true).open(path).unwrap();
    file.set_len(size).unwrap();
    for (offset, bytes) in data {
        file.write_all_at(bytes, *offset).unwrap();
    }
    file.sync_all().unwrap();
    file
}

/// Bytes that nothing makes smaller.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut numbers = tests::numbers::Numbers::of(seed);
    let mut bytes = Vec::new();
    while bytes.len() < length {
        bytes.write_all(&numbers.next().to_le_bytes()).unwrap();
    }
    bytes.truncate(length);
    bytes
}

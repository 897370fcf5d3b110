//! A backup that was altered or cut off, at whatever byte, is refused.

use backup::{Content, Error};
use tests::numbers::Numbers;

use super::{noise, read, written};

const CHUNK: u64 = 4096;

fn backup(filter: Option<&str>) -> Vec<u8> {
    let content = noise(1, 9000);
    written(filter, CHUNK, &[("vm1/a", Content::Bytes(&content)), ("vm1/b", Content::Bytes(b"b"))])
}

/// Refused because of what it is, not because something failed on this machine.
fn assert_refused(backup: &[u8], what: &str) {
    match read(backup, CHUNK) {
        Err(
            Error::Altered(_)
            | Error::Truncated
            | Error::Passphrase
            | Error::Limit(_)
            | Error::Header(_)
            | Error::Version(_)
            | Error::Name,
        ) => {}
        other => panic!("{what}: {other:?}"),
    }
}

/// Where the first file begins.
fn after_header(backup: &[u8]) -> usize {
    backup.windows(5).position(|window| window == b"vm1/a").unwrap()
}

#[test]
fn each_altered_byte_of_the_header_is_found() {
    let backup = backup(None);
    assert!(read(&backup, CHUNK).is_ok());
    let mut numbers = Numbers::of(2);
    for at in 0..after_header(&backup) {
        let mut altered = backup.clone();
        altered[at] ^= (numbers.next() % 255 + 1) as u8;
        assert_refused(&altered, &format!("byte {at} is {}", altered[at]));
    }
}

#[test]
fn each_cut_within_the_header_is_found() {
    let backup = backup(None);
    for length in 0..after_header(&backup) {
        // The header alone is a backup of nothing.
        assert_refused(&backup[..length], &format!("{length} bytes"));
    }
}

#[test]
fn altered_bytes_anywhere_are_found() {
    for filter in [None, Some("gzip"), Some("zstd")] {
        let backup = backup(filter);
        let mut numbers = Numbers::of(3);
        for _ in 0..300 {
            let at = (numbers.next() % backup.len() as u64) as usize;
            let mut altered = backup.clone();
            altered[at] ^= (numbers.next() % 255 + 1) as u8;
            assert_refused(&altered, &format!("{filter:?}: byte {at} is {}", altered[at]));
        }
    }
}

#[test]
fn cuts_anywhere_are_found_but_between_files() {
    let backup = backup(Some("gzip"));
    let second = backup.windows(9).position(|window| window == b"vm1/b.000").unwrap();
    let mut numbers = Numbers::of(4);
    let random = (0..300).map(|_| (numbers.next() % backup.len() as u64) as usize);
    let records = (1..backup.len() / 10_240).map(|record| record * 10_240);
    let between = [after_header(&backup), second];
    for length in random.chain(records).filter(|length| !between.contains(length)) {
        assert_refused(&backup[..length], &format!("{length} bytes"));
    }
    for (length, files) in between.into_iter().zip(0..) {
        assert_eq!(read(&backup[..length], CHUNK).unwrap().len(), files);
    }
}

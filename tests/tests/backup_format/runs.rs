//! Files with few and many runs of data, to the counts at which forms of tar begin another block.

use std::fs;

use backup::Content;

use super::programs::{Apart, Made, blocks};
use super::{header, noise, read, sparse_file, written};

/// Numbers of runs: of a file without holes, of the most a header has room for, of those after each block.
const COUNTS: [u64; 9] = [0, 1, 2, 3, 4, 5, 24, 25, 26];
/// Data and hole, larger than any file system's block.
const STEP: u64 = 128 << 10;
const CHUNK: u64 = 1 << 20;

fn name(count: u64) -> String {
    format!("vm1/{count}.img")
}

/// A file that ends in a hole when its number of runs is even.
fn file(path: &std::path::Path, count: u64) -> fs::File {
    let data = noise(count, 64 << 10);
    let pieces: Vec<(u64, &[u8])> = (0..count).map(|run| (run * STEP, data.as_slice())).collect();
    let end = (count * STEP).saturating_sub(if count % 2 == 1 { STEP - data.len() as u64 } else { 0 });
    sparse_file(path, end, &pieces)
}

#[cfg_attr(not(scrypt), ignore = "needs the program scrypt")]
#[test]
fn tar_unpacks_each_with_its_holes() {
    let folder = tempfile::tempdir().unwrap();
    let files: Vec<_> =
        COUNTS.map(|count| (name(count), file(&folder.path().join(count.to_string()), count))).into();
    let contents: Vec<_> = files.iter().map(|(name, file)| (name.as_str(), Content::File(file))).collect();
    for (filter, program) in [(None, "cat"), (Some("gzip"), "gzip -d"), (Some("zstd"), "zstd -d")] {
        let apart = Apart::new(&written(filter, CHUNK, &contents));
        for (count, (name, _)) in COUNTS.into_iter().zip(&files) {
            let unpacked = apart.unpacked(name, program).join(name);
            let original = folder.path().join(count.to_string());
            assert!(fs::read(&unpacked).unwrap() == fs::read(&original).unwrap(), "{count} runs");
            assert_eq!(blocks(&unpacked), blocks(&original), "{count} runs");
        }
    }
}

#[cfg_attr(not(scrypt), ignore = "needs the program scrypt")]
#[test]
fn what_tar_packs_is_unpacked_with_its_holes() {
    for format in ["gnu", "posix"] {
        let made = Made::new(&header(None).to_string());
        fs::create_dir(made.path("in/vm1")).unwrap();
        for count in COUNTS {
            let name = name(count);
            drop(file(&made.path("in").join(&name), count));
            let tar = format!("tar -Pc --sparse --format={format} -C in '{name}'");
            made.file(&name, &tar, CHUNK as usize);
        }
        let files = read(&made.bytes(), CHUNK).unwrap();
        assert_eq!(files.len(), COUNTS.len());
        for (count, (found, unpacked)) in COUNTS.into_iter().zip(files) {
            assert_eq!(found, name(count));
            assert!(
                unpacked.bytes == fs::read(made.path("in").join(name(count))).unwrap(),
                "{format}, {count} runs"
            );
            assert_eq!(unpacked.data as u64, count * (64 << 10), "{format}, {count} runs");
        }
    }
}

//! Whatever is written is read again, whatever its size, its holes, and where it is cut.

use std::os::unix::fs::FileExt;

use backup::Content;
use proptest::prelude::*;

use super::{read, written};

/// Pieces of data and holes, in bytes.
fn contents() -> impl Strategy<Value = Vec<u8>> {
    let piece = (any::<bool>(), 0..3000_usize, 1..=255_u8);
    prop::collection::vec(piece, 0..12).prop_map(|pieces| {
        pieces
            .into_iter()
            .flat_map(|(is_data, length, byte)| vec![if is_data { byte } else { 0 }; length])
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn what_is_written_is_read(
        contents in prop::collection::vec(contents(), 1..4),
        filter in prop::sample::select(vec![None, Some("gzip")]),
        chunk in 600..9000_u64,
        is_file in any::<bool>(),
    ) {
        let names: Vec<String> = (0..contents.len()).map(|number| format!("vm{number}/a")).collect();
        let made: Vec<_> = contents.iter().map(|content| {
            let file = tempfile::tempfile().unwrap();
            file.write_all_at(content, 0).unwrap();
            file
        }).collect();
        let files: Vec<_> = names.iter().zip(&contents).zip(&made).map(|((name, bytes), file)| {
            (name.as_str(), if is_file { Content::File(file) } else { Content::Bytes(bytes) })
        }).collect();
        let backup = written(filter, chunk, &files);
        prop_assert_eq!(backup.len() % 10_240, 0);
        let read = read(&backup, chunk).unwrap();
        prop_assert_eq!(read.len(), contents.len());
        for ((name, content), (found, unpacked)) in names.iter().zip(&contents).zip(&read) {
            prop_assert_eq!(name, found);
            prop_assert!(&unpacked.bytes == content);
            let data: usize = content.chunks(512).filter(|block| block.iter().any(|byte| *byte != 0)).map(<[u8]>::len).sum();
            prop_assert_eq!(unpacked.data, data);
        }
    }
}

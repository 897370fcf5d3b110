//! What is read of what the programs make, and what is refused.

use std::fs;

use backup::{Content, Error, Header, Reader};

use super::programs::{Made, shell};
use super::{ID, Unpacked, header, noise, passphrase, read, reading, written};

const ONE: u64 = 1 << 20;

#[cfg_attr(not(scrypt), ignore = "needs the program scrypt")]
#[test]
fn a_backup_of_the_programs_is_read() {
    let text = header(Some("gzip")).to_string();
    let made = Made::new(&text);
    fs::write(made.path("in/private.img"), noise(1, 300_000)).unwrap();
    fs::write(made.path("in/empty"), "").unwrap();
    // As stock makes them: a folder put before the name, compressed by tar.
    let tar = |name: &str| {
        format!(
            "tar -Pc --sparse -C in --dereference --xform='s:^{name}:vm3/\\0:' --use-compress-program=gzip {name}"
        )
    };
    made.file("vm3/private.img", &tar("private.img"), 65_536);
    made.file("vm3/empty", &tar("empty"), 65_536);
    let files = read(&made.bytes(), 65_536).unwrap();
    assert_eq!(files.len(), 2);
    assert!(files[0].0 == "vm3/private.img" && files[0].1.bytes == noise(1, 300_000));
    assert!(files[1].0 == "vm3/empty" && files[1].1.bytes.is_empty());
}

#[cfg_attr(not(scrypt), ignore = "needs the program scrypt")]
#[test]
fn files_compressed_by_any_program_are_read() {
    for filter in ["bzip2", "xz", "lzma", "zstd", "gzip"] {
        let made = Made::new(&header(Some(filter)).to_string());
        fs::create_dir(made.path("in/vm1")).unwrap();
        fs::write(made.path("in/vm1/a"), noise(2, 50_000)).unwrap();
        made.file("vm1/a", &format!("tar -c -C in vm1/a | {filter}"), 4096);
        let files = read(&made.bytes(), 4096).unwrap();
        assert!(files[0].1.bytes == noise(2, 50_000), "{filter}");
    }
}

#[cfg_attr(not(scrypt), ignore = "needs the program scrypt")]
#[test]
fn a_tree_is_given_as_tar_made_it() {
    let made = Made::new(&header(Some("gzip")).to_string());
    fs::create_dir_all(made.path("in/user/below")).unwrap();
    fs::write(made.path("in/user/below/file"), noise(3, 20_000)).unwrap();
    let tar = "tar -Pc --sparse -C in --xform='s:^user:dom0-home/\\0:' --use-compress-program=gzip user";
    made.file("dom0-home/user", tar, 4096);
    let backup = made.bytes();
    let mut reader = Reader::begin(backup.as_slice(), passphrase(), reading(4096)).unwrap();
    let packed = reader.next().unwrap().unwrap();
    let tree = packed.archive(|input| {
        let mut tree = Vec::new();
        input.read_to_end(&mut tree).map_err(Error::Read)?;
        Ok(tree)
    });
    fs::write(made.path("tree.tar"), tree.unwrap()).unwrap();
    shell(&made.path("."), "mkdir out; tar -xf tree.tar -C out; diff -r in/user out/dom0-home/user", "");
    assert!(reader.next().unwrap().is_none());
}

#[test]
fn files_are_passed_over_unread() {
    let content = noise(4, 20_000);
    let files =
        [("a", Content::Bytes(&content)), ("b", Content::Bytes(b"b")), ("c", Content::Bytes(&content))];
    let backup = written(Some("gzip"), 4096, &files);
    let mut reader = Reader::begin(backup.as_slice(), passphrase(), reading(4096)).unwrap();
    assert_eq!(reader.header(), &header(Some("gzip")));
    assert_eq!(reader.next().unwrap().unwrap().name(), "a");
    let mut unpacked = Unpacked::default();
    let complete = reader.next().unwrap().unwrap().image(&mut unpacked).unwrap();
    assert_eq!((complete.size(), unpacked.bytes.as_slice()), (1, b"b".as_slice()));
    assert_eq!(reader.next().unwrap().unwrap().name(), "c");
    assert!(reader.next().unwrap().is_none());
}

#[test]
fn a_wrong_passphrase_is_told() {
    let backup = written(None, ONE, &[]);
    let refused = Reader::begin(backup.as_slice(), backup::Passphrase::new("wrong"), reading(ONE));
    assert!(matches!(refused.err(), Some(Error::Passphrase)));
}

#[test]
fn a_chunk_passes_for_no_other_one() {
    // A chunk of 20 blocks takes two records of an archive.
    let content = noise(5, 40_000);
    let files = [("a", Content::Bytes(&content)), ("b", Content::Bytes(&content))];
    let backup = written(None, 10_240, &files);
    let start = backup.windows(9).position(|window| window == b"a.000.enc").unwrap();
    let chunk = |number: usize| start + number * 20_480..start + (number + 1) * 20_480;
    assert_eq!(&backup[chunk(1)][..9], b"a.001.enc");
    let replaced = |at: usize, by: &[u8]| [&backup[..chunk(at).start], by, &backup[chunk(at).end..]].concat();
    // Left out, doubled, and in the place of another one under its name.
    let renamed = [&backup[chunk(1)][..512], &backup[chunk(2)][512..]].concat();
    for (what, altered) in [
        ("left out", replaced(1, b"")),
        ("left out at first", replaced(0, b"")),
        ("doubled", replaced(1, &[&backup[chunk(1)], &backup[chunk(1)]].concat())),
        ("renamed", replaced(1, &renamed)),
    ] {
        let refused = read(&altered, 10_240);
        assert!(matches!(refused, Err(Error::Altered(_) | Error::Passphrase)), "{what}: {refused:?}");
    }
}

#[test]
fn limits_hold_before_anything_is_done() {
    let content = noise(6, 5000);
    let backup = written(None, ONE, &[("a", Content::Bytes(&content)), ("b", Content::Bytes(&content))]);
    let limited = |change: &dyn Fn(&mut backup::Limits)| {
        let mut reading = reading(ONE);
        change(&mut reading.limits);
        let mut reader = Reader::begin(backup.as_slice(), passphrase(), reading)?;
        while let Some(packed) = reader.next()? {
            packed.image(&mut Unpacked::default()).map(drop)?;
        }
        Ok(())
    };
    limited(&|_| {}).unwrap();
    let changes: [&dyn Fn(&mut backup::Limits); 7] = [
        &|limits| limits.header = 20,
        &|limits| limits.proof = 200,
        &|limits| limits.memory = 128 * 8 * (16 + 1) - 1,
        &|limits| limits.work = 128 * 8 * 16 - 1,
        &|limits| limits.members = 1,
        &|limits| limits.chunk = 5000,
        &|limits| limits.runs = 0,
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let refused = limited(change);
        assert!(matches!(refused, Err(Error::Limit(_))), "{number}: {refused:?}");
    }
}

#[test]
fn absurd_costs_are_refused_at_once() {
    let backup = written(None, ONE, &[]);
    let container = backup.windows(7).position(|window| window == b"scrypt\0").unwrap();
    for (log_n, r, p) in
        [(63, 8, 1), (255, 8, 1), (4, u32::MAX, 1), (4, 8, u32::MAX), (4, 0, 1), (4, 8, 0), (0, 8, 1)]
    {
        let mut altered = backup.clone();
        let fields = [[log_n].as_slice(), &u32::to_be_bytes(r), &u32::to_be_bytes(p)].concat();
        altered[container + 7..container + 16].copy_from_slice(&fields);
        let digest = shell_digest(&altered[container..container + 48]);
        altered[container + 48..container + 64].copy_from_slice(&digest[..16]);
        let refused = Reader::begin(altered.as_slice(), passphrase(), reading(ONE)).err();
        let is_refused =
            matches!(refused, Some(Error::Limit(_) | Error::Altered(_) | Error::Key(_) | Error::Passphrase));
        assert!(is_refused, "{log_n} {r} {p}: {refused:?}");
    }
}

/// SHA-256, by a program.
fn shell_digest(bytes: &[u8]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("bytes"), bytes).unwrap();
    let digest = String::from_utf8(shell(folder.path(), "sha256sum bytes", "")).unwrap();
    (0..32).map(|byte| u8::from_str_radix(&digest[2 * byte..2 * byte + 2], 16).unwrap()).collect()
}

#[test]
fn headers_are_read_by_their_rules() {
    let usual = format!(
        "version=4\nencrypted=True\ncompressed=True\ncompression-filter=gzip\nhmac-algorithm=scrypt\nbackup-id={ID}\n"
    );
    assert_eq!(header(Some("gzip")).to_string(), usual);
    assert_eq!(Header::parse(usual.as_bytes()).unwrap(), header(Some("gzip")));
    let changed = |from: &str, to: &str| Header::parse(usual.replacen(from, to, 1).as_bytes());
    for (from, to) in [
        ("encrypted=True", "encrypted=1"),
        ("encrypted=True", "encrypted=yes"),
        ("version=4\n", "version=4\nfuture-key=A-1\n"),
        ("version=4\nencrypted=True\n", "encrypted=True\nversion=4\n"),
    ] {
        assert_eq!(changed(from, to).unwrap(), header(Some("gzip")), "{to}");
    }
    assert!(!changed("compressed=True", "compressed=no").unwrap().compressed);
    for (from, to) in [
        ("version=4", "version=5"),
        ("version=4", "version=0"),
        ("version=4", "version=3"),
        ("version=4", "version="),
        ("version=4\n", ""),
        ("version=4\n", "version=4\nversion=4\n"),
        ("version=4\n", "version=4\n\n"),
        ("version=4", "version==4"),
        ("version=4", "version 4"),
        ("gzip", "gzip -9"),
        ("gzip", "/bin/gzip"),
        ("gzip", "gzi\u{e9}"),
        ("encrypted=True", "encrypted=False"),
        ("encrypted=True\n", ""),
        ("hmac-algorithm=scrypt", "hmac-algorithm=SHA512"),
        ("hmac-algorithm=scrypt\n", ""),
        ("hmac-algorithm=scrypt", "crypto-algorithm=aes-256-cbc\nhmac-algorithm=scrypt"),
        (ID, ""),
        (ID, "-1"),
        (ID, "a_b"),
        ("-1234\n", "-1234"),
        ("-1234\n", "-1234\r\n"),
    ] {
        assert!(matches!(changed(from, to), Err(Error::Header(_))), "{to:?}");
    }
    assert!(Header::parse(b"").is_err());
}

#[cfg_attr(not(scrypt), ignore = "needs the program scrypt")]
#[test]
fn a_filter_is_known_or_chosen() {
    let made = Made::new(&header(Some("cat")).to_string());
    let backup = made.bytes();
    let refused = Reader::begin(backup.as_slice(), passphrase(), reading(ONE)).err();
    assert!(matches!(refused, Some(Error::Header(_))), "{refused:?}");
    let mut chosen = reading(ONE);
    chosen.filter = Some("zstd".to_owned());
    assert!(Reader::begin(backup.as_slice(), passphrase(), chosen).unwrap().next().unwrap().is_none());
}

#[test]
fn a_key_whose_memory_is_not_in_its_steps_is_refused_too() {
    let folder = tempfile::tempdir().unwrap();
    // All of it in the blocks that the derivation begins with: 64 GiB.
    let fields = [b"scrypt\0".as_slice(), &[0], &1_u32.to_be_bytes(), &(1_u32 << 29).to_be_bytes(), &[7; 32]];
    fs::write(folder.path().join("fields"), fields.concat()).unwrap();
    let sum = "sha256sum fields | head -c 32 | tr a-f A-F | basenc -d --base16";
    let head = [fields.concat(), shell(folder.path(), sum, "")].concat();
    let mut backup = written(None, ONE, &[]);
    let at = backup.windows(7).position(|window| window == b"scrypt\0").unwrap();
    backup[at..at + head.len()].copy_from_slice(&head);
    let refused = Reader::begin(backup.as_slice(), passphrase(), reading(ONE)).map(drop);
    assert!(matches!(refused, Err(Error::Limit(_))), "{refused:?}");
}

#[test]
fn a_device_may_hold_anything_after_the_end_that_is_marked_there() {
    let content = noise(9, 5000);
    let backup = written(None, ONE, &[("a", Content::Bytes(&content))]);
    let followed = |rest: &[&[u8]]| read(&[&[backup.as_slice()], rest].concat().concat(), ONE);
    let (few, many, other) = (vec![0; 6144], vec![0; 1 << 20], noise(10, 20_480));
    for rest in [&[few.as_slice()][..], &[&many], &[&many, &other], &[&many, &backup]] {
        assert_eq!(followed(rest).unwrap().len(), 1);
    }
    for rest in [&[other.as_slice()][..], &[&few, &other]] {
        assert!(matches!(followed(rest), Err(Error::Altered(_))));
    }
    for cut in [512, 2048] {
        let cut = read(&backup[..backup.len() - cut], ONE);
        assert!(cut.is_err(), "{:?}", cut.map(|files| files.len()));
    }
}

#[test]
fn an_archive_whose_map_is_of_an_unknown_form_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let make = "truncate -s 1M a; printf data | dd of=a bs=1 seek=600000 conv=notrunc status=none; tar -c --posix --sparse \
                --sparse-version=";
    let limits = reading(ONE).limits;
    for (version, is_known) in [("1.0", true), ("0.1", false), ("0.0", false)] {
        let archive = shell(folder.path(), &format!("{make}{version} a"), "");
        let mut file = Unpacked::default();
        let read = backup::unpack(archive.as_slice(), "a", &limits, &mut file);
        assert_eq!(read.is_ok(), is_known, "{version}: {read:?}");
        assert!(is_known || file.bytes.is_empty(), "{version}");
    }
}

//! What is written, as the programs see it.

use std::fs::{self, File};
use std::ops::ControlFlow;
use std::os::unix::fs::symlink;

use backup::{Content, Error, Reader, Writer};

use super::programs::{Apart, blocks, secret_of, shell};
use super::{PASSPHRASE, header, noise, options, passphrase, read, reading, sparse_file, written};

/// Length of a chunk that no file here reaches.
const ONE: u64 = 1 << 20;

#[cfg_attr(not(scrypt), ignore = "needs the program scrypt")]
#[test]
fn members_come_in_order_and_the_header_is_proven() {
    let files = [("qubes.xml", Content::Bytes(b"<qubes/>")), ("vm3/notes.txt", Content::Bytes(b"notes"))];
    let backup = written(Some("gzip"), ONE, &files);
    assert_eq!(backup.len() % 10240, 0);
    let apart = Apart::new(&backup);
    let members = ["backup-header", "backup-header.hmac", "qubes.xml.000.enc", "vm3/notes.txt.000.enc"];
    assert_eq!(apart.members, members);
    let text = fs::read(apart.path("backup-header")).unwrap();
    assert_eq!(text, header(Some("gzip")).to_string().as_bytes());
    assert_eq!(apart.decrypted("backup-header.hmac", &format!("backup-header!{PASSPHRASE}")), text);
    for (name, content) in [("qubes.xml", "<qubes/>"), ("vm3/notes.txt", "notes")] {
        let unpacked = apart.unpacked(name, "gzip -d").join(name);
        assert_eq!(fs::read_to_string(unpacked).unwrap(), content);
    }
}

#[cfg_attr(not(scrypt), ignore = "needs the program scrypt")]
#[test]
fn gzip_finds_nothing_wrong_and_tar_tells_the_real_size() {
    let folder = tempfile::tempdir().unwrap();
    let file = sparse_file(&folder.path().join("f"), 9 << 30, &[(8 << 30, b"data")]);
    let apart = Apart::new(&written(Some("gzip"), ONE, &[("vm1/root.img", Content::File(&file))]));
    let stream = folder.path().join("stream.gz");
    fs::write(&stream, apart.stream("vm1/root.img")).unwrap();
    let listed = shell(folder.path(), "gzip --test stream.gz; tar -tvzf stream.gz", "");
    let listed = String::from_utf8(listed).unwrap();
    let words: Vec<&str> = listed.split_whitespace().collect();
    assert_eq!((words[2], words[5]), ("9663676416", "vm1/root.img"), "{listed}");
}

#[cfg_attr(not(scrypt), ignore = "needs the program scrypt")]
#[test]
fn a_last_chunk_that_is_full_is_followed_by_an_empty_one() {
    let content = noise(1, 5000);
    let files = [("vm1/a", Content::Bytes(&content))];
    let whole = Apart::new(&written(None, ONE, &files)).stream("vm1/a");
    let length = whole.len() as u64;
    for (chunk, chunks) in
        [(length, 2), (length / 2, 3), (length - 1, 2), (length + 1, 1), (512, length / 512 + 1)]
    {
        let backup = written(None, chunk, &files);
        let apart = Apart::new(&backup);
        assert_eq!(apart.members.len() as u64, 2 + chunks, "{chunk}");
        assert!(apart.stream("vm1/a").len() == whole.len());
        let last = format!("vm1/a.{:03}", chunks - 1);
        let last = apart.decrypted(&format!("{last}.enc"), &secret_of(&last));
        assert_eq!(last.len() as u64, length % chunk, "{chunk}");
        assert!(read(&backup, chunk).unwrap()[0].1.bytes == content);
    }
}

#[cfg_attr(not(scrypt), ignore = "needs the program scrypt")]
#[test]
fn a_compressed_stream_is_cut_as_well() {
    let content = noise(2, 100_000);
    let files = [("vm1/a", Content::Bytes(&content)), ("vm1/b", Content::Bytes(b""))];
    for filter in ["gzip", "zstd", "bzip2", "xz"] {
        let backup = written(Some(filter), 4096, &files);
        let apart = Apart::new(&backup);
        assert!(apart.members.len() > 20, "{filter}: {:?}", apart.members);
        for (name, content) in [("vm1/a", content.as_slice()), ("vm1/b", b"")] {
            let unpacked = apart.unpacked(name, &format!("{filter} -d")).join(name);
            assert!(fs::read(unpacked).unwrap() == content, "{filter}");
        }
        let files = read(&backup, 4096).unwrap();
        assert!(files[0].1.bytes == content && files[1].1.bytes.is_empty(), "{filter}");
    }
}

/// What is compressed on all processors is several streams of `gzip` in a row.
#[cfg_attr(not(scrypt), ignore = "needs the program scrypt")]
#[test]
fn blocks_are_compressed_apart_and_read_as_one() {
    const BLOCK: usize = 512 << 10;
    const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    for length in [0, BLOCK - 1, BLOCK, 9 * BLOCK + 77] {
        let content: Vec<u8> = noise(3, length).iter().map(|byte| byte & 3).collect();
        let backup = written(Some("gzip"), 3 << 20, &[("vm1/a", Content::Bytes(&content))]);
        let apart = Apart::new(&backup);
        let stream = apart.stream("vm1/a");
        let heads = stream.windows(HEAD.len()).filter(|bytes| *bytes == HEAD).count();
        // The archive has some blocks of its own around what it holds.
        assert_eq!(heads, (length + 2048) / BLOCK + 1, "{length}");
        assert!(fs::read(apart.unpacked("vm1/a", "gzip -d").join("vm1/a")).unwrap() == content, "{length}");
        assert!(read(&backup, 3 << 20).unwrap()[0].1.bytes == content, "{length}");
    }
}

#[cfg_attr(not(scrypt), ignore = "needs the program scrypt")]
#[test]
fn a_tree_is_unpacked_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let deep = home.join("näme".repeat(30)).join("d");
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("file"), noise(3, 70_000)).unwrap();
    fs::write(home.join("empty"), "").unwrap();
    symlink("/nowhere/".repeat(20), home.join("link")).unwrap();
    drop(sparse_file(&home.join("sparse"), 1 << 20, &[(4096, b"data")]));
    // One that comes after it.
    fs::write(home.join("to the end"), "the last").unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(home.join("socket")).unwrap();
    shell(
        folder.path(),
        "mkfifo home/pipe; chmod 0751 home; chmod 04755 home/empty; touch -h -d @1000000 home/link",
        "",
    );
    for (filter, program) in [(None, "cat"), (Some("gzip"), "gzip -d")] {
        let apart = Apart::new(&written(filter, ONE, &[("dom0-home/user", Content::Tree(&home))]));
        let files = apart.unpacked("dom0-home/user", program);
        let listing = "find . ! -type s ! -name sparse -printf '%p %m %T@ %s %l\\n' | sed 's/[.][0-9][0-9]* / /' | sort";
        let unpacked = files.join("dom0-home/user");
        assert_eq!(shell(&unpacked, listing, ""), shell(&home, listing, ""));
        shell(
            folder.path(),
            &format!("diff -r --no-dereference home/näme* {}/näme*", unpacked.display()),
            "",
        );
        assert_eq!(fs::read(unpacked.join("sparse")).unwrap(), fs::read(home.join("sparse")).unwrap());
        assert_eq!(blocks(&unpacked.join("sparse")), blocks(&home.join("sparse")));
        assert!(!unpacked.join("socket").exists());
    }
}

/// Files of others become shorter at any moment: the archive has as much as was there, and zeros up to the former length.
#[test]
fn a_file_of_a_tree_that_becomes_shorter_is_filled_with_zeros() {
    const SIZE: u64 = 1 << 20;
    let data = noise(8, 300_000);
    let content = |is_sparse: bool| {
        let at: &[u64] = if is_sparse { &[0, 600_000] } else { &[0, 300_000, 600_000, SIZE - 300_000] };
        let mut content = vec![0; SIZE as usize];
        at.iter().for_each(|at| content[*at as usize..][..data.len()].copy_from_slice(&data));
        (content, at.iter().map(|at| (*at, data.as_slice())).collect::<Vec<_>>())
    };
    for (is_sparse, moment) in [true, false].into_iter().flat_map(|kind| (1..11).map(move |at| (kind, at))) {
        let (folder, (was, pieces)) = (tempfile::tempdir().unwrap(), content(is_sparse));
        let home = folder.path().join("home");
        fs::create_dir(&home).unwrap();
        let file = sparse_file(&home.join("file"), SIZE, &pieces);
        fs::write(home.join("last"), "the last").unwrap();
        let left = 100_001;
        let mut told = 0;
        let mut writer = Writer::begin(Vec::new(), header(None), passphrase(), options(16 << 20)).unwrap();
        let mut shorten = |_| {
            told += 1;
            if told == moment {
                file.set_len(left).unwrap();
            }
            ControlFlow::Continue(())
        };
        writer.file("dom0-home/user", Content::Tree(&home), &mut shorten).unwrap();
        assert!(told > moment, "{is_sparse}, {moment}");
        let backup = writer.finish().unwrap();
        let mut reader = Reader::begin(backup.as_slice(), passphrase(), reading(16 << 20)).unwrap();
        let mut archive = File::create(folder.path().join("archive")).unwrap();
        let packed = reader.next().unwrap().unwrap();
        packed.archive(|input| std::io::copy(input, &mut archive).map_err(Error::Read)).unwrap();
        shell(folder.path(), "tar -xf archive", "");
        let unpacked = folder.path().join("dom0-home/user");
        assert_eq!(fs::read(unpacked.join("last")).unwrap(), b"the last");
        let found = fs::read(unpacked.join("file")).unwrap();
        // Shortened before the archive told of its length, it has the new one.
        let length = if moment == 1 { left } else { SIZE } as usize;
        assert_eq!(found.len(), length, "{is_sparse}, {moment}");
        let (there, gone) = found.split_at(left as usize);
        assert!(there == &was[..there.len()], "{is_sparse}, {moment}");
        let mut both = gone.iter().zip(&was[there.len()..]);
        assert!(both.all(|(found, was)| found == was || *found == 0), "{is_sparse}, {moment}");
    }
}

#[test]
fn a_volume_that_becomes_shorter_ends_the_backup() {
    let folder = tempfile::tempdir().unwrap();
    let file = sparse_file(&folder.path().join("f"), 1 << 20, &[(0, &noise(9, 600_000))]);
    let mut writer = Writer::begin(Vec::new(), header(None), passphrase(), options(ONE)).unwrap();
    let mut shorten = |length| {
        if length > 0 {
            file.set_len(100_001).unwrap();
        }
        ControlFlow::Continue(())
    };
    let refused = writer.file("vm1/private.img", Content::File(&file), &mut shorten);
    assert!(matches!(refused, Err(Error::Content(_))), "{refused:?}");
}

#[test]
fn a_backup_that_nobody_wants_any_more_is_given_up() {
    let content = noise(4, 1 << 20);
    for filter in [None, Some("gzip"), Some("zstd")] {
        let mut writer = Writer::begin(Vec::new(), header(filter), passphrase(), options(ONE)).unwrap();
        let mut pieces = 0;
        let mut progress = |length| {
            pieces += usize::from(length > 0);
            if pieces < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        let refused = writer.file("vm1/a", Content::Bytes(&content), &mut progress);
        assert!(matches!(refused, Err(Error::Cancelled)), "{filter:?}: {refused:?}");
        assert_eq!(pieces, 3);
        let read = read(&writer.finish().unwrap(), ONE);
        // A compressed chunk is written only once its length is known.
        let is_as_expected =
            if filter.is_none() { matches!(read, Err(Error::Truncated)) } else { read.unwrap().is_empty() };
        assert!(is_as_expected, "{filter:?}");
    }
}

#[test]
fn progress_is_the_data_that_was_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = sparse_file(
        &folder.path().join("f"),
        10 << 20,
        &[(0, &noise(5, 300_000)), (5 << 20, &noise(6, 512))],
    );
    let mut writer = Writer::begin(Vec::new(), header(Some("gzip")), passphrase(), options(ONE)).unwrap();
    let mut sum = 0;
    let mut progress = |length| {
        sum += length;
        ControlFlow::Continue(())
    };
    writer.file("vm1/a", Content::File(&file), &mut progress).unwrap();
    assert_eq!(sum, 300_000_u64.next_multiple_of(512) + 512);
}

#[test]
fn what_cannot_be_written_is_told_and_names_that_are_none_are_refused() {
    let full = || File::options().write(true).open("/dev/full").unwrap();
    assert!(matches!(Writer::begin(full(), header(None), passphrase(), options(ONE)), Err(Error::Write(_))));
    let mut writer = Writer::begin(Vec::new(), header(None), passphrase(), options(ONE)).unwrap();
    for name in ["", "/a", "a/../b", "a/./b", "a//b", "a/", "a\nb", &"a".repeat(256)] {
        let refused = writer.file(name, Content::Bytes(b""), &mut |_| ControlFlow::Continue(()));
        assert!(matches!(refused, Err(Error::Name)), "{name}");
    }
    let mut writer = Writer::begin(Vec::new(), header(Some("no-such")), passphrase(), options(ONE)).unwrap();
    let refused = writer.file("a", Content::Bytes(b""), &mut |_| ControlFlow::Continue(()));
    assert!(matches!(refused, Err(Error::Filter(_))), "{refused:?}");
    let mut writer = Writer::begin(Vec::new(), header(Some("false")), passphrase(), options(ONE)).unwrap();
    let refused = writer.file("a", Content::Bytes(&noise(1, 1 << 20)), &mut |_| ControlFlow::Continue(()));
    assert!(matches!(refused, Err(Error::Filter(_))), "{refused:?}");
}

//! `qubes-admin verify-backup`: what is proven of a backup, and what is said of one that is not what was written.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "test code"
)]

use std::fs;
use std::io::{Read, Write};
use std::ops::ControlFlow;
use std::process::{Output, Stdio};

use backup::{BackupId, Content, Cost, Header, Options, Passphrase, Writer};
use tests::Fixture;
use tests::tool::{command, error, text, tool};

const PASSPHRASE: &str = "words of one's own";
/// What a backup says it has: dom0 without data, and a qube with some.
const CONTENTS: &str = r#"<qubes><domains>
<domain id="domain-0" class="AdminVM"><features><feature name="backup-content"/></features></domain>
<domain id="domain-3" class="AppVM"><properties><property name="name">work</property></properties>
<features><feature name="backup-content">1</feature><feature name="backup-path">vm3/</feature></features></domain>
</domains></qubes>
"#;

/// A backup of these files.
fn backup(fixture: &Fixture, files: &[(&str, &[u8])]) -> Vec<u8> {
    let header = Header {
        compressed: true,
        filter: "gzip".to_owned(),
        id: BackupId::new("20230405T123455-1234").unwrap(),
    };
    let options = Options { cost: Cost { log_n: 4, r: 8, p: 1 }, ..Options::usual(fixture.path("/var/tmp")) };
    let mut writer = Writer::begin(Vec::new(), header, Passphrase::new(PASSPHRASE), options).unwrap();
    for (name, bytes) in files {
        writer.file(name, Content::Bytes(bytes), &mut |_| ControlFlow::Continue(())).unwrap();
    }
    writer.finish().unwrap()
}

fn whole(fixture: &Fixture) -> Vec<u8> {
    let image = vec![7; 70_000];
    backup(fixture, &[("qubes.xml", CONTENTS.as_bytes()), ("vm3/private.img", &image)])
}

fn prepared() -> Fixture {
    let fixture = Fixture::new();
    fs::create_dir_all(fixture.path("/var/tmp")).unwrap();
    fixture
}

/// The tool's answer on a backup, with a passphrase on its standard input.
fn verified(fixture: &Fixture, backup: &[u8], passphrase: &str) -> Output {
    let path = fixture.path("/backup");
    fs::write(&path, backup).unwrap();
    let mut command = command(fixture, &["verify-backup", path.to_str().unwrap()]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("{passphrase}\n").as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn a_whole_backup_is_proven_file_by_file() {
    let fixture = prepared();
    let output = verified(&fixture, &whole(&fixture), PASSPHRASE);
    let expected = format!(
        "backup 20230405T123455-1234, compressed by gzip\nqubes.xml {0}\nvm3/private.img 70000\n\
         proven: 2 files, {1} bytes, 1 qubes\n",
        CONTENTS.len(),
        CONTENTS.len() + 70_000
    );
    assert!(output.status.success(), "{output:?}");
    assert_eq!(text(&output), expected);
    assert_eq!(fs::read_dir(fixture.path("/var/tmp")).unwrap().count(), 0);
}

#[test]
fn a_wrong_passphrase_an_altered_byte_and_a_cut_are_told() {
    let fixture = prepared();
    let backup = whole(&fixture);
    assert!(!error(&verified(&fixture, &backup, "another")).is_empty());
    let middle = backup.windows(16).rposition(|bytes| bytes == b"vm3/private.img.").unwrap() + 700;
    let mut altered = backup.clone();
    altered[middle] ^= 1;
    let said = error(&verified(&fixture, &altered, PASSPHRASE));
    assert!(said.contains("a chunk is not what was written"), "{said}");
    assert!(!error(&verified(&fixture, &backup[..middle], PASSPHRASE)).is_empty());
    assert!(!error(&verified(&fixture, b"", PASSPHRASE)).is_empty());
}

#[test]
fn a_qube_whose_data_is_not_there_is_named() {
    let fixture = prepared();
    let cut = backup(&fixture, &[("qubes.xml", CONTENTS.as_bytes())]);
    let said = error(&verified(&fixture, &cut, PASSPHRASE));
    assert!(said.contains("it has not all data of work"), "{said}");
    let unknown = backup(&fixture, &[("vm3/private.img", b"data")]);
    assert!(error(&verified(&fixture, &unknown, PASSPHRASE)).contains("the backup has no qubes.xml"));
}

#[test]
fn keys_that_take_more_than_is_allowed_are_refused_before_they_are_derived() {
    let fixture = prepared();
    let (path, secret) = (fixture.path("/backup"), fixture.path("/secret"));
    fs::write(&path, whole(&fixture)).unwrap();
    fs::write(&secret, PASSPHRASE).unwrap();
    let verify = |most: &str| {
        let [path, secret] = [&path, &secret].map(|path| path.to_str().unwrap());
        tool(&fixture, &["verify-backup", "--key-memory", most, "--passphrase-file", secret, path])
    };
    assert!(error(&verify("0")).ends_with("the derivation of a key would take too much\n"));
    assert!(verify("1").status.success());
}

#[test]
fn on_a_terminal_the_passphrase_is_asked_for_and_not_shown() {
    let fixture = prepared();
    let path = fixture.path("/backup");
    fs::write(&path, whole(&fixture)).unwrap();
    let terminal = nix::pty::openpty(None, None).unwrap();
    let mut command = command(&fixture, &["verify-backup", path.to_str().unwrap()]);
    command.stdin(terminal.slave.try_clone().unwrap()).stderr(terminal.slave).stdout(Stdio::piped());
    let child = command.spawn().unwrap();
    // The command has the other side open too.
    drop(command);
    let mut master = fs::File::from(terminal.master);
    let mut shown = Vec::new();
    while !shown.ends_with(b"Passphrase of the backup: ") {
        let mut byte = [0];
        master.read_exact(&mut byte).unwrap();
        shown.push(byte[0]);
    }
    master.write_all(format!("{PASSPHRASE}\n").as_bytes()).unwrap();
    // A terminal whose other side is gone answers with an error.
    let _ = master.read_to_end(&mut shown);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(text(&output).ends_with("1 qubes\n"));
    assert!(!String::from_utf8_lossy(&shown).contains(PASSPHRASE));
}

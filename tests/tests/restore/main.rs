//! `qubes-admin restore`: backups of ours and as stock writes them, made again in a fresh root (spec 40 §15, §16.4).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "test code"
)]

mod broken;
mod home;
mod killed;
mod made;
mod planned;
mod stock;
mod system;
mod whole;

use std::ops::ControlFlow;
use std::path::Path;
use std::process::Output;

use backup::{BackupId, Content, Cost, Header, Options, Passphrase, Writer};
use tests::Fixture;
use tests::tool::{install, tool};

/// As people choose them.
const PASSPHRASE: &str = "pässwörd ✓ 'quoted'";
/// Keys of almost no cost: what they cost is no part of the format.
const CHEAP: Cost = Cost { log_n: 4, r: 8, p: 1 };

/// Files of a backup, in order.
type Files = Vec<(String, Vec<u8>)>;

/// A backup of these files.
fn written(filter: Option<&str>, files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let id = BackupId::new("20230405T123455-1234").unwrap();
    let filter_name = filter.unwrap_or("gzip").to_owned();
    let header = Header { compressed: filter.is_some(), filter: filter_name, id };
    let options = Options { cost: CHEAP, ..Options::usual(std::env::temp_dir()) };
    let mut writer = Writer::begin(Vec::new(), header, Passphrase::new(PASSPHRASE), options).unwrap();
    for (name, content) in files {
        writer.file(name, Content::Bytes(content), &mut |_| ControlFlow::Continue(())).unwrap();
    }
    writer.finish().unwrap()
}

/// A fresh system, to be restored into.
fn fresh() -> Fixture {
    let fixture = Fixture::empty();
    assert!(tool(&fixture, &["init"]).status.success());
    install(&fixture);
    prepare(&fixture);
    fixture
}

/// What the command needs of a root.
fn prepare(fixture: &Fixture) {
    std::fs::create_dir_all(fixture.path("/var/tmp")).unwrap();
    std::fs::write(fixture.path("/passphrase"), format!("{PASSPHRASE}\n")).unwrap();
}

fn path(fixture: &Fixture, absolute: &str) -> String {
    fixture.path(absolute).to_str().unwrap().to_owned()
}

/// Runs the command on a backup.
fn restore(fixture: &Fixture, backup: &[u8], options: &[&str]) -> Output {
    let (file, secret) = (path(fixture, "/backup"), path(fixture, "/passphrase"));
    std::fs::write(&file, backup).unwrap();
    tool(fixture, &[&["restore", "--passphrase-file", &secret, &file], options].concat())
}

/// What was said to people and what was complained of, after a run that must succeed or must not.
fn said(output: &Output, is_success: bool) -> String {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let said = [text(&output.stdout), text(&output.stderr)].concat();
    assert_eq!(output.status.success(), is_success, "{said}");
    said
}

/// Names of all qubes but dom0, sorted.
fn names(fixture: &Fixture) -> Vec<String> {
    let names = fixture.store().read().unwrap().names().unwrap();
    let mut names: Vec<String> =
        names.iter().map(ToString::to_string).filter(|name| name != "dom0").collect();
    names.sort();
    names
}

/// The content of a volume's image.
fn image(fixture: &Fixture, qube: &str, volume: &str) -> Vec<u8> {
    let home = fixture.qube(qube).home().unwrap();
    std::fs::read(fixture.path("/var/lib/qubes").join(home).join(format!("{volume}.img"))).unwrap()
}

/// Whether anything of a qube is left on the disk.
fn has_files(fixture: &Fixture, qube: &str) -> bool {
    let folders =
        ["appvms", "vm-templates"].map(|folder| fixture.path("/var/lib/qubes").join(folder).join(qube));
    folders.iter().any(|folder| Path::exists(folder))
}

//! Files of the store that are not as they should be: told by name, nothing changed, everything else served.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "test code"
)]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tests::cases::Call;
use tests::fixture::{readable, refusal};
use tests::{Fixture, executables};

/// What may be wrong with a file.
type Harm = fn(&PathBuf);

/// Each harm, how the caller is told, and how the log is.
const HARMS: [(Harm, &str, &str); 6] = [
    (empty, DAMAGED, DAMAGED),
    (cut, DAMAGED, DAMAGED),
    (flip, DAMAGED, DAMAGED),
    (swap_checksum, DAMAGED, DAMAGED),
    (newer, "stored object FILE is from a newer version", "stored object FILE is from a newer version"),
    (directory, "Is a directory", "reading FILE: Is a directory (os error 21)"),
];

const DAMAGED: &str = "stored object FILE is damaged";

fn empty(file: &PathBuf) {
    fs::write(file, "").unwrap();
}

fn cut(file: &PathBuf) {
    let bytes = fs::read(file).unwrap();
    fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
}

fn flip(file: &PathBuf) {
    let mut bytes = fs::read(file).unwrap();
    bytes[30] ^= 4;
    fs::write(file, bytes).unwrap();
}

fn swap_checksum(file: &PathBuf) {
    let text = fs::read_to_string(file).unwrap();
    fs::write(file, format!("{}#00000000\n", &text[..text.len() - 10])).unwrap();
}

fn newer(file: &PathBuf) {
    let json = "{\"format\": 2, \"generation\": 1, \"object\": {\"new\": true}}\n";
    // The checksum of exactly these bytes.
    fs::write(file, format!("{json}#{:08x}\n", checksum(json.as_bytes()))).unwrap();
}

fn directory(file: &PathBuf) {
    fs::remove_file(file).unwrap();
    fs::create_dir(file).unwrap();
}

/// CRC-32, bit by bit.
fn checksum(bytes: &[u8]) -> u32 {
    let step = |rest: u32, byte: &u8| {
        (0..8).fold(rest ^ u32::from(*byte), |rest, _| (rest >> 1) ^ (0xedb8_8320 * (rest & 1)))
    };
    !bytes.iter().fold(u32::MAX, step)
}

/// Each file, a call that reads it, and one that would change it.
const FILES: [(&str, Call, Call); 4] = [
    (
        "system.json",
        ("admin.property.Get+clockvm", "dom0", ""),
        ("admin.property.Set+clockvm", "dom0", "test-vm1"),
    ),
    ("labels.json", ("admin.label.List+", "dom0", ""), ("admin.label.Create+mine", "dom0", "0x123456")),
    (
        "pools.json",
        ("admin.vm.Create.AppVM+test-template", "dom0", "name=made label=red"),
        ("admin.vm.Create.StandaloneVM+", "dom0", "name=made label=red"),
    ),
    (
        "qubes/test-vm1.json",
        ("admin.vm.feature.Get+f", "test-vm1", ""),
        ("admin.vm.feature.Set+f", "test-vm1", "v"),
    ),
];

/// Names and contents of all regular files of the state.
fn everything(fixture: &Fixture) -> Vec<(PathBuf, Vec<u8>)> {
    let state = fixture.path("/var/lib/qubes/admin");
    let folders = [state.clone(), state.join("qubes"), state.join("journal")];
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    let mut files: Vec<_> =
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// The reply to a call and what it wrote to the log.
fn answer(fixture: &Fixture, (call, destination, payload): Call) -> (Vec<u8>, String) {
    let method = call.split('+').next().unwrap();
    let output = fixture.run(method, format!("{call} dom0 name {destination}\0{payload}").as_bytes());
    (output.stdout, String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_bad_file_is_told_by_name_and_nothing_is_changed() {
    for (file, reading, changing) in FILES {
        for (harm, told, logged) in HARMS {
            let fixture = Fixture::new();
            let path = fixture.path("/var/lib/qubes/admin").join(file);
            harm(&path);
            let before = everything(&fixture);
            for call in [reading, changing] {
                let (reply, log) = answer(&fixture, call);
                let text = told.replace("FILE", file);
                assert_eq!(
                    refusal(&reply),
                    format!("QubesException: The state store cannot be used: {text}"),
                    "{}",
                    call.0
                );
                assert_eq!(log, format!("qubes-admin: {}\n", logged.replace("FILE", file)), "{}", call.0);
                assert_eq!(everything(&fixture), before, "{}", call.0);
            }
            others_are_served(&fixture);
            let checked = check(&fixture);
            assert!(checked.contains(file), "{checked}");
        }
    }
}

fn others_are_served(fixture: &Fixture) {
    fixture.ok("admin.vm.feature.Set+f", "test-net", "v");
    assert_eq!(fixture.ok("admin.vm.feature.Get+f", "test-net", ""), "v");
    assert!(fixture.ok("admin.vm.List", "dom0", "").contains("test-net class=AppVM"));
}

fn check(fixture: &Fixture) -> String {
    let mut command = Command::new(executables::executable("qubes-admin"));
    let output = command.arg("--root").arg(fixture.path("/")).arg("check").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_qube_that_cannot_be_read_is_missing_from_lists_and_holds_back_what_it_might_use() {
    for (harm, ..) in HARMS {
        let fixture = Fixture::new();
        let path = fixture.path("/var/lib/qubes/admin/qubes/test-vm1.json");
        let whole = fs::read(&path).unwrap();
        harm(&path);
        fs::remove_file(fixture.path("/run/qubes/admin/index")).unwrap();
        let (list, log) = answer(&fixture, ("admin.vm.List+", "dom0", ""));
        assert!(readable(&list).contains("test-net ") && !readable(&list).contains("test-vm1"));
        assert_eq!(log.lines().count(), 1, "{log}");
        others_are_served(&fixture);
        for (call, destination, payload) in [
            ("admin.vm.Remove", "test-template", ""),
            ("admin.vm.Create.AppVM+test-template", "dom0", "name=made label=red"),
        ] {
            let refused = fixture.refused(call, destination, payload);
            assert!(
                refused.ends_with("stored object qubes/test-vm1.json cannot be read; see qubes-admin check"),
                "{refused}"
            );
        }
        // Brought back from a copy, it is there again.
        let _ = fs::remove_dir(&path);
        fs::write(&path, whole).unwrap();
        assert!(fixture.ok("admin.vm.List", "dom0", "").contains("test-vm1 class=AppVM"));
        fixture.ok("admin.vm.Create.AppVM+test-template", "dom0", "name=made label=red");
    }
}

#[test]
fn a_qube_in_the_file_of_another_is_not_taken_for_it() {
    let fixture = Fixture::new();
    let qubes = fixture.path("/var/lib/qubes/admin/qubes");
    fs::copy(qubes.join("test-vm1.json"), qubes.join("copy.json")).unwrap();
    let before = everything(&fixture);
    let told = "QubesException: The state store cannot be used: stored object qubes/copy.json is damaged";
    assert_eq!(fixture.refused("admin.vm.feature.Set+f", "copy", "v"), told);
    assert_eq!(everything(&fixture), before);
    assert!(check(&fixture).contains("qubes/copy.json holds the qube test-vm1"));
}

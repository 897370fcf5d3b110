//! Backups that are not as they were written: nothing of a qube is restored unless all of it was proven.

use tests::Fixture;
use tests::numbers::Numbers;
use tests::tool::tool;

use super::system::{backed_up, system};
use super::{Files, fresh, has_files, names, path, restore, said, written};

/// The same with only some of the qubes that it says it has.
fn some_of(system: &Fixture, qubes: &[&str]) -> Files {
    let mut files = backed_up(system);
    let wanted = |name: &str| {
        let folder = |qube: &&str| format!("vm{}/", system.qube(qube).qid);
        name == "qubes.xml" || qubes.iter().any(|qube| name.starts_with(&folder(qube)))
    };
    files.retain(|(name, _)| wanted(name));
    files
}

/// A small backup: of one qube alone, in the words of its `qubes.xml` too.
fn one_qube() -> Vec<u8> {
    let mut files: Files =
        vec![("qubes.xml".to_owned(), super::stock::xml(super::stock::ALONE).into_bytes())];
    files.push(("vm5/root.img".to_owned(), b"root".repeat(500)));
    files.push(("vm5/private.img".to_owned(), b"private".repeat(500)));
    written(None, &files)
}

fn assert_nothing(target: &Fixture, what: &str) {
    assert!(names(target).is_empty() && !has_files(target, "alone"), "{what}");
}

#[test]
fn a_wrong_passphrase_restores_nothing() {
    let target = fresh();
    std::fs::write(target.path("/passphrase"), "wrong\n").unwrap();
    let told = said(&restore(&target, &one_qube(), &[]), false);
    assert!(told.contains("wrong passphrase, or the backup was altered"), "{told}");
    assert_nothing(&target, "wrong");
}

#[test]
fn an_altered_byte_anywhere_restores_nothing() {
    let (backup, target) = (one_qube(), fresh());
    let body = backup.windows(9).position(|window| window == b"qubes.xml").unwrap();
    let mut numbers = Numbers::of(1);
    let mut place =
        |range: std::ops::Range<usize>| range.start + (numbers.next() % range.len() as u64) as usize;
    // The text of the header, all that proves it, and anywhere.
    let header: Vec<usize> = (512..680).step_by(4).collect();
    let proof: Vec<usize> = (0..20).map(|_| place(10_240..11_200)).collect();
    let anywhere: Vec<usize> = (0..60).map(|_| place(0..backup.len())).collect();
    let data: Vec<usize> = (0..20).map(|_| place(body..body + 8000)).collect();
    for at in [header, proof, anywhere, data].concat() {
        let mut altered = backup.clone();
        altered[at] ^= 0x55;
        said(&restore(&target, &altered, &[]), false);
        assert_nothing(&target, &format!("byte {at}"));
    }
    said(&restore(&target, &backup, &[]), true);
    assert_eq!(names(&target), ["alone"]);
}

#[test]
fn a_backup_cut_anywhere_restores_nothing() {
    let (backup, target) = (one_qube(), fresh());
    let mut numbers = Numbers::of(2);
    let records = (0..backup.len() / 10_240).map(|record| record * 10_240);
    let random = (0..20).map(|_| (numbers.next() % backup.len() as u64) as usize);
    for length in records.chain(random).chain([backup.len() - 1]) {
        said(&restore(&target, &backup[..length], &[]), false);
        assert_nothing(&target, &format!("{length} bytes"));
    }
}

#[test]
fn what_is_altered_of_one_keeps_only_that_one_and_what_is_based_on_it() {
    let (system, target) = (system(), fresh());
    let backup = written(Some("gzip"), &backed_up(&system));
    let altered = |qube: &str| {
        let file = format!("vm{}/private.img.000.enc", system.qube(qube).qid);
        let at = backup.windows(file.len()).position(|window| window == file.as_bytes()).unwrap();
        let mut altered = backup.clone();
        altered[at + 512 + 150] ^= 1;
        altered
    };
    let told = said(&restore(&target, &altered("dvm"), &[]), false);
    assert!(
        told.contains("dvm could not be restored: private.img: the backup was altered or is damaged"),
        "{told}"
    );
    assert!(told.contains("disp could not be restored: its template dvm could not be restored"), "{told}");
    // A reference to it is none now.
    assert!(told.contains("work: property default_dispvm is none now"), "{told}");
    assert!(told.contains("2 of 6 qubes could not be restored"), "{told}");
    assert_eq!(names(&target), ["alone", "net", "tpl", "work"]);
    assert!(!has_files(&target, "dvm") && !has_files(&target, "disp"));
    assert_eq!(target.qube("work").properties["default_dispvm"], common::model::Value::None);
    let target = fresh();
    let told = said(&restore(&target, &altered("tpl"), &[]), false);
    assert!(told.contains("5 of 6 qubes could not be restored"), "{told}");
    assert_eq!(names(&target), ["alone"]);
    assert!(tool(&target, &["check"]).status.success());
}

#[test]
fn a_backup_that_breaks_off_gives_the_qubes_before() {
    let (system, target) = (system(), fresh());
    let files = some_of(&system, &["tpl", "alone", "net", "dvm", "disp", "work"]);
    let backup = written(None, &files);
    // The last is cut off at a border that nobody can tell from the end.
    let (last, _) = files.last().unwrap();
    let at = backup.windows(last.len()).rposition(|window| window == last.as_bytes()).unwrap();
    let told = said(&restore(&target, &backup[..at + 512 + 100], &[]), false);
    assert!(told.contains("the backup is truncated"), "{told}");
    let folder = last.split('/').next().unwrap();
    let cut: Vec<String> =
        names(&system).into_iter().filter(|name| format!("vm{}", system.qube(name).qid) == *folder).collect();
    assert_eq!(cut.len(), 1);
    let restored = names(&target);
    assert!(!restored.contains(&cut[0]) && restored.contains(&"tpl".to_owned()), "{restored:?}");
    assert!(told.contains(&format!("{} could not be restored: ", cut[0])), "{told}");
}

#[test]
fn what_should_be_there_and_is_not_keeps_its_qube_from_being_restored() {
    let (system, target) = (system(), fresh());
    let mut files = backed_up(&system);
    let root = format!("vm{}/root.img", system.qube("alone").qid);
    files.retain(|(name, _)| *name != root && !name.starts_with(&format!("vm{}/", system.qube("disp").qid)));
    let told = said(&restore(&target, &written(None, &files), &[]), false);
    assert!(told.contains("alone could not be restored: the backup does not have all of it: root"), "{told}");
    assert!(told.contains("disp could not be restored: the backup has nothing of it"), "{told}");
    assert_eq!(names(&target), ["dvm", "net", "tpl", "work"]);
}

#[test]
fn volumes_that_a_qube_cannot_have_keep_it_from_being_restored() {
    let (system, target) = (system(), fresh());
    let mut files = backed_up(&system);
    let folder = format!("vm{}/", system.qube("net").qid);
    let place = files.iter().position(|(name, _)| name.starts_with(&folder)).unwrap();
    files.insert(place, (format!("{folder}strange.img"), b"content".repeat(9)));
    let told = said(&restore(&target, &written(None, &files), &[]), false);
    assert!(
        told.contains("net could not be restored: strange.img: ProtocolError: Argument not in net volumes"),
        "{told}"
    );
    // It is not connected to any other network.
    assert_eq!(target.qube("work").properties["netvm"], common::model::Value::None);
}

#[test]
fn other_files_of_a_qube_are_passed_over() {
    let (system, target) = (system(), fresh());
    let mut files = backed_up(&system);
    let folder = format!("vm{}/", system.qube("alone").qid);
    let place = files.iter().position(|(name, _)| name.starts_with(&folder)).unwrap();
    files.insert(place, (format!("{folder}whitelisted-appmenus.list"), b"a.desktop\n".to_vec()));
    files.push(("vm77/private.img".to_owned(), b"nobody's".to_vec()));
    said(&restore(&target, &written(Some("gzip"), &files), &[]), true);
    assert_eq!(names(&target), names(&system));
}

#[test]
fn what_is_no_backup_of_this_version_is_told_by_its_version() {
    let target = fresh();
    let backup = one_qube();
    for (text, why) in [
        ("version=2", "is of version 2; only version 4 can be read"),
        ("version=3", "is of version 3; only version 4 can be read"),
        ("version=5", "is of version 5; only version 4 can be read"),
        ("version=x", "its header is not what was written"),
    ] {
        let at = backup.windows(9).position(|window| window == b"version=4").unwrap();
        let mut other = backup.clone();
        other[at..at + 9].copy_from_slice(text.as_bytes());
        let told = said(&restore(&target, &other, &[]), false);
        assert!(told.contains(why), "{told}");
    }
    assert!(said(&restore(&target, b"nonsense", &[]), false).contains("truncated"));
    let missing = tool(&target, &["restore", "--passphrase-file", &path(&target, "/passphrase"), "/nowhere"]);
    assert!(said(&missing, false).contains("/nowhere: No such file"));
}

#[test]
fn what_tells_of_the_qubes_comes_first_is_short_and_has_the_form() {
    let target = fresh();
    let xml = super::stock::xml(super::stock::ALONE);
    let file = |name: &str, content: &str| (name.to_owned(), content.as_bytes().to_vec());
    let long = format!("<qubes><!--{}--></qubes>", "x".repeat(64 << 20));
    for (files, why) in [
        (vec![], "does not begin with qubes.xml"),
        (vec![file("vm5/private.img", "x"), file("qubes.xml", &xml)], "does not begin with qubes.xml"),
        (vec![file("qubes.xml", &long)], "file too large"),
        (vec![file("qubes.xml", "<qubes>")], "qubes.xml: line 1: not well-formed"),
        (vec![file("qubes.xml", "<other></other>")], "the root element is not <qubes>"),
        (vec![file("qubes.xml", "<qubes></qubes>")], "there is nothing to restore"),
    ] {
        let told = said(&restore(&target, &written(None, &files), &[]), false);
        assert!(told.contains(why), "{told}");
    }
    // Far more files than its sizes allow.
    let many = (0..90).map(|number| file(&format!("vm5/{number}"), "x"));
    let files: Files = [file("qubes.xml", &xml)].into_iter().chain(many).collect();
    let told = said(&restore(&target, &written(None, &files), &[]), false);
    assert!(told.contains("too many members"), "{told}");
    assert_nothing(&target, "many");
    // Nothing can be counted on where a pool was measured that was not ready.
    let unknown = xml.replace(">4096<", ">0<");
    let files: Files = [file("qubes.xml", &unknown)].into_iter().chain(files.into_iter().skip(1)).collect();
    let told = said(&restore(&target, &written(None, &files), &[]), false);
    assert!(told.contains("the backup does not have all of it: private, root"), "{told}");
}

#[test]
fn a_system_with_very_many_qubes_comes_back() {
    let target = fresh();
    let many = super::stock::xml(&format!("<!--{}-->{}", "x".repeat(2 << 20), super::stock::ALONE));
    let files = vec![
        ("qubes.xml".to_owned(), many.into_bytes()),
        ("vm5/root.img".to_owned(), b"root".repeat(500)),
        ("vm5/private.img".to_owned(), b"private".repeat(500)),
    ];
    said(&restore(&target, &written(None, &files), &[]), true);
    assert_eq!(names(&target), ["alone"]);
}

#[test]
fn what_is_based_on_a_template_goes_with_it_also_at_the_end() {
    let (system, target) = (system(), fresh());
    let mut files = backed_up(&system);
    // More than one call takes.
    let rule = "<rule><properties><property name=\"action\">accept</property></properties></rule>";
    let rules = format!("<firewall version=\"2\"><rules>{}</rules></firewall>", rule.repeat(5000));
    files.push((format!("vm{}/firewall.xml", system.qube("tpl").qid), rules.into_bytes()));
    let told = said(&restore(&target, &written(Some("gzip"), &files), &[]), false);
    assert!(told.contains("tpl could not be restored: firewall: "), "{told}");
    for name in ["work", "net", "dvm"] {
        assert!(told.contains(&format!("{name} could not be restored: its template tpl")), "{told}");
    }
    assert!(told.contains("disp could not be restored: its template dvm"), "{told}");
    assert_eq!(names(&target), ["alone"]);
}

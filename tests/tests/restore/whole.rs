//! What comes back is what was there.

use common::model::{Qube, Value};
use tests::Fixture;
use tests::tool::{command, tool};

use super::system::{VOLUMES, backed_up, system};
use super::{Files, fresh, image, names, path, restore, said, written};

/// What of a qube must be the same again: all but its numbers, and where its volumes lie.
fn comparable(fixture: &Fixture, name: &str) -> Qube {
    let mut qube = fixture.qube(name);
    qube.qid = 0;
    qube.uuid = common::names::QubeUuid::dom0();
    qube.properties.remove("dispid");
    qube.features.sort();
    for volume in &mut qube.volumes {
        volume.vid = String::new();
        volume.source = None;
    }
    qube
}

fn assert_same(one: &Fixture, other: &Fixture) {
    assert_eq!(names(one), names(other));
    for name in names(one) {
        assert_eq!(comparable(one, &name), comparable(other, &name));
        let notes = |fixture: &Fixture| fixture.ok("admin.vm.notes.Get", &name, "");
        assert_eq!(notes(one), notes(other));
    }
    for (qube, volume) in VOLUMES {
        assert!(image(one, qube, volume) == image(other, qube, volume), "{qube} {volume}");
    }
}

#[test]
fn a_backup_of_ours_comes_back_as_it_was() {
    let system = system();
    for filter in [None, Some("gzip"), Some("zstd")] {
        let target = fresh();
        let said = said(&restore(&target, &written(filter, &backed_up(&system)), &[]), true);
        assert!(said.contains("\nwork: restored\n"), "{said}");
        assert_same(&system, &target);
        let label = target.store().read().unwrap().labels().unwrap();
        assert_eq!(label.find("mine").unwrap().color, "0x123456");
        assert!(tool(&target, &["check"]).status.success());
        assert_eq!(target.qube("work").properties["netvm"], Value::Text("net".to_owned()));
        assert_eq!(target.qube("dvm").firewall, Some(vec![]));
    }
}

#[test]
fn holes_take_no_room() {
    use std::os::unix::fs::MetadataExt;
    let (system, target) = (system(), fresh());
    said(&restore(&target, &written(Some("gzip"), &backed_up(&system)), &[]), true);
    let image = target.path("/var/lib/qubes/appvms/dvm/private.img");
    let about = image.metadata().unwrap();
    assert_eq!((about.len(), about.blocks()), (1 << 20, 0));
}

#[test]
fn a_backup_may_come_through_a_pipe_and_the_passphrase_too() {
    use std::io::Write;
    use std::process::Stdio;
    let (system, target) = (system(), fresh());
    let backup = written(Some("gzip"), &backed_up(&system));
    let piped = |arguments: &[&str], input: &[u8]| {
        let mut command = command(&target, arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    };
    let secret = path(&target, "/passphrase");
    let unsaid = piped(&["restore", "-"], &backup);
    assert!(said(&unsaid, false).contains("--passphrase-file says where the passphrase is"));
    said(&piped(&["restore", "--passphrase-file", &secret, "--qubes", "alone", "--", "-"], &backup), true);
    assert_eq!(names(&target), ["alone"]);
    std::fs::write(target.path("/backup"), &backup).unwrap();
    let rest = ["restore", &path(&target, "/backup"), "--qubes", "tpl,net,work,dvm", "disp"];
    said(&piped(&rest, super::PASSPHRASE.as_bytes()), true);
    assert_same(&system, &target);
}

#[test]
fn to_verify_changes_nothing_and_tells_what_would_be() {
    let (system, target) = (system(), fresh());
    let files = backed_up(&system);
    let backup = written(Some("gzip"), &files);
    let verify = |backup: &[u8], options: &[&str]| {
        std::fs::write(target.path("/backup"), backup).unwrap();
        let before = target.files();
        let output = restore(&target, backup, &[&["--verify-only"], options].concat());
        assert!(target.files() == before);
        output
    };
    let told = said(&verify(&backup, &["--rename", "work=play"]), true);
    assert!(
        told.contains("\nplay: would be restored\n") && told.contains("\ntpl: would be restored\n"),
        "{told}"
    );
    // Of what is not chosen it is proven, too, that it is as it was written.
    assert!(!said(&verify(&backup, &["--qubes", "alone"]), true).contains("work: "));
    let mut altered = backup.clone();
    let folder = format!("vm{}/private.img", system.qube("dvm").qid);
    let at = backup.windows(folder.len()).position(|window| window == folder.as_bytes()).unwrap();
    altered[at + 512 + 200] ^= 1;
    let told = said(&verify(&altered, &["--qubes", "alone"]), false);
    assert!(
        told.contains("a chunk is not what was written") && told.contains("the backup is damaged"),
        "{told}"
    );
    assert!(told.contains("alone: would be restored"), "{told}");
    let told = said(&verify(&altered, &["--qubes", "work", "net", "tpl"]), false);
    assert!(told.contains("work: would be restored"), "{told}");
    let told = said(&verify(&altered, &[]), false);
    assert!(
        told.contains("dvm could not be restored: private.img: ") && told.contains("its template dvm"),
        "{told}"
    );
    let folder = folder.trim_end_matches("private.img");
    let lacking: Files = files.into_iter().filter(|(name, _)| !name.starts_with(folder)).collect();
    let told = said(&verify(&written(None, &lacking), &[]), false);
    assert!(told.contains("dvm could not be restored: the backup has nothing of it"), "{told}");
}

#[test]
fn verify_backup_misses_each_volume_that_should_be_there() {
    let system = system();
    let files = backed_up(&system);
    let verify = |files: &Files| {
        let (file, secret) = (path(&system, "/backup"), path(&system, "/passphrase"));
        std::fs::write(&file, written(Some("gzip"), files)).unwrap();
        tool(&system, &["verify-backup", "--passphrase-file", &secret, &file])
    };
    assert!(said(&verify(&files), true).contains(", 6 qubes\n"));
    let root = format!("vm{}/root.img", system.qube("alone").qid);
    let lacking: Files = files.into_iter().filter(|(name, _)| *name != root).collect();
    let told = said(&verify(&lacking), false);
    assert!(told.contains("the backup is truncated: it has not all data of alone"), "{told}");
}

#[test]
fn a_volume_of_several_chunks_is_never_held_in_memory() {
    use std::io::Write;
    use std::process::Command;
    const MOST_KIB: u64 = 192 << 10;
    let target = fresh();
    let mut numbers = tests::numbers::Numbers::of(1);
    let mut private = vec![0; 230 << 20];
    for piece in private[40 << 20..190 << 20].chunks_mut(8) {
        (&mut *piece).write_all(&numbers.next().to_le_bytes()).unwrap();
    }
    let xml = super::stock::xml(super::stock::ALONE)
        .replace("<feature name=\"backup-size\">4096<", "<feature name=\"backup-size\">240000000<");
    let files: Files = vec![
        ("qubes.xml".to_owned(), xml.into_bytes()),
        ("vm5/root.img".to_owned(), b"root".repeat(500)),
        ("vm5/private.img".to_owned(), private.clone()),
    ];
    std::fs::write(target.path("/backup"), written(None, &files)).unwrap();
    let tool = command(
        &target,
        &["restore", "--passphrase-file", &path(&target, "/passphrase"), &path(&target, "/backup")],
    );
    let mut limited = Command::new("sh");
    limited.args(["-c", &format!("ulimit -v {MOST_KIB} && exec \"$0\" \"$@\"")]).env_clear();
    said(&limited.arg(tool.get_program()).args(tool.get_args()).output().unwrap(), true);
    assert!(image(&target, "alone", "private") == private);
}

/// What is shown on a terminal to somebody who answers.
fn answering(target: &Fixture, backup: &[u8], answer: &str) -> (bool, String) {
    use std::fs::File;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    std::fs::write(target.path("/backup"), backup).unwrap();
    let terminal = nix::pty::openpty(None, None).unwrap();
    let mut command = command(target, &["restore", &path(target, "/backup"), "--qubes", "alone"]);
    let [input, output, errors] = [(); 3].map(|()| terminal.slave.as_fd().try_clone_to_owned().unwrap());
    let mut child = command.stdin(input).stdout(output).stderr(errors).spawn().unwrap();
    drop((command, terminal.slave));
    let mut person = File::from(terminal.master);
    let mut shown = Vec::new();
    let mut await_text = |wanted: &str, person: &mut File| {
        let mut piece = [0; 4096];
        while !String::from_utf8_lossy(&shown).contains(wanted) {
            match person.read(&mut piece) {
                Ok(length @ 1..) => shown.extend_from_slice(&piece[..length]),
                // A terminal whose other side is gone answers with an error.
                _ => break,
            }
        }
    };
    await_text("Passphrase of the backup: ", &mut person);
    person.write_all(format!("{}\n", super::PASSPHRASE).as_bytes()).unwrap();
    await_text("[y/N] ", &mut person);
    person.write_all(answer.as_bytes()).unwrap();
    await_text("there is no such text", &mut person);
    (child.wait().unwrap().success(), String::from_utf8(shown).unwrap())
}

#[test]
fn somebody_at_a_terminal_is_asked_for_the_passphrase_and_whether_to_begin() {
    let (system, target) = (system(), fresh());
    let backup = written(Some("gzip"), &backed_up(&system));
    let (succeeds, shown) = answering(&target, &backup, "\n");
    assert!(
        !succeeds && shown.contains("nothing was restored") && !shown.contains(super::PASSPHRASE),
        "{shown}"
    );
    assert!(shown.contains("restored as alone") && names(&target).is_empty(), "{shown}");
    let (succeeds, shown) = answering(&target, &backup, "y\n");
    assert!(succeeds && shown.contains("100% ") && shown.contains("alone: restored"), "{shown}");
    assert_eq!(names(&target), ["alone"]);
}

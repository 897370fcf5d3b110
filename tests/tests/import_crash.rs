//! Imports that are killed: the volume has the old content or the new, listeners hear of one end for each beginning, and
//! whoever comes next leaves nothing half-made. Every eleventh place is tried, `EVERY=1` for all of them.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code"
)]

use std::fs::File;
use std::io::Write;
use std::process::{Child, Command, Stdio};

use nix::errno::Errno;
use tests::pools::{add_lvm, add_zfs, committed, kill_before_program, rewrite, volume};
use tests::stepper::{Trouble, run};
use tests::volumes::{SIZE, image, images, is_temporary, new, old, stream, system};
use tests::{Fixture, executables};

/// Events of imports so far, without their subject.
fn told(fixture: &Fixture) -> Vec<String> {
    let ours = |event: String| {
        let (subject, event) = event.split_once(" domain-volume-import-")?;
        (subject == "made").then(|| event.to_owned())
    };
    fixture.events().into_iter().filter_map(ours).collect()
}

fn content(fixture: &Fixture) -> Vec<u8> {
    std::fs::read(image(fixture, "private.img")).unwrap()
}

fn temporary(fixture: &Fixture) -> Vec<String> {
    images(fixture).into_iter().filter(|name| is_temporary(name)).collect()
}

/// A call on the qube's volumes, which takes its lifecycle lock.
fn next_call(fixture: &Fixture) {
    fixture.ok("admin.vm.volume.Set.rw+private", "made", "True");
}

/// What `qubes-admin check` says.
fn check(fixture: &Fixture, repair: &[&str]) -> (bool, String) {
    let mut command = Command::new(executables::executable("qubes-admin"));
    command.env_clear().arg("--root").arg(fixture.path("/")).arg("check").args(repair);
    let output = command.stdin(Stdio::null()).output().unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

/// A call from a file, so that nobody has to write while it is traced.
fn call(fixture: &Fixture, call: &str, payload: &str) -> Command {
    std::fs::write(fixture.path("/request"), format!("{call}+private dom0 name made\0{payload}")).unwrap();
    let mut command = fixture.command(call);
    command.stdin(File::open(fixture.path("/request")).unwrap());
    command
}

fn begun(fixture: &Fixture) {
    fixture.ok("internal.vm.volume.ImportBegin+private", "made", "70000");
    std::fs::write(image(fixture, "private-import.img"), grown()).unwrap();
}

/// New content of another size.
fn grown() -> Vec<u8> {
    [old().as_slice(), &[9; 4464]].concat()
}

/// An import: how the world is prepared, what makes it, and what the volume holds if it succeeds.
struct Case {
    name: &'static str,
    prepare: fn(&Fixture),
    command: fn(&Fixture) -> Command,
    after: fn() -> Vec<u8>,
}

const CASES: [Case; 6] = [
    Case {
        name: "Import",
        prepare: |_| {},
        command: |fixture| stream(fixture, "admin.vm.volume.Import", "private", &new()),
        after: new,
    },
    Case {
        name: "Import of too few bytes",
        prepare: |_| {},
        command: |fixture| stream(fixture, "admin.vm.volume.Import", "private", b"few"),
        after: old,
    },
    Case {
        name: "ImportWithSize",
        prepare: |_| {},
        command: |fixture| {
            let payload = [b"70000\n".as_slice(), &grown()].concat();
            stream(fixture, "admin.vm.volume.ImportWithSize", "private", &payload)
        },
        after: grown,
    },
    Case {
        name: "Clear",
        prepare: |_| {},
        command: |fixture| call(fixture, "admin.vm.volume.Clear", ""),
        after: || vec![0; SIZE],
    },
    Case {
        name: "ImportEnd",
        prepare: begun,
        command: |fixture| call(fixture, "internal.vm.volume.ImportEnd", "ok"),
        after: grown,
    },
    Case {
        name: "ImportEnd of a failure",
        prepare: begun,
        command: |fixture| call(fixture, "internal.vm.volume.ImportEnd", "fail\nno bytes"),
        after: old,
    },
];

fn stride() -> usize {
    if std::env::var_os("EVERY").is_some() { 1 } else { 11 }
}

/// What must hold once somebody came by. Gives whether the content is new.
fn assert_ended(fixture: &Fixture, case: &Case, place: &str) -> bool {
    let events = told(fixture);
    let content = content(fixture);
    let is_new = content == (case.after)() && content != old();
    assert!(is_new || content == old(), "{place}: torn");
    let ended = format!("end volume=private success={}", if is_new { "True" } else { "False" });
    match events.as_slice() {
        [] => assert!(!is_new, "{place}: nobody was told"),
        [begun, end] => {
            assert!(begun.starts_with("begin volume=private size=") && *end == ended, "{place}: {events:?}")
        }
        _ => panic!("{place}: {events:?}"),
    }
    let volume = fixture.qube("made").volumes.remove(1);
    assert_eq!(volume.size, u64::try_from(content.len()).unwrap(), "{place}");
    assert_eq!(volume.import, None, "{place}");
    assert_eq!(temporary(fixture), [""; 0], "{place}");
    let notes = std::fs::read_dir(fixture.path("/run/qubes/admin/imports")).unwrap();
    assert_eq!(notes.count(), 0, "{place}");
    is_new
}

/// What comes after a kill. An import that another program fills goes on until that program ends it.
fn come_by(fixture: &Fixture) {
    if fixture.qube("made").volumes[1].import == Some(common::model::Import::Elsewhere) {
        let _ = fixture.call("internal.vm.volume.ImportEnd+private", "made", "fail");
    }
    next_call(fixture);
}

fn kill_everywhere(case: &Case) -> (usize, usize) {
    let prepared = system();
    (case.prepare)(&prepared);
    let (mut stop, mut kills, mut news) = (0, 0, 0);
    loop {
        let fixture = prepared.copy();
        let traced = run((case.command)(&fixture), Trouble::Kill(stop));
        let place = format!("{}, killed at stop {stop}", case.name);
        if stop % 2 == 1 {
            // Somebody else's change tells at most what the next call on the qube would have told.
            fixture.ok("admin.vm.feature.Set+some", "test-vm1", "1");
        }
        come_by(&fixture);
        let is_new = assert_ended(&fixture, case, &place);
        assert!(!traced.output.starts_with(b"0\0") || is_new, "{place}: an acknowledged import was lost");
        let events = told(&fixture);
        next_call(&fixture);
        assert_eq!(told(&fixture), events, "{place}: an end was told twice");
        assert_eq!(fixture.store().check().unwrap(), [], "{place}");
        if !traced.met {
            return (kills, news);
        }
        kills += 1;
        news += usize::from(is_new);
        stop += stride();
    }
}

#[test]
fn every_import_that_was_killed_ends_once_for_everybody() {
    for case in &CASES {
        let (kills, news) = kill_everywhere(case);
        println!("{}: {kills} kills, {news} with new content", case.name);
        assert!(kills > 20, "{}: {kills} kills", case.name);
        assert_eq!(news > 0, (case.after)() != old(), "{}: {news} of {kills}", case.name);
    }
}

#[test]
fn an_import_that_meets_an_error_tells_its_end_once() {
    let mut points = 0;
    for errno in [Errno::EIO, Errno::ENOSPC] {
        for case in CASES.iter().filter(|case| case.name.starts_with("Import")) {
            let prepared = system();
            (case.prepare)(&prepared);
            let mut point = 0;
            loop {
                let fixture = prepared.copy();
                let traced = run((case.command)(&fixture), Trouble::Fail(point, errno as i32));
                if !traced.met {
                    break;
                }
                come_by(&fixture);
                assert_ended(&fixture, case, &format!("{}, {errno} at call {point}", case.name));
                points += 1;
                point += stride();
            }
        }
    }
    println!("{points} points");
    assert!(points > 50, "{points}");
}

/// A stream in the middle of its bytes, its beginning told.
fn halfway(fixture: &Fixture) -> Child {
    let mut command = stream(fixture, "admin.vm.volume.Import", "private", b"");
    let mut importer = command.stdin(Stdio::piped()).spawn().unwrap();
    importer.stdin.as_mut().unwrap().write_all(&new()[..SIZE / 2]).unwrap();
    while told(fixture).is_empty() {
        std::thread::yield_now();
    }
    importer
}

#[test]
fn a_stream_cut_by_a_kill_is_told_of_by_whoever_changes_anything_next() {
    let fixture = system();
    let mut importer = halfway(&fixture);
    let begun = told(&fixture);
    // As long as it lives it is nobody's.
    fixture.ok("admin.vm.feature.Set+some", "test-vm1", "1");
    assert_eq!(told(&fixture), begun);
    assert!(check(&fixture, &[]).0, "a living import is no problem");
    importer.kill().unwrap();
    importer.wait().unwrap();
    let (well, said) = check(&fixture, &[]);
    assert!(!well && said.contains("an import into made was not finished"), "{said}");
    fixture.ok("admin.vm.feature.Set+some", "test-vm1", "2");
    let ended = [begun[0].clone(), "end volume=private success=False".to_owned()];
    assert_eq!(told(&fixture), ended);
    assert_eq!(temporary(&fixture), ["private-import.img"]);
    let (well, said) = check(&fixture, &["--repair"]);
    assert!(well, "{said}");
    assert_eq!(temporary(&fixture), [""; 0]);
    assert_eq!(told(&fixture), ended);
    assert!(content(&fixture) == old());
}

#[test]
fn an_import_that_nobody_ended_ends_where_the_next_begins() {
    let fixture = system();
    begun(&fixture);
    let output = stream(&fixture, "admin.vm.volume.Import", "private", &new()).output().unwrap();
    assert_eq!(output.stdout, b"0\0");
    let (failed, done) = ("end volume=private success=False", "end volume=private success=True");
    let expected = ["begin volume=private size=70000", failed, "begin volume=private size=65536", done];
    assert_eq!(told(&fixture), expected);
    assert!(content(&fixture) == new());
}

#[test]
fn a_qube_goes_with_what_a_killed_import_left() {
    let fixture = system();
    let mut importer = halfway(&fixture);
    importer.kill().unwrap();
    importer.wait().unwrap();
    fixture.ok("admin.vm.Remove", "made", "");
    assert_eq!(told(&fixture).last().unwrap(), "end volume=private success=False");
    assert!(!image(&fixture, "").exists());
    assert!(check(&fixture, &[]).0);
}

/// Clones so far of which listeners know.
fn clones(fixture: &Fixture, qube: &str) -> Vec<String> {
    let subject = format!("{qube} domain-import-volume ");
    fixture.events().into_iter().filter_map(|event| event.strip_prefix(&subject).map(str::to_owned)).collect()
}

/// A clone of a volume in a pool whose files are others.
fn clone_of_filed(fixture: &Fixture) -> Command {
    let token = fixture.ok("admin.vm.volume.CloneFrom+private", "filed", "");
    call(fixture, "admin.vm.volume.CloneTo", &token)
}

/// What must hold once somebody came by. Gives whether the content is new.
fn assert_cloned_or_not(fixture: &Fixture, place: &str) -> bool {
    let content = content(fixture);
    let is_new = content == grown();
    assert!(is_new || content == old(), "{place}: torn");
    let told: &[&str] = if is_new { &["name=private source=appvms/filed/private"] } else { &[] };
    assert_eq!(clones(fixture, "made"), told, "{place}");
    let volume = fixture.qube("made").volumes.remove(1);
    assert_eq!(volume.size, u64::try_from(content.len()).unwrap(), "{place}");
    assert_eq!(volume.import, None, "{place}");
    assert_eq!(temporary(fixture), [""; 0], "{place}");
    is_new
}

#[test]
fn every_clone_that_meets_trouble_is_told_of_once_if_it_was_made() {
    let prepared = system();
    prepared.ok("admin.vm.CreateInPool.AppVM", "dom0", "name=filed label=red pool:private=test");
    std::fs::write(prepared.path("/var/lib/qubes/test/appvms/filed/private.img"), grown()).unwrap();
    let fail = |errno: Errno| move |place| Trouble::Fail(place, errno as i32);
    let troubles: [&dyn Fn(usize) -> Trouble; 3] = [&Trouble::Kill, &fail(Errno::EIO), &fail(Errno::ENOSPC)];
    for trouble in troubles {
        let (mut place, mut places, mut news) = (0, 0, 0);
        loop {
            let fixture = prepared.copy();
            let traced = run(clone_of_filed(&fixture), trouble(place));
            if !traced.met {
                break;
            }
            next_call(&fixture);
            let told = format!("{:?}", trouble(place));
            let is_new = assert_cloned_or_not(&fixture, &told);
            assert!(!traced.output.starts_with(b"0\0") || is_new, "{told}: an acknowledged clone was lost");
            next_call(&fixture);
            assert_eq!(assert_cloned_or_not(&fixture, &told), is_new, "{told}");
            (place, places, news) = (place + stride(), places + 1, news + usize::from(is_new));
        }
        println!("{:?}: {places} places, {news} with new content", trouble(0));
        assert!(places > 10 && news > 0 && news < places, "{news} of {places}");
    }
}

#[test]
fn a_clone_killed_before_any_of_its_programs_is_told_of_once_with_all_that_follows() {
    for pool in ["lvm", "zfs"] {
        let fixture = Fixture::new();
        if pool == "lvm" {
            add_lvm(&fixture)
        } else {
            add_zfs(&fixture)
        }
        for qube in ["new", "source"] {
            let create = format!("name={qube} label=red pool={pool}");
            fixture.ok("admin.vm.CreateInPool.StandaloneVM", "dom0", create);
            fixture.ok("admin.vm.volume.Resize+root", qube, "8192");
        }
        let (own, source) = (volume(&fixture, "new", "root"), volume(&fixture, "source", "root"));
        rewrite(&fixture, &source, "src");
        fixture.ok("admin.vm.feature.Set+boot-mode.standalone-default", "new", "default");
        let mut kills = 0;
        for earlier in 0.. {
            rewrite(&fixture, &own, "old");
            let _ = fixture.call("admin.vm.feature.Remove+boot-mode.active", "new", "");
            let token = fixture.ok("admin.vm.volume.CloneFrom+root", "source", "");
            let before = clones(&fixture, "new").len();
            let was_killed = kill_before_program(&fixture, "admin.vm.volume.CloneTo+root", &token, earlier);
            let place = format!("{pool}: killed before program {earlier}");
            fixture.ok("admin.vm.volume.Set.rw+root", "new", "True");
            let is_new = committed(&fixture, &own) == "src";
            assert!(is_new || committed(&fixture, &own) == "old", "{place}: torn");
            assert_eq!(clones(&fixture, "new").len() - before, usize::from(is_new), "{place}");
            let mode = fixture.call("admin.vm.feature.Get+boot-mode.active", "new", "");
            assert_eq!(mode == b"0\0default", is_new, "{place}");
            assert_eq!(volume(&fixture, "new", "root").import, None, "{place}");
            if !was_killed {
                break;
            }
            kills += 1;
        }
        assert!(kills > 5, "{pool}: {kills} kills");
    }
}

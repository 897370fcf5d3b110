//! Templates made from a stream: whole, with the image as their root volume, or not at all (spec 10 §2.5).
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "test code"
)]

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use common::model::Class;
use common::storage::unfinished;
use nix::errno::Errno;
use tests::Fixture;
use tests::fixture::readable;
use tests::pools::{add_lvm, add_zfs, committed, volume};
use tests::stepper::{Trouble, run, run_into_silence};
use tests::volumes::stream;

const METHOD: &str = "admin.vm.CreateTemplate";

fn image() -> Vec<u8> {
    [b"boot".repeat(128).as_slice(), &vec![0; 300_032], &b"root".repeat(1024)].concat()
}

fn create(fixture: &Fixture, name: &str, payload: &[u8]) -> Command {
    let mut command = stream(fixture, METHOD, name, payload);
    command.env("QREXEC_REQUESTED_TARGET", "dom0");
    command
}

/// Exit status and answer.
fn answer(mut command: Command) -> (i32, String) {
    let output = command.output().unwrap();
    (output.status.code().unwrap(), readable(&output.stdout))
}

fn exception(class: &str, text: &str) -> String {
    format!("2·{class}··{text}·")
}

fn home(fixture: &Fixture) -> PathBuf {
    fixture.path("/var/lib/qubes/vm-templates/fresh")
}

fn is_stored(fixture: &Fixture) -> bool {
    fixture.store().read().unwrap().qube_named("fresh").unwrap().is_some()
}

/// The template is there with all that belongs to it, or nothing of it is.
fn assert_whole_or_gone(fixture: &Fixture, place: &str) {
    let stored = is_stored(fixture);
    assert_eq!(home(fixture).exists(), stored, "{place}");
    if stored {
        assert!(std::fs::read(home(fixture).join("root.img")).unwrap() == image(), "{place}: another root");
        assert!(home(fixture).join("private.img").exists(), "{place}");
        let root = volume(fixture, "fresh", "root");
        assert_eq!(root.size, u64::try_from(image().len()).unwrap(), "{place}");
    }
    let left = std::fs::read_dir(fixture.path("/var/lib/qubes/admin/unfinished")).unwrap().count();
    assert_eq!(left, 0, "{place}");
}

#[test]
fn a_template_begins_with_the_image_that_was_sent() {
    let fixture = Fixture::new();
    let plain = fixture.events_of(|fixture| {
        fixture.ok("admin.vm.Create.TemplateVM", "dom0", "name=plain label=black");
    });
    let events = fixture.events_of(|fixture| {
        assert_eq!(answer(create(fixture, "fresh", &image())), (0, "0·".to_owned()));
    });
    let plain: Vec<String> = plain.iter().map(|event| event.replace("plain", "fresh")).collect();
    assert_eq!(events, plain);
    assert_whole_or_gone(&fixture, "made");
    let fresh = fixture.qube("fresh");
    assert_eq!((fresh.class, fresh.properties["label"].to_text()), (Class::TemplateVM, "black".to_owned()));
    let info = fixture.ok("admin.vm.volume.Info+root", "fresh", "");
    assert!(info.contains(&format!("\nsize={}\n", image().len())), "{info}");
    assert!(info.contains("\nrevisions_to_keep=1\n"), "{info}");
    assert_eq!(fixture.ok("admin.vm.volume.ListSnapshots+root", "fresh", ""), "");
    // It serves as any other.
    fixture.ok("admin.vm.Create.AppVM+fresh", "dom0", "name=based label=red");
    let root = volume(&fixture, "based", "root");
    assert_eq!((root.source.as_deref(), root.size), (Some("vm-templates/fresh/root"), 304_640));
}

#[test]
fn room_grows_with_what_comes() {
    let fixture = Fixture::new();
    let large = (64 << 20) + 512;
    let mut payload = vec![0; large];
    payload[large - 1] = 7;
    assert_eq!(answer(create(&fixture, "fresh", &payload)), (0, "0·".to_owned()));
    let root = std::fs::read(home(&fixture).join("root.img")).unwrap();
    assert!(root.len() == large && root.last() == Some(&7));
}

#[test]
fn every_pool_takes_an_image() {
    let fixture = Fixture::new();
    add_lvm(&fixture);
    add_zfs(&fixture);
    let large = [b"large".as_slice(), &vec![1; (64 << 20) + 507]].concat();
    for (pool, size) in [("lvm", 67_109_376), ("zfs", 67_239_936), ("test", 67_109_376)] {
        fixture.ok("admin.property.Set+default_pool_root", "dom0", pool);
        let name = format!("of-{pool}");
        assert_eq!(answer(create(&fixture, &name, &large)), (0, "0·".to_owned()), "{pool}");
        let root = volume(&fixture, &name, "root");
        assert_eq!((root.pool.as_str(), root.size), (pool, size));
        assert!(committed(&fixture, &root).starts_with("large"), "{pool}");
    }
}

#[test]
fn what_cannot_be_made_is_refused_before_a_byte_is_read() {
    let fixture = Fixture::new();
    let before = fixture.files();
    let refused = |name: &str| answer(create(&fixture, name, b"unread"));
    let exists = exception("QubesVMAlreadyExistsError", "Qube already exists: test-vm1");
    assert_eq!(refused("test-vm1"), (1, exists));
    for (name, text) in [
        ("1st", "VM name cannot start with hyphen, underscore, dot or numbers"),
        ("a*b", "VM name contains illegal characters"),
        ("none", "VM name cannot be 'none' nor 'default'"),
        ("an-incredibly-long-name-for-a-qube", "VM name must be shorter than 32 characters"),
    ] {
        assert_eq!(refused(name), (1, exception("QubesValueError", text)));
    }
    assert_eq!(refused(""), (1, exception("ProtocolError", "expected an argument")));
    let mut elsewhere = create(&fixture, "fresh", b"unread");
    elsewhere.env("QREXEC_REQUESTED_TARGET", "test-vm1");
    let expected = exception("ProtocolError", "expected destination to be AdminVM");
    assert_eq!(answer(elsewhere), (1, expected));
    let told = fixture.refused(&format!("{METHOD}+fresh"), "dom0", "boot");
    assert_eq!(told, format!("ProtocolError: no such method: '{METHOD}'"));
    assert_eq!(fixture.events(), [""; 0]);
    assert!(!is_stored(&fixture));
    let is_state = |path: &PathBuf| path.starts_with(fixture.path("/var"));
    let after = fixture.files();
    assert!(before.keys().filter(|path| is_state(path)).eq(after.keys().filter(|path| is_state(path))));
}

#[test]
fn a_stream_that_was_cut_leaves_nothing() {
    let fixture = Fixture::new();
    let failed = |copied: usize, expected: usize| {
        let text = format!("not enough data (copied {copied} bytes, expected {expected} bytes)");
        (0, exception("QubesException", &format!("Data import failed: {text}")))
    };
    let gone = ["domain-pre-delete", "domain-delete"].map(|event| format!(" {event} vm=fresh"));
    for (copied, expected) in [(0, 512), (511, 512), (300_000, 300_032)] {
        let events = fixture.events_of(|fixture| {
            assert_eq!(answer(create(fixture, "fresh", &image()[..copied])), failed(copied, expected));
        });
        assert_eq!(events[0], " domain-add vm=fresh");
        assert_eq!(events[events.len() - 2..], gone);
        assert!(!is_stored(&fixture));
        assert_whole_or_gone(&fixture, "cut");
    }
}

#[test]
fn a_stream_that_falls_silent_leaves_nothing() {
    let fixture = Fixture::new();
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&image()[..1024]).unwrap();
    let mut command = create(&fixture, "fresh", b"");
    command.stdin(reader.try_clone().unwrap());
    let traced = run_into_silence(command, &reader);
    assert!(traced.met);
    let told = exception("QubesException", "Data import failed: no data came for 600 seconds");
    assert_eq!(readable(&traced.output), told);
    assert!(!is_stored(&fixture));
    assert_whole_or_gone(&fixture, "silent");
}

#[test]
fn a_caller_who_goes_away_gets_no_template() {
    let fixture = Fixture::new();
    let (mut client, server) = UnixStream::pair().unwrap();
    let mut command = create(&fixture, "fresh", b"");
    let output = Stdio::from(OwnedFd::from(server.try_clone().unwrap()));
    let mut maker = command.stdin(Stdio::from(OwnedFd::from(server))).stdout(output).spawn().unwrap();
    drop(command);
    client.write_all(&image()[..4096]).unwrap();
    drop(client);
    maker.wait().unwrap();
    assert!(!is_stored(&fixture));
    assert_whole_or_gone(&fixture, "gone");
    assert_eq!(fixture.events().last().unwrap(), " domain-delete vm=fresh");
}

/// How far one place of trouble is from the next.
fn stride() -> usize {
    if std::env::var_os("EVERY").is_some() { 1 } else { 17 }
}

#[test]
fn a_killed_creation_leaves_all_or_nothing_to_the_next() {
    let prepared = Fixture::new();
    let (mut stop, mut made) = (0, 0);
    loop {
        let fixture = prepared.copy();
        let traced = run(create(&fixture, "fresh", &image()), Trouble::Kill(stop));
        let place = format!("killed at stop {stop}");
        let was_made = is_stored(&fixture);
        assert!(was_made || !traced.output.starts_with(b"0\0"), "{place}: an acknowledged template was lost");
        let (status, said) = answer(create(&fixture, "fresh", &image()));
        assert_eq!(status, i32::from(was_made), "{place}: {said}");
        assert_whole_or_gone(&fixture, &place);
        assert!(unfinished::all(&fixture.store()).unwrap().is_empty(), "{place}");
        let added = fixture.events().iter().filter(|event| *event == " domain-add vm=fresh").count();
        assert_eq!(added, 1, "{place}");
        if !traced.met {
            break;
        }
        made += usize::from(was_made);
        stop += stride();
    }
    println!("{} kills, {made} made", stop / stride());
    assert!(made > 0 && stop > 200, "{made} of {stop}");
}

#[test]
fn a_failing_disk_makes_all_or_nothing() {
    for errno in [Errno::ENOSPC, Errno::EIO] {
        let prepared = Fixture::new();
        let (mut point, mut refusals) = (0, 0);
        loop {
            let fixture = prepared.copy();
            let traced = run(create(&fixture, "fresh", &image()), Trouble::Fail(point, errno as i32));
            if !traced.met {
                break;
            }
            let place = format!("{errno} at call {point}");
            let success = traced.output.starts_with(b"0\0");
            assert!(!success || is_stored(&fixture), "{place}: a false success");
            refusals += usize::from(!success);
            if !is_stored(&fixture) {
                // What could not be cleared away is, by the next call of that name.
                assert_eq!(answer(create(&fixture, "fresh", &image())), (0, "0·".to_owned()), "{place}");
            }
            assert_whole_or_gone(&fixture, &place);
            point += stride();
        }
        println!("{errno}: {refusals} refusals up to call {point}");
        assert!(refusals > 3, "{refusals}");
    }
}

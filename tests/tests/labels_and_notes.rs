//! Labels and notes on the wire (behaviours 39 to 51, 98 and 99 of spec 10 §11).
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

use std::io::Write;
use std::process::{Child, Stdio};

use common::names::QubeName;
use tests::Fixture;
use tests::fixture::refusal;

#[test]
fn labels_are_listed_read_made_and_removed() {
    let fixture = Fixture::new();
    let built_in = "red\norange\nyellow\ngreen\ngray\nblue\npurple\nblack\n";
    assert_eq!(fixture.ok("admin.label.List", "dom0", ""), built_in);
    assert_eq!(fixture.ok("admin.label.Get+red", "dom0", ""), "0xcc0000");
    assert_eq!(fixture.ok("admin.label.Index+red", "dom0", ""), "1");
    assert_eq!(fixture.ok("admin.label.Create+cyan", "dom0", " 0x00ffFF\n"), "");
    assert_eq!(fixture.ok("admin.label.Get+cyan", "dom0", ""), "0x00ffFF");
    assert_eq!(fixture.ok("admin.label.Index+cyan", "dom0", ""), "9");
    assert_eq!(fixture.ok("admin.label.List", "dom0", ""), format!("{built_in}cyan\n"));
    fixture.ok("admin.vm.property.Set+label", "test-vm1", "cyan");
    assert_eq!(
        fixture.refused("admin.label.Remove+cyan", "dom0", ""),
        "QubesLabelInUseError: Label is still in use: Label(9, '0x00ffFF', 'cyan')"
    );
    fixture.ok("admin.vm.property.Set+label", "test-vm1", "1");
    assert_eq!(fixture.ok("admin.vm.property.Get+label", "test-vm1", ""), "default=False type=label red");
    assert_eq!(fixture.ok("admin.label.Remove+cyan", "dom0", ""), "");
    assert_eq!(fixture.ok("admin.label.List", "dom0", ""), built_in);
}

#[test]
fn a_new_qube_has_its_label_by_name_however_it_was_asked_for() {
    let fixture = Fixture::new();
    fixture.ok("admin.label.Create+cyan", "dom0", "0x00ffff");
    fixture.ok("admin.vm.Create.AppVM", "dom0", "name=new label=0_9");
    assert_eq!(fixture.ok("admin.vm.property.Get+label", "new", ""), "default=False type=label cyan");
    assert!(fixture.refused("admin.label.Remove+cyan", "dom0", "").starts_with("QubesLabelInUseError: "));
}

#[test]
fn bad_labels_are_refused() {
    let fixture = Fixture::new();
    let safe = "Label must be in safe set: abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    for (call, payload, said) in [
        (
            "admin.label.Create+red",
            "0x00ffff",
            "QubesLabelInUseError: Label is still in use: 'red'".to_owned(),
        ),
        ("admin.label.Create+01", "0x00ffff", "QubesInvalidLabelError: Label must not be a digit".to_owned()),
        ("admin.label.Create+../xxx", "0x00ffff", format!("QubesInvalidLabelError: {safe}")),
        (
            "admin.label.Create+a",
            "0x00fff",
            "QubesInvalidLabelValueError: Label value must have length of 8".to_owned(),
        ),
        (
            "admin.label.Create+a",
            "0X00ffff",
            "QubesInvalidLabelValueError: Label value must start with: 0x".to_owned(),
        ),
        ("admin.label.Create+a", "", "ProtocolError: expected payload".to_owned()),
        ("admin.label.Remove+nope", "", "QubesLabelNotFoundError: Label does not exist: nope".to_owned()),
        ("admin.label.Remove+red", "", "ProtocolError: Can only remove custom labels".to_owned()),
        ("admin.label.Get+nope", "", "QubesLabelNotFoundError: Label does not exist: nope".to_owned()),
        ("admin.label.Get", "", "ProtocolError: expected an argument".to_owned()),
    ] {
        assert_eq!(fixture.refused(call, "dom0", payload), said, "{call}");
    }
    assert_eq!(
        fixture.refused("admin.label.List", "test-vm1", ""),
        "ProtocolError: expected destination to be AdminVM"
    );
}

#[test]
fn notes_are_cleaned_kept_and_limited() {
    let fixture = Fixture::new();
    let get = || fixture.ok("admin.vm.notes.Get", "test-vm1", "");
    assert_eq!(get(), "");
    fixture.ok("admin.vm.notes.Set", "test-vm1", "line1\nline2\ttab");
    assert_eq!(get(), "line1\nline2\ttab");
    fixture.ok("admin.vm.notes.Set", "test-vm1", "\u{8}\u{a0}\u{200b}\u{200c}\u{200d}");
    assert_eq!(get(), "_____");
    assert_eq!(
        fixture.refused("admin.vm.notes.Set", "test-vm1", b"\xff\xfe"),
        "ProtocolError: Unable to sanitise qube notes: 'utf-8' codec can't decode byte 0xff in position 0: invalid \
         start byte"
    );
    fixture.ok("admin.vm.notes.Set", "test-vm1", vec![b'n'; 256_000]);
    assert_eq!(get().len(), 256_000);
    assert_eq!(
        fixture.refused("admin.vm.notes.Set", "test-vm1", vec![b'n'; 256_001]),
        "ProtocolError: Maximum note size is 256000 bytes (256001 bytes received)"
    );
    fixture.ok("admin.vm.notes.Set", "test-vm1", "");
    assert_eq!(get(), "");
    assert_eq!(
        fixture.refused("admin.vm.notes.Get", "dom0", ""),
        "ProtocolError: expected destination to not be AdminVM"
    );
    fixture.ok("admin.vm.Create.RemoteVM", "dom0", "name=far label=red");
    assert!(fixture.refused("admin.vm.notes.Set", "far", "x").starts_with("QubesException: "));
}

/// Waits until a child has a file open.
fn wait_for_open(child: &mut Child, file: &std::path::Path) {
    let descriptors = format!("/proc/{}/fd", child.id());
    let has_it = || {
        std::fs::read_dir(&descriptors).is_ok_and(|entries| {
            entries.flatten().any(|entry| std::fs::read_link(entry.path()).is_ok_and(|path| path == file))
        })
    };
    while !has_it() {
        assert!(child.try_wait().unwrap().is_none(), "the call ended without waiting");
        std::thread::yield_now();
    }
}

#[test]
fn notes_are_not_written_for_a_qube_removed_while_the_call_waited() {
    let fixture = Fixture::new();
    let (store, name) = (fixture.store(), QubeName::parse("test-vm1").unwrap());
    let lifecycle = store.lock_lifecycle(&name).unwrap();
    let mut child = fixture.command("admin.vm.notes.Set").stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"admin.vm.notes.Set+ dom0 name test-vm1\0a note").unwrap();
    wait_for_open(&mut child, &fixture.path("/run/qubes/admin/locks/test-vm1"));
    let mut txn = store.write().unwrap();
    txn.remove_qube(&name).unwrap();
    txn.commit().unwrap();
    drop(lifecycle);
    let reply = child.wait_with_output().unwrap().stdout;
    assert_eq!(refusal(&reply), "QubesVMNotFoundError: No such domain: 'test-vm1'");
    assert!(!fixture.path("/var/lib/qubes/appvms/test-vm1").exists());
}

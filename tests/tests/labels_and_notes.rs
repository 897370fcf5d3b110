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
        ("admin.label.Remove+orange", "", "ProtocolError: Can only remove custom labels".to_owned()),
        ("admin.label.Index+nope", "", "QubesLabelNotFoundError: Label does not exist: nope".to_owned()),
        ("admin.label.Get+9", "", "QubesLabelNotFoundError: Label does not exist: 9".to_owned()),
        (
            "admin.label.Create+0_1",
            "0x00ffff",
            "QubesLabelInUseError: Label is still in use: '0_1'".to_owned(),
        ),
        ("admin.label.Create+strange-name!@#$", "0x00ffff", format!("QubesInvalidLabelError: {safe}")),
        ("admin.label.Get+a/b", "", format!("QubesInvalidLabelError: {safe}")),
        ("admin.label.Remove+50%s", "", format!("QubesInvalidLabelError: {safe}")),
        (
            "admin.label.Create+a",
            " \n",
            "QubesInvalidLabelValueError: Label value must have length of 8".to_owned(),
        ),
        (
            "admin.label.Create+a",
            "0x00fffg",
            "QubesInvalidLabelValueError: Label value must only contain hexadecimal digits after prefix: \
             0123456789abcdefABCDEF"
                .to_owned(),
        ),
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
fn refused_labels_leave_the_table_alone_and_none_is_announced() {
    let fixture = Fixture::new();
    let before = fixture.stored();
    assert_eq!(
        fixture.refused("admin.label.Create+a", "dom0", b"0x00ff\xff\xff"),
        "QubesInvalidLabelValueError: Label value must be encoded in ASCII"
    );
    let dom0 = [("QREXEC_REMOTE_DOMAIN", "dom0"), ("QREXEC_REQUESTED_TARGET_TYPE", "")];
    let reply = fixture.by_qrexec("admin.label.Get", &dom0, Some(" "));
    assert!(reply.starts_with(b"2\0QubesInvalidLabelError\0\0Label must be in safe set: "));
    assert!(fixture.stored() == before);
    fixture.ok("admin.label.Create+cyan", "dom0", "0x00ffff");
    fixture.ok("admin.label.Remove+cyan", "dom0", "");
    assert!(fixture.events().is_empty());
}

#[test]
fn labels_are_found_by_number_too_and_numbers_are_not_used_twice_over() {
    let fixture = Fixture::new();
    for text in ["1", "01", "0_1", "red"] {
        assert_eq!(fixture.ok(&format!("admin.label.Get+{text}"), "dom0", ""), "0xcc0000", "{text}");
        assert_eq!(fixture.ok(&format!("admin.label.Index+{text}"), "dom0", ""), "1", "{text}");
    }
    for (name, index) in [("..", "9"), ("-", "10"), ("a1", "11")] {
        fixture.ok(&format!("admin.label.Create+{name}"), "dom0", "0x00ffff");
        assert_eq!(fixture.ok(&format!("admin.label.Index+{name}"), "dom0", ""), index);
    }
    fixture.ok("admin.label.Remove+-", "dom0", "");
    fixture.ok("admin.label.Create+again", "dom0", "0x00ffff");
    assert_eq!(fixture.ok("admin.label.Index+again", "dom0", ""), "12");
    fixture.ok("admin.label.Remove+12", "dom0", "");
    fixture.ok("admin.label.Remove+a1", "dom0", "");
    fixture.ok("admin.label.Create+last", "dom0", "0x00ffff");
    assert_eq!(fixture.ok("admin.label.Index+last", "dom0", ""), "10");
}

#[test]
fn notes_that_cannot_be_read_or_written_say_so() {
    let fixture = Fixture::new();
    let file = fixture.path("/var/lib/qubes/appvms/test-vm1/notes.txt");
    std::fs::create_dir_all(&file).unwrap();
    let get = |fixture: &Fixture| fixture.refused("admin.vm.notes.Get", "test-vm1", "");
    assert!(get(&fixture).starts_with("QubesException: Failed to read notes file: "), "{}", get(&fixture));
    let set = fixture.refused("admin.vm.notes.Set", "test-vm1", "x");
    assert!(set.starts_with("QubesException: Failed to write notes file: "), "{set}");
    std::fs::remove_dir(&file).unwrap();
    std::fs::write(&file, "one\r\ntwo\rthree\n").unwrap();
    assert_eq!(fixture.ok("admin.vm.notes.Get", "test-vm1", ""), "one\ntwo\nthree\n");
}

#[test]
fn notes_are_no_part_of_the_store_and_not_announced() {
    let fixture = Fixture::new();
    let before = fixture.stored();
    fixture.ok("admin.vm.notes.Set", "test-vm1", "x");
    assert!(fixture.stored() == before && fixture.events().is_empty());
    fixture.ok("admin.vm.Create.RemoteVM", "dom0", "name=far label=red");
    for (call, payload) in [("admin.vm.notes.Get", ""), ("admin.vm.notes.Set", "x")] {
        assert!(fixture.refused(call, "far", payload).starts_with("QubesException: "));
        let not_dom0 = "ProtocolError: expected destination to not be AdminVM";
        assert_eq!(fixture.refused(call, "dom0", payload), not_dom0);
    }
}

/// Code points at both ends of kept ranges, and just outside them (spec 10 appendix A).
#[test]
fn notes_keep_what_is_safe_to_display() {
    let fixture = Fixture::new();
    let kept = "\t\n ~\u{a1}\u{a5}\u{a7}\u{b9}\u{2c1}\u{3a3}\u{3e1}\u{e3f}\u{1100}\u{2010}\u{2027}\u{20ac}\u{3041}\
        \u{4e2d}\u{ac00}\u{d7a3}\u{ff01}\u{ffec}\u{1d400}\u{20000}\u{323af}";
    let lost = "\r\u{7f}\u{80}\u{a0}\u{a6}\u{a8}\u{ad}\u{300}\u{3e2}\u{5d0}\u{627}\u{e01}\u{200b}\u{200e}\u{2028}\u{202e}\
        \u{2066}\u{feff}\u{ff3e}\u{e000}\u{1f600}\u{323b0}\u{10ffff}";
    fixture.ok("admin.vm.notes.Set", "test-vm1", kept);
    assert_eq!(fixture.ok("admin.vm.notes.Get", "test-vm1", ""), kept);
    fixture.ok("admin.vm.notes.Set", "test-vm1", lost);
    assert_eq!(fixture.ok("admin.vm.notes.Get", "test-vm1", ""), "_".repeat(lost.chars().count()));
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

//! One backup of a profile at a time, and `admin.backup.Cancel`.

use super::*;

const NONE: &str = "QubesException: Backup operation not running";

#[test]
fn a_profile_is_backed_up_once_at_a_time() {
    let fixture = system();
    to_folder(&fixture, "include: [work]");
    let held = Held::begun(&fixture);
    services(&fixture, &format!("echo \"{SECRET}\""), "");
    let _running = fixture.domain("net", "Running");
    let text =
        format!("destination_vm: dom0\ndestination_path: {FOLDER}\ninclude: [work]\npassphrase_vm: net\n");
    fixture.profile("p", &text);
    assert_eq!(fixture.refused(EXECUTE, "dom0", ""), "BackupAlreadyRunningError: Backup already running");
    assert_eq!(asked(&fixture), [""; 0], "the passphrase was asked for");
    // Another profile is another backup.
    fixture.profile("other", &text.replace(FOLDER, &format!("{FOLDER}/other")));
    fixture.ok("admin.backup.Execute+other", "dom0", "");
    fs::remove_file(fixture.path(FOLDER).join("other")).unwrap();
    assert_eq!(held.ended(), "0·");
    assert_eq!(taken(&fixture).names().len(), 2);
    fixture.ok(EXECUTE, "dom0", "");
    assert_eq!(taken(&fixture).names().len(), 2);
}

#[test]
fn what_does_not_run_cannot_be_given_up() {
    let fixture = system();
    assert_eq!(fixture.refused(CANCEL, "dom0", ""), NONE);
    to_folder(&fixture, "include: [work]");
    assert_eq!(fixture.refused(CANCEL, "dom0", ""), NONE);
    fixture.ok(EXECUTE, "dom0", "");
    assert_eq!(fixture.refused(CANCEL, "dom0", ""), NONE);
    for profile in ["..", &"x".repeat(300)] {
        assert_eq!(fixture.refused(&format!("admin.backup.Cancel+{profile}"), "dom0", ""), NONE);
    }
}

#[test]
fn a_backup_is_given_up_while_it_is_written() {
    let fixture = system();
    to_folder(&fixture, "include: [work, net]");
    let held = Held::begun(&fixture);
    assert_eq!(fixture.ok(CANCEL, "dom0", ""), "");
    assert_eq!(startable::reply(held.call), "2·BackupCancelledError··Backup cancelled·");
    check_cleared(&fixture, &[]);
    assert_eq!(stamp(&fixture, "work"), "default=True type=int ");
    assert_eq!(fixture.refused(CANCEL, "dom0", ""), NONE);
    fixture.ok(EXECUTE, "dom0", "");
    assert_eq!(taken(&fixture).names().len(), 3);
}

/// Begins a backup, waits until one of the stand-in's scripts has made a file, and has the backup given up.
fn given_up(fixture: &Fixture, mark: &str) {
    let call = calling(fixture, EXECUTE, "dom0");
    until(mark, || fixture.path(mark).exists());
    fixture.ok(CANCEL, "dom0", "");
    assert_eq!(startable::reply(call), "2·BackupCancelledError··Backup cancelled·");
    check_cleared(fixture, &[]);
}

#[test]
fn a_backup_is_given_up_while_the_passphrase_is_awaited() {
    let fixture = system();
    services(&fixture, "touch \"$root/mark\"; cat \"$root/never\"", "");
    let _running = fixture.domain("net", "Running");
    let text = "include: [work]\npassphrase_vm: net\n";
    fixture.profile("p", &format!("destination_vm: dom0\ndestination_path: {FOLDER}\n{text}"));
    given_up(&fixture, "/mark");
}

#[test]
fn a_backup_is_given_up_whose_destination_stands_still() {
    let fixture = system();
    let _running = fixture.domain("net", "Running");
    let text = format!("include: [work]\npassphrase_text: \"{SECRET}\"\n");
    fixture.profile("p", &format!("destination_vm: net\ndestination_path: /x\n{text}"));
    // Before anything is taken, and when all was.
    for (mark, take) in [
        ("/first", "touch \"$root/first\"; exec cat \"$root/never\""),
        ("/last", "cat > \"$root/some\"; touch \"$root/last\"; exec cat \"$root/never\""),
    ] {
        services(&fixture, "", take);
        given_up(&fixture, mark);
    }
}

#[test]
fn a_backup_is_given_up_while_other_work_on_a_qube_is_awaited() {
    let fixture = system();
    to_folder(&fixture, "include: [work]");
    let store = fixture.store();
    let locked = store.lock_lifecycle(&QubeName::parse("work").unwrap()).unwrap();
    let call = calling(&fixture, EXECUTE, "dom0");
    // Progress of the qube is told when its turn has come.
    until("progress", || fixture.events().iter().any(|event| event.contains("backup-progress")));
    fixture.ok(CANCEL, "dom0", "");
    assert_eq!(startable::reply(call), "2·BackupCancelledError··Backup cancelled·");
    drop(locked);
    check_cleared(&fixture, &[]);
}

#[test]
fn others_are_served_while_a_backup_is_written() {
    let fixture = system();
    to_folder(&fixture, "include: [work]");
    let held = Held::begun(&fixture);
    fixture.ok("admin.vm.List", "dom0", "");
    fixture.ok("admin.vm.feature.Set+f", "work", "1");
    fixture.ok("admin.vm.Start", "net", "");
    assert_eq!(held.ended(), "0·");
    fixture.ok("admin.vm.Kill", "net", "");
    assert_eq!(taken(&fixture).names().len(), 2);
}

//! Processes of a backup that are killed: nothing stays, and the next one is made.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::Command;

use tests::startable::end;

use super::*;

#[test]
fn a_killed_writer_ends_the_backup() {
    let fixture = system();
    to_folder(&fixture, "include: [work]");
    let held = Held::begun(&fixture);
    kill(held.writer, Signal::SIGKILL).unwrap();
    let early = "2·QubesException··The program that writes the backup ended early·";
    assert_eq!(startable::reply(held.call), early);
    check_again(&fixture);
}

/// Nothing was left, and a backup can be made.
fn check_again(fixture: &Fixture) {
    check_cleared(fixture, &[]);
    assert_eq!(stamp(fixture, "work"), "default=True type=int ");
    fixture.ok(EXECUTE, "dom0", "");
    assert_eq!(taken(fixture).names().len(), 2);
}

#[test]
fn a_killed_run_ends_its_writer() {
    let fixture = system();
    to_folder(&fixture, "include: [work]");
    let held = Held::begun(&fixture);
    kill(process(&fixture, "qubes-backup"), Signal::SIGKILL).unwrap();
    assert_eq!(held.ended(), "2·QubesException··The backup's run ended early·");
    check_again(&fixture);
}

#[test]
fn a_killed_run_ends_its_writer_also_where_that_waits_for_its_destination() {
    let fixture = system();
    services(&fixture, "", "touch \"$root/mark\"; exec cat \"$root/never\"");
    let _running = fixture.domain("net", "Running");
    let text = format!("include: [work]\npassphrase_text: \"{SECRET}\"\n");
    fixture.profile("p", &format!("destination_vm: net\ndestination_path: /x\n{text}"));
    let call = calling(&fixture, EXECUTE, "dom0");
    until("a service", || fixture.path("/mark").exists());
    let left = fixture.path("/run/qubes/admin/backups/p.left");
    exported(&fixture);
    end(process(&fixture, "qubes-backup"));
    assert_eq!(startable::reply(call), "2·QubesException··The backup's run ended early·");
    until("a writer", || processes(&fixture, "qubes-backup-writer").is_empty());
    // The stand-in that stood still goes on and ends.
    drop(fs::File::options().write(true).open(fixture.path("/never")).unwrap());
    // What was exported for it, the next one ends.
    assert!(left.exists());
    to_folder(&fixture, "include: [work]");
    fixture.ok(EXECUTE, "dom0", "");
    assert_eq!(taken(&fixture).names().len(), 2);
    check_cleared(&fixture, &[]);
}

#[test]
fn a_backup_goes_on_without_the_call() {
    let fixture = system();
    to_folder(&fixture, "include: [work]");
    let mut held = Held::begun(&fixture);
    held.call.kill().unwrap();
    held.call.wait().unwrap();
    assert_eq!(fixture.refused(EXECUTE, "dom0", ""), "BackupAlreadyRunningError: Backup already running");
    kill(held.writer, Signal::SIGCONT).unwrap();
    until("a backup", || stamp(&fixture, "work") != "default=True type=int ");
    assert_eq!(taken(&fixture).names().len(), 2);
    check_cleared(&fixture, &[]);
}

#[test]
fn a_passphrase_stands_in_no_command_line_environment_or_file() {
    let fixture = system();
    to_folder(&fixture, "include: [work]");
    let held = Held::begun(&fixture);
    for program in ["qubes-backup-writer", "qubes-backup", "admin-backup"] {
        for process in processes(&fixture, program) {
            for file in ["cmdline", "environ"] {
                let text = fs::read(format!("/proc/{process}/{file}")).unwrap();
                assert!(!String::from_utf8_lossy(&text).contains(SECRET), "{program}: {file}");
            }
        }
    }
    let profile = fixture.path("/etc/qubes/backup/p.conf");
    let files = fixture.files().into_iter().filter(|(path, _)| *path != profile);
    for (path, content) in files {
        assert!(!String::from_utf8_lossy(&content).contains(SECRET), "{}", path.display());
    }
    assert_eq!(held.ended(), "0·");
}

/// Executables of which the run of a backup can be killed at a stop.
struct Stepped(tempfile::TempDir);

impl Stepped {
    fn new() -> Self {
        let real = executables::executable("qubes-backup").parent().unwrap().to_owned();
        let folder = tempfile::tempdir_in(&real).unwrap();
        for (name, place) in [
            ("admin-backup", "admin-backup"),
            ("qubes-backup", "qubes-backup-itself"),
            ("qubes-backup-writer", "qubes-backup-writer"),
            ("killed-run", "qubes-backup"),
        ] {
            fs::hard_link(real.join(name), folder.path().join(place)).unwrap();
        }
        Self(folder)
    }

    /// Makes the call, whose run is killed at a stop; tells whether it came so far.
    fn killed_at(&self, fixture: &Fixture, stop: usize) -> bool {
        fs::write(self.0.path().join("stop"), stop.to_string()).unwrap();
        let request = fixture.path("/request");
        fs::write(&request, format!("{EXECUTE} dom0 name dom0\0")).unwrap();
        let mut call = Command::new(self.0.path().join("admin-backup"));
        call.arg0("admin.backup.Execute").env_clear().env("QUBES_ADMIN_ROOT", fixture.path("/"));
        let reply = call.stdin(File::open(request).unwrap()).output().unwrap().stdout;
        let told = self.0.path().join("met");
        let met = fs::read_to_string(&told).unwrap() == "true";
        fs::remove_file(told).unwrap();
        assert!(met || reply == b"0\0", "{}", String::from_utf8_lossy(&reply));
        met
    }
}

#[test]
fn a_run_that_is_killed_anywhere_has_made_a_whole_backup_or_none() {
    let (stepped, fixture) = (Stepped::new(), system());
    to_folder(&fixture, "include: [work]\ncompression: no");
    let (mut kills, mut whole) = (0, 0);
    let stride = if std::env::var_os("EVERY").is_some() { 1 } else { 67 };
    for stop in (0..).step_by(stride) {
        let before = stamp(&fixture, "work");
        let met = stepped.killed_at(&fixture, stop);
        until("a writer", || processes(&fixture, "qubes-backup-writer").is_empty());
        match made(&fixture).is_empty() {
            true => assert_eq!(stamp(&fixture, "work"), before, "stop {stop}"),
            false => assert_eq!(taken(&fixture).names().len(), 2, "stop {stop}"),
        }
        if !met {
            break;
        }
        (kills, whole) = (kills + 1, whole + usize::from(stamp(&fixture, "work") != before));
        fixture.ok(EXECUTE, "dom0", "");
        assert_eq!(taken(&fixture).names().len(), 2, "stop {stop}");
        check_cleared(&fixture, &[]);
    }
    println!("a run: {kills} kills, {whole} of them with a whole backup, 0 torn");
    assert!(kills > 5 && whole < kills, "{kills} kills, {whole} whole");
}

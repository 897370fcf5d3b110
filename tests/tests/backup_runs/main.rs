//! Backups as they are made: by the real executables, of real volumes, to files and to a stand-in for a service in a qube; and read
//! back (spec 40 §12, §14 to §16).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "test code"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;

use backup::{Error, Header, Passphrase, Reader, Reading, Sink, Verified};
use common::names::QubeName;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::startable::{calling, until};
use tests::{Fixture, executables, startable};

mod chosen;
mod files;
mod given_up;
mod killed;
mod qubes;
mod volumes;

const EXECUTE: &str = "admin.backup.Execute+p";
const CANCEL: &str = "admin.backup.Cancel+p";
const SECRET: &str = "pässword '✓'";
const CANCELLED: &str = "BackupCancelledError: Backup cancelled";
/// Where backups of dom0 go.
const FOLDER: &str = "/mnt/backups";

/// Bytes that nothing makes smaller.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut numbers = tests::numbers::Numbers::of(seed);
    let mut bytes: Vec<u8> = Vec::new();
    while bytes.len() < length {
        bytes.extend_from_slice(&numbers.next().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// The file of a qube's volume.
fn image(fixture: &Fixture, qube: &str) -> PathBuf {
    fixture.path(&format!("/var/lib/qubes/appvms/{qube}/private.img"))
}

/// A root with two qubes whose volumes hold something, and a folder for backups.
fn system() -> Fixture {
    let fixture = startable::system();
    fs::create_dir_all(fixture.path(FOLDER)).unwrap();
    fs::write(image(&fixture, "work"), noise(1, 200_000)).unwrap();
    fs::write(image(&fixture, "net"), [&noise(2, 4096)[..], &[0; 100_000], b"end"].concat()).unwrap();
    fixture
}

/// Writes profile `p`, which goes to a folder of dom0.
fn to_folder(fixture: &Fixture, said: &str) {
    let start = format!("destination_vm: dom0\ndestination_path: {FOLDER}\npassphrase_text: \"{SECRET}\"\n");
    fixture.profile("p", &format!("{start}{said}\n"));
}

/// What lies in the folder.
fn made(fixture: &Fixture) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(fixture.path(FOLDER)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// The one backup that lies in the folder, taken away from there.
fn taken(fixture: &Fixture) -> Restored {
    let files = made(fixture);
    assert_eq!(files.len(), 1, "{files:?}");
    let restored = Restored::of(&files[0]);
    fs::remove_file(&files[0]).unwrap();
    restored
}

/// A backup that was read back.
struct Restored {
    header: Header,
    files: Vec<(String, Vec<u8>)>,
}

impl Sink for Restored {
    fn begin(&mut self, size: u64) -> std::io::Result<()> {
        self.files.last_mut().unwrap().1 = vec![0; usize::try_from(size).unwrap()];
        Ok(())
    }

    fn data(&mut self, offset: u64, data: Verified<'_>) -> std::io::Result<()> {
        let (offset, bytes) = (usize::try_from(offset).unwrap(), data.bytes());
        self.files.last_mut().unwrap().1[offset..][..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
}

impl Restored {
    fn of(path: &Path) -> Self {
        let backup = fs::File::open(path).unwrap();
        let reading = Reading::usual(std::env::temp_dir());
        let mut reader = Reader::begin(backup, Passphrase::new(SECRET), reading).unwrap();
        let mut restored = Self { header: reader.header().clone(), files: Vec::new() };
        while let Some(packed) = reader.next().unwrap() {
            let name = packed.name().to_owned();
            restored.files.push((name.clone(), Vec::new()));
            if name.starts_with("dom0-home/") {
                let mut tree = Vec::new();
                let read = packed.archive(|input| input.read_to_end(&mut tree).map_err(Error::Read));
                read.unwrap();
                restored.files.last_mut().unwrap().1 = tree;
            } else {
                let complete = packed.image(&mut restored).unwrap();
                assert_eq!(complete.size(), restored.files.last().unwrap().1.len() as u64);
            }
        }
        restored
    }

    fn names(&self) -> Vec<&str> {
        self.files.iter().map(|(name, _)| name.as_str()).collect()
    }

    fn file(&self, name: &str) -> &[u8] {
        let found = self.files.iter().find(|(known, _)| known == name);
        &found.unwrap_or_else(|| panic!("{name} is not in {:?}", self.names())).1
    }

    fn contents(&self) -> String {
        String::from_utf8(self.file("qubes.xml").to_vec()).unwrap()
    }
}

/// Waits until a volume is exported for the backup that is being made.
fn exported(fixture: &Fixture) {
    let note = fixture.path("/run/qubes/admin/backups/p.left");
    until("an export", || fs::read_to_string(&note).is_ok_and(|text| text.contains("\"path\":\"")));
}

/// Where a qube's pieces are.
fn folder(fixture: &Fixture, qube: &str) -> String {
    format!("vm{}/", fixture.qube(qube).qid)
}

/// When a qube was backed up last, as is told.
fn stamp(fixture: &Fixture, qube: &str) -> String {
    fixture.ok("admin.vm.property.Get+backup_timestamp", qube, "")
}

/// Processes of one of our programs that work on this root.
fn processes(fixture: &Fixture, program: &str) -> Vec<Pid> {
    let root = format!("QUBES_ADMIN_ROOT={}", fixture.path("/").display());
    let root = root.trim_end_matches('/');
    let is_one = |process: &Path| {
        let exe = fs::read_link(process.join("exe")).unwrap_or_default();
        let environment = fs::read(process.join("environ")).unwrap_or_default();
        let mut own = environment.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        exe.ends_with(program) && own.any(|variable| variable.trim_end_matches('/') == root)
    };
    let all = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let ours = all.filter(|process| is_one(process));
    ours.filter_map(|process| Some(Pid::from_raw(process.file_name()?.to_str()?.parse().ok()?))).collect()
}

/// The one process of a program, once it is there.
fn process(fixture: &Fixture, program: &str) -> Pid {
    until(program, || !processes(fixture, program).is_empty());
    processes(fixture, program)[0]
}

/// A backup that is being made, and whose writer stands still.
struct Held {
    call: Child,
    writer: Pid,
}

impl Held {
    /// Begins one that has the qube `work`, whose turn comes when its writer stands still.
    fn begun(fixture: &Fixture) -> Self {
        let store = fixture.store();
        let _locked = store.lock_lifecycle(&QubeName::parse("work").unwrap()).unwrap();
        let call = calling(fixture, EXECUTE, "dom0");
        let writer = process(fixture, "qubes-backup-writer");
        kill(writer, Signal::SIGSTOP).unwrap();
        Self { call, writer }
    }

    /// Lets it go on; gives the reply.
    fn ended(self) -> String {
        let _ = kill(self.writer, Signal::SIGCONT);
        startable::reply(self.call)
    }
}

/// Waits until no program of ours works on this root, and makes sure that a run has left nothing but what is told here.
fn check_cleared(fixture: &Fixture, left: &[PathBuf]) {
    for program in ["qubes-backup-writer", "qubes-backup", "admin-backup"] {
        until(program, || processes(fixture, program).is_empty());
    }
    assert_eq!(made(fixture), left);
    let runs = fixture.path("/run/qubes/admin/backups");
    let names = fs::read_dir(runs).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(names.into_iter().all(|name| name.to_str().unwrap().ends_with(".conf")));
}

/// A stand-in for qrexec's program, by which services in qubes are run. It records its words, then does what the root's
/// scripts `/ask` and `/take` say for the passphrase and for a backup.
fn services(fixture: &Fixture, ask: &str, take: &str) {
    executables::script(
        &fixture.path("/usr/bin/qrexec-client"),
        "#!/bin/sh\nroot=${0%/usr/bin/qrexec-client}\necho \"$*\" >> \"$root/client.log\"\ncase $3 in\n\
         *qubes.BackupPassphrase*) . \"$root/ask\" ;;\n\
         *qubes.Backup\\ *) IFS= read -r path; printf '%s' \"$path\" > \"$root/told\"; . \"$root/take\" ;;\nesac\n",
    );
    fs::write(fixture.path("/ask"), ask).unwrap();
    fs::write(fixture.path("/take"), take).unwrap();
    let _ = nix::unistd::mkfifo(&fixture.path("/never"), nix::sys::stat::Mode::S_IRWXU);
    for qube in ["work", "net"] {
        fs::write(fixture.path(&format!("/run/qubes/qrexec.{qube}")), "").unwrap();
    }
}

/// What the stand-in was started with, since the last time.
fn asked(fixture: &Fixture) -> Vec<String> {
    let log = fixture.path("/client.log");
    let text = fs::read_to_string(&log).unwrap_or_default();
    let _ = fs::remove_file(log);
    text.lines().map(str::to_owned).collect()
}

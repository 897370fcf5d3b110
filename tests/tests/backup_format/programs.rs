//! What the programs make of a backup, and backups that they make.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{ID, PASSPHRASE};

/// Runs a command of a shell in a folder, with a container's passphrase in its environment; gives what it prints.
pub(super) fn shell(folder: &Path, script: &str, secret: &str) -> Vec<u8> {
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c", script]).current_dir(folder).env("SECRET", secret);
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

pub(super) fn secret_of(member: &str) -> String {
    format!("{ID}!{member}!{PASSPHRASE}")
}

/// A backup that `tar` has taken apart.
pub(super) struct Apart {
    folder: tempfile::TempDir,
    /// Its members, in order.
    pub(super) members: Vec<String>,
}

impl Apart {
    pub(super) fn new(backup: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("backup"), backup).unwrap();
        fs::create_dir(folder.path().join("out")).unwrap();
        let listed = shell(folder.path(), "tar -xvif backup -C out", "");
        let members = String::from_utf8(listed).unwrap().lines().map(str::to_owned).collect();
        Self { folder, members }
    }

    pub(super) fn path(&self, member: &str) -> PathBuf {
        self.folder.path().join("out").join(member)
    }

    /// What `scrypt` finds in a member.
    pub(super) fn decrypted(&self, member: &str, secret: &str) -> Vec<u8> {
        let script = format!("scrypt dec -f --passphrase env:SECRET 'out/{member}'");
        shell(self.folder.path(), &script, secret)
    }

    /// A file's stream: all of its chunks, in order.
    pub(super) fn stream(&self, name: &str) -> Vec<u8> {
        let chunks = (0..).map(|number| format!("{name}.{number:03}"));
        let there = chunks.take_while(|chunk| self.members.contains(&format!("{chunk}.enc")));
        there.flat_map(|chunk| self.decrypted(&format!("{chunk}.enc"), &secret_of(&chunk))).collect()
    }

    /// Has `tar` unpack a file, through a filter; gives the folder that it is in.
    pub(super) fn unpacked(&self, name: &str, filter: &str) -> PathBuf {
        let stream = self.folder.path().join("stream");
        fs::write(&stream, self.stream(name)).unwrap();
        shell(self.folder.path(), &format!("mkdir -p files; {filter} < stream | tar -xf - -C files"), "");
        self.folder.path().join("files")
    }
}

/// Blocks that a file takes on the disk.
pub(super) fn blocks(path: &Path) -> u64 {
    let file = File::open(path).unwrap();
    file.sync_all().unwrap();
    file.metadata().unwrap().blocks()
}

/// A backup made by the programs alone.
pub(super) struct Made {
    folder: tempfile::TempDir,
}

impl Made {
    /// Its header is this text.
    pub(super) fn new(header: &str) -> Self {
        let made = Self { folder: tempfile::tempdir().unwrap() };
        fs::write(made.path("backup-header"), header).unwrap();
        made.run("touch backup; mkdir in");
        made.encrypt("backup-header", "backup-header.hmac", &format!("backup-header!{PASSPHRASE}"));
        made.add("backup-header");
        made.add("backup-header.hmac");
        made
    }

    fn run(&self, script: &str) {
        shell(self.folder.path(), script, "");
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn encrypt(&self, from: &str, to: &str, secret: &str) {
        let parameters = "--logN 10 -r 8 -p 1";
        let script = format!("scrypt enc {parameters} --passphrase env:SECRET '{from}' '{to}'");
        shell(self.folder.path(), &script, secret);
    }

    fn add(&self, member: &str) {
        self.run(&format!("tar -cO --posix '{member}' >> backup"));
    }

    /// Adds what a command prints as a file, in chunks of this length, as written by the programs.
    pub(super) fn file(&self, name: &str, command: &str, chunk: usize) {
        self.run(&format!("mkdir -p \"$(dirname '{name}')\"; {command} > stream"));
        let stream = fs::read(self.path("stream")).unwrap();
        let mut chunks: Vec<&[u8]> = stream.chunks(chunk).collect();
        if stream.len().is_multiple_of(chunk) {
            chunks.push(&[]);
        }
        for (number, chunk) in chunks.iter().enumerate() {
            let member = format!("{name}.{number:03}");
            fs::write(self.path("chunk"), chunk).unwrap();
            self.encrypt("chunk", &format!("{member}.enc"), &secret_of(&member));
            self.add(&format!("{member}.enc"));
        }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        fs::read(self.path("backup")).unwrap()
    }
}

//! Makes one change like a call, on a disk that forgets one of the store's files: what the harness must notice.
//! Arguments: state directory, run-time directory, part of the forgotten file's name or `nothing`, `one` or `several`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, reason = "test code")]

use std::io;
use std::path::{Path, PathBuf};

use common::store::{Disk, Next, Store, Vfs};
use tests::scenario::{apply, change_several, replace_one};

struct Forgetful {
    disk: Disk,
    forgotten: String,
}

impl Forgetful {
    fn forgets(&self, path: &Path) -> bool {
        path.to_string_lossy().contains(&self.forgotten)
    }
}

impl Vfs for Forgetful {
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        self.disk.read(path)
    }

    fn read_start(&self, path: &Path, most: usize) -> io::Result<Option<Vec<u8>>> {
        self.disk.read_start(path, most)
    }

    fn length(&self, path: &Path) -> io::Result<u64> {
        self.disk.length(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.disk.exists(path)
    }

    fn create(&self, path: &Path, content: &[u8], durable: bool) -> io::Result<()> {
        if self.forgets(path) { Ok(()) } else { self.disk.create(path, content, durable) }
    }

    fn append(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.disk.append(path, content)
    }

    fn renew_start(&self, path: &Path, most: usize, next: Next<'_>) -> io::Result<()> {
        self.disk.renew_start(path, most, next)
    }

    fn truncate(&self, path: &Path, length: u64) -> io::Result<()> {
        self.disk.truncate(path, length)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if self.forgets(from) { Ok(()) } else { self.disk.rename(from, to) }
    }

    fn exchange(&self, one: &Path, other: &Path) -> io::Result<()> {
        if self.forgets(one) { Ok(()) } else { self.disk.exchange(one, other) }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.disk.sync_directory(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.disk.list(path)
    }

    fn make_directory(&self, path: &Path) -> io::Result<()> {
        self.disk.make_directory(path)
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let disk = Forgetful { disk: Disk::shared_by_group(), forgotten: arguments[3].clone() };
    let store = Store::on(Box::new(disk), PathBuf::from(&arguments[1]), PathBuf::from(&arguments[2]));
    let change = if arguments[4] == "one" { replace_one } else { change_several };
    apply(&store, change, 1).unwrap();
}

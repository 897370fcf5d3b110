//! Volumes with content for the tests: what lies on disk, and what calls tell of it.

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;

use crate::Fixture;

/// Where the qube `made` has its images.
pub const HOME: &str = "/var/lib/qubes/appvms/made";
/// The size of its private volume.
pub const SIZE: usize = 65_536;

/// A root with the qube `made`, whose private volume holds [`old`].
pub fn system() -> Fixture {
    let fixture = Fixture::new();
    fixture.ok("admin.vm.Create.AppVM+test-template", "dom0", "name=made label=red");
    fixture.ok("admin.vm.volume.Resize+private", "made", SIZE.to_string());
    std::fs::write(image(&fixture, "private.img"), old()).unwrap();
    std::fs::remove_file(image(&fixture, "private-precache.img")).unwrap();
    fixture
}

/// The content volumes begin with.
pub fn old() -> Vec<u8> {
    [b"old".repeat(1000).as_slice(), &vec![0; SIZE - 3000]].concat()
}

/// Content of the same size.
pub fn new() -> Vec<u8> {
    [vec![0; SIZE - 3000].as_slice(), &b"new".repeat(1000)].concat()
}

pub fn image(fixture: &Fixture, name: &str) -> PathBuf {
    fixture.path(HOME).join(name)
}

/// Names of the images of `made`, sorted.
pub fn images(fixture: &Fixture) -> Vec<String> {
    let entries = std::fs::read_dir(fixture.path(HOME)).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// What is only there while something is being made.
pub fn is_temporary(name: &str) -> bool {
    name.contains('~') || name.contains("-import")
}

/// What calls tell of the private volume, and what its committed state and its old states hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    told: String,
    content: String,
    revisions: Vec<String>,
}

impl Shown {
    /// Whether this is `other`, but for old states that are too many and not yet removed.
    pub fn is_untidied(&self, other: &Self) -> bool {
        (&self.told, &self.content) == (&other.told, &other.content)
            && self.revisions.ends_with(&other.revisions)
    }
}

pub fn shown(fixture: &Fixture) -> Shown {
    let told = fixture.ok("admin.vm.volume.Info+private", "made", "");
    let revision = |id: &str| {
        let prefix = format!("private.img.{id}@");
        let file = images(fixture).into_iter().find(|name| name.starts_with(&prefix)).unwrap();
        format!("{id}: {}", summary(&std::fs::read(image(fixture, &file)).unwrap()))
    };
    Shown {
        told: told.lines().filter(|line| !line.starts_with("usage=")).collect::<Vec<_>>().join(" "),
        content: summary(&std::fs::read(image(fixture, "private.img")).unwrap()),
        revisions: fixture
            .ok("admin.vm.volume.ListSnapshots+private", "made", "")
            .lines()
            .map(revision)
            .collect(),
    }
}

/// Length, and the first and last of the bytes that are not zero.
fn summary(content: &[u8]) -> String {
    let data: Vec<u8> = content.iter().copied().filter(|byte| *byte != 0).collect();
    let ends =
        [data.iter().take(3).copied().collect::<Vec<_>>(), data.iter().rev().take(3).copied().collect()];
    format!("{} bytes, {} not zero {:?}", content.len(), data.len(), ends)
}

/// A precached image that passes for fresh holds what the next start shall find.
pub fn check_precache(fixture: &Fixture) {
    let [clean, precache] = ["private.img", "private-precache.img"].map(|name| image(fixture, name));
    let Ok(about) = precache.metadata() else { return };
    let stamp = clean.metadata().unwrap();
    if (about.len(), about.modified().unwrap()) == (stamp.len(), stamp.modified().unwrap()) {
        assert!(
            std::fs::read(precache).unwrap() == std::fs::read(clean).unwrap(),
            "a fresh precache differs"
        );
    }
}

/// A streaming call as qrexec starts it, its payload from a file.
pub fn stream(fixture: &Fixture, method: &str, volume: &str, payload: &[u8]) -> Command {
    std::fs::write(fixture.path("/payload"), payload).unwrap();
    let mut command = fixture.command(method);
    command.arg(volume).env("QREXEC_REMOTE_DOMAIN", "dom0").env("QREXEC_REQUESTED_TARGET", "made");
    command.stdin(File::open(fixture.path("/payload")).unwrap());
    command
}

//! Driver `file-reflink` on file systems whose files share their blocks: xfs and btrfs, made in a file and mounted through
//! a loop device. Elsewhere the same driver's files are copies, which the other tests see.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::arithmetic_side_effects,
    reason = "test code"
)]

use std::fs::File;
use std::path::Path;
use std::process::Command;

use nix::sys::statvfs::statvfs;
use tests::Fixture;
use tests::loops::{Mounted, own_namespace};
use tests::pools::{committed, read, rewrite, start, stop, volume, write};

const POINT: &str = "/var/lib/qubes/mounted";
const MIB: u64 = 1 << 20;
/// Content that takes its space on a disk.
const CONTENT: u64 = 48 * MIB;
/// What a file system may need for its own tables.
const LITTLE: u64 = 6 * MIB;

/// A root with the pool `shared` on a file system of its own, which goes away first.
struct Case {
    _mounted: Mounted,
    fixture: Fixture,
}

impl Case {
    fn on(kind: &str) -> Self {
        own_namespace();
        let fixture = Fixture::new();
        let mounted = Mounted::new(kind, &fixture.path("/image"), 1 << 30, &fixture.path(POINT)).unwrap();
        let pool = format!("name=shared\ndir_path={POINT}/shared\nrevisions_to_keep=2");
        fixture.ok("admin.pool.Add+file-reflink", "dom0", pool);
        let case = Self { _mounted: mounted, fixture };
        case.create("made", "shared");
        case
    }

    fn create(&self, name: &str, pool: &str) {
        let payload = format!("name={name} label=red pool:private={pool}");
        self.fixture.ok("admin.vm.CreateInPool.AppVM+test-template", "dom0", payload);
    }

    fn image(&self, name: &str) -> std::path::PathBuf {
        self.fixture.path(POINT).join("shared/appvms").join(name)
    }

    /// Bytes in use, once all is written.
    fn used(&self) -> u64 {
        let point = self.fixture.path(POINT);
        nix::unistd::syncfs(File::open(&point).unwrap()).unwrap();
        let about = statvfs(&point).unwrap();
        (about.blocks() - about.blocks_free()) * about.fragment_size()
    }

    /// Bytes that a deed takes.
    fn taken(&self, deed: impl FnOnce()) -> u64 {
        let before = self.used();
        deed();
        self.used().saturating_sub(before)
    }

    /// Fills the private volume of `made` with a stream that cannot be made smaller.
    fn import(&self) {
        let script = format!("printf '{CONTENT}\\nimported\\0'; head -c {} /dev/urandom", CONTENT - 9);
        let mut stream =
            Command::new("sh").args(["-c", &script]).stdout(std::process::Stdio::piped()).spawn().unwrap();
        let mut import = self.fixture.command("admin.vm.volume.ImportWithSize");
        import.arg("private").env("QREXEC_REMOTE_DOMAIN", "dom0").env("QREXEC_REQUESTED_TARGET", "made");
        let output = import.stdin(stream.stdout.take().unwrap()).output().unwrap();
        assert_eq!(output.stdout, b"0\0");
        stream.wait().unwrap();
    }

    fn clone_to(&self, name: &str) {
        let token = self.fixture.ok("admin.vm.volume.CloneFrom+private", "made", "");
        self.fixture.ok("admin.vm.volume.CloneTo+private", name, token);
    }
}

fn same(one: &Path, other: &Path) -> bool {
    Command::new("cmp").args([one, other]).status().unwrap().success()
}

/// Create, start, stop, an end without a stop, and the way back.
fn lives(kind: &str) {
    let case = Case::on(kind);
    let fixture = &case.fixture;
    let private = volume(fixture, "made", "private");
    rewrite(fixture, &private, "one");
    assert_eq!(committed(fixture, &private), "one");
    write(&start(fixture, &private), "two");
    assert_eq!(committed(fixture, &private), "one");
    assert_eq!(read(&start(fixture, &private)), "two");
    stop(fixture, &private);
    assert_eq!(committed(fixture, &private), "two");
    assert_eq!(fixture.ok("admin.vm.volume.ListSnapshots+private", "made", ""), "1\n2\n");
    fixture.ok("admin.vm.volume.Revert+private", "made", "2");
    assert_eq!(read(&start(fixture, &private)), "one");
    stop(fixture, &private);
    fixture.ok("admin.vm.Remove", "made", "");
    assert!(!case.image("made").exists());
}

/// An import takes the space of its content once; what a start makes ready, a domain's own image and an old state share it.
fn imports(kind: &str) {
    let case = Case::on(kind);
    let fixture = &case.fixture;
    let taken = case.taken(|| case.import());
    assert!((CONTENT..CONTENT + LITTLE).contains(&taken), "{taken} bytes");
    let home = case.image("made");
    assert!(same(&home.join("private.img"), &home.join("private-precache.img")));
    let private = volume(fixture, "made", "private");
    let taken = case.taken(|| rewrite(fixture, &private, "mine"));
    assert!(taken < LITTLE, "{taken} bytes for a few");
    assert_eq!(fixture.ok("admin.vm.volume.ListSnapshots+private", "made", ""), "1\n2\n");
}

/// A clone shares its source's blocks, in the same pool and in another on the same file system, and is a volume of its own.
fn clones(kind: &str) {
    let case = Case::on(kind);
    let fixture = &case.fixture;
    case.import();
    let pool = format!("name=other\ndir_path={POINT}/other");
    fixture.ok("admin.pool.Add+file-reflink", "dom0", pool);
    for (name, pool) in [("near", "shared"), ("far", "other")] {
        case.create(name, pool);
        let taken = case.taken(|| case.clone_to(name));
        assert!(taken < LITTLE, "{name}: {taken} bytes");
        let clone = fixture.path(POINT).join(pool).join("appvms").join(name).join("private.img");
        assert!(same(&case.image("made").join("private.img"), &clone), "{name}");
        let before = committed(fixture, &volume(fixture, "made", "private"));
        rewrite(fixture, &volume(fixture, name, "private"), "other");
        assert_eq!(committed(fixture, &volume(fixture, "made", "private")), before);
        assert!(committed(fixture, &volume(fixture, name, "private")).starts_with("other"));
    }
}

/// A template's root volume is started from without a copy of its content.
fn snapshots(kind: &str) {
    let case = Case::on(kind);
    let fixture = &case.fixture;
    fixture.ok("admin.vm.CreateInPool.TemplateVM", "dom0", "name=base label=red pool=shared");
    fixture.ok("admin.vm.Create.AppVM+base", "dom0", "name=app label=red");
    case.import();
    let token = fixture.ok("admin.vm.volume.CloneFrom+private", "made", "");
    fixture.ok("admin.vm.volume.CloneTo+root", "base", token);
    let own = volume(fixture, "app", "root");
    let taken = case.taken(|| write(&start(fixture, &own), "mine"));
    assert!(taken < LITTLE, "{taken} bytes");
    rewrite(fixture, &volume(fixture, "base", "root"), "newer");
    assert_eq!(tests::pools::driver(fixture, "shared").is_outdated(&own).unwrap(), Some(true));
    stop(fixture, &own);
    assert!(read(&start(fixture, &own)).starts_with("newer"));
}

/// Makes each a test of its own on each file system.
macro_rules! on_each {
    ($($kind:ident: $reason:literal),+; $tests:tt) => { $(on_each!(@ $kind $reason $tests);)+ };
    (@ $kind:ident $reason:literal ($($name:ident => $test:ident),+)) => {
        mod $kind {
            $(#[test]
            #[cfg_attr(not($kind), ignore = $reason)]
            fn $name() {
                super::$test(stringify!($kind));
            })+
        }
    };
}

on_each!(
    xfs: "needs root, loop devices and mkfs.xfs",
    btrfs: "needs root, loop devices and mkfs.btrfs";
    (
        volumes_live => lives,
        an_import_takes_its_space_once => imports,
        clones_share_the_content_and_are_volumes_of_their_own => clones,
        a_snapshot_takes_no_space => snapshots
    )
);

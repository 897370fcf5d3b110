//! Disks that are really full, of bytes or of inodes: a clear error or a whole success, readers served meanwhile, and
//! everything as if nothing had been when space returns. Needs root, to mount small disks in a namespace of its own.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::arithmetic_side_effects,
    reason = "test code"
)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tests::Fixture;
use tests::cases::{CASES, Case, World, side_by_side};
use tests::fixture::refusal;
use tests::loops::own_namespace;
use tests::startable::{STARTED, state, system, traces};

const STATE: &str = "/var/lib/qubes/admin";
const RUN: &str = "/run/qubes/admin";
/// Where the images of the templates are as well, which those of their qubes share.
const QUBES: &str = "/var/lib/qubes";
const HOMES: &str = "/var/lib/qubes/appvms";

/// What callers are told, by the disk that is full.
fn is_told(disk: &str, refusal: &str) -> bool {
    match disk {
        HOMES => [
            "QubesException: Failed to write notes file: No space left on device (os error 28)",
            "StoragePoolException: making the home directory: No space left on device (os error 28)",
            "StoragePoolException: making an image: No space left on device (os error 28)",
            "StoragePoolException: making a precached image: No space left on device (os error 28)",
        ]
        .contains(&refusal),
        _ => refusal == "QubesException: The state store cannot be used: No space left on device",
    }
}

/// A directory on a small disk of its own, for this thread and the programs it starts.
struct Small {
    path: PathBuf,
}

impl Small {
    fn over(path: PathBuf) -> Self {
        fs::create_dir_all(&path).unwrap();
        let aside = path.with_extension("aside");
        copy(&path, &aside);
        let options = Some("size=256k,nr_inodes=64,mode=2770");
        mount(Some("small"), &path, Some("tmpfs"), MsFlags::empty(), options).unwrap();
        copy(&aside, &path);
        Self { path }
    }

    /// Fills the disk but for some pages.
    fn fill_bytes(&self, free: usize) {
        const PAGE: usize = 4096;
        let mut file = fs::File::create(self.path.join(".full")).unwrap();
        let mut written = 0;
        while file.write_all(&[1; PAGE]).is_ok() {
            written += PAGE;
        }
        assert!(written > 4 * PAGE, "the disk was full already");
        file.set_len(u64::try_from(written - free * PAGE).unwrap()).unwrap();
    }

    /// Uses up all inodes but for some.
    fn fill_inodes(&self, free: usize) {
        let folder = self.path.join(".full");
        fs::create_dir(&folder).unwrap();
        let made =
            (0..).take_while(|number| fs::File::create(folder.join(number.to_string())).is_ok()).count();
        for number in 0..free.min(made) {
            fs::remove_file(folder.join(number.to_string())).unwrap();
        }
    }

    fn empty(&self) {
        let full = self.path.join(".full");
        let _ = fs::remove_file(&full).or_else(|_| fs::remove_dir_all(&full));
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = umount2(&self.path, MntFlags::MNT_DETACH);
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    let copied = Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status().unwrap();
    assert!(copied.success());
}

/// Makes the call on a full disk, and again when there is space. Tells whether it was refused the first time.
fn meet_full_disk(case: &Case, (old, new): &(World, World), disk: &str, fill: impl Fn(&Small)) -> bool {
    let fixture = case.prepared();
    let small = Small::over(fixture.path(disk));
    fill(&small);
    let reply = case.command(&fixture).output().unwrap().stdout;
    let refused = !reply.starts_with(b"0\0");
    if refused {
        let told = refusal(&reply);
        assert!(is_told(disk, &told), "{}, {disk}: {told}", case.name());
    }
    readers_are_served(case, &fixture);
    let expected = if refused { old } else { new };
    assert_eq!(World::of(&fixture).state, expected.state, "{}, {disk}", case.name());
    small.empty();
    if refused {
        let now = World::of(&fixture);
        assert!(now == *old || announces_itself(case) && now.state == old.state, "{}, {disk}", case.name());
        let again = case.command(&fixture).output().unwrap().stdout;
        assert!(again.starts_with(b"0\0"), "{}, {disk}: {}", case.name(), String::from_utf8_lossy(&again));
    }
    let now = World::of(&fixture);
    assert_eq!(now.state, new.state, "{}, {disk}", case.name());
    assert!(now.events == new.events || announces_itself(case) && refused, "{}, {disk}", case.name());
    assert_eq!(fixture.store().check().unwrap(), []);
    refused
}

/// Whether listeners see the call being tried: creations and removals announce themselves before their files.
fn announces_itself(case: &Case) -> bool {
    ["admin.vm.Create", "admin.vm.Remove"].iter().any(|call| case.name().starts_with(call))
}

fn readers_are_served(case: &Case, fixture: &Fixture) {
    for (call, destination) in [
        ("admin.vm.List", "dom0"),
        ("admin.vm.tag.List", "test-vm1"),
        ("admin.vm.property.Get+netvm", "test-vm1"),
    ] {
        let reply = fixture.call(call, destination, "");
        assert!(reply.starts_with(b"0\0"), "{} after {}: {reply:?}", call, case.name());
    }
}

/// All fillings of both disks. Gives the number of calls and of refusals.
fn fill_everything(case: &Case) -> (usize, usize) {
    own_namespace();
    let worlds = case.worlds();
    let (mut calls, mut refusals) = (0, 0);
    for disk in [STATE, RUN, HOMES] {
        for free in 0..8 {
            refusals += usize::from(meet_full_disk(case, &worlds, disk, |small| small.fill_bytes(free)));
            refusals += usize::from(meet_full_disk(case, &worlds, disk, |small| small.fill_inodes(free)));
            calls += 2;
        }
    }
    println!("{}: {calls} calls on full disks, {refusals} refused", case.name());
    (calls, refusals)
}

#[test]
#[cfg_attr(not(root), ignore = "needs root to mount small disks")]
fn a_full_disk_refuses_a_change_or_makes_it_whole() {
    let results = side_by_side(&CASES, fill_everything);
    let (calls, refusals) = results.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    println!("{calls} calls on full disks, {refusals} refused, 0 torn");
    assert!(refusals > calls / 20, "the disks were not full");
}

/// The policy's files on a disk of their own that is full, then again when there is space.
fn change_policy_on_full_disk(fill: impl Fn(&Small)) -> bool {
    const REFUSAL: &str =
        "QubesException: Policy files cannot be used: No space left on device (os error 28)";
    let fixture = Fixture::new();
    let user = fixture.path("/etc/qubes/policy.d/30-user.policy");
    fixture.policy("30-user.policy", "svc * a b allow\n");
    let small = Small::over(fixture.path("/etc/qubes/policy.d"));
    fill(&small);
    let changed = "svc * a b deny\n".repeat(500);
    let reply = fixture.call("policy.Replace+30-user", "dom0", format!("any\n{changed}"));
    let refused = !reply.starts_with(b"0\0");
    if refused {
        assert_eq!(refusal(&reply), REFUSAL);
        assert_eq!(fs::read_to_string(&user).unwrap(), "svc * a b allow\n");
    }
    fixture.ok("policy.GetFiles+svc", "dom0", "");
    small.empty();
    fixture.ok("policy.Replace+30-user", "dom0", format!("any\n{changed}"));
    assert_eq!(fs::read_to_string(&user).unwrap(), changed);
    fixture.ok("policy.Remove+30-user", "dom0", "any");
    // Nothing is left but the old states: one of each change that was made, but where the disk had no room for that.
    let left = common::files::list(&fixture.path("/etc/qubes/policy.d")).unwrap();
    assert!(left.iter().all(|name| name.starts_with(".30-user.policy+")), "{left:?}");
    assert!(left.len() == 2 || (left.len() == 3 && !refused), "{refused}: {left:?}");
    refused
}

#[test]
#[cfg_attr(not(root), ignore = "needs root to mount small disks")]
fn policy_on_a_full_disk_is_the_old_or_the_new() {
    own_namespace();
    let mut refusals = 0;
    for free in 0..4 {
        refusals += usize::from(change_policy_on_full_disk(|small| small.fill_bytes(free)));
        refusals += usize::from(change_policy_on_full_disk(|small| small.fill_inodes(free)));
    }
    assert!(refusals > 0, "the disk was not full");
}

/// Whether a refused start tells what is full.
fn names_full_disk(disk: &str, refusal: &str) -> bool {
    let places: &[&str] = match disk {
        RUN => &[
            "QubesException: The state store cannot be used",
            "QubesException: Start failed: /run/qubes/admin cannot be written to",
            "QubesException: Start failed: /run/qubes/admin/simulated cannot be written to",
        ],
        _ => &[
            "StoragePoolException: Volume root in pool varlibqubes: starting a volume",
            "StoragePoolException: Volume private in pool varlibqubes: starting a volume",
            "StoragePoolException: Volume volatile in pool varlibqubes: starting a volume",
        ],
    };
    places.iter().any(|place| {
        refusal.strip_prefix(place).is_some_and(|rest| rest.starts_with(": No space left on device"))
    })
}

/// Starts a qube on a full disk, then again when there is space. Tells whether it was refused the first time.
fn start_on_full_disk(disk: &str, fill: impl Fn(&Small)) -> bool {
    let fixture = system();
    let small = Small::over(fixture.path(disk));
    fill(&small);
    let reply = fixture.call("admin.vm.Start", "net", "");
    let refused = !reply.starts_with(b"0\0");
    if refused {
        let told = refusal(&reply);
        assert!(names_full_disk(disk, &told), "{disk}: {told}");
        assert_eq!(state(&fixture, "net"), "Halted", "{disk}");
    }
    small.empty();
    fixture.ok("admin.vm.Start", "net", "");
    assert_eq!(state(&fixture, "net"), "Running", "{disk}");
    let begun = format!("net {}", STARTED.last().unwrap());
    assert_eq!(fixture.events().iter().filter(|event| **event == begun).count(), 1, "{disk}");
    fixture.ok("admin.vm.Kill", "net", "");
    assert_eq!(traces(&fixture), [""; 0], "{disk}");
    refused
}

#[test]
#[cfg_attr(not(root), ignore = "needs root to mount small disks")]
fn a_start_on_a_full_disk_is_refused_and_leaves_nothing_or_is_whole() {
    own_namespace();
    let mut refusals = 0;
    for disk in [STATE, RUN, QUBES] {
        for free in [0, 1, 2, 4, 7] {
            refusals += usize::from(start_on_full_disk(disk, |small| small.fill_bytes(free)));
            refusals += usize::from(start_on_full_disk(disk, |small| small.fill_inodes(free)));
        }
    }
    assert!(refusals > 0, "the disks were not full");
}

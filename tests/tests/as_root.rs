//! What a member of the group does as root, through a stand-in for `sudo`: running programs, and opening block devices.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::process::{Command, Stdio};

use tests::fixture::refusal;
use tests::pools::{committed, install_lvm, rewrite, volume};
use tests::users::{ONE, share};
use tests::{Fixture, executables};

const SUDO: &str = "/usr/bin/sudo";

/// Qubes of a member of the group in two pools, one of them of logical volumes that only root may open.
fn with_logical_volumes() -> Fixture {
    let fixture = Fixture::new();
    install_lvm(&fixture);
    fs::create_dir_all(fixture.path("/usr/bin")).unwrap();
    // By another program: a descriptor of ours could live on in a child that another test starts, and keep it from running.
    let copied =
        Command::new("cp").arg(executables::executable("stand-in-sudo")).arg(fixture.path(SUDO)).status();
    assert!(copied.unwrap().success());
    share(&fixture);
    for folder in ["/dev", "/dev/vg", "/dev/mapper"] {
        fs::create_dir_all(fixture.path(folder)).unwrap();
        chown(fixture.path(folder), Some(0), Some(0)).unwrap();
        fs::set_permissions(fixture.path(folder), Permissions::from_mode(0o755)).unwrap();
    }
    allow_sudo(&fixture, true);
    ONE.ok(&fixture, ("admin.pool.Add+lvm_thin", "dom0", "name=lvm\nvolume_group=vg\nthin_pool=pool"));
    for pool in ["lvm", "varlibqubes"] {
        let (name, payload) = (format!("in-{pool}"), format!("name=in-{pool} label=red pool={pool}"));
        ONE.ok(&fixture, ("admin.vm.CreateInPool.StandaloneVM", "dom0", &payload));
        ONE.ok(&fixture, ("admin.vm.volume.Resize+private", &name, "8192"));
    }
    let device = fixture.path("/dev/vg/vm-in-lvm-private").metadata().unwrap();
    assert_eq!((device.uid(), device.gid(), device.mode() & 0o7), (0, 0, 0), "a volume is root's");
    fixture
}

fn allow_sudo(fixture: &Fixture, allowed: bool) {
    let mode = if allowed { 0o4755 } else { 0o755 };
    fs::set_permissions(fixture.path(SUDO), Permissions::from_mode(mode)).unwrap();
}

/// Copies the private volume of one qube to another.
fn clone(fixture: &Fixture, from: &str, to: &str) -> Vec<u8> {
    let token = ONE.ok(fixture, ("admin.vm.volume.CloneFrom+private", from, ""));
    ONE.call(fixture, ("admin.vm.volume.CloneTo+private", to, &token)).stdout
}

#[test]
#[cfg_attr(not(root), ignore = "needs root to become other users")]
fn volumes_that_only_root_may_open_are_copied_from_and_to() {
    let fixture = with_logical_volumes();
    let [thin, plain] = ["in-lvm", "in-varlibqubes"].map(|name| volume(&fixture, name, "private"));
    for (from, to, word) in [("in-lvm", "in-varlibqubes", "thin"), ("in-varlibqubes", "in-lvm", "plain")] {
        let (source, target) = if from == "in-lvm" { (&thin, &plain) } else { (&plain, &thin) };
        rewrite(&fixture, source, word);
        share_images(&fixture);
        assert_eq!(clone(&fixture, from, to), b"0\0");
        assert_eq!(committed(&fixture, target), word);
    }
    let said = fs::read_to_string(fixture.path("/sudo.log")).unwrap();
    let opened = |word: &str| said.lines().any(|line| line.contains(&format!("/admin-vm-volume {word} ")));
    assert!(opened("open-for-reading") && opened("open-for-writing"), "{said}");
}

/// What root rewrote belongs to the group again.
fn share_images(fixture: &Fixture) {
    let images = fixture.path("/var/lib/qubes/appvms/in-varlibqubes");
    for image in fs::read_dir(images).unwrap() {
        fs::set_permissions(image.unwrap().path(), Permissions::from_mode(0o666)).unwrap();
    }
}

#[test]
#[cfg_attr(not(root), ignore = "needs root to become other users")]
fn an_import_goes_into_a_volume_that_only_root_may_open() {
    let fixture = with_logical_volumes();
    let payload = fixture.path("/payload");
    fs::write(&payload, [b"new".as_slice(), &[0; 8189]].concat()).unwrap();
    let mut import = fixture.command("admin.vm.volume.Import");
    ONE.becomes(&mut import);
    import.arg("private").env("QREXEC_REMOTE_DOMAIN", "dom0").env("QREXEC_REQUESTED_TARGET", "in-lvm");
    let output = import.stdin(File::open(&payload).unwrap()).output().unwrap();
    assert_eq!(output.stdout, b"0\0", "{output:?}");
    assert_eq!(committed(&fixture, &volume(&fixture, "in-lvm", "private")), "new");
}

#[test]
#[cfg_attr(not(root), ignore = "needs root to become other users")]
fn who_may_not_become_root_is_told_so() {
    let fixture = with_logical_volumes();
    allow_sudo(&fixture, false);
    let refused = ONE.call(&fixture, ("admin.vm.volume.Resize+private", "in-lvm", "16384"));
    let told = "StoragePoolException: sudo: a password is _[31m required";
    assert_eq!(refusal(&refused.stdout), told);
    // An image is opened, not worked on by a program.
    let image = fixture.path("/var/lib/qubes/appvms/in-varlibqubes/private.img");
    chown(&image, Some(0), Some(0)).unwrap();
    fs::set_permissions(&image, Permissions::from_mode(0o600)).unwrap();
    ONE.ok(&fixture, ("admin.vm.CreateInPool.StandaloneVM", "dom0", "name=other label=red pool=test"));
    let refused = clone(&fixture, "in-varlibqubes", "other");
    let told = "StoragePoolException: reading the source of a copy: Permission denied (os error 13)";
    assert_eq!(refusal(&refused), told);
    allow_sudo(&fixture, true);
    assert_eq!(clone(&fixture, "in-varlibqubes", "other"), b"0\0");
}

#[test]
fn only_an_executable_of_its_own_name_opens_anything() {
    let fixture = Fixture::new();
    let secret = fixture.path("/secret");
    fs::write(&secret, "secret").unwrap();
    let words = ["open-for-reading", secret.to_str().unwrap()];
    let mut call = fixture.command("admin.vm.volume.Info");
    let output = call.args(words).stdin(Stdio::null()).output().unwrap();
    assert!(!String::from_utf8_lossy(&output.stdout).contains("secret"));
    let mut itself = Command::new(executables::executable("admin-vm-volume"));
    let output = itself.args(words).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.stderr, b"qubes-admin: Socket operation on non-socket (os error 88)\n");
    assert!(output.stdout.is_empty());
}

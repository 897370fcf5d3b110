//! Driver `file` over a stand-in for the device mapper: what is mapped, kept and dropped (spec 20 §7.1).
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "test code"
)]

use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

use tests::Fixture;
use tests::in_use::{start_all, stop_all};
use tests::pools::{commands, committed, driver, install_mapper, read, rewrite, start, stop, volume, write};

const POOL: &str = "test";
const FOLDER: &str = "/var/lib/qubes/test";

/// A template `base` and a qube `app` that starts from its root volume, in a pool of driver `file`.
fn fixture() -> Fixture {
    let fixture = Fixture::new();
    install_mapper(&fixture);
    fixture.ok("admin.vm.CreateInPool.TemplateVM", "dom0", format!("name=base label=red pool={POOL}"));
    fixture.ok("admin.vm.volume.Resize+root", "base", "8192");
    fixture.ok("admin.vm.Create.AppVM+base", "dom0", "name=app label=red");
    fixture
}

fn file(fixture: &Fixture, name: &str) -> PathBuf {
    fixture.path(FOLDER).join(name)
}

fn identity(fixture: &Fixture, name: &str) -> String {
    let about = file(fixture, name).metadata().unwrap();
    format!("{:x}:{}", about.dev(), about.ino())
}

/// Names of all mappings, sorted.
fn mappings(fixture: &Fixture) -> Vec<String> {
    let entries = std::fs::read_dir(fixture.path("/dev/mapper")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name != "control").collect();
    names.sort();
    names
}

/// Does as the device mapper where a block of an image is overwritten for the first time.
fn copy_block(fixture: &Fixture, store: &str) {
    let store = std::fs::OpenOptions::new().write(true).open(file(fixture, store)).unwrap();
    store.write_all_at(b"what was there", 262_144).unwrap();
}

const ROOT: &str = "vm-templates/base/root";

#[test]
fn a_kept_volume_is_written_through_an_origin_beside_its_state_of_before() {
    let fixture = fixture();
    let root = volume(&fixture, "base", "root");
    let device = start(&fixture, &root);
    let image = identity(&fixture, &format!("{ROOT}.img"));
    let store = identity(&fixture, &format!("{ROOT}-cow.img"));
    let (origin, before) = (format!("origin-{image}"), format!("snapshot-{image}-{store}"));
    assert_eq!(device, fixture.path("/dev/mapper").join(&origin));
    assert_eq!(mappings(&fixture), [origin.clone(), before.clone()]);
    let at = |path: &str| fixture.path(path).display().to_string();
    let (image, store) = (at(&format!("{FOLDER}/{ROOT}.img")), at(&format!("{FOLDER}/{ROOT}-cow.img")));
    let (loop0, loop1) = (at("/dev/loop0"), at("/dev/loop1"));
    let said = [
        format!("losetup --find --nooverlap --show {image}"),
        format!("losetup --find --nooverlap --show {store}"),
        format!("dmsetup create {before} --verifyudev --table 0 16 snapshot {loop0} {loop1} P 256"),
        format!("losetup --detach {loop0}"),
        format!("losetup --detach {loop1}"),
        format!("losetup --find --nooverlap --show {image}"),
        format!("dmsetup create {origin} --verifyudev --table 0 16 snapshot-origin {loop0}"),
        format!("losetup --detach {loop0}"),
    ];
    assert_eq!(commands(&fixture, "mapper"), said);
    stop(&fixture, &root);
    let said = [
        format!("dmsetup remove --retry --verifyudev {origin}"),
        format!("dmsetup remove --verifyudev {before}"),
    ];
    assert_eq!(commands(&fixture, "mapper"), said);
    assert_eq!(mappings(&fixture), [""; 0]);
    stop(&fixture, &root);
    assert_eq!(commands(&fixture, "mapper"), [""; 0], "there is nothing to stop");
}

#[test]
fn what_was_overwritten_becomes_the_old_state_at_stop() {
    let fixture = fixture();
    let root = volume(&fixture, "base", "root");
    let revisions = || driver(&fixture, POOL).revisions(&root).unwrap().len();
    let is_dirty = || driver(&fixture, POOL).is_dirty(&root).unwrap();
    rewrite(&fixture, &root, "one");
    assert_eq!((committed(&fixture, &root).as_str(), revisions()), ("one", 0), "no block was copied");
    start(&fixture, &root);
    assert!(!is_dirty());
    copy_block(&fixture, &format!("{ROOT}-cow.img"));
    assert!(is_dirty());
    let refused = driver(&fixture, POOL).export(&root, false).unwrap_err().to_string();
    assert_eq!(refused, "file pool cannot export dirty volumes");
    stop(&fixture, &root);
    assert_eq!((is_dirty(), revisions()), (false, 1));
    fixture.ok("admin.vm.volume.Set.revisions_to_keep+root", "base", "0");
    let root = volume(&fixture, "base", "root");
    std::fs::remove_file(file(&fixture, &format!("{ROOT}-cow.img.old"))).unwrap();
    start(&fixture, &root);
    copy_block(&fixture, &format!("{ROOT}-cow.img"));
    stop(&fixture, &root);
    assert_eq!((is_dirty(), revisions()), (false, 0));
}

#[test]
fn a_snapshot_starts_from_the_state_before_its_sources_start_and_forgets() {
    let fixture = fixture();
    let (source, own) = (volume(&fixture, "base", "root"), volume(&fixture, "app", "root"));
    rewrite(&fixture, &source, "one");
    let written = start(&fixture, &source);
    write(&written, "two");
    let device = start(&fixture, &own);
    assert_eq!(read(&device), "one");
    let name = device.file_name().unwrap().to_str().unwrap().to_owned();
    let own_store = identity(&fixture, "appvms/app/root-cow.img");
    assert!(name.starts_with("snapshot-") && name.ends_with(&format!("-{own_store}")), "{name}");
    write(&device, "mine");
    stop(&fixture, &own);
    assert!(!device.exists() && !file(&fixture, "appvms/app/root-cow.img").exists());
    assert_eq!(mappings(&fixture).len(), 2, "its source is still in use");
    stop(&fixture, &source);
    assert_eq!(mappings(&fixture), [""; 0]);
    assert_eq!(read(&start(&fixture, &own)), "two");
    stop(&fixture, &own);
    assert_eq!(mappings(&fixture), [""; 0]);
}

#[test]
fn a_state_that_somebody_uses_outlives_its_sources_stop() {
    let fixture = fixture();
    let (source, own) = (volume(&fixture, "base", "root"), volume(&fixture, "app", "root"));
    start(&fixture, &source);
    let device = start(&fixture, &own);
    copy_block(&fixture, &format!("{ROOT}-cow.img"));
    stop(&fixture, &source);
    let base = device.file_name().unwrap().to_str().unwrap().rsplit_once('-').unwrap().0.to_owned();
    assert_eq!(mappings(&fixture), [base, device.file_name().unwrap().to_str().unwrap().to_owned()]);
    rewrite(&fixture, &source, "two");
    assert_eq!(mappings(&fixture).len(), 2, "another start of the source has states of its own");
    assert_eq!(driver(&fixture, POOL).block_device(&own).unwrap(), Some(device));
    stop(&fixture, &own);
    assert_eq!(mappings(&fixture), [""; 0]);
}

#[test]
fn volumes_that_were_not_stopped_are_started_again() {
    let fixture = fixture();
    let (source, own) = (volume(&fixture, "base", "root"), volume(&fixture, "app", "root"));
    write(&start(&fixture, &source), "one");
    copy_block(&fixture, &format!("{ROOT}-cow.img"));
    write(&start(&fixture, &own), "mine");
    commands(&fixture, "mapper");
    assert_eq!(read(&start(&fixture, &source)), "one");
    assert_eq!(commands(&fixture, "mapper"), [""; 0], "it goes on where it was");
    assert_eq!(read(&start(&fixture, &own)), "", "it begins anew, from what is committed");
    assert_eq!(mappings(&fixture).len(), 3, "{:?}", mappings(&fixture));
    stop(&fixture, &own);
    stop(&fixture, &source);
    assert_eq!(mappings(&fixture), [""; 0]);
    assert_eq!(committed(&fixture, &source), "one");
}

#[test]
fn after_a_boot_nothing_is_mapped_and_what_was_written_is_committed() {
    let fixture = fixture();
    let source = volume(&fixture, "base", "root");
    write(&start(&fixture, &source), "one");
    copy_block(&fixture, &format!("{ROOT}-cow.img"));
    for name in mappings(&fixture) {
        std::fs::remove_file(fixture.path("/dev/mapper").join(&name)).unwrap();
        std::fs::remove_file(fixture.path("/dm").join(&name)).unwrap();
    }
    stop(&fixture, &source);
    assert_eq!(committed(&fixture, &source), "one");
    assert_eq!(driver(&fixture, POOL).revisions(&source).unwrap().len(), 1);
}

#[test]
fn a_volume_in_use_is_not_committed() {
    let fixture = fixture();
    let source = volume(&fixture, "base", "root");
    start(&fixture, &source);
    copy_block(&fixture, &format!("{ROOT}-cow.img"));
    std::fs::write(fixture.path("/mapper.fail"), "dmsetup remove --retry").unwrap();
    let refused = driver(&fixture, POOL).stop(&source).unwrap_err().to_string();
    assert_eq!(refused, "no _[31m way %");
    assert!(driver(&fixture, POOL).is_dirty(&source).unwrap());
    let clear = fixture.refused("admin.vm.volume.Clear+root", "base", "");
    let told =
        format!("StoragePoolException: Cannot import data to running volume {ROOT}, stop the qube first");
    assert_eq!(clear, told);
    std::fs::remove_file(fixture.path("/mapper.fail")).unwrap();
    stop(&fixture, &source);
    fixture.ok("admin.vm.volume.Clear+root", "base", "");
}

#[test]
fn a_start_that_fails_leaves_nothing_mapped() {
    for failing in ["losetup --find", "dmsetup create snapshot", "dmsetup create origin"] {
        let fixture = fixture();
        std::fs::write(fixture.path("/mapper.fail"), failing).unwrap();
        let said = start_all(&fixture, "base").unwrap_err();
        assert_eq!(said, "StoragePoolException: no _[31m way %", "{failing}");
        assert_eq!(start_all(&fixture, "app").is_err(), !failing.contains("origin"), "{failing}");
        std::fs::remove_file(fixture.path("/mapper.fail")).unwrap();
        let device = start_all(&fixture, "base").unwrap().remove(0).path;
        write(&device, "one");
        start_all(&fixture, "app").unwrap();
        for qube in ["base", "app"] {
            stop_all(&fixture, qube);
        }
        assert_eq!(mappings(&fixture), [""; 0], "{failing}");
        assert_eq!(committed(&fixture, &volume(&fixture, "base", "root")), "one", "{failing}");
    }
}

#[test]
fn a_start_killed_between_its_mappings_leaves_none_after_its_stop() {
    for qube in ["base", "app"] {
        let fixture = fixture();
        let root = volume(&fixture, qube, "root");
        let last = start(&fixture, &root);
        std::fs::remove_file(fixture.path("/dm").join(last.file_name().unwrap())).unwrap();
        std::fs::remove_file(last).unwrap();
        assert_eq!(mappings(&fixture).len(), 1, "{qube}");
        stop(&fixture, &root);
        assert_eq!(mappings(&fixture), [""; 0], "{qube}");
    }
}

#[test]
fn loop_devices_of_a_killed_start_are_given_up_by_its_stop() {
    for (qube, left) in [("base", 1), ("base", 2), ("app", 1), ("app", 2), ("app", 3)] {
        let fixture = fixture();
        let root = volume(&fixture, qube, "root");
        start(&fixture, &root);
        let own = format!("appvms/app/{}-cow.img", root.name);
        let files = [format!("{ROOT}.img"), format!("{ROOT}-cow.img"), own];
        let losetup = fixture.path("/usr/sbin/losetup");
        for name in &files[..left] {
            let mut attach = std::process::Command::new(&losetup);
            let attached =
                attach.args(["--find", "--nooverlap", "--show"]).arg(file(&fixture, name)).output();
            assert!(attached.unwrap().status.success(), "{name}");
        }
        commands(&fixture, "mapper");
        stop(&fixture, &root);
        let loops = std::fs::read_dir(fixture.path("/sys/block")).unwrap();
        let is_attached = |device: &PathBuf| device.join("loop").exists();
        let loops: Vec<PathBuf> = loops.map(|device| device.unwrap().path()).filter(is_attached).collect();
        assert_eq!(loops, [""; 0].map(PathBuf::from), "{qube} {left}");
        let detached = commands(&fixture, "mapper");
        assert_eq!(detached.iter().filter(|said| said.starts_with("losetup --detach")).count(), left);
    }
}

#[test]
fn a_mapping_that_was_made_by_half_hinders_no_start() {
    for has_table in [true, false] {
        let fixture = fixture();
        let source = volume(&fixture, "base", "root");
        start(&fixture, &source);
        for name in mappings(&fixture) {
            std::fs::remove_file(fixture.path("/dev/mapper").join(&name)).unwrap();
            if !has_table {
                std::fs::write(fixture.path("/dm").join(&name), "").unwrap();
            }
        }
        commands(&fixture, "mapper");
        let device = start(&fixture, &source);
        let said = commands(&fixture, "mapper");
        assert_eq!(said.iter().any(|command| command.starts_with("dmsetup remove ")), !has_table);
        write(&device, "one");
        assert_eq!(mappings(&fixture).len(), 2);
        stop(&fixture, &source);
        assert_eq!(mappings(&fixture), [""; 0]);
        assert_eq!(committed(&fixture, &source), "one");
    }
}

#[test]
fn an_import_forgets_what_was_overwritten_in_the_image_that_goes() {
    let fixture = fixture();
    let source = volume(&fixture, "base", "root");
    start(&fixture, &source);
    copy_block(&fixture, &format!("{ROOT}-cow.img"));
    let old = identity(&fixture, &format!("{ROOT}.img"));
    for name in mappings(&fixture) {
        std::fs::remove_file(fixture.path("/dev/mapper").join(&name)).unwrap();
    }
    fixture.ok("admin.vm.volume.Clear+root", "base", "");
    assert_ne!(identity(&fixture, &format!("{ROOT}.img")), old);
    assert!(!file(&fixture, &format!("{ROOT}-cow.img")).exists());
    assert_eq!(committed(&fixture, &source), "");
}

#[test]
fn a_volume_in_use_gets_another_size() {
    let fixture = fixture();
    let source = volume(&fixture, "base", "root");
    start(&fixture, &source);
    let origin = format!("origin-{}", identity(&fixture, &format!("{ROOT}.img")));
    commands(&fixture, "mapper");
    fixture.ok("admin.vm.volume.Resize+root", "base", "16384");
    let device = fixture.path("/dev/loop0").display().to_string();
    let said = [
        format!("dmsetup table {origin}"),
        format!("dmsetup load {origin} --table 0 32 snapshot-origin {device}"),
        format!("dmsetup resume {origin}"),
    ];
    assert_eq!(commands(&fixture, "mapper"), said);
    stop(&fixture, &source);
    fixture.ok("admin.vm.volume.Resize+root", "base", "8192");
    assert_eq!(commands(&fixture, "mapper").len(), 2, "nothing is mapped any more");
}

#[test]
fn a_machine_without_device_mapper_starts_only_what_needs_none() {
    let fixture = fixture();
    std::fs::remove_file(fixture.path("/dev/mapper/control")).unwrap();
    let refused = driver(&fixture, POOL).start(&volume(&fixture, "base", "root")).unwrap_err().to_string();
    assert_eq!(refused, format!("file pool cannot start volume {ROOT}: it needs device mapper snapshots"));
    start(&fixture, &volume(&fixture, "base", "volatile"));
    fixture.ok("admin.vm.volume.Set.revisions_to_keep+root", "base", "-1");
    let root = volume(&fixture, "base", "root");
    assert_eq!(start(&fixture, &root), file(&fixture, &format!("{ROOT}.img")));
    stop(&fixture, &root);
    assert_eq!(commands(&fixture, "mapper"), [""; 0]);
}

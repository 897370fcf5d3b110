//! The calls on a qube's volumes, as a client makes them (spec 20 §4).
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::indexing_slicing, reason = "test code")]

use common::model::{Class, Qube};
use common::names::{QubeName, QubeUuid};
use common::storage;
use tests::volumes::{SIZE, image, old, system};
use tests::{Fixture, executables};

fn info(fixture: &Fixture, qube: &str, volume: &str, key: &str) -> String {
    let text = fixture.ok(&format!("admin.vm.volume.Info+{volume}"), qube, "");
    let prefix = format!("{key}=");
    text.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap().to_owned()
}

fn revisions(fixture: &Fixture) -> String {
    fixture.ok("admin.vm.volume.ListSnapshots+private", "made", "")
}

/// Every call with a volume's name, and a payload that is good for it.
const CALLS: [(&str, &str); 11] = [
    ("Info", ""),
    ("ListSnapshots", ""),
    ("Snapshot", ""),
    ("Revert", "1"),
    ("Resize", "1"),
    ("Clear", ""),
    ("CloneFrom", ""),
    ("CloneTo", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
    ("Set.revisions_to_keep", "1"),
    ("Set.rw", "True"),
    ("Set.ephemeral", "False"),
];

#[test]
fn volumes_are_listed_in_the_order_of_their_definition() {
    let fixture = Fixture::new();
    let remote = Qube::new(QubeName::parse("far").unwrap(), Class::RemoteVM, 9, QubeUuid::random());
    let store = fixture.store();
    let mut txn = store.write().unwrap();
    txn.insert_qube(remote).unwrap();
    txn.commit().unwrap();
    assert_eq!(fixture.ok("admin.vm.volume.List", "test-vm1", ""), "root\nprivate\nvolatile\nkernel\n");
    assert_eq!(fixture.ok("admin.vm.volume.List+private", "test-vm1", ""), "private\n");
    let denied = fixture.refused("admin.vm.volume.List+x", "test-vm1", "");
    assert_eq!(denied, "PermissionDenied: Argument not in 'test-vm1 volumes'");
    for qube in ["dom0", "far"] {
        assert_eq!(fixture.ok("admin.vm.volume.List", qube, ""), "");
        for (call, payload) in CALLS {
            let denied = fixture.refused(&format!("admin.vm.volume.{call}+private"), qube, payload);
            assert_eq!(denied, format!("PermissionDenied: Argument not in '{qube} volumes'"), "{call}");
        }
    }
}

#[test]
fn an_unknown_volume_is_told_before_a_bad_payload() {
    let fixture = Fixture::new();
    for (call, payload) in CALLS {
        let bad = if payload.is_empty() { "" } else { "%\x01" };
        let denied = fixture.refused(&format!("admin.vm.volume.{call}+no%such"), "test-vm1", bad);
        assert_eq!(denied, "PermissionDenied: Argument not in 'test-vm1 volumes'", "{call}");
    }
}

#[test]
fn a_volume_is_described_in_the_order_of_the_specification() {
    let fixture = system();
    let text = fixture.ok("admin.vm.volume.Info+private", "made", "");
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("usage=")).collect();
    let expected = [
        "pool=varlibqubes",
        "vid=appvms/made/private",
        "size=65536",
        "rw=True",
        "source=",
        "path=/var/lib/qubes/appvms/made/private-dirty.img",
        "save_on_stop=True",
        "snap_on_start=False",
        "revisions_to_keep=1",
        "ephemeral=False",
        "is_outdated=False",
    ];
    assert_eq!(lines, expected);
    assert!(info(&fixture, "made", "private", "usage").parse::<u64>().unwrap() >= 4096);
    assert_eq!(info(&fixture, "made", "root", "source"), "vm-templates/test-template/root");
    assert_eq!(info(&fixture, "made", "kernel", "vid"), "1.0");
    fixture.ok("admin.vm.property.Set+kernel", "made", "");
    let kernel = fixture.ok("admin.vm.volume.Info+kernel", "made", "");
    assert!(kernel.contains("vid=\n") && kernel.contains("path=\n"), "{kernel}");
}

#[test]
fn driver_file_prints_its_own_paths() {
    let fixture = Fixture::new();
    fixture.ok("admin.vm.CreateInPool.AppVM", "dom0", "name=filed label=red pool=test");
    assert_eq!(info(&fixture, "filed", "private", "path"), "/var/lib/qubes/test/appvms/filed/private.img");
    assert_eq!(info(&fixture, "filed", "private", "size"), "2147483648");
    fixture.ok("admin.vm.volume.Set.revisions_to_keep+volatile", "filed", "1");
    assert_eq!(info(&fixture, "filed", "volatile", "revisions_to_keep"), "0", "only of what is kept");
    let set = |value: &str| fixture.refused("admin.vm.volume.Set.revisions_to_keep+private", "filed", value);
    let too_many = "QubesNotImplementedError: FilePool supports maximum 1 volume revision to keep";
    assert_eq!(set("2"), too_many);
    fixture.ok("admin.vm.volume.Resize+private", "filed", "4096");
    assert_eq!(info(&fixture, "filed", "private", "size"), "4096");
    let snapshot = fixture.refused("admin.vm.volume.Snapshot+private", "filed", "");
    assert_eq!(snapshot, "StoragePoolException: Cannot snapshot: appvms/filed/private is in a file pool");
    fixture.ok("admin.vm.volume.Set.rw+private", "filed", "False");
    let refused = fixture.refused("admin.vm.volume.Resize+private", "filed", "1");
    assert_eq!(refused, "StoragePoolException: Can not resize readonly volume appvms/filed/private");
}

#[test]
fn a_volume_goes_back_to_an_old_state_and_forward_again() {
    let fixture = system();
    let content = || std::fs::read(image(&fixture, "private.img")).unwrap();
    assert_eq!(revisions(&fixture), "");
    assert_eq!(fixture.ok("admin.vm.volume.Snapshot+private", "made", ""), "1");
    assert_eq!(fixture.ok("admin.vm.volume.Snapshot+private", "made", ""), "2");
    assert_eq!(revisions(&fixture), "2\n");
    fixture.ok("admin.vm.volume.Clear+private", "made", "");
    assert!(content() == vec![0; SIZE]);
    assert_eq!(revisions(&fixture), "3\n");
    fixture.ok("admin.vm.volume.Revert+private", "made", " 3\n");
    assert!(content() == old());
    assert_eq!(revisions(&fixture), "4\n");
    fixture.ok("admin.vm.volume.Revert+private", "made", "4");
    assert!(content() == vec![0; SIZE]);
}

#[test]
fn old_states_are_refused_where_there_can_be_none() {
    let fixture = system();
    let snapshot = |volume: &str| fixture.refused(&format!("admin.vm.volume.Snapshot+{volume}"), "made", "");
    let revert = |id: &str| fixture.refused("admin.vm.volume.Revert+private", "made", id);
    let refused = "StoragePoolException: Cannot snapshot: appvms/made";
    assert_eq!(snapshot("root"), format!("{refused}/root is not save_on_stop"));
    for unknown in ["1", "nosuch", ".."] {
        assert_eq!(revert(unknown), "QubesException: Specified revision not found in qube volume.");
    }
    assert!(revert("bad/rev").starts_with("ProtocolError: Revision name must be in safe set: abc"));
    assert_eq!(fixture.call("admin.vm.volume.Revert+private", "made", b"\xff"), b"");
    fixture.ok("admin.vm.volume.Set.revisions_to_keep+private", "made", "0");
    assert_eq!(snapshot("private"), format!("{refused}/private keeps no revisions"));
    fixture.ok("admin.vm.volume.Set.revisions_to_keep+private", "made", "2");
    fixture.ok("admin.vm.volume.Snapshot+private", "made", "");
    std::fs::write(image(&fixture, "private-dirty.img"), "x").unwrap();
    assert_eq!(
        revert("1"),
        "StoragePoolException: Cannot revert: appvms/made/private is not cleanly stopped"
    );
    assert!(snapshot("private").starts_with("QubesVMNotHaltedError: "));
    let _domain = fixture.domain("made", "Running");
    assert_eq!(snapshot("private"), "QubesVMNotHaltedError: Domain is not powered off: 'made'");
}

#[test]
fn lowering_the_number_of_revisions_takes_effect_at_the_next_change() {
    let fixture = system();
    fixture.ok("admin.vm.volume.Set.revisions_to_keep+private", "made", "3");
    for _ in 0..4 {
        fixture.ok("admin.vm.volume.Clear+private", "made", "");
    }
    assert_eq!(revisions(&fixture), "2\n3\n4\n");
    fixture.ok("admin.vm.volume.Set.revisions_to_keep+private", "made", "1");
    assert_eq!(revisions(&fixture), "2\n3\n4\n");
    fixture.ok("admin.vm.volume.Clear+private", "made", "");
    assert_eq!(revisions(&fixture), "5\n");
    fixture.ok("admin.vm.volume.Set.revisions_to_keep+private", "made", "0");
    fixture.ok("admin.vm.volume.Clear+private", "made", "");
    assert_eq!(revisions(&fixture), "");
}

#[test]
fn a_volume_gets_another_size() {
    let fixture = system();
    let resize =
        |volume: &str, size: &str| fixture.ok(&format!("admin.vm.volume.Resize+{volume}"), "made", size);
    let events = fixture.events_of(|_| drop(resize("private", "131072")));
    assert_eq!(events, [""; 0]);
    let content = std::fs::read(image(&fixture, "private.img")).unwrap();
    assert!(content.len() == 131_072 && content.starts_with(&old()));
    resize("private", "3000");
    assert_eq!(std::fs::read(image(&fixture, "private.img")).unwrap(), &old()[..3000]);
    resize("private", "0");
    for volume in ["root", "volatile"] {
        resize(volume, "21474836480");
        assert_eq!(info(&fixture, "made", volume, "size"), "21474836480");
    }
    assert_eq!(fixture.call("admin.vm.volume.Resize+kernel", "made", "1"), b"");
    fixture.ok("admin.vm.volume.Set.rw+private", "made", "False");
    let refused = fixture.refused("admin.vm.volume.Resize+private", "made", "1");
    assert_eq!(refused, "StoragePoolException: Cannot resize: appvms/made/private is read-only");
}

/// A stand-in for the program that runs services in qubes.
fn stand_in(fixture: &Fixture, script: &str) {
    executables::script(&fixture.path("/usr/bin/qrexec-client"), &format!("#!/bin/sh\n{script}"));
}

#[test]
fn a_running_qube_is_told_of_its_volumes_new_size() {
    let fixture = system();
    let _domain = fixture.domain("made", "Running");
    let asked = fixture.path("/asked");
    stand_in(&fixture, &format!("{{ printf '%s|' \"$@\"; cat; }} > {}", asked.display()));
    std::fs::write(image(&fixture, "private-dirty.img"), old()).unwrap();
    fixture.ok("admin.vm.volume.Resize+private", "made", "131072");
    assert_eq!(image(&fixture, "private-dirty.img").metadata().unwrap().len(), 131_072);
    let asked = std::fs::read_to_string(asked).unwrap();
    assert_eq!(asked, "-d|made|root:QUBESRPC qubes.ResizeDisk dom0|private");
    stand_in(&fixture, "printf '50%% \\303\\251done' >&2; exit 1");
    let told = "StoragePoolException: Online resize of volume appvms/made/private failed \
        (you need to resize filesystem manually): 50 done";
    assert_eq!(fixture.refused("admin.vm.volume.Resize+private", "made", "262144"), told);
    assert_eq!(info(&fixture, "made", "private", "size"), "262144");
    assert_eq!(fixture.qube("made").volumes[1].size, 262_144);
}

#[test]
fn settings_are_checked_by_kind_of_volume() {
    let fixture = Fixture::new();
    let kernel_revisions = "QubesValueError: LinuxModules supports only revisions_to_keep=0";
    let cannot = "QubesValueError: Cannot enable ephemeral on snap_on_start or save_on_stop or non-dom0 or not \
        writable volume";
    let no_switch = "ProtocolError: Payload is not boolean ASCII";
    for (call, payload, told) in [
        ("revisions_to_keep+kernel", "1", kernel_revisions),
        ("revisions_to_keep+kernel", "-1", kernel_revisions),
        ("revisions_to_keep+kernel", "-2", "QubesValueError: Invalid value for revisions_to_keep"),
        ("revisions_to_keep+root", "-2", "QubesValueError: Invalid value for revisions_to_keep"),
        ("revisions_to_keep+root", "True", "ProtocolError: Revisions to keep contains non ASCII digits"),
        ("revisions_to_keep+root", "1\n", "ProtocolError: Revisions to keep contains non ASCII digits"),
        ("rw+kernel", "True", "QubesValueError: LinuxModules supports only read-only volumes"),
        ("rw+root", "maybe", no_switch),
        ("rw+root", " True", no_switch),
        ("ephemeral+root", "True", cannot),
        ("ephemeral+private", "True", cannot),
        (
            "ephemeral+kernel",
            "True",
            "QubesValueError: LinuxModules does not support setting ephemeral value",
        ),
        (
            "ephemeral+kernel",
            "False",
            "QubesValueError: LinuxModules does not support setting ephemeral value",
        ),
        ("ephemeral+kernel", "x", no_switch),
    ] {
        let refused = fixture.refused(&format!("admin.vm.volume.Set.{call}"), "test-vm1", payload);
        assert_eq!(refused, told, "{call} {payload}");
    }
    for (call, payload) in [
        ("revisions_to_keep+root", "2"),
        ("revisions_to_keep+volatile", "-1"),
        ("revisions_to_keep+kernel", "0"),
        ("rw+root", "no"),
        ("rw+kernel", "False"),
        ("ephemeral+volatile", "TRUE"),
        ("ephemeral+private", "0"),
    ] {
        let events = fixture.events_of(|fixture| {
            fixture.ok(&format!("admin.vm.volume.Set.{call}"), "test-vm1", payload);
        });
        assert_eq!(events, [""; 0], "{call}");
    }
    for (volume, key, value) in [
        ("root", "revisions_to_keep", "2"),
        ("volatile", "revisions_to_keep", "-1"),
        ("root", "rw", "False"),
        ("volatile", "ephemeral", "True"),
        ("private", "ephemeral", "False"),
    ] {
        assert_eq!(info(&fixture, "test-vm1", volume, key), value, "{volume} {key}");
    }
    fixture.ok("admin.vm.volume.Set.rw+volatile", "test-vm1", "False");
    let refused = fixture.refused("admin.vm.volume.Set.ephemeral+volatile", "test-vm1", "True");
    assert_eq!(refused, cannot);
}

#[test]
fn a_pools_volatile_volumes_are_encrypted_unless_they_say_otherwise() {
    let fixture = Fixture::new();
    fixture.ok("admin.pool.Set.ephemeral_volatile+varlibqubes", "dom0", "True");
    let ephemeral = |volume: &str| info(&fixture, "test-vm1", volume, "ephemeral");
    assert_eq!([ephemeral("volatile"), ephemeral("private"), ephemeral("root")], ["True", "False", "False"]);
    fixture.ok("admin.vm.volume.Set.ephemeral+volatile", "test-vm1", "False");
    assert_eq!(ephemeral("volatile"), "False");
}

#[test]
fn what_a_domain_runs_on_does_not_change_under_it() {
    let fixture = Fixture::new();
    fixture.ok("admin.vm.property.Set+template_for_dispvms", "test-vm1", "True");
    fixture.ok("admin.vm.Create.DispVM+test-vm1", "dom0", "name=disp label=red");
    let set = |value: &str| fixture.call("admin.vm.volume.Set.revisions_to_keep+private", "test-vm1", value);
    let told = |reply: Vec<u8>| tests::fixture::refusal(&reply);
    let disposable = fixture.domain("disp", "Running");
    assert_eq!(told(set("-1")), "QubesVMNotHaltedError: Domain is not powered off: 'disp'");
    assert_eq!(set("5"), b"0\0");
    drop(disposable);
    assert_eq!(set("-1"), b"0\0");
    let _domain = fixture.domain("test-vm1", "Paused");
    assert_eq!(set("-1"), b"0\0");
    for value in ["0", "1"] {
        assert_eq!(told(set(value)), "QubesVMNotHaltedError: Domain is not powered off: 'test-vm1'");
    }
    let rw = fixture.refused("admin.vm.volume.Set.rw+private", "test-vm1", "False");
    assert_eq!(rw, "QubesVMNotHaltedError: Domain is not powered off: 'test-vm1'");
}

/// The private volume of `made` or its root, through a domain's life.
fn drive(
    fixture: &Fixture,
    volume: &str,
    act: impl FnOnce(&dyn storage::PoolDriver, &common::model::Volume),
) {
    let qube = fixture.qube("made");
    let volume = qube.volumes.iter().find(|found| found.name.as_str() == volume).unwrap();
    let pools = fixture.store().read().unwrap().pools().unwrap();
    act(&*storage::driver_of(&fixture.root(), &pools, volume).unwrap(), volume);
}

#[test]
fn a_kept_volume_lives_through_starts_stops_and_crashes() {
    let fixture = system();
    let (clean, dirty) = (image(&fixture, "private.img"), image(&fixture, "private-dirty.img"));
    drive(&fixture, "private", |driver, volume| {
        driver.verify(volume).unwrap();
        std::fs::write(image(&fixture, "private-precache.img"), "stale").unwrap();
        std::fs::write(image(&fixture, "private.img~"), "left").unwrap();
        driver.start(volume).unwrap();
        assert!(std::fs::read(&dirty).unwrap() == old() && !image(&fixture, "private.img~").exists());
        std::fs::write(&dirty, "changed").unwrap();
        driver.start(volume).unwrap();
        assert_eq!(std::fs::read(&dirty).unwrap(), b"changed", "a crash loses nothing");
        assert!(driver.is_dirty(volume).unwrap());
        assert!(std::fs::read(driver.export(volume, true).unwrap()).unwrap() == old());
        driver.stop(volume).unwrap();
        driver.stop(volume).unwrap();
        assert!(std::fs::read(&clean).unwrap() == b"changed" && !dirty.exists());
        driver.start(volume).unwrap();
        driver.stop(volume).unwrap();
    });
    assert_eq!(revisions(&fixture), "2\n");
    fixture.ok("admin.vm.volume.Set.revisions_to_keep+private", "made", "-1");
    let inode = |path| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap());
    let before = inode(&clean);
    drive(&fixture, "private", |driver, volume| {
        driver.start(volume).unwrap();
        assert!(inode(&dirty) == before && !clean.exists());
        driver.verify(volume).unwrap();
        driver.stop(volume).unwrap();
        assert_eq!(inode(&clean), before);
    });
    assert_eq!(revisions(&fixture), "");
}

#[test]
fn a_snapshot_begins_as_its_source_and_tells_when_that_has_moved_on() {
    let fixture = system();
    let source = fixture.path("/var/lib/qubes/vm-templates/test-template/root.img");
    drive(&fixture, "root", |driver, volume| {
        let missing = driver.verify(volume).unwrap_err().to_string();
        let told = format!("Missing image file '{}' for volume appvms/made/root", source.display());
        assert_eq!(missing, told);
        std::fs::create_dir_all(source.parent().unwrap()).unwrap();
        std::fs::write(&source, "first").unwrap();
        driver.start(volume).unwrap();
        let dirty = image(&fixture, "root-dirty.img");
        assert!(std::fs::read(&dirty).unwrap().starts_with(b"first"));
        assert_eq!(dirty.metadata().unwrap().len(), volume.size);
        assert_eq!(driver.is_outdated(volume).unwrap(), Some(false));
        std::fs::rename(&source, source.with_extension("old")).unwrap();
        std::fs::write(&source, "second").unwrap();
        assert_eq!(driver.is_outdated(volume).unwrap(), Some(true));
        driver.stop(volume).unwrap();
        assert!(!dirty.exists() && !image(&fixture, "root.img").exists());
    });
    drive(&fixture, "volatile", |driver, volume| {
        driver.start(volume).unwrap();
        assert_eq!(driver.size(volume).unwrap(), volume.size);
        assert_eq!(driver.usage(volume).unwrap(), 0);
        driver.stop(volume).unwrap();
        assert!(!image(&fixture, "volatile-dirty.img").exists());
    });
}

#[test]
fn driver_file_starts_only_what_needs_no_device_mapper() {
    let fixture = Fixture::new();
    fixture.ok("admin.vm.CreateInPool.AppVM", "dom0", "name=made label=red pool=test");
    drive(&fixture, "private", |driver, volume| {
        let told = "file pool cannot start volume appvms/made/private: it needs device mapper snapshots";
        assert_eq!(driver.start(volume).unwrap_err().to_string(), told);
        driver.verify(volume).unwrap();
    });
    fixture.ok("admin.vm.volume.Set.revisions_to_keep+private", "made", "-1");
    for volume in ["private", "volatile"] {
        drive(&fixture, volume, |driver, volume| {
            driver.start(volume).unwrap();
            assert!(driver.block_device(volume).unwrap().unwrap().exists());
            driver.stop(volume).unwrap();
        });
    }
    let images = fixture.path("/var/lib/qubes/test/appvms/made");
    assert!(images.join("private.img").exists() && !images.join("volatile.img").exists());
}

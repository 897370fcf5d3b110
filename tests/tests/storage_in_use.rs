//! All volumes of a qube through the life of its domain: verified, started, marked, stopped (spec 20 §6.5, §8.4).
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::indexing_slicing, reason = "test code")]

use std::path::PathBuf;
use std::process::{Command, Stdio};

use common::hypervisor::Published;
use common::storage::{self, Started};
use tests::in_use::{marked, qube, start_all, stop_all, text, verify};
use tests::pools::{
    add_callback, add_lvm, add_zfs, committed, configure_callback, driver, read, spoil, start, volume, write,
};
use tests::{Fixture, executables};

const POOLS: [&str; 4] = ["varlibqubes", "lvm", "zfs", "callback"];

/// A qube `new` with small volumes in a pool.
fn with_qube(pool: &str) -> Fixture {
    let fixture = Fixture::new();
    match pool {
        "lvm" => add_lvm(&fixture),
        "zfs" => add_zfs(&fixture),
        "callback" => add_callback(&fixture, ""),
        _ => {}
    }
    fixture.ok("admin.vm.CreateInPool.StandaloneVM", "dom0", format!("name=new label=red pool={pool}"));
    for volume in ["root", "private", "volatile"] {
        fixture.ok(&format!("admin.vm.volume.Resize+{volume}"), "new", "8192");
    }
    fixture
}

fn path_of(started: &[Started], name: &str) -> PathBuf {
    started.iter().find(|started| started.volume.name.as_str() == name).unwrap().path.clone()
}

#[test]
fn all_volumes_are_started_and_stopped_together() {
    for pool in POOLS {
        let fixture = with_qube(pool);
        verify(&fixture, "new").unwrap();
        let started = start_all(&fixture, "new").unwrap();
        let names: Vec<&str> = started.iter().map(|started| started.volume.name.as_str()).collect();
        assert_eq!(names, ["root", "private", "volatile", "kernel"], "{pool}");
        assert_eq!(marked(&fixture, "new"), names, "{pool}");
        for name in ["root", "private", "volatile"] {
            write(&path_of(&started, name), name);
        }
        stop_all(&fixture, "new");
        for name in ["root", "private"] {
            assert_eq!(committed(&fixture, &volume(&fixture, "new", name)), name, "{pool}");
        }
        assert!(!path_of(&started, "volatile").exists(), "{pool}");
        assert_eq!(marked(&fixture, "new"), [""; 0], "{pool}");
        let again = start_all(&fixture, "new").unwrap();
        assert_eq!(read(&path_of(&again, "root")), "root", "{pool}");
        assert_eq!(read(&path_of(&again, "volatile")), "", "{pool}");
    }
}

#[test]
fn markers_have_the_names_that_other_programs_know() {
    let fixture = with_qube("varlibqubes");
    start_all(&fixture, "new").unwrap();
    assert!(fixture.path("/run/qubes/volume-running-varlibqubes:appvms-new-private").exists());
    let fixture = with_qube("lvm");
    start_all(&fixture, "new").unwrap();
    assert!(fixture.path("/run/qubes/volume-running-lvm:vg-vm--new--private").exists());
}

#[test]
fn a_mark_that_another_qube_has_set_on_the_same_volume_is_left_alone() {
    let fixture = with_qube("varlibqubes");
    let mark = fixture.path("/run/qubes/volume-running-linux--kernel:1.0");
    std::fs::write(&mark, "another's").unwrap();
    start_all(&fixture, "new").unwrap();
    assert_eq!(std::fs::read_to_string(&mark).unwrap(), "another's");
}

#[test]
fn a_start_that_fails_stops_what_it_started() {
    let fixture = with_qube("lvm");
    for earlier in 0..3 {
        spoil(&fixture, "fail", "lvcreate", earlier);
        let said = start_all(&fixture, "new").unwrap_err();
        assert!(said.starts_with("StoragePoolException: no space left"), "{said}");
        assert_eq!(marked(&fixture, "new"), [""; 0], "after {earlier}");
        let names: Vec<_> = std::fs::read_dir(fixture.path("/dev/vg")).unwrap().collect();
        let in_use = names.iter().filter(|name| {
            let name = name.as_ref().unwrap().file_name().into_string().unwrap();
            name.ends_with("-snap") || name.ends_with("volatile")
        });
        assert_eq!(in_use.count(), 0, "after {earlier}: {names:?}");
    }
    start_all(&fixture, "new").unwrap();
}

#[test]
fn a_volume_that_cannot_be_stopped_keeps_no_other_from_it() {
    let fixture = with_qube("lvm");
    let started = start_all(&fixture, "new").unwrap();
    write(&path_of(&started, "private"), "one");
    spoil(&fixture, "fail", "lvrename", 0);
    stop_all(&fixture, "new");
    assert_eq!(marked(&fixture, "new"), ["root"]);
    assert_eq!(committed(&fixture, &volume(&fixture, "new", "private")), "one");
    assert!(!fixture.path("/dev/vg/vm-new-volatile").exists());
    stop_all(&fixture, "new");
    assert_eq!(marked(&fixture, "new"), [""; 0]);
}

#[test]
fn what_a_start_needs_is_asked_for_before() {
    let fixture = Fixture::new();
    fixture.ok("admin.vm.CreateInPool.TemplateVM", "dom0", "name=base label=red pool=varlibqubes");
    fixture.ok("admin.vm.Create.AppVM+base", "dom0", "name=app label=red");
    verify(&fixture, "app").unwrap();
    let kernel = fixture.path("/var/lib/qubes/vm-kernels/1.0/vmlinuz");
    let at = |path: &str| fixture.path(path).display().to_string();
    std::fs::remove_file(&kernel).unwrap();
    let missing = format!("StoragePoolException: Missing file: {}", kernel.display());
    assert_eq!(verify(&fixture, "app").unwrap_err(), missing);
    let image = at("/var/lib/qubes/vm-templates/base/root.img");
    std::fs::remove_file(&image).unwrap();
    let missing = format!("StoragePoolException: Missing image file '{image}' for volume appvms/app/root");
    assert_eq!(verify(&fixture, "app").unwrap_err(), missing);
    let home = at("/var/lib/qubes/appvms/app");
    std::fs::remove_dir_all(&home).unwrap();
    let missing = format!("QubesVMError: VM directory does not exist: {home}");
    assert_eq!(verify(&fixture, "app").unwrap_err(), missing);
}

#[test]
fn content_that_is_complete_and_not_the_volumes_yet_is_not_cleared_away_by_a_start() {
    let fixture = with_qube("varlibqubes");
    let place = fixture.path("/var/lib/qubes/appvms/new/private-import.img");
    fixture.edit("new", |qube| {
        let private = qube.volumes.iter_mut().find(|volume| volume.name.as_str() == "private").unwrap();
        private.import = Some(common::model::Import::Ending);
    });
    std::fs::write(&place, "complete").unwrap();
    let waits = "QubesVMError: an import into volume appvms/new/private waits to be ended";
    assert_eq!(verify(&fixture, "new").unwrap_err(), waits);
    assert!(place.exists());
}

#[test]
fn a_source_that_is_being_changed_itself_starts_nobody() {
    let fixture = Fixture::new();
    fixture.ok("admin.vm.CreateInPool.TemplateVM", "dom0", "name=base label=red pool=varlibqubes");
    fixture.ok("admin.vm.Create.AppVM+base", "dom0", "name=app label=red");
    fixture.ok("admin.vm.property.Set+template_for_dispvms", "app", "True");
    fixture.ok("admin.vm.Create.DispVM+app", "dom0", "name=disp label=red");
    let check = |name: &str| {
        let (store, (qube, _)) = (fixture.store(), qube(&fixture, name));
        storage::check_sources(&fixture.root(), &store.read().unwrap(), &qube).map_err(text)
    };
    start_all(&fixture, "base").unwrap();
    assert_eq!((check("app"), check("disp")), (Ok(()), Ok(())), "its committed state is beside it");
    stop_all(&fixture, "base");
    fixture.ok("admin.vm.volume.Set.revisions_to_keep+root", "base", "-1");
    assert_eq!(check("app"), Ok(()));
    start_all(&fixture, "base").unwrap();
    let running = Err("QubesVMError: Volume vm-templates/base/root is running".to_owned());
    assert_eq!((check("app"), check("disp")), (running.clone(), running));
    stop_all(&fixture, "base");
    assert_eq!((check("app"), check("disp")), (Ok(()), Ok(())));
}

/// What a boot does.
fn repair(fixture: &Fixture) {
    let mut command = Command::new(executables::executable("qubes-admin"));
    command.env_clear().arg("--root").arg(fixture.path("/")).args(["check", "--repair"]);
    assert!(command.stdin(Stdio::null()).stdout(Stdio::null()).status().unwrap().success());
}

#[test]
fn a_boot_stops_what_domains_left_that_ended_with_the_host() {
    for pool in POOLS {
        let fixture = with_qube(pool);
        let (private, volatile) = (volume(&fixture, "new", "private"), volume(&fixture, "new", "volatile"));
        write(&start(&fixture, &private), "one");
        let device = start(&fixture, &volatile);
        repair(&fixture);
        assert_eq!(committed(&fixture, &private), "one", "{pool}");
        assert!(!driver(&fixture, pool).is_dirty(&private).unwrap() && !device.exists(), "{pool}");
    }
}

#[test]
fn a_boot_leaves_volumes_alone_that_somebody_uses() {
    let fixture = with_qube("varlibqubes");
    let private = volume(&fixture, "new", "private");
    let is_dirty = || driver(&fixture, "varlibqubes").is_dirty(&private).unwrap();
    start(&fixture, &private);
    let domain = fixture.domain("new", "Running");
    repair(&fixture);
    assert!(is_dirty(), "its qube runs");
    drop(domain);
    let name = common::names::QubeName::parse("new").unwrap();
    let store = fixture.store();
    let lifecycle = store.lock_lifecycle(&name).unwrap();
    repair(&fixture);
    assert!(is_dirty(), "a call is at work on its qube");
    drop(lifecycle);
    start_all(&fixture, "new").unwrap();
    repair(&fixture);
    assert!(is_dirty(), "it is marked as in use");
    stop_all(&fixture, "new");
    start(&fixture, &private);
    repair(&fixture);
    assert!(!is_dirty());
}

#[test]
fn a_volume_that_cannot_be_stopped_at_boot_keeps_no_other_qube_from_it() {
    let fixture = with_qube("varlibqubes");
    let private = volume(&fixture, "new", "private");
    write(&start(&fixture, &private), "one");
    fixture.edit("test-vm1", |qube| {
        qube.volumes[0].pool = common::names::PoolName::parse("gone").unwrap();
    });
    let (root, store) = (fixture.root(), fixture.store());
    storage::stop_halted(&root, &store, &Published::at(&root)).unwrap();
    assert_eq!(committed(&fixture, &private), "one");
}

#[test]
fn volumes_are_stopped_before_they_are_removed() {
    let fixture = with_qube("callback");
    let log = fixture.path("/callback.log").display().to_string();
    configure_callback(&fixture, &format!(r#", "cmd": "printf '%s|' >> {log}", "pre_sinit": "-""#));
    start(&fixture, &volume(&fixture, "new", "root"));
    std::fs::write(&log, "").unwrap();
    fixture.ok("admin.vm.Remove", "new", "");
    let said = std::fs::read_to_string(&log).unwrap();
    let places: Vec<_> =
        ["post_volume_stop", "post_volume_remove"].iter().map(|event| said.find(event).unwrap()).collect();
    assert!(places[0] < places[1], "{said}");
}

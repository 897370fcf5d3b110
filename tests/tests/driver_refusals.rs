//! What drivers refuse, in the words of their sections of the specification (spec 20 §7).
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

use tests::Fixture;
use tests::pools::{add_lvm, add_zfs, commands, driver, rewrite, start, stop, volume};

const CREATE: &str = "admin.vm.CreateInPool.StandaloneVM";

fn with_qube(pool: &str) -> Fixture {
    let fixture = Fixture::new();
    if pool == "lvm" {
        add_lvm(&fixture)
    } else {
        add_zfs(&fixture)
    }
    for name in ["new", "other"] {
        fixture.ok(CREATE, "dom0", format!("name={name} label=red pool={pool}"));
        fixture.ok("admin.vm.volume.Resize+private", name, "8192");
    }
    fixture
}

/// A call on the private volume of `new`.
fn refused(fixture: &Fixture, call: &str, payload: &str) -> String {
    let refused = fixture.refused(&format!("{call}+private"), "new", payload);
    refused.strip_prefix("StoragePoolException: ").unwrap_or(&refused).to_owned()
}

#[test]
fn a_dirty_volume_gets_no_other_content() {
    for (pool, vid, clear, revert, clone) in [
        (
            "lvm",
            "vg/vm-new-private",
            "Cannot import data to dirty volume VID, stop the qube first",
            "Cannot revert dirty volume VID, stop the qube first",
            "Cannot import to dirty volume VID - start and stop a qube to cleanup",
        ),
        (
            "zfs",
            "tank/vms/new/private",
            "Cannot import data to dirty volume VID - stop the qube using it first",
            "Cannot revert dirty volume VID - stop the qube first",
            "Cannot import to dirty volume VID \u{2014} start and stop its owning qube to clean it up",
        ),
    ] {
        let fixture = with_qube(pool);
        let private = volume(&fixture, "new", "private");
        rewrite(&fixture, &private, "one");
        tests::pools::write(&start(&fixture, &private), "two");
        let revisions = fixture.ok("admin.vm.volume.ListSnapshots+private", "new", "");
        let token = fixture.ok("admin.vm.volume.CloneFrom+private", "other", "");
        let newest = revisions.lines().last().unwrap();
        let words = |text: &str| text.replace("VID", vid);
        assert_eq!(refused(&fixture, "admin.vm.volume.Clear", ""), words(clear));
        assert_eq!(refused(&fixture, "internal.vm.volume.ImportBegin", ""), words(clear));
        assert_eq!(refused(&fixture, "admin.vm.volume.Revert", newest), words(revert));
        assert_eq!(refused(&fixture, "admin.vm.volume.CloneTo", &token), words(clone));
        stop(&fixture, &private);
        assert_eq!(tests::pools::committed(&fixture, &private), "two", "{pool}");
    }
}

#[test]
fn what_is_missing_or_not_begun_is_told() {
    for (pool, vid) in [("lvm", "vg/vm-new-private"), ("zfs", "tank/vms/new/private")] {
        let fixture = with_qube(pool);
        let private = volume(&fixture, "new", "private");
        assert_eq!(
            refused(&fixture, "internal.vm.volume.ImportEnd", "ok"),
            format!("No import operation in progress on {vid}")
        );
        let failed = refused(&fixture, "internal.vm.volume.ImportEnd", "fail\nno data");
        assert_eq!(failed, "QubesException: Data import failed: no data");
        driver(&fixture, pool).verify(&private).unwrap();
        driver(&fixture, pool).remove(&private).unwrap();
        let missing = driver(&fixture, pool).verify(&private).unwrap_err().to_string();
        assert_eq!(missing, format!("volume {vid} missing"));
    }
}

#[test]
fn a_volume_that_is_read_only_is_not_resized_where_the_driver_says_so() {
    let fixture = with_qube("lvm");
    fixture.ok("admin.vm.volume.Set.rw+private", "new", "False");
    commands(&fixture, "lvm");
    let told = "Can not resize readonly volume vg/vm-new-private";
    assert_eq!(refused(&fixture, "admin.vm.volume.Resize", "4096"), told);
    assert_eq!(commands(&fixture, "lvm"), [""; 0]);
    let fixture = with_qube("zfs");
    fixture.ok("admin.vm.volume.Set.rw+private", "new", "False");
    fixture.ok("admin.vm.volume.Resize+private", "new", "4096");
}

#[test]
fn driver_file_gives_and_takes_no_snapshots() {
    let fixture = Fixture::new();
    fixture.ok("admin.vm.CreateInPool.TemplateVM", "dom0", "name=base label=red pool=test");
    fixture.ok("admin.vm.Create.AppVM+base", "dom0", "name=app label=red");
    fixture.ok(CREATE, "dom0", "name=new label=red pool=test");
    let refused = |call: &str, qube: &str, payload: &str| {
        let refused = fixture.refused(&format!("admin.vm.volume.{call}"), qube, payload);
        refused.strip_prefix("StoragePoolException: ").unwrap().to_owned()
    };
    assert_eq!(
        refused("Resize+root", "app", "1"),
        "Cannot resize volume based on a template - resizethe template instead"
    );
    let token = |qube: &str| fixture.ok("admin.vm.volume.CloneFrom+root", qube, "");
    assert_eq!(
        refused("CloneTo+root", "new", &token("app")),
        "Can not import snapshot volume appvms/app/root in to pool appvms/new/root "
    );
    let marker = fixture.path("/run/qubes/volume-running-test:vm--templates-base-root");
    std::fs::write(&marker, "").unwrap();
    assert_eq!(refused("CloneTo+root", "new", &token("base")), "file pool cannot export running volumes");
    std::fs::remove_file(marker).unwrap();
    let images = fixture.path("/var/lib/qubes/test/vm-templates/base");
    std::fs::write(images.join("root-cow.img"), "changes").unwrap();
    assert_eq!(refused("CloneTo+root", "new", &token("base")), "file pool cannot export dirty volumes");
    std::fs::remove_file(images.join("root.img")).unwrap();
    for (qube, what) in [("base", "origin"), ("app", "snapshot")] {
        let missing = driver(&fixture, "test").verify(&volume(&fixture, qube, "root")).unwrap_err();
        let told = format!("Missing image file: {}.", images.join("root.img").display());
        assert_eq!(missing.to_string(), told, "{what}");
    }
}

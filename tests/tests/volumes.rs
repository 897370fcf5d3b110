//! What a new qube has on disk, and what goes with it (spec 10 §2.4 steps 5 and 8, §2.8, spec 20 §6, §7).
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code"
)]

use common::model::{Qube, Volume};
use common::names::{FeatureName, FeatureValue, PoolName, QubeName, VolumeName};
use common::storage::supports_clone;
use tests::Fixture;

#[test]
fn a_disposable_takes_over_its_templates_start_at_boot() {
    let fixture = Fixture::new();
    let home = |name: &str| fixture.path("/var/lib/qubes/appvms").join(name);
    let unit = fixture.path("/etc/systemd/system/multi-user.target.wants/qubes-vm@disp.service");
    fixture.ok("admin.vm.property.Set+template_for_dispvms", "test-vm1", "True");
    fixture.ok("admin.vm.property.Set+autostart", "test-vm1", "True");
    fixture.ok("admin.vm.Create.DispVM+test-vm1", "dom0", "name=disp label=red");
    assert_eq!(fixture.ok("admin.vm.property.Get+autostart", "disp", ""), "default=False type=bool True");
    assert!(unit.is_symlink());
    fixture.ok("admin.vm.Remove", "disp", "");
    assert!(!unit.is_symlink() && !home("disp").exists());
}

#[test]
fn disposables_made_in_advance_go_with_their_template() {
    let fixture = Fixture::new();
    fixture.ok("admin.vm.property.Set+template_for_dispvms", "test-vm1", "True");
    for name in ["disp1", "disp2"] {
        fixture.ok("admin.vm.Create.DispVM+test-vm1", "dom0", format!("name={name} label=red"));
    }
    fixture.ok("admin.vm.property.Set+default_dispvm", "disp1", "test-vm1");
    let in_use =
        "QubesVMInUseError: Domain is in use: 'test-vm1';  see 'journalctl -u qubesd -e' in dom0 for details";
    let preload = |names: &str| {
        let (feature, value) = (FeatureName::parse("preload-dispvm"), FeatureValue::parse(names));
        edit(&fixture, "test-vm1", |qube| qube.set_feature(feature.unwrap(), value.unwrap()));
    };
    preload("disp1 gone");
    assert_eq!(fixture.refused("admin.vm.Remove", "test-vm1", ""), in_use);
    preload("disp1 disp2");
    fixture.ok("admin.vm.property.Set+guivm", "test-net", "disp2");
    assert_eq!(fixture.refused("admin.vm.Remove", "test-vm1", ""), in_use.replace("test-vm1", "disp2"));
    fixture.ok("admin.vm.property.Reset+guivm", "test-net", "");
    let events = fixture.events_of(|fixture| assert_eq!(fixture.ok("admin.vm.Remove", "test-vm1", ""), ""));
    let expected = [
        " domain-pre-delete vm=test-vm1",
        " domain-delete vm=test-vm1",
        " domain-pre-delete vm=disp1",
        " domain-delete vm=disp1",
        " domain-pre-delete vm=disp2",
        " domain-delete vm=disp2",
    ];
    assert_eq!(events, expected);
    for name in ["disp1", "disp2"] {
        assert!(!fixture.path("/var/lib/qubes/appvms").join(name).exists());
        assert!(fixture.refused("admin.vm.List", name, "").starts_with("QubesVMNotFoundError: "));
    }
}

/// A qube as it is stored.
fn stored(fixture: &Fixture, name: &str) -> Qube {
    let store = fixture.store();
    let qube = store.read().unwrap().qube(&QubeName::parse(name).unwrap()).unwrap().unwrap();
    (*qube).clone()
}

fn edit(fixture: &Fixture, name: &str, edit: impl FnOnce(&mut Qube)) {
    let store = fixture.store();
    let mut txn = store.write().unwrap();
    txn.edit_qube(&QubeName::parse(name).unwrap(), edit).unwrap();
    txn.commit().unwrap();
}

fn volume<'a>(qube: &'a Qube, name: &str) -> &'a Volume {
    qube.volume(&VolumeName::parse(name).unwrap()).unwrap()
}

#[test]
fn further_volumes_of_the_template_keep_their_settings_unless_pools_are_asked_for() {
    let fixture = Fixture::new();
    edit(&fixture, "test-template", |qube| {
        let mut data = volume(qube, "private").clone();
        data.name = VolumeName::parse("data").unwrap();
        (data.vid, data.size, data.revisions_to_keep) =
            ("vm-templates/test-template/data".to_owned(), 4096, 5);
        let mut cache = volume(qube, "volatile").clone();
        cache.name = VolumeName::parse("cache").unwrap();
        (cache.size, cache.ephemeral) = (4096, Some(true));
        qube.volumes.extend([data, cache]);
    });
    fixture.ok("admin.vm.Create.AppVM", "dom0", "name=new label=red");
    let new = stored(&fixture, "new");
    let data = volume(&new, "data");
    assert_eq!((data.vid.as_str(), data.size, data.revisions_to_keep), ("appvms/new/data", 4096, 5));
    assert_eq!(volume(&new, "cache").ephemeral, Some(true));
    assert!(fixture.path("/var/lib/qubes/appvms/new/data.img").exists());
    fixture.ok("admin.vm.CreateInPool.AppVM", "dom0", "name=other label=red pool:private=test");
    let other = stored(&fixture, "other");
    assert_eq!((volume(&other, "data").revisions_to_keep, volume(&other, "cache").ephemeral), (1, None));
}

#[test]
fn a_snapshot_needs_a_source() {
    let fixture = Fixture::new();
    edit(&fixture, "test-template", |qube| qube.volumes.retain(|volume| volume.name.as_str() != "root"));
    assert_eq!(
        fixture.refused("admin.vm.Create.AppVM", "dom0", "name=new label=red"),
        "StoragePoolException: snap_on_start specified on 'root' but no volume source set"
    );
}

#[test]
fn a_file_pool_wants_free_places_and_sizes() {
    let fixture = Fixture::new();
    let create = |payload: &str| fixture.refused("admin.vm.CreateInPool.StandaloneVM", "dom0", payload);
    assert_eq!(
        create("name=new label=red pool:kernel=test"),
        "StoragePoolException: Volume appvms/new/kernel needs a size"
    );
    let image = fixture.path("/var/lib/qubes/test/appvms/new/private.img");
    std::fs::create_dir_all(image.parent().unwrap()).unwrap();
    std::fs::write(&image, "somebody's").unwrap();
    assert_eq!(
        create("name=new label=red pool=test"),
        format!("StoragePoolException: Volume {} already exists", image.display())
    );
    assert_eq!(std::fs::read(&image).unwrap(), b"somebody's");
}

#[test]
fn what_a_qube_has_on_disk_belongs_to_the_group_of_the_folder_it_lies_in() {
    use std::os::unix::fs::PermissionsExt;
    let fixture = Fixture::new();
    let appvms = fixture.path("/var/lib/qubes/appvms");
    std::fs::create_dir(&appvms).unwrap();
    std::fs::set_permissions(&appvms, std::fs::Permissions::from_mode(0o2770)).unwrap();
    fixture.ok("admin.vm.Create.AppVM", "dom0", "name=new label=red");
    let mode = std::fs::metadata(appvms.join("new")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o2775);
}

/// Gives the template, which becomes one of Windows, a private volume of a few bytes.
fn make_windows(fixture: &Fixture, content: &[u8]) {
    fixture.ok("admin.vm.feature.Set+os", "test-template", "Windows");
    edit(fixture, "test-template", |qube| {
        let private = VolumeName::parse("private").unwrap();
        qube.volumes.iter_mut().find(|volume| volume.name == private).unwrap().size = 8192;
    });
    let folder = fixture.path("/var/lib/qubes/vm-templates/test-template");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("private.img"), content).unwrap();
}

#[test]
fn a_windows_qube_begins_with_its_templates_private_volume() {
    let fixture = Fixture::new();
    let content = [b"data".as_slice(), &[0; 8188]].concat();
    make_windows(&fixture, &content);
    let events = fixture.events_of(|fixture| {
        fixture.ok("admin.vm.Create.AppVM", "dom0", "name=new label=red");
        fixture.ok("admin.vm.CreateInPool.AppVM", "dom0", "name=other label=red pool:private=test");
    });
    assert_eq!(events.len(), 6, "copying has no event of its own");
    let folder = fixture.path("/var/lib/qubes/appvms/new");
    // The next start's image is made ahead where the two can share their blocks, and only there.
    let shares = supports_clone(&folder);
    assert_eq!(folder.join("private-precache.img").exists(), shares);
    for image in ["private.img"].into_iter().chain(shares.then_some("private-precache.img")) {
        assert!(std::fs::read(folder.join(image)).unwrap() == content, "{image} differs");
        let time = |image: &str| std::fs::metadata(folder.join(image)).unwrap().modified().unwrap();
        assert_eq!(time(image), time("private.img"));
    }
    let names: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !matches!(name.as_str(), "private.img" | "private-precache.img"))
        .collect();
    let [revision] = names.as_slice() else { panic!("{names:?}") };
    assert!(revision.starts_with("private.img.1@20") && revision.ends_with('Z'), "{revision}");
    assert_eq!(volume(&stored(&fixture, "new"), "private").size, 8192);
    let other = fixture.path("/var/lib/qubes/test/appvms/other/private.img");
    assert!(std::fs::read(other).unwrap() == content);
    fixture.ok("admin.vm.Remove", "new", "");
    assert!(!folder.exists(), "a revision stayed behind");
}

#[test]
fn a_private_volume_that_cannot_be_copied_leaves_no_qube() {
    let fixture = Fixture::new();
    make_windows(&fixture, b"data");
    edit(&fixture, "test-template", |qube| qube.volumes.iter_mut().for_each(|it| it.revisions_to_keep = -1));
    let marker = fixture.path("/run/qubes/volume-running-varlibqubes:vm--templates-test--template-private");
    std::fs::write(marker, "").unwrap();
    assert_eq!(
        fixture.refused("admin.vm.Create.AppVM", "dom0", "name=new label=red"),
        "StoragePoolException: Volume vm-templates/test-template/private must be stopped before importing its data"
    );
    assert!(!fixture.path("/var/lib/qubes/appvms/new").exists());
    assert!(fixture.refused("admin.vm.List", "new", "").starts_with("QubesVMNotFoundError: "));
}

#[test]
fn a_file_volume_is_copied_only_when_its_store_of_changes_is_empty() {
    let fixture = Fixture::new();
    make_windows(&fixture, b"");
    edit(&fixture, "test-template", |qube| {
        let private = VolumeName::parse("private").unwrap();
        let volume = qube.volumes.iter_mut().find(|volume| volume.name == private).unwrap();
        volume.pool = PoolName::parse("test").unwrap();
    });
    let folder = fixture.path("/var/lib/qubes/test/vm-templates/test-template");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("private.img"), "data").unwrap();
    let mut header = b"SnAp\x01\0\0\0\x01\0\0\0\0\x01\0\0".to_vec();
    header.resize(262_144, 0);
    let changed = [header.as_slice(), b"x"].concat();
    for dirty in [b"x".as_slice(), &changed] {
        std::fs::write(folder.join("private-cow.img"), dirty).unwrap();
        assert_eq!(
            fixture.refused("admin.vm.Create.AppVM", "dom0", "name=new label=red"),
            "StoragePoolException: file pool cannot export dirty volumes"
        );
    }
    std::fs::write(folder.join("private-cow.img"), header).unwrap();
    fixture.ok("admin.vm.Create.AppVM", "dom0", "name=new label=red");
    assert_eq!(std::fs::read(fixture.path("/var/lib/qubes/appvms/new/private.img")).unwrap(), b"data");
}

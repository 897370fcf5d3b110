//! Storage drivers through a volume's whole life, with stand-ins for their programs (spec 20 §7).
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::indexing_slicing, reason = "test code")]

use tests::Fixture;
use tests::pools::{
    add_callback, add_lvm, add_zfs, commands, committed, configure_callback, driver, install_lvm, read,
    rewrite, spoil, start, stop, volume, write,
};

const CREATE: &str = "admin.vm.CreateInPool.StandaloneVM";
/// The pools whose volumes live alike.
const POOLS: [&str; 4] = ["varlibqubes", "lvm", "zfs", "callback"];

/// All pools, and a qube `new` with small volumes in each that is asked for.
fn fixture(pool: &str) -> Fixture {
    let fixture = Fixture::new();
    match pool {
        "lvm" => add_lvm(&fixture),
        "zfs" => add_zfs(&fixture),
        "callback" => add_callback(&fixture, ""),
        _ => {}
    }
    fixture
}

fn with_qube(pool: &str) -> Fixture {
    let fixture = fixture(pool);
    fixture.ok(CREATE, "dom0", format!("name=new label=red pool={pool}"));
    for volume in ["root", "private"] {
        fixture.ok(&format!("admin.vm.volume.Resize+{volume}"), "new", "8192");
    }
    fixture
}

fn revisions(fixture: &Fixture, pool: &str) -> Vec<String> {
    let private = volume(fixture, "new", "private");
    let revisions = driver(fixture, pool).revisions(&private).unwrap();
    revisions.into_iter().map(|revision| revision.id).collect()
}

#[test]
fn what_a_domain_writes_is_there_after_a_stop_and_only_then() {
    for pool in POOLS {
        let fixture = with_qube(pool);
        let private = volume(&fixture, "new", "private");
        let device = start(&fixture, &private);
        write(&device, "one");
        let driver = driver(&fixture, pool);
        assert!(driver.is_dirty(&private).unwrap(), "{pool}");
        drop(driver);
        if pool != "zfs" {
            assert_eq!(committed(&fixture, &private), "", "{pool}: the state before the start is exported");
        }
        stop(&fixture, &private);
        assert_eq!(committed(&fixture, &private), "one", "{pool}");
        stop(&fixture, &private);
        assert_eq!(read(&start(&fixture, &private)), "one", "{pool}");
    }
}

#[test]
fn a_volume_that_was_not_stopped_goes_on_where_it_was() {
    for pool in POOLS {
        let fixture = with_qube(pool);
        let private = volume(&fixture, "new", "private");
        write(&start(&fixture, &private), "one");
        assert_eq!(read(&start(&fixture, &private)), "one", "{pool}");
        stop(&fixture, &private);
        assert_eq!(committed(&fixture, &private), "one", "{pool}");
    }
}

#[test]
fn a_volatile_volume_is_empty_at_each_start_and_gone_after_it() {
    for pool in POOLS {
        let fixture = with_qube(pool);
        let volatile = volume(&fixture, "new", "volatile");
        let device = start(&fixture, &volatile);
        write(&device, "one");
        assert_eq!(read(&start(&fixture, &volatile)), "", "{pool}");
        stop(&fixture, &volatile);
        assert!(!device.exists(), "{pool}");
        stop(&fixture, &volatile);
    }
}

#[test]
fn a_snapshot_forgets_and_follows_its_source_from_start_to_start() {
    for pool in POOLS {
        let fixture = fixture(pool);
        fixture.ok("admin.vm.CreateInPool.TemplateVM", "dom0", format!("name=base label=red pool={pool}"));
        fixture.ok("admin.vm.volume.Resize+root", "base", "8192");
        fixture.ok("admin.vm.Create.AppVM+base", "dom0", "name=app label=red");
        let (source, own) = (volume(&fixture, "base", "root"), volume(&fixture, "app", "root"));
        assert_eq!(own.pool, source.pool);
        rewrite(&fixture, &source, "one");
        let device = start(&fixture, &own);
        assert_eq!(read(&device), "one", "{pool}");
        write(&device, "mine");
        let is_outdated = || driver(&fixture, pool).is_outdated(&own).unwrap();
        assert_eq!(is_outdated(), Some(false), "{pool}");
        rewrite(&fixture, &source, "two");
        assert_eq!(is_outdated(), Some(true), "{pool}");
        stop(&fixture, &own);
        assert_eq!(read(&start(&fixture, &own)), "two", "{pool}");
        stop(&fixture, &own);
        fixture.ok("admin.vm.Remove", "app", "");
        assert_eq!(committed(&fixture, &source), "two", "{pool}");
    }
}

#[test]
fn a_volume_is_taken_back_to_a_revision() {
    for pool in POOLS {
        let fixture = with_qube(pool);
        let private = volume(&fixture, "new", "private");
        rewrite(&fixture, &private, "one");
        let held = |id: &str| {
            fixture.ok("admin.vm.volume.Revert+private", "new", id);
            committed(&fixture, &private)
        };
        let before = revisions(&fixture, pool);
        assert_eq!(before.len(), 1, "{pool}: {before:?}");
        let device = start(&fixture, &private);
        let newest = revisions(&fixture, pool).pop().unwrap();
        let dirty = fixture.refused("admin.vm.volume.Revert+private", "new", newest);
        assert!(dirty.starts_with("StoragePoolException: Cannot revert"), "{pool}: {dirty}");
        write(&device, "two");
        stop(&fixture, &private);
        assert_eq!(committed(&fixture, &private), "two", "{pool}");
        let newest = revisions(&fixture, pool).pop().unwrap();
        assert_eq!(held(&newest), "one", "{pool}");
        assert_eq!(
            fixture.refused("admin.vm.volume.Revert+private", "new", "nothing"),
            "QubesException: Specified revision not found in qube volume.",
            "{pool}"
        );
    }
}

#[test]
fn a_revision_is_made_on_request() {
    for pool in POOLS {
        let fixture = with_qube(pool);
        let private = volume(&fixture, "new", "private");
        rewrite(&fixture, &private, "one");
        let id = fixture.ok("admin.vm.volume.Snapshot+private", "new", "");
        assert_eq!(
            revisions(&fixture, pool),
            std::slice::from_ref(&id),
            "{pool}: as many as the volume keeps"
        );
        fixture.ok("admin.vm.volume.Clear+private", "new", "");
        assert_eq!(committed(&fixture, &private), "", "{pool}");
        if pool == "zfs" {
            continue; // An import there begins a new history.
        }
        fixture.ok("admin.vm.volume.Set.revisions_to_keep+private", "new", "2");
        let newest = revisions(&fixture, pool).pop().unwrap();
        fixture.ok("admin.vm.volume.Revert+private", "new", newest);
        assert_eq!(committed(&fixture, &private), "one", "{pool}");
    }
}

#[test]
fn a_volume_without_snapshots_is_used_itself() {
    for pool in POOLS {
        let fixture = with_qube(pool);
        let before = volume(&fixture, "new", "private");
        rewrite(&fixture, &before, "one");
        fixture.ok("admin.vm.volume.Set.revisions_to_keep+private", "new", "-1");
        let private = volume(&fixture, "new", "private");
        write(&start(&fixture, &private), "two");
        assert_eq!(revisions(&fixture, pool), [""; 0], "{pool}");
        stop(&fixture, &private);
        assert_eq!(committed(&fixture, &private), "two", "{pool}");
    }
}

#[test]
fn a_volume_is_resized_stopped_and_started() {
    for pool in POOLS {
        let fixture = with_qube(pool);
        let private = volume(&fixture, "new", "private");
        let size = |line: &str| {
            let info = fixture.ok("admin.vm.volume.Info+private", "new", "");
            assert!(info.contains(&format!("\nsize={line}\n")), "{pool}: {info}");
        };
        size("8192");
        let device = start(&fixture, &private);
        fixture.ok("admin.vm.volume.Resize+private", "new", "16384");
        assert_eq!(std::fs::metadata(&device).unwrap().len(), 16384, "{pool}");
        size("16384");
        stop(&fixture, &private);
        size("16384");
    }
}

#[test]
fn volumes_are_cloned_within_and_across_pools() {
    let fixture = Fixture::new();
    add_lvm(&fixture);
    add_zfs(&fixture);
    add_callback(&fixture, "");
    let pools = ["varlibqubes", "test", "lvm", "zfs", "callback"];
    for pool in pools {
        for qube in ["from", "to"] {
            fixture.ok(CREATE, "dom0", format!("name={qube}-{pool} label=red pool={pool}"));
            fixture.ok("admin.vm.volume.Resize+private", &format!("{qube}-{pool}"), "8192");
        }
        let from = volume(&fixture, &format!("from-{pool}"), "private");
        if pool == "test" {
            write(&fixture.path("/var/lib/qubes/test/appvms/from-test/private.img"), pool);
        } else {
            rewrite(&fixture, &from, pool);
        }
    }
    for (from, to) in pools.iter().flat_map(|from| pools.map(|to| (*from, to))) {
        let token = fixture.ok("admin.vm.volume.CloneFrom+private", &format!("from-{from}"), "");
        fixture.ok("admin.vm.volume.CloneTo+private", &format!("to-{to}"), token);
        let held = committed(&fixture, &volume(&fixture, &format!("to-{to}"), "private"));
        assert_eq!(held, from, "from {from} to {to}");
    }
    for pool in pools {
        for qube in ["from", "to"] {
            fixture.ok("admin.vm.Remove", &format!("{qube}-{pool}"), "");
        }
    }
}

#[test]
fn nothing_is_left_of_a_removed_qube() {
    for pool in POOLS {
        let fixture = with_qube(pool);
        for name in ["root", "private", "volatile"] {
            start(&fixture, &volume(&fixture, "new", name));
        }
        let private = volume(&fixture, "new", "private");
        stop(&fixture, &private);
        rewrite(&fixture, &private, "one");
        fixture.ok("admin.vm.Remove", "new", "");
        let devices: Vec<_> = ["dev/vg", "dev/zvol/tank/vms/new", "var/lib/qubes/back/appvms/new"]
            .iter()
            .flat_map(|folder| std::fs::read_dir(fixture.path(folder)).into_iter().flatten())
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert!(devices.is_empty(), "{pool}: {devices:?}");
        fixture.ok(CREATE, "dom0", format!("name=new label=red pool={pool}"));
    }
}

#[test]
fn volumes_go_to_the_pools_they_are_given() {
    let fixture = Fixture::new();
    add_lvm(&fixture);
    add_zfs(&fixture);
    add_callback(&fixture, "");
    fixture.ok(CREATE, "dom0", "name=new label=red pool:root=lvm pool:private=zfs pool:volatile=callback");
    let vid = |name: &str| volume(&fixture, "new", name).vid;
    assert_eq!(vid("root"), "vg/vm-new-root");
    assert_eq!(vid("private"), "tank/vms/new/private");
    assert_eq!(vid("volatile"), "appvms/new/volatile");
    assert!(fixture.path("/dev/vg/vm-new-root").exists());
    assert!(fixture.path("/dev/zvol/tank/vms/new/private").exists());
    let taken = "StoragePoolException: Volume vg/vm-old-root already exists";
    std::fs::write(fixture.path("/lvm/vg/vm-old-root"), "pool\n").unwrap();
    std::fs::write(fixture.path("/dev/vg/vm-old-root"), "somebody's").unwrap();
    assert_eq!(fixture.refused(CREATE, "dom0", "name=old label=red pool=lvm"), taken);
    assert!(fixture.path("/dev/vg/vm-old-root").exists(), "what was there before stays");
}

#[test]
fn thin_volumes_are_made_with_the_commands_of_the_specification() {
    let fixture = with_qube("lvm");
    commands(&fixture, "lvm");
    let private = volume(&fixture, "new", "private");
    rewrite(&fixture, &private, "one");
    let mut said = commands(&fixture, "lvm");
    said.retain(|command| !command.starts_with("lvs "));
    let revision = revisions(&fixture, "lvm").pop().unwrap();
    assert_eq!(
        said,
        [
            "lvcreate --setactivationskip=n --activate=y --snapshot --name=vm-new-private-snap -- \
             vg/vm-new-private"
                .to_owned(),
            format!("lvrename -- vg/vm-new-private vg/vm-new-private-{revision}"),
            "lvrename -- vg/vm-new-private-snap vg/vm-new-private".to_owned(),
        ]
    );
    let list = commands(&fixture, "lvm").pop().unwrap();
    assert_eq!(
        list,
        "lvs --quiet --quiet --noheadings -o vg_name,pool_lv,name,lv_size,data_percent,lv_attr,origin,lv_metadata_size,\
         metadata_percent --units b --reportformat=json"
    );
}

#[test]
fn what_somebody_reads_from_is_kept_until_the_next_commit() {
    let fixture = with_qube("lvm");
    let private = volume(&fixture, "new", "private");
    rewrite(&fixture, &private, "one");
    let read = revisions(&fixture, "lvm");
    std::fs::write(fixture.path("/lvm-open"), format!("vg/vm-new-private-{}", read[0])).unwrap();
    commands(&fixture, "lvm");
    rewrite(&fixture, &private, "two");
    assert_eq!(revisions(&fixture, "lvm").len(), 2);
    let said = commands(&fixture, "lvm");
    assert!(!said.iter().any(|command| command.starts_with("lvremove")), "{said:?}");
    std::fs::remove_file(fixture.path("/lvm-open")).unwrap();
    rewrite(&fixture, &private, "three");
    let kept = revisions(&fixture, "lvm");
    assert!(kept.len() == 1 && kept != read, "{kept:?}");
}

#[test]
fn a_commit_that_was_cut_short_is_finished_by_the_next_stop() {
    let fixture = with_qube("lvm");
    let private = volume(&fixture, "new", "private");
    rewrite(&fixture, &private, "one");
    write(&start(&fixture, &private), "two");
    spoil(&fixture, "die", "lvrename", 1);
    driver(&fixture, "lvm").stop(&private).unwrap_err();
    assert!(!fixture.path("/dev/vg/vm-new-private").exists());
    assert_eq!(committed(&fixture, &private), "one", "the newest revision serves");
    assert_eq!(read(&start(&fixture, &private)), "two");
    stop(&fixture, &private);
    assert_eq!(committed(&fixture, &private), "two");
    assert_eq!(revisions(&fixture, "lvm").len(), 1);
}

#[test]
fn a_revision_of_another_qube_is_not_ours() {
    let fixture = with_qube("lvm");
    std::fs::write(fixture.path("/lvm/vg/vm-new-private-x-123-back"), "pool\n").unwrap();
    std::fs::write(fixture.path("/lvm/vg/vm-new-private-7-8-back"), "pool\n").unwrap();
    std::fs::write(fixture.path("/lvm/vg/vm-new-private-77-back"), "pool\n").unwrap();
    assert_eq!(revisions(&fixture, "lvm"), ["77-back"]);
}

#[test]
fn a_thin_pool_must_be_there() {
    let fixture = Fixture::new();
    let add = |pool: &str| {
        fixture.refused(
            "admin.pool.Add+lvm_thin",
            "dom0",
            format!("name=p\nvolume_group=vg\nthin_pool={pool}"),
        )
    };
    assert_eq!(add("pool"), "StoragePoolException: running lvm: No such file or directory (os error 2)");
    install_lvm(&fixture);
    assert_eq!(add("nope"), "StoragePoolException: Thin pool vg/nope does not exist");
    assert_eq!(add("plain"), "StoragePoolException: Volume vg/plain is not a thin pool");
    for (driver, option, options) in [
        ("lvm_thin", "volume_group", "volume_group=-y\nthin_pool=pool"),
        ("lvm_thin", "thin_pool", "volume_group=vg\nthin_pool=--version"),
        ("zfs", "container", "container=-r"),
    ] {
        let refused =
            fixture.refused(&format!("admin.pool.Add+{driver}"), "dom0", format!("name=p\n{options}"));
        assert_eq!(refused, format!("QubesValueError: Invalid value for {option}"), "{options}");
    }
    assert_eq!(
        fixture.refused("admin.pool.Add+zfs", "dom0", "name=p\ncontainer=tank"),
        "StoragePoolException: ZFS is not available on this system"
    );
}

#[test]
fn thin_pools_tell_sizes_of_data_and_metadata() {
    let fixture = fixture("lvm");
    let terabyte = 1_u64 << 40;
    let quarter = terabyte / 4;
    let details =
        format!("data_size={terabyte}\ndata_usage={quarter}\nmetadata_size=1000\nmetadata_usage=75\n");
    assert_eq!(fixture.ok("admin.pool.UsageDetails+lvm", "dom0", ""), details);
    let info = format!(
        "driver=lvm_thin\nephemeral_volatile=False\nname=lvm\nrevisions_to_keep=1\nthin_pool=pool\nvolume_group=vg\n\
         size={terabyte}\nusage={quarter}\n"
    );
    assert_eq!(fixture.ok("admin.pool.Info+lvm", "dom0", ""), info);
    std::fs::remove_file(fixture.path("/lvm/vg/pool")).unwrap();
    let unknown = "data_size=0\ndata_usage=0\nmetadata_size=0\nmetadata_usage=0\n";
    assert_eq!(fixture.ok("admin.pool.UsageDetails+lvm", "dom0", ""), unknown);
}

#[test]
fn containers_are_made_or_marked_and_tell_their_size() {
    let fixture = fixture("zfs");
    let said = commands(&fixture, "zfs");
    let made =
        "zfs create -o mountpoint=none -o volmode=dev -o org.qubes-os:part-of-qvm-pool=true -p tank/vms";
    assert!(said.contains(&made.to_owned()), "{said:?}");
    assert_eq!(
        fixture.ok("admin.pool.UsageDetails+zfs", "dom0", ""),
        "data_size=1000000\ndata_usage=750000\n"
    );
    fixture.ok("admin.pool.Add+zfs", "dom0", "name=again\ncontainer=tank/vms");
    fixture.ok("admin.pool.Add+zfs", "dom0", "name=above\ncontainer=tank");
    let said = commands(&fixture, "zfs");
    let marked = "zfs set org.qubes-os:part-of-qvm-pool=true volmode=dev tank";
    assert_eq!(said.iter().filter(|command| command.starts_with("zfs set")).collect::<Vec<_>>(), [marked]);
}

#[test]
fn an_ill_behaved_program_is_told_and_changes_nothing() {
    let fixture = with_qube("lvm");
    let usage = |fault: &str| {
        spoil(&fixture, fault, "lvs", 0);
        fixture.refused("admin.pool.UsageDetails+lvm", "dom0", "")
    };
    assert_eq!(usage("fail"), "StoragePoolException: no space left %% _[31m in thin pool");
    assert_eq!(usage("die"), "StoragePoolException: lvm ended with signal SIGABRT");
    spoil(&fixture, "rubbish", "lvs", 0);
    let described = fixture.ok("admin.pool.Info+lvm", "dom0", "");
    assert!(described.ends_with("thin_pool=pool\nvolume_group=vg\n"), "settings without sizes: {described}");
    let unreadable = "StoragePoolException: lvs printed something else than a report";
    assert_eq!(usage("rubbish"), unreadable);
    assert_eq!(usage("megabyte"), unreadable);
    let private = volume(&fixture, "new", "private");
    rewrite(&fixture, &private, "one");
    for command in ["lvcreate", "lvrename"] {
        spoil(&fixture, "fail", command, 0);
        let said = fixture.refused("admin.vm.volume.Clear+private", "new", "");
        assert!(said.starts_with("StoragePoolException: no space left"), "{said}");
        assert_eq!(committed(&fixture, &private), "one", "{command}");
    }
    fixture.ok("admin.vm.volume.Clear+private", "new", "");
    assert_eq!(committed(&fixture, &private), "");
}

/// A command that records what it is told.
const RECORD: &str = r#", "cmd": "printf '%s|' >> ROOT/callback.log""#;

fn record(fixture: &Fixture) -> String {
    RECORD.replace("ROOT", &fixture.path("/").display().to_string())
}

#[test]
fn callbacks_are_told_what_happens() {
    let fixture = Fixture::new();
    add_callback(&fixture, &record(&fixture));
    let log = fixture.path("/callback.log");
    let events = || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let _ = std::fs::remove_file(&log);
        let words: Vec<String> = text.split('|').map(str::to_owned).collect();
        words
            .windows(2)
            .filter(|pair| pair[0] == "file-reflink")
            .map(|pair| pair[1].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(events(), ["pre_setup"]);
    assert_eq!(fixture.ok("admin.pool.UsageDetails+callback", "dom0", ""), "", "not ready yet");
    fixture.ok("admin.vm.CreateInPool.AppVM", "dom0", "name=new label=red pool:private=callback");
    assert_eq!(events(), ["pre_sinit", "pre_volume_create", "post_volume_create"]);
    assert_eq!(fixture.ok("admin.pool.UsageDetails+callback", "dom0", "").lines().count(), 2);
    let private = volume(&fixture, "new", "private");
    rewrite(&fixture, &private, "one");
    assert_eq!(events(), ["pre_volume_start", "post_volume_start", "post_volume_stop"]);
    fixture.ok("admin.vm.volume.Resize+private", "new", "8192");
    fixture.ok("admin.vm.volume.Clear+private", "new", "");
    assert_eq!(events(), ["pre_volume_resize", "pre_volume_import_data", "post_volume_import_data_end"]);
    let clone = |from: &str, to: &str| {
        let token = fixture.ok("admin.vm.volume.CloneFrom+private", from, "");
        fixture.ok("admin.vm.volume.CloneTo+private", to, token);
        events()
    };
    fixture.ok("admin.vm.Create.AppVM", "dom0", "name=other label=red");
    fixture.ok("admin.vm.volume.Resize+private", "other", "8192");
    assert_eq!(clone("other", "new"), ["pre_volume_import", "post_volume_import"]);
    assert_eq!(clone("new", "other"), ["pre_volume_export", "post_volume_export_end"]);
    fixture.ok("admin.vm.Remove", "new", "");
    assert_eq!(events(), ["post_volume_stop", "post_volume_remove"]);
    fixture.ok("admin.pool.Remove+callback", "dom0", "");
    fixture.ok("admin.pool.Add+callback", "dom0", "name=callback\nconf_id=c");
    fixture.ok("admin.vm.CreateInPool.AppVM", "dom0", "name=new label=red pool:private=callback");
    assert_eq!(events(), ["pre_setup", "pre_sinit", "pre_volume_create", "post_volume_create"]);
}

#[test]
fn what_a_callbacks_back_end_keeps_and_encrypts_holds_for_its_volumes() {
    let fixture = Fixture::new();
    add_callback(&fixture, "");
    let arguments =
        r#"{"dir_path": "/var/lib/qubes/back", "revisions_to_keep": 3, "ephemeral_volatile": true}"#;
    let file = format!(r#"{{"c": {{"bdriver": "file-reflink", "bdriver_args": {arguments}}}}}"#);
    std::fs::write(fixture.path("/etc/qubes_callback.json"), file).unwrap();
    fixture.ok(CREATE, "dom0", "name=new label=red pool=callback");
    let private = fixture.ok("admin.vm.volume.Info+private", "new", "");
    assert!(private.contains("\nrevisions_to_keep=3\nephemeral=False\n"), "{private}");
    let volatile = fixture.ok("admin.vm.volume.Info+volatile", "new", "");
    assert!(volatile.contains("\nrevisions_to_keep=3\nephemeral=True\n"), "{volatile}");
}

#[test]
fn a_callbacks_words_mean_themselves() {
    let fixture = Fixture::new();
    let told = format!("{}, \"description\": \"it's $(touch ROOT/evil) `x` \\\"q\\\"\"", record(&fixture));
    add_callback(&fixture, &told.replace("ROOT", &fixture.path("/").display().to_string()));
    let text = std::fs::read_to_string(fixture.path("/callback.log")).unwrap();
    assert!(
        text.contains("it's $(touch") && text.starts_with("callback|file-reflink|pre_setup|c|{"),
        "{text}"
    );
    assert!(!fixture.path("/evil").exists());
}

#[test]
fn a_failing_callback_stops_what_it_stands_before() {
    let fixture = Fixture::new();
    add_callback(&fixture, "");
    configure_callback(&fixture, r#", "pre_volume_create": "exit 3""#);
    let said =
        fixture.refused("admin.vm.CreateInPool.AppVM", "dom0", "name=new label=red pool:private=callback");
    assert_eq!(
        said,
        "StoragePoolException: The callback pre_volume_create of pool callback ended with status 3"
    );
    assert!(!fixture.path("/var/lib/qubes/back/appvms/new").exists());
    configure_callback(
        &fixture,
        r#", "cmd": "exit 3", "pre_volume_create": "-", "post_volume_create": "-", "pre_sinit": "-""#,
    );
    fixture.ok("admin.vm.CreateInPool.AppVM", "dom0", "name=new label=red pool:private=callback");
}

#[test]
fn a_callback_may_have_the_back_end_set_up_again() {
    let fixture = Fixture::new();
    add_callback(&fixture, "");
    std::fs::remove_dir_all(fixture.path("/var/lib/qubes/back")).unwrap();
    configure_callback(&fixture, r#", "pre_volume_create": "echo SIGNAL_setup", "signal_back": true"#);
    fixture.ok("admin.vm.CreateInPool.AppVM", "dom0", "name=new label=red pool:private=callback");
    assert!(fixture.path("/var/lib/qubes/back/vm-templates").is_dir());
}

#[test]
fn a_callbacks_configuration_must_make_sense() {
    let fixture = Fixture::new();
    let file = fixture.path("/etc/qubes_callback.json");
    let add = |text: &str| {
        std::fs::write(&file, text).unwrap();
        fixture.refused("admin.pool.Add+callback", "dom0", "name=p\nconf_id=c")
    };
    let missing = fixture.refused("admin.pool.Add+callback", "dom0", "name=p\nconf_id=c");
    assert!(missing.starts_with("StoragePoolException: reading the callback configuration"), "{missing}");
    for (text, said) in [
        ("[]", "The file /etc/qubes_callback.json is supposed to define a dict."),
        ("{", "The file /etc/qubes_callback.json is supposed to define a dict."),
        ("{}", "The specified conf_id c could not be found inside /etc/qubes_callback.json."),
        (r#"{"c": {}}"#, "Missing bdriver for the conf_id c inside /etc/qubes_callback.json."),
        (r#"{"c": {"bdriver": "nope"}}"#, "The driver nope was not found on your system."),
        (r#"{"c": {"bdriver": "callback"}}"#, "The driver callback was not found on your system."),
        (r#"{"c": {"bdriver": "file"}}"#, "missing required driver options: dir_path"),
    ] {
        assert_eq!(add(text), format!("StoragePoolException: {said}"));
    }
}

#[test]
fn a_callback_pool_leaves_its_settings_to_its_configuration() {
    let fixture = fixture("callback");
    for (call, value) in [("revisions_to_keep", "1"), ("ephemeral_volatile", "on")] {
        assert_eq!(
            fixture.refused(&format!("admin.pool.Set.{call}+callback"), "dom0", value),
            "QubesException: What volumes of a callback pool keep is set in its configuration file"
        );
    }
    let info = fixture.ok("admin.pool.Info+callback", "dom0", "");
    assert!(info.starts_with("conf_id=c\ndriver=callback\nname=callback\nsize="), "{info}");
    assert!(info.ends_with("included_in=varlibqubes\n"), "{info}");
}

#[test]
fn a_zfs_volume_goes_by_one_command_at_stop_and_one_that_is_not_there_by_none() {
    let fixture = fixture("zfs");
    fixture.ok("admin.vm.CreateInPool.TemplateVM", "dom0", "name=base label=red pool=zfs");
    fixture.ok("admin.vm.CreateInPool.AppVM+base", "dom0", "name=app label=red pool=zfs");
    for name in ["root", "volatile"] {
        let own = volume(&fixture, "app", name);
        start(&fixture, &own);
        commands(&fixture, "zfs");
        let changing = || {
            let all = commands(&fixture, "zfs");
            assert_eq!(all.iter().filter(|command| command.starts_with("zfs list ")).count(), 1, "{all:?}");
            all.into_iter().filter(|command| !command.starts_with("zfs list ")).collect::<Vec<_>>()
        };
        stop(&fixture, &own);
        assert_eq!(changing(), [format!("zfs destroy -r tank/vms/app/{name}")]);
        stop(&fixture, &own);
        assert_eq!(changing(), [""; 0]);
    }
}

//! Storage in trouble: hostile names and tokens, pools whose directory or configuration is gone, programs that hang, die or
//! print rubbish. Each is told exactly, nothing is lost, and all else is served (spec 20 §4.8, §7).
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::indexing_slicing, reason = "test code")]

use std::process::Stdio;
use std::time::{Duration, SystemTime};

use common::model::Volume;
use common::names::PoolName;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::Fixture;
use tests::fixture::{readable, refusal};
use tests::pools::{
    add_callback, add_lvm, add_zfs, commands, committed, configure_callback, kill_before_program, rewrite,
    spoil, start, volume,
};
use tests::volumes::{image, images, old, shown, system};

const CREATE: &str = "admin.vm.CreateInPool.StandaloneVM";
const NO_TOKEN: &str = "QubesVolumeCopyTokenNotFoundError: 'Token to clone volume of qube was not found'";

/// A small private volume of `new` in a pool, which holds `one`.
fn with_one(fixture: &Fixture, pool: &str) -> Volume {
    fixture.ok(CREATE, "dom0", format!("name=new label=red pool={pool}"));
    for name in ["root", "private"] {
        fixture.ok(&format!("admin.vm.volume.Resize+{name}"), "new", "8192");
    }
    let private = volume(fixture, "new", "private");
    rewrite(fixture, &private, "one");
    private
}

/// Qubes in other pools are listed, described and changed as ever.
fn others_are_served(fixture: &Fixture) {
    fixture.ok("admin.pool.List", "dom0", "");
    fixture.ok("admin.pool.Info+varlibqubes", "dom0", "");
    fixture.ok("admin.pool.volume.List+varlibqubes", "dom0", "");
    fixture.ok("admin.vm.volume.Info+private", "test-vm1", "");
    fixture.ok("admin.vm.Create.AppVM", "dom0", "name=other label=red");
    fixture.ok("admin.vm.volume.Clear+private", "other", "");
    fixture.ok("admin.vm.Remove", "other", "");
}

#[test]
fn a_volume_is_no_path() {
    let fixture = system();
    let before = fixture.files();
    for name in
        ["../private", "/private", "private/../root", "./private", "private.img", "..", "*", "private-dirty"]
    {
        for (call, payload) in [
            ("Info", ""),
            ("Clear", ""),
            ("CloneFrom", ""),
            ("Resize", "1"),
            ("Revert", "1"),
            ("Set.rw", "no"),
        ] {
            let told = fixture.refused(&format!("admin.vm.volume.{call}+{name}"), "made", payload);
            assert_eq!(told, "PermissionDenied: Argument not in 'made volumes'", "{call} {name}");
        }
        let told =
            fixture.refused("admin.pool.volume.Info+varlibqubes", "dom0", format!("appvms/made/{name}"));
        let unsafe_id = "ProtocolError: Volume ID must be in safe set: ";
        let unknown = "PermissionDenied: Argument not in 'varlibqubes volumes'";
        assert!(told == unknown || (name == "*" && told.starts_with(unsafe_id)), "{name}: {told}");
        let pool = fixture.refused(&format!("admin.pool.Info+{name}"), "dom0", "");
        assert_eq!(pool, "PermissionDenied: Argument not in 'pools'");
    }
    assert!(fixture.files() == before);
}

#[test]
fn a_token_that_is_a_day_old_is_none() {
    let fixture = system();
    let token = |fixture: &Fixture| fixture.ok("admin.vm.volume.CloneFrom+private", "made", "");
    let (old, new) = (token(&fixture), token(&fixture));
    let folder = fixture.path("/run/qubes/admin/tokens");
    let file = std::fs::File::open(folder.join(&old)).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(25 * 60 * 60)).unwrap();
    assert_eq!(fixture.refused("admin.vm.volume.CloneTo+private", "test-vm1", &old), NO_TOKEN);
    assert!(!folder.join(&old).exists() && folder.join(&new).exists());
    fixture.ok("admin.vm.volume.CloneTo+private", "made", &new);
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0);
}

#[test]
fn of_two_calls_with_one_token_one_gets_the_volume() {
    let fixture = system();
    fixture.ok("admin.vm.Create.AppVM", "dom0", "name=other label=red");
    for _ in 0..20 {
        let token = fixture.ok("admin.vm.volume.CloneFrom+private", "made", "");
        let call = |qube: &str| {
            std::fs::write(
                fixture.path(&format!("/to-{qube}")),
                format!("admin.vm.volume.CloneTo+private dom0 name {qube}\0{token}"),
            )
            .unwrap();
            let request = std::fs::File::open(fixture.path(&format!("/to-{qube}"))).unwrap();
            fixture.command("admin.vm.volume.CloneTo").stdin(request).spawn().unwrap()
        };
        let calls = [call("made"), call("other")];
        let replies = calls.map(|call| readable(&call.wait_with_output().unwrap().stdout));
        assert_eq!(replies.iter().filter(|reply| *reply == "0·").count(), 1, "{replies:?}");
        let refused = replies.iter().find(|reply| *reply != "0·").unwrap();
        assert!(refused.starts_with("2·QubesVolumeCopyTokenNotFoundError·"), "{refused}");
    }
}

#[test]
fn a_token_does_not_outlive_its_pool() {
    let fixture = system();
    fixture.ok("admin.vm.CreateInPool.AppVM", "dom0", "name=filed label=red pool:private=test");
    let token = fixture.ok("admin.vm.volume.CloneFrom+private", "filed", "");
    fixture.ok("admin.vm.Remove", "filed", "");
    fixture.ok("admin.pool.Remove+test", "dom0", "");
    let told = fixture.refused("admin.vm.volume.CloneTo+private", "made", &token);
    assert_eq!(told, "QubesException: Pool does not exist.");
    assert_eq!(fixture.refused("admin.vm.volume.CloneTo+private", "made", &token), NO_TOKEN, "it is used up");
    assert!(std::fs::read(image(&fixture, "private.img")).unwrap() == old());
}

#[test]
fn a_pool_that_is_not_there_is_told_by_name() {
    let fixture = system();
    fixture.edit("made", |qube| {
        let is_private = |volume: &&mut Volume| volume.name.as_str() == "private";
        qube.volumes.iter_mut().find(is_private).unwrap().pool = PoolName::parse("gone").unwrap();
    });
    for (call, payload) in
        [("Info", ""), ("ListSnapshots", ""), ("Clear", ""), ("Resize", "1"), ("Set.rw", "no")]
    {
        let told = fixture.refused(&format!("admin.vm.volume.{call}+private"), "made", payload);
        assert_eq!(told, "QubesException: Unknown storage pool gone", "{call}");
    }
    assert_eq!(fixture.ok("admin.vm.volume.List", "made", ""), "root\nprivate\nvolatile\nkernel\n");
    fixture.ok("admin.vm.volume.Info+root", "made", "");
    others_are_served(&fixture);
}

/// A pool of either driver of files whose directory vanishes, as when its disk is not there.
#[test]
fn a_pool_whose_directory_vanished_is_made_nowhere_else() {
    for driver in ["file", "file-reflink"] {
        let fixture = Fixture::new();
        let check = if driver == "file" { "" } else { "\nsetup_check=no" };
        let options = format!("name=disk\ndir_path=/var/lib/qubes/disk{check}");
        fixture.ok(&format!("admin.pool.Add+{driver}"), "dom0", options);
        fixture.ok("admin.vm.CreateInPool.AppVM", "dom0", "name=new label=red pool:private=disk");
        fixture.ok("admin.vm.volume.Resize+private", "new", "8192");
        let (there, away) = (fixture.path("/var/lib/qubes/disk"), fixture.path("/var/lib/qubes/away"));
        std::fs::rename(&there, &away).unwrap();
        let gone =
            |what: &str| format!("StoragePoolException: {what}: No such file or directory (os error 2)");
        let making = if driver == "file" { "making an image" } else { "making room for an import" };
        assert_eq!(fixture.refused("admin.vm.volume.Clear+private", "new", ""), gone(making));
        let created =
            fixture.refused("admin.vm.CreateInPool.AppVM", "dom0", "name=more label=red pool:private=disk");
        assert_eq!(created, gone("making an image"), "{driver}");
        assert!(fixture.refused("admin.vm.List", "more", "").starts_with("QubesVMNotFoundError: "));
        let info = fixture.ok("admin.vm.volume.Info+private", "new", "");
        assert!(info.contains("\nsize=8192\nusage=0\n"), "{info}");
        assert_eq!(fixture.ok("admin.vm.volume.ListSnapshots+private", "new", ""), "");
        assert_eq!(fixture.ok("admin.pool.volume.List+disk", "dom0", ""), "appvms/new/private\n");
        fixture.ok("admin.pool.Info+disk", "dom0", "");
        others_are_served(&fixture);
        assert!(!there.exists(), "{driver}: it was made anew where its disk should be");
        std::fs::rename(&away, &there).unwrap();
        fixture.ok("admin.vm.volume.Clear+private", "new", "");
        fixture.ok("admin.vm.Remove", "new", "");
    }
}

#[test]
fn a_callback_pool_without_its_configuration_can_still_be_removed() {
    let fixture = Fixture::new();
    add_callback(&fixture, "");
    std::fs::remove_file(fixture.path("/etc/qubes_callback.json")).unwrap();
    let missing =
        "StoragePoolException: reading the callback configuration: No such file or directory (os error 2)";
    let told = fixture.ok("admin.pool.Info+callback", "dom0", "");
    assert_eq!(told, "conf_id=c\ndriver=callback\nname=callback\n");
    for call in ["UsageDetails", "volume.List"] {
        assert_eq!(fixture.refused(&format!("admin.pool.{call}+callback"), "dom0", ""), missing, "{call}");
    }
    others_are_served(&fixture);
    fixture.ok("admin.pool.Remove+callback", "dom0", "");
}

/// What a change meets when its program does something else, by command; then the old content is there, and the next
/// change succeeds.
#[test]
fn no_fault_of_a_program_loses_what_a_volume_holds() {
    for pool in ["lvm", "zfs"] {
        let fixture = Fixture::new();
        if pool == "lvm" {
            add_lvm(&fixture)
        } else {
            add_zfs(&fixture)
        }
        let private = with_one(&fixture, pool);
        commands(&fixture, pool);
        fixture.ok("admin.vm.volume.Resize+private", "new", "16384");
        fixture.ok("admin.vm.volume.Clear+private", "new", "");
        let used = commands(&fixture, pool);
        rewrite(&fixture, &private, "one");
        let mut commands: Vec<&str> =
            used.iter().filter_map(|line| line.trim_start_matches("zfs ").split(' ').next()).collect();
        commands.sort_unstable();
        commands.dedup();
        assert!(commands.len() > 3, "{commands:?}");
        for (command, fault) in commands.iter().flat_map(|it| ["fail", "die"].map(|fault| (*it, fault))) {
            for earlier in 0..2 {
                spoil(&fixture, fault, command, earlier);
                let reply = fixture.call("admin.vm.volume.Clear+private", "new", "");
                let _ = std::fs::remove_file(fixture.path("/stand-in"));
                let held = committed(&fixture, &private);
                let told =
                    format!("{pool}: {command} that does {fault} after {earlier}: {}", readable(&reply));
                if reply == b"0\0" {
                    assert_eq!(held, "", "{told}");
                } else {
                    assert_eq!(held, "one", "{told}");
                    let said = refusal(&reply);
                    let expected = match fault {
                        "fail" => "StoragePoolException: no space left %% _[31m in thin pool",
                        _ if pool == "lvm" => "StoragePoolException: lvm ended with signal SIGABRT",
                        _ => "StoragePoolException: zfs ended with signal SIGABRT",
                    };
                    assert_eq!(said, expected, "{told}");
                }
                rewrite(&fixture, &private, "one");
            }
        }
        others_are_served(&fixture);
    }
}

#[test]
fn a_call_killed_before_any_of_its_programs_leaves_the_old_content_or_the_new() {
    for pool in ["lvm", "zfs"] {
        let fixture = Fixture::new();
        if pool == "lvm" {
            add_lvm(&fixture)
        } else {
            add_zfs(&fixture)
        }
        let private = with_one(&fixture, pool);
        fixture.ok(CREATE, "dom0", format!("name=source label=red pool={pool}"));
        for name in ["root", "private"] {
            fixture.ok(&format!("admin.vm.volume.Resize+{name}"), "source", "8192");
        }
        rewrite(&fixture, &volume(&fixture, "source", "private"), "src");
        let newest = || fixture.ok("admin.vm.volume.ListSnapshots+private", "new", "");
        for (call, after) in [("Clear", ""), ("Revert", "one"), ("Snapshot", "two"), ("CloneTo", "src")] {
            let mut kills = 0;
            for earlier in 0.. {
                rewrite(&fixture, &private, "one");
                rewrite(&fixture, &private, "two");
                let payload = match call {
                    "Revert" => newest().lines().last().unwrap().to_owned(),
                    "CloneTo" => fixture.ok("admin.vm.volume.CloneFrom+private", "source", ""),
                    _ => String::new(),
                };
                if !kill_before_program(
                    &fixture,
                    &format!("admin.vm.volume.{call}+private"),
                    &payload,
                    earlier,
                ) {
                    break;
                }
                kills += 1;
                let told = format!("{pool}: {call} killed before program {earlier}");
                let held = committed(&fixture, &private);
                assert!(held == "two" || held == after, "{told}: {held}");
                assert_eq!(tests::pools::read(&start(&fixture, &private)), held, "{told}: at the next start");
                tests::pools::stop(&fixture, &private);
            }
            assert!(kills > 2, "{pool}: {call} was killed {kills} times");
        }
    }
}

#[test]
fn rubbish_is_no_list_of_datasets() {
    let fixture = Fixture::new();
    add_zfs(&fixture);
    let private = with_one(&fixture, "zfs");
    let device = start(&fixture, &private);
    tests::pools::write(&device, "two");
    for fault in ["rubbish", "half", "megabyte"] {
        for (call, payload) in
            [("Info", ""), ("ListSnapshots", ""), ("Clear", ""), ("Revert", "x"), ("Resize", "4096")]
        {
            spoil(&fixture, fault, "list", 0);
            let told = fixture.refused(&format!("admin.vm.volume.{call}+private"), "new", payload);
            assert_eq!(
                told, "StoragePoolException: zfs printed something else than a list of datasets",
                "{call} {fault}"
            );
        }
    }
    spoil(&fixture, "rubbish", "zpool", 0);
    assert_eq!(
        fixture.refused("admin.pool.UsageDetails+zfs", "dom0", ""),
        "StoragePoolException: zpool printed something else than two numbers"
    );
    assert_eq!(tests::pools::read(&device), "two");
    tests::pools::stop(&fixture, &private);
    assert_eq!(committed(&fixture, &private), "two");
}

#[test]
fn all_else_is_served_while_a_program_hangs() {
    let fixture = Fixture::new();
    add_lvm(&fixture);
    let private = with_one(&fixture, "lvm");
    spoil(&fixture, "hang", "lvcreate", 0);
    std::fs::write(fixture.path("/request"), "admin.vm.volume.Clear+private dom0 name new\0").unwrap();
    let request = std::fs::File::open(fixture.path("/request")).unwrap();
    let mut command = fixture.command("admin.vm.volume.Clear");
    let call = command.stdin(request).stdout(Stdio::piped()).spawn().unwrap();
    let hanging = fixture.path("/hanging");
    while !hanging.exists() {
        std::thread::yield_now();
    }
    others_are_served(&fixture);
    fixture.ok("admin.vm.property.Set+vcpus", "new", "3");
    fixture.ok("admin.vm.volume.Info+private", "new", "");
    let program: i32 = std::fs::read_to_string(hanging).unwrap().parse().unwrap();
    kill(Pid::from_raw(program), Signal::SIGKILL).unwrap();
    let reply = call.wait_with_output().unwrap().stdout;
    assert_eq!(refusal(&reply), "StoragePoolException: lvm ended with signal SIGKILL");
    assert_eq!(committed(&fixture, &private), "one");
}

#[test]
fn a_callback_that_dies_or_prints_rubbish_is_told_and_stops_only_its_pool() {
    let fixture = Fixture::new();
    add_callback(&fixture, "");
    fixture.ok("admin.vm.CreateInPool.AppVM", "dom0", "name=new label=red pool:private=callback");
    fixture.ok("admin.vm.volume.Resize+private", "new", "8192");
    let private = volume(&fixture, "new", "private");
    rewrite(&fixture, &private, "one");
    configure_callback(&fixture, r#", "pre_volume_import_data": "kill -9 $$""#);
    assert_eq!(
        fixture.refused("admin.vm.volume.Clear+private", "new", ""),
        "StoragePoolException: The callback pre_volume_import_data of pool callback ended with signal SIGKILL"
    );
    assert_eq!(committed(&fixture, &private), "one");
    others_are_served(&fixture);
    let rubbish = r#", "signal_back": true, "pre_volume_import_data": "head -c 100000 /dev/urandom; echo xSIGNAL_setup""#;
    configure_callback(&fixture, rubbish);
    fixture.ok("admin.vm.volume.Clear+private", "new", "");
}

#[test]
fn an_image_that_became_a_directory_is_told_and_left_alone() {
    let fixture = system();
    let before = shown(&fixture);
    std::fs::create_dir(image(&fixture, "private-import.img")).unwrap();
    let told = fixture.refused("admin.vm.volume.Clear+private", "made", "");
    assert_eq!(told, "StoragePoolException: making room for an import: Is a directory (os error 21)");
    assert_eq!(shown(&fixture), before);
    std::fs::remove_dir(image(&fixture, "private-import.img")).unwrap();
    fixture.ok("admin.vm.volume.Clear+private", "made", "");
    assert!(images(&fixture).contains(&"private.img".to_owned()));
}

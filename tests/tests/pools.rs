//! Pools on the wire: listed, described, added, set and removed (spec 20 §2).
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::arithmetic_side_effects,
    reason = "test code"
)]

use tests::Fixture;
use tests::fixture::readable;

const ADD: &str = "admin.pool.Add";

fn info(fixture: &Fixture, pool: &str) -> Vec<String> {
    fixture.ok(&format!("admin.pool.Info+{pool}"), "dom0", "").lines().map(str::to_owned).collect()
}

/// The lines of a description that do not tell of the machine's disk.
fn settings(fixture: &Fixture, pool: &str) -> Vec<String> {
    let mut lines = info(fixture, pool);
    lines.retain(|line| !line.starts_with("size=") && !line.starts_with("usage="));
    lines
}

#[test]
fn pools_are_listed_in_the_order_they_came() {
    let fixture = Fixture::new();
    assert_eq!(fixture.ok("admin.pool.List", "dom0", ""), "varlibqubes\nlinux-kernel\ntest\n");
    fixture.ok("admin.pool.Add+file", "dom0", "name=a\ndir_path=/var/lib/qubes/a\n");
    assert_eq!(fixture.ok("admin.pool.List", "dom0", ""), "varlibqubes\nlinux-kernel\ntest\na\n");
    assert_eq!(fixture.ok("admin.pool.List+test", "dom0", ""), "test\n");
    assert_eq!(
        fixture.refused("admin.pool.List+nope", "dom0", ""),
        "PermissionDenied: Argument not in 'pools'"
    );
}

#[test]
fn drivers_are_listed_with_their_options() {
    let fixture = Fixture::new();
    let drivers = "callback conf_id\n\
        file revisions_to_keep dir_path ephemeral_volatile\n\
        file-reflink revisions_to_keep dir_path setup_check ephemeral_volatile\n\
        linux-kernel dir_path\n\
        lvm_thin revisions_to_keep volume_group thin_pool ephemeral_volatile\n\
        zfs revisions_to_keep container ephemeral_volatile snap_on_start_forensics\n";
    assert_eq!(fixture.ok("admin.pool.ListDrivers", "dom0", ""), drivers);
}

#[test]
fn every_call_checks_destination_argument_and_payload() {
    let fixture = Fixture::new();
    for call in ["Info", "UsageDetails", "Remove"].map(|call| format!("admin.pool.{call}")) {
        let of = format!("{call}+test");
        assert_eq!(fixture.refused(&of, "dom0", "x"), "ProtocolError: unexpected payload", "{call}");
        assert_eq!(fixture.refused(&call, "dom0", ""), "ProtocolError: expected an argument", "{call}");
        let unknown = fixture.refused(&format!("{call}+nopool"), "dom0", "");
        assert_eq!(unknown, "PermissionDenied: Argument not in 'pools'", "{call}");
        let elsewhere = fixture.refused(&of, "test-vm1", "");
        assert_eq!(elsewhere, "ProtocolError: expected destination to be AdminVM", "{call}");
    }
    for call in
        ["Add", "Set.revisions_to_keep", "Set.ephemeral_volatile"].map(|call| format!("admin.pool.{call}"))
    {
        let of = format!("{call}+file");
        assert_eq!(fixture.refused(&of, "dom0", ""), "ProtocolError: expected payload", "{call}");
        assert_eq!(fixture.refused(&call, "dom0", "1"), "ProtocolError: expected an argument", "{call}");
        let elsewhere = fixture.refused(&of, "test-vm1", "1");
        assert_eq!(elsewhere, "ProtocolError: expected destination to be AdminVM", "{call}");
    }
    for call in ["admin.pool.List", "admin.pool.ListDrivers"] {
        assert_eq!(fixture.refused(call, "dom0", "x"), "ProtocolError: unexpected payload", "{call}");
    }
    let argument = fixture.refused("admin.pool.ListDrivers+file", "dom0", "");
    assert_eq!(argument, "ProtocolError: unexpected argument");
}

#[test]
fn a_pool_is_described_with_what_holds_it() {
    let fixture = Fixture::new();
    let lines = info(&fixture, "test");
    let keys: Vec<&str> = lines.iter().map(|line| line.split('=').next().unwrap()).collect();
    let all = "dir_path driver ephemeral_volatile name revisions_to_keep size usage included_in";
    assert_eq!(keys.join(" "), all);
    assert_eq!(
        settings(&fixture, "test"),
        [
            "dir_path=/var/lib/qubes/test",
            "driver=file",
            "ephemeral_volatile=False",
            "name=test",
            "revisions_to_keep=1",
            "included_in=varlibqubes"
        ]
    );
    let kernels = "dir_path=/var/lib/qubes/vm-kernels\ndriver=linux-kernel\nname=linux-kernel\nincluded_in=varlibqubes\n";
    assert_eq!(fixture.ok("admin.pool.Info+linux-kernel", "dom0", ""), kernels);
    assert!(!info(&fixture, "varlibqubes").iter().any(|line| line.starts_with("included_in=")));
}

#[test]
fn a_pool_in_a_linked_directory_is_included_where_the_link_leads() {
    let fixture = Fixture::new();
    std::os::unix::fs::symlink(fixture.path("/var/lib/qubes/test"), fixture.path("/link")).unwrap();
    fixture.ok("admin.pool.Add+linux-kernel", "dom0", "name=k\ndir_path=/link/not/there");
    assert_eq!(info(&fixture, "k").last().unwrap(), "included_in=varlibqubes");
    fixture.ok("admin.pool.Add+linux-kernel", "dom0", "name=apart\ndir_path=/var/lib/qubes-not");
    assert_eq!(info(&fixture, "apart").last().unwrap(), "name=apart");
}

/// Has the kernel say that all files lie on a thin volume.
fn put_on_thin_pool(fixture: &Fixture, device_of_pool: &str) {
    use std::os::unix::fs::MetadataExt;
    let device = std::fs::metadata(fixture.path("/")).unwrap().dev();
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    let folder = fixture.path(&format!("/sys/dev/block/{major}:{minor}/slaves/dm-7/dm"));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("name"), format!("{device_of_pool}\n")).unwrap();
}

#[test]
fn a_directory_on_a_thin_volume_lies_in_the_pool_of_that() {
    let fixture = Fixture::new();
    tests::pools::install_lvm(&fixture);
    put_on_thin_pool(&fixture, "vg-pool-tpool");
    assert_eq!(settings(&fixture, "varlibqubes").last().unwrap(), "revisions_to_keep=1");
    fixture.ok("admin.pool.Add+lvm_thin", "dom0", "name=lvm\nvolume_group=vg\nthin_pool=pool");
    assert_eq!(settings(&fixture, "varlibqubes").last().unwrap(), "included_in=lvm");
    assert_eq!(settings(&fixture, "test").last().unwrap(), "included_in=varlibqubes", "a directory wins");
    assert_eq!(settings(&fixture, "lvm").last().unwrap(), "volume_group=vg");
    put_on_thin_pool(&fixture, "vg-pool");
    assert_eq!(settings(&fixture, "varlibqubes").last().unwrap(), "revisions_to_keep=1");
}

/// Spec 20 §8.2, from the last rule to the first.
#[test]
fn without_a_default_pool_set_the_best_one_serves() {
    let fixture = Fixture::new();
    tests::pools::install_lvm(&fixture);
    fixture.ok("admin.property.Reset+default_pool", "dom0", "");
    let default = |property: &str| fixture.ok(&format!("admin.property.Get+{property}"), "dom0", "");
    let is = |pool: &str| format!("default=True type=str {pool}");
    assert_eq!(default("default_pool"), is("varlibqubes"));
    fixture.ok("admin.pool.Add+lvm_thin", "dom0", "name=lvm\nvolume_group=vg\nthin_pool=pool");
    assert_eq!(default("default_pool"), is("varlibqubes"));
    put_on_thin_pool(&fixture, "vg-pool-tpool");
    assert_eq!(default("default_pool"), is("lvm"));
    assert_eq!(default("default_pool_private"), is("lvm"));
    fixture.ok("admin.pool.Add+file", "dom0", "name=default\ndir_path=/var/lib/qubes/d");
    assert_eq!(default("default_pool"), is("default"));
}

/// Numbers of `key` in a text of lines `key=number`.
fn number(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    line.unwrap().parse().unwrap()
}

#[test]
fn sizes_are_those_of_the_file_system() {
    let fixture = Fixture::new();
    let details = fixture.ok("admin.pool.UsageDetails+test", "dom0", "");
    let disk = nix::sys::statvfs::statvfs(&fixture.path("/var/lib/qubes/test")).unwrap();
    assert_eq!(number(&details, "data_size"), disk.fragment_size() * disk.blocks());
    assert!((1..number(&details, "data_size")).contains(&number(&details, "data_usage")));
    assert_eq!(details.lines().count(), 2);
    let info = fixture.ok("admin.pool.Info+test", "dom0", "");
    assert_eq!(number(&info, "size"), number(&details, "data_size"));
    assert_eq!(fixture.ok("admin.pool.UsageDetails+linux-kernel", "dom0", ""), "");
}

#[test]
fn a_pool_whose_directory_is_gone_is_still_described() {
    let fixture = Fixture::new();
    std::fs::remove_dir(fixture.path("/var/lib/qubes/test")).unwrap();
    assert_eq!(fixture.ok("admin.pool.UsageDetails+test", "dom0", ""), "data_size=0\ndata_usage=0\n");
    let options = "name=r\ndir_path=/var/lib/qubes/r\nsetup_check=no";
    fixture.ok("admin.pool.Add+file-reflink", "dom0", options);
    std::fs::remove_dir_all(fixture.path("/var/lib/qubes/r")).unwrap();
    assert_eq!(fixture.ok("admin.pool.UsageDetails+r", "dom0", ""), "");
    assert!(!info(&fixture, "r").iter().any(|line| line.starts_with("size=")));
}

#[test]
fn a_pool_is_added_with_its_directories_and_announced() {
    let fixture = Fixture::new();
    let events = fixture.events_of(|fixture| {
        assert_eq!(
            fixture.ok("admin.pool.Add+file", "dom0", "name=p1\ndir_path=/var/lib//qubes/./p1/\n"),
            ""
        );
    });
    assert_eq!(events, [" pool-add pool=p1"]);
    for folder in ["appvms", "vm-templates"] {
        assert!(fixture.path("/var/lib/qubes/p1").join(folder).is_dir());
    }
    assert_eq!(settings(&fixture, "p1").first().unwrap(), "dir_path=/var/lib/qubes/p1");
    fixture.ok("admin.vm.CreateInPool.StandaloneVM", "dom0", "name=new label=red pool=p1");
    assert!(fixture.path("/var/lib/qubes/p1/appvms/new/private.img").exists());
}

#[test]
fn values_are_stored_in_one_form() {
    let fixture = Fixture::new();
    let given = "revisions_to_keep=3\r\nname=p4\x0bdir_path=/var/lib/qubes/p4\x1esetup_check=OFF\x0cephemeral_volatile=on\r";
    fixture.ok("admin.pool.Add+file-reflink", "dom0", given);
    assert_eq!(
        settings(&fixture, "p4"),
        [
            "dir_path=/var/lib/qubes/p4",
            "driver=file-reflink",
            "ephemeral_volatile=True",
            "name=p4",
            "revisions_to_keep=3",
            "included_in=varlibqubes"
        ]
    );
}

/// Every row of the table of spec 20 §2.5, and what each kind of value may be.
#[test]
fn what_cannot_be_added_is_refused_in_the_words_of_the_table() {
    let fixture = Fixture::new();
    let before = fixture.stored();
    let safe =
        "Pool name must be in safe set: abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    let bad_name = format!("ProtocolError: {safe}");
    let options = "ProtocolError: Options must be separated by equal sign";
    let unique = "ProtocolError: Options must be unique";
    let unexpected = "ProtocolError: Unexpected driver options found";
    for (driver, payload, said) in [
        ("nodriver", "\u{e9}", "PermissionDenied: Argument not in 'available drivers'"),
        ("file", "name=\u{e9}", "ProtocolError: Pool parameters contains non-ASCII characters"),
        ("file", "nonsense", options),
        ("file", "\n", options),
        ("file", "name=a\n\ndir_path=/x", options),
        ("file", "name=a\nname=b\nx", options),
        ("file", "name=a\nname=b", unique),
        ("file", "dir_path=/x\ndir_path=/x", unique),
        ("file", "dir_path=/x", "ProtocolError: Pool configuration must contain key: name"),
        ("file", "name=bad name\nbogus=1", &bad_name),
        ("file", "name=a\nbogus=1\ndir_path=/x", unexpected),
        ("file", "name=a\ndriver=file\ndir_path=/x", unexpected),
        ("file", "name=a\nsetup_check=1\ndir_path=/x", unexpected),
        ("linux-kernel", "name=a\nrevisions_to_keep=0\ndir_path=/x", unexpected),
        ("callback", "name=a\nrevisions_to_keep=0\nconf_id=x", unexpected),
        ("file", "name=test", "QubesException: missing required driver options: dir_path"),
        ("lvm_thin", "name=test", "QubesException: missing required driver options: volume_group thin_pool"),
        ("zfs", "name=test", "QubesException: missing required driver options: container"),
        ("callback", "name=test", "QubesException: missing required driver options: conf_id"),
        (
            "file",
            "name=test\ndir_path=/a/b/c\nrevisions_to_keep=x",
            "QubesPoolInUseError: Storage pool is in use: 'test'",
        ),
    ] {
        let payload: Vec<u8> = payload.chars().map(|character| character as u8).collect();
        assert_eq!(fixture.refused(&format!("{ADD}+{driver}"), "dom0", &payload), said, "{payload:?}");
    }
    assert!(fixture.stored() == before && fixture.events().is_empty());
}

#[test]
fn bad_values_and_directories_are_refused_and_leave_nothing() {
    let fixture = Fixture::new();
    let before = fixture.stored();
    let revisions = "QubesValueError: Invalid value for revisions_to_keep";
    let switch = |word: &str| format!("QubesValueError: Invalid literal for boolean property: '{word}'");
    for (driver, option, said) in [
        ("file", "revisions_to_keep=x", revisions.to_owned()),
        ("file", "revisions_to_keep=-2", revisions.to_owned()),
        ("file-reflink", "revisions_to_keep=", revisions.to_owned()),
        ("file-reflink", "revisions_to_keep= 1", revisions.to_owned()),
        (
            "file",
            "revisions_to_keep=2",
            "QubesNotImplementedError: FilePool supports maximum 1 volume revision to keep".to_owned(),
        ),
        ("file", "ephemeral_volatile=true", switch("true")),
        ("file-reflink", "ephemeral_volatile=yes", switch("yes")),
        ("file-reflink", "setup_check=maybe", switch("maybe")),
        ("file-reflink", "setup_check=50%s", switch("50%%s")),
        ("file", "ephemeral_volatile=\0", "QubesValueError: Invalid value for ephemeral_volatile".to_owned()),
    ] {
        let payload = format!("name=a\ndir_path=/var/lib/qubes/a\n{option}");
        assert_eq!(fixture.refused(&format!("{ADD}+{driver}"), "dom0", payload), said);
    }
    let missing = fixture.refused("admin.pool.Add+file", "dom0", "name=a\ndir_path=/no/parent");
    assert_eq!(
        missing,
        "StoragePoolException: making the pool's directory: No such file or directory (os error 2)"
    );
    std::fs::write(fixture.path("/file"), "").unwrap();
    let a_file = fixture.refused("admin.pool.Add+file", "dom0", "name=a\ndir_path=/file");
    assert_eq!(a_file, "StoragePoolException: making the pool's directory: File exists (os error 17)");
    assert!(!fixture.path("/var/lib/qubes/a").exists());
    assert!(fixture.stored() == before && fixture.events().is_empty());
}

#[test]
fn a_pool_without_a_name_is_dropped() {
    let fixture = Fixture::new();
    let reply = fixture.call("admin.pool.Add+file", "dom0", "name=\ndir_path=/var/lib/qubes/pe\n");
    assert_eq!(readable(&reply), "");
    assert!(!fixture.path("/var/lib/qubes/pe").exists());
}

#[test]
fn a_directory_that_cannot_share_blocks_is_refused_and_goes_again() {
    let fixture = Fixture::new();
    let shares = common::storage::supports_clone(&fixture.path("/var/lib/qubes"));
    let directory = fixture.path("/var/lib/qubes/p4");
    let add = |options: &str| {
        let payload = format!("name=p4\ndir_path=/var/lib/qubes/p4\n{options}");
        readable(&fixture.call("admin.pool.Add+file-reflink", "dom0", payload))
    };
    if shares {
        assert_eq!(add(""), "0·");
        assert!(directory.join("appvms").is_dir());
        return;
    }
    let refused = "2·StoragePoolException··The filesystem for '/var/lib/qubes/p4' does not support reflinks. If you \
        can live with delays on VM startup/shutdown/etc. and wasted disk space, pass the 'setup_check=False' option.·";
    assert_eq!(add(""), refused);
    assert!(!directory.exists());
    std::fs::create_dir(&directory).unwrap();
    assert_eq!(add("setup_check=1"), refused);
    assert!(directory.exists(), "a directory that was there before stays");
    assert_eq!(add("setup_check=False"), "0·");
}

#[test]
fn settings_of_pools_are_changed_within_the_drivers_limits() {
    let fixture = Fixture::new();
    let call = "admin.pool.Set.revisions_to_keep";
    let too_low = "2·ProtocolError··Value can't be lower than -1·";
    let only_zero = "2·QubesValueError··LinuxKernel supports only revisions_to_keep=0·";
    let at_most_one = "2·QubesNotImplementedError··FilePool supports maximum 1 volume revision to keep·";
    for (payload, file, reflink, kernel) in [
        ("2", at_most_one, "0·", only_zero),
        ("1", "0·", "0·", only_zero),
        ("-1", "0·", "0·", only_zero),
        ("0", "0·", "0·", "0·"),
        ("-0", "0·", "0·", "0·"),
        ("-2", too_low, too_low, too_low),
    ] {
        for (pool, said) in [("test", file), ("varlibqubes", reflink), ("linux-kernel", kernel)] {
            let reply = readable(&fixture.call(&format!("{call}+{pool}"), "dom0", payload));
            assert_eq!(reply, said, "{pool} {payload}");
        }
    }
    for (payload, said) in [
        ("x", "contains non ASCII digits"),
        ("1\n", "contains non ASCII digits"),
        ("True", "contains non ASCII digits"),
        ("01", "contains spurious leading zeros"),
        ("99999999999999999999", "is bigger than 19 decimal digits"),
    ] {
        let refused = fixture.refused(&format!("{call}+test"), "dom0", payload);
        assert_eq!(refused, format!("ProtocolError: Revisions to keep {said}"));
        let unknown = fixture.refused(&format!("{call}+nopool"), "dom0", payload);
        assert_eq!(unknown, "PermissionDenied: Argument not in 'pools'");
    }
}

#[test]
fn a_changed_setting_shows_and_serves_new_volumes() {
    let fixture = Fixture::new();
    fixture.ok("admin.pool.Set.revisions_to_keep+test", "dom0", "-1");
    fixture.ok("admin.pool.Set.ephemeral_volatile+test", "dom0", "YES");
    let lines = settings(&fixture, "test");
    assert!(lines.contains(&"revisions_to_keep=-1".to_owned()), "{lines:?}");
    assert!(lines.contains(&"ephemeral_volatile=True".to_owned()), "{lines:?}");
    fixture.ok("admin.vm.CreateInPool.AppVM", "dom0", "name=new label=red pool:private=test");
    let private = |qube: &str| {
        fixture.qube(qube).volumes.iter().find(|v| v.name.as_str() == "private").cloned().unwrap()
    };
    assert_eq!(private("new").revisions_to_keep, -1);
    fixture.ok("admin.pool.Set.revisions_to_keep+test", "dom0", "1");
    assert_eq!(private("new").revisions_to_keep, -1, "a volume keeps its own value");
}

#[test]
fn whether_volatile_volumes_are_encrypted_is_a_switch() {
    let fixture = Fixture::new();
    for pool in ["test", "varlibqubes", "linux-kernel"] {
        let call = format!("admin.pool.Set.ephemeral_volatile+{pool}");
        for payload in ["True", "0", "on", "no"] {
            assert_eq!(fixture.ok(&call, "dom0", payload), "");
        }
        for payload in [&b"maybe"[..], b"1 ", b"\xff"] {
            assert_eq!(
                fixture.refused(&call, "dom0", payload),
                "ProtocolError: Payload is not boolean ASCII"
            );
        }
    }
    let unknown = fixture.refused("admin.pool.Set.ephemeral_volatile+nopool", "dom0", "maybe");
    assert_eq!(unknown, "PermissionDenied: Argument not in 'pools'");
    let kernels = fixture.ok("admin.pool.Info+linux-kernel", "dom0", "");
    assert!(!kernels.contains("ephemeral"), "{kernels}");
    assert!(fixture.events().is_empty());
}

#[test]
fn a_pool_is_forgotten_and_its_data_stay() {
    let fixture = Fixture::new();
    std::fs::write(fixture.path("/var/lib/qubes/test/data"), "").unwrap();
    let events = fixture.events_of(|fixture| {
        assert_eq!(fixture.ok("admin.pool.Remove+test", "dom0", ""), "");
    });
    assert_eq!(events, [" pool-pre-delete pool=test", " pool-delete pool=test"]);
    assert_eq!(fixture.ok("admin.pool.List", "dom0", ""), "varlibqubes\nlinux-kernel\n");
    assert!(fixture.path("/var/lib/qubes/test/data").exists());
    fixture.ok("admin.pool.Add+file", "dom0", "name=test\ndir_path=/var/lib/qubes/test");
}

#[test]
fn of_two_pools_of_one_name_added_at_once_one_is() {
    let fixture = Fixture::new();
    for round in 0..10 {
        let add = |which: &str| {
            let file = fixture.path(&format!("/request-{which}"));
            let options = format!("name=p{round}\ndir_path=/var/lib/qubes/{which}{round}");
            std::fs::write(&file, format!("admin.pool.Add+file dom0 name dom0\0{options}")).unwrap();
            let request = std::fs::File::open(&file).unwrap();
            fixture.command("admin.pool.Add").stdin(request).spawn().unwrap()
        };
        let replies = [add("a"), add("b")].map(|call| readable(&call.wait_with_output().unwrap().stdout));
        let refused = format!("2·QubesPoolInUseError··Storage pool is in use: 'p{round}'·");
        let mut sorted = replies.clone();
        sorted.sort();
        assert_eq!(sorted, ["0·".to_owned(), refused], "{replies:?}");
        let listed = fixture.ok("admin.pool.List", "dom0", "");
        assert_eq!(listed.lines().filter(|pool| **pool == format!("p{round}")).count(), 1);
    }
}

#[test]
fn a_pool_in_use_stays() {
    let fixture = Fixture::new();
    fixture.ok("admin.vm.Create.RemoteVM", "dom0", "name=far label=red");
    let in_use = |pool: &str| fixture.refused(&format!("admin.pool.Remove+{pool}"), "dom0", "");
    let by = |what: &str| format!("QubesPoolInUseError: Storage pool is in use: {what}");
    assert_eq!(in_use("varlibqubes"), by("'varlibqubes'"));
    assert_eq!(in_use("linux-kernel"), by("'linux-kernel'"));
    let defaults =
        ["", "_kernel", "_private", "_root", "_volatile"].map(|volume| format!("default_pool{volume}"));
    for property in &defaults {
        fixture.ok(&format!("admin.property.Set+{property}"), "dom0", "test");
    }
    for property in &defaults {
        assert_eq!(in_use("test"), by(&format!("set as {property}")));
        fixture.ok(&format!("admin.property.Set+{property}"), "dom0", "varlibqubes");
    }
    fixture.ok("admin.vm.CreateInPool.AppVM", "dom0", "name=new label=red pool:private=test");
    assert_eq!(in_use("test"), by("'test'"));
    fixture.ok("admin.vm.Remove", "new", "");
    let events = fixture.events().into_iter().filter(|event| event.starts_with(" pool-")).count();
    assert_eq!(events, 0, "a refused removal is not announced");
    fixture.ok("admin.pool.Remove+test", "dom0", "");
}

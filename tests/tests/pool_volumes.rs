//! Volumes told by pool and identifier (spec 20 §3).
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::indexing_slicing, reason = "test code")]

use tests::Fixture;
use tests::fixture::readable;
use tests::pools::{add_callback, add_lvm, add_zfs, committed, read, rewrite, volume};
use tests::volumes::stream;

const POOL: &str = "admin.pool.volume";
const CALLS: [&str; 10] = [
    "Info",
    "ListSnapshots",
    "Snapshot",
    "Revert",
    "Resize",
    "CloneFrom",
    "CloneTo",
    "Set.revisions_to_keep",
    "Set.rw",
    "Set.ephemeral",
];

#[test]
fn a_pool_lists_its_volumes() {
    let fixture = Fixture::new();
    let list = |pool: &str| fixture.ok(&format!("{POOL}.List+{pool}"), "dom0", "");
    assert_eq!(list("test"), "");
    assert_eq!(list("linux-kernel"), "1.0\n");
    let volumes =
        |home: &str| ["root", "private", "volatile"].map(|name| format!("{home}/{name}\n")).concat();
    let all = [volumes("vm-templates/test-template"), volumes("appvms/test-net"), volumes("appvms/test-vm1")];
    let mut listed: Vec<String> = list("varlibqubes").lines().map(|line| format!("{line}\n")).collect();
    assert_eq!(listed.get(..3).unwrap().concat(), all[0], "a template comes before what is based on it");
    listed.sort();
    let mut all: Vec<String> = all.concat().lines().map(|line| format!("{line}\n")).collect();
    all.sort();
    assert_eq!(listed, all);
    std::fs::remove_dir_all(fixture.path("/var/lib/qubes/vm-kernels")).unwrap();
    assert_eq!(readable(&fixture.call(&format!("{POOL}.List+linux-kernel"), "dom0", "")), "");
}

#[test]
fn thin_pools_list_what_nobody_owns_and_no_revisions() {
    let fixture = Fixture::new();
    add_lvm(&fixture);
    fixture.ok("admin.vm.CreateInPool.AppVM", "dom0", "name=new label=red pool:private=lvm");
    rewrite(&fixture, &volume(&fixture, "new", "private"), "one");
    std::fs::write(fixture.path("/lvm/vg/somebodys"), "pool\n").unwrap();
    let listed = fixture.ok(&format!("{POOL}.List+lvm"), "dom0", "");
    assert_eq!(listed, "vg/somebodys\nvg/vm-new-private\n");
}

#[test]
fn what_nobody_owns_is_told_of_but_not_touched() {
    let fixture = Fixture::new();
    add_lvm(&fixture);
    std::fs::create_dir_all(fixture.path("/dev/vg")).unwrap();
    std::fs::write(fixture.path("/lvm/vg/root"), "pool\n").unwrap();
    std::fs::write(fixture.path("/lvm/vg/root-7-back"), "pool\n").unwrap();
    std::fs::write(fixture.path("/dev/vg/root"), [1; 4096]).unwrap();
    let ask = |call: &str, pool: &str, vid: &str| fixture.ok(&format!("{POOL}.{call}+{pool}"), "dom0", vid);
    let told = "pool=lvm\nvid=vg/root\nsize=4096\nusage=1024\nrw=True\nsource=\npath=/dev/mapper/vg-root\n\
        save_on_stop=True\nsnap_on_start=False\nrevisions_to_keep=0\nephemeral=False\nis_outdated=False\n";
    assert_eq!(ask("Info", "lvm", "vg/root"), told);
    assert_eq!(ask("ListSnapshots", "lvm", "vg/root"), "7-back\n");
    std::fs::create_dir_all(fixture.path("/var/lib/qubes/vm-kernels/2.0")).unwrap();
    let kernel = "pool=linux-kernel\nvid=2.0\nsize=0\nusage=0\nrw=False\nsource=\n\
        path=/var/lib/qubes/vm-kernels/2.0/modules.img\nsave_on_stop=False\nsnap_on_start=False\n\
        revisions_to_keep=0\nephemeral=False\nis_outdated=False\n";
    assert_eq!(ask("Info", "linux-kernel", "2.0"), kernel);
    let before = fixture.files();
    for (call, data) in [
        ("Snapshot", ""),
        ("Revert", " 7-back"),
        ("Resize", " 1"),
        ("CloneFrom", ""),
        ("CloneTo", " abcdefghijklmnopqrstuvwxyz012345"),
        ("Set.rw", " no"),
        ("Set.revisions_to_keep", " 1"),
        ("Set.ephemeral", " no"),
    ] {
        let refused = fixture.refused(&format!("{POOL}.{call}+lvm"), "dom0", format!("vg/root{data}"));
        assert_eq!(refused, "StoragePoolException: Volume vg/root belongs to no qube", "{call}");
    }
    let after: Vec<_> = fixture.files().into_iter().filter(|(path, _)| !path.ends_with("lvm.log")).collect();
    assert_eq!(after, before.into_iter().filter(|(path, _)| !path.ends_with("lvm.log")).collect::<Vec<_>>());
}

#[test]
fn every_call_checks_its_request() {
    let fixture = Fixture::new();
    let safe = "ProtocolError: Volume ID must be in safe set: \
        abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:@";
    for call in CALLS.map(|call| format!("{POOL}.{call}")) {
        let refused =
            |argument: &str, payload: &[u8]| fixture.refused(&format!("{call}{argument}"), "dom0", payload);
        assert_eq!(refused("", b"x 1"), "ProtocolError: expected an argument", "{call}");
        assert_eq!(refused("+test", b""), "ProtocolError: expected payload", "{call}");
        for bad in [&b"a*b 1"[..], b" 1", b"\xff 1", b"a\nb 1"] {
            assert_eq!(refused("+test", bad), safe, "{call}");
        }
        let elsewhere = fixture.refused(&format!("{call}+test"), "test-vm1", "x 1");
        assert_eq!(elsewhere, "ProtocolError: expected destination to be AdminVM", "{call}");
        let takes_data =
            !["Info", "ListSnapshots", "Snapshot", "CloneFrom"].iter().any(|name| call.ends_with(name));
        let payload = if takes_data { &b"appvms/x 1"[..] } else { b"appvms/x" };
        assert_eq!(refused("+nopool", payload), "PermissionDenied: Argument not in 'pools'", "{call}");
        assert_eq!(refused("+test", payload), "PermissionDenied: Argument not in 'test volumes'", "{call}");
        let other = if takes_data { &b"appvms/x"[..] } else { b"appvms/x 1" };
        let said = if takes_data { "ProtocolError: expected payload" } else { safe };
        assert_eq!(refused("+test", other), said, "{call}");
    }
    let list = format!("{POOL}.List");
    assert_eq!(fixture.refused(&list, "dom0", ""), "ProtocolError: expected an argument");
    assert_eq!(fixture.refused(&format!("{list}+test"), "dom0", "x"), "ProtocolError: unexpected payload");
    assert_eq!(
        fixture.refused(&format!("{list}+x"), "dom0", ""),
        "PermissionDenied: Argument not in 'pools'"
    );
    let elsewhere = fixture.refused(&format!("{list}+test"), "test-vm1", "");
    assert_eq!(elsewhere, "ProtocolError: expected destination to be AdminVM");
}

#[test]
fn a_volume_is_the_same_by_pool_and_by_qube() {
    let fixture = Fixture::new();
    add_lvm(&fixture);
    add_zfs(&fixture);
    add_callback(&fixture, "");
    for pool in ["varlibqubes", "lvm", "zfs", "callback"] {
        let qube = format!("of-{pool}");
        fixture.ok(
            "admin.vm.CreateInPool.AppVM",
            "dom0",
            format!("name={qube} label=red pool:private={pool}"),
        );
        let private = volume(&fixture, &qube, "private");
        let ok = |call: &str, data: &str| {
            fixture.ok(&format!("{POOL}.{call}+{pool}"), "dom0", format!("{}{data}", private.vid))
        };
        ok("Resize", " 8192");
        assert_eq!(ok("Info", ""), fixture.ok("admin.vm.volume.Info+private", &qube, ""), "{pool}");
        assert!(ok("Info", "").contains("\nsize=8192\n"), "{pool}");
        rewrite(&fixture, &private, "one");
        let id = ok("Snapshot", "");
        let listed = ok("ListSnapshots", "");
        assert_eq!(listed, fixture.ok("admin.vm.volume.ListSnapshots+private", &qube, ""), "{pool}");
        assert!(listed.lines().any(|line| line == id), "{pool}: {id} in {listed}");
        fixture.ok("admin.vm.volume.Set.revisions_to_keep+private", &qube, "3");
        rewrite(&fixture, &volume(&fixture, &qube, "private"), "two");
        ok("Revert", &format!(" {id}"));
        assert_eq!(committed(&fixture, &private), "one", "{pool}");
        ok("Set.rw", " no");
        ok("Set.revisions_to_keep", " 2");
        ok("Set.ephemeral", " False");
        let set = volume(&fixture, &qube, "private");
        assert_eq!((set.rw, set.revisions_to_keep, set.ephemeral), (false, 2, Some(false)), "{pool}");
    }
}

#[test]
fn tokens_serve_both_forms() {
    let fixture = Fixture::new();
    for qube in ["one", "two"] {
        fixture.ok("admin.vm.Create.AppVM", "dom0", format!("name={qube} label=red"));
        fixture.ok("admin.vm.volume.Resize+private", qube, "8192");
    }
    rewrite(&fixture, &volume(&fixture, "one", "private"), "one");
    let token = fixture.ok(&format!("{POOL}.CloneFrom+varlibqubes"), "dom0", "appvms/one/private");
    let events = fixture.events_of(|fixture| {
        fixture.ok(&format!("{POOL}.CloneTo+varlibqubes"), "dom0", format!("appvms/two/private {token}"));
    });
    assert_eq!(events, ["two domain-import-volume name=private source=appvms/one/private"]);
    assert_eq!(committed(&fixture, &volume(&fixture, "two", "private")), "one");
    let again = fixture.refused(
        &format!("{POOL}.CloneTo+varlibqubes"),
        "dom0",
        format!("appvms/two/private {token}"),
    );
    assert!(again.starts_with("QubesVolumeCopyTokenNotFoundError: "), "{again}");
    let token = fixture.ok("admin.vm.volume.CloneFrom+private", "two", "");
    fixture.ok(&format!("{POOL}.CloneTo+varlibqubes"), "dom0", format!("appvms/one/private {token}"));
}

#[test]
fn what_holds_for_a_qubes_volume_holds_by_pool() {
    let fixture = Fixture::new();
    let _domain = fixture.domain("test-vm1", "Running");
    let refused = |call: &str, pool: &str, payload: &str| {
        fixture.refused(&format!("{POOL}.{call}+{pool}"), "dom0", payload)
    };
    let running = "QubesVMNotHaltedError: Domain is not powered off: 'test-vm1'";
    assert_eq!(refused("Set.rw", "varlibqubes", "appvms/test-vm1/private no"), running);
    assert_eq!(
        refused("Resize", "varlibqubes", "appvms/test-vm1/private x"),
        "ProtocolError: Volume size contains non ASCII digits"
    );
    assert_eq!(
        refused("Set.revisions_to_keep", "linux-kernel", "1.0 1"),
        "QubesValueError: LinuxModules supports only revisions_to_keep=0"
    );
    let import = refused("Import", "varlibqubes", "appvms/test-vm1/private\n");
    assert_eq!(import, "ProtocolError: no such method: 'admin.pool.volume.Import'");
}

/// An import by pool as qrexec starts it: exit status and answer.
fn import(fixture: &Fixture, pool: &str, payload: &[u8]) -> (i32, String) {
    let mut command = stream(fixture, "admin.pool.volume.Import", pool, payload);
    let output = command.env("QREXEC_REQUESTED_TARGET", "dom0").output().unwrap();
    (output.status.code().unwrap(), readable(&output.stdout))
}

fn with_vid(vid: &str, data: &[u8]) -> Vec<u8> {
    [vid.as_bytes(), b"\n", data].concat()
}

#[test]
fn an_import_by_pool_is_one_of_the_qube_that_has_the_volume() {
    let fixture = Fixture::new();
    add_lvm(&fixture);
    add_zfs(&fixture);
    add_callback(&fixture, "");
    for pool in ["varlibqubes", "test", "lvm", "zfs", "callback"] {
        let qube = format!("of-{pool}");
        let payload = format!("name={qube} label=red pool:private={pool}");
        fixture.ok("admin.vm.CreateInPool.AppVM", "dom0", payload);
        fixture.ok("admin.vm.volume.Resize+private", &qube, "8192");
        let private = volume(&fixture, &qube, "private");
        let data = [b"imported".as_slice(), &[0; 8184]].concat();
        let events = fixture.events_of(|fixture| {
            assert_eq!(import(fixture, pool, &with_vid(&private.vid, &data)), (0, "0·".to_owned()), "{pool}");
        });
        let told = ["begin volume=private size=8192", "end volume=private success=True"];
        assert_eq!(events, told.map(|event| format!("{qube} domain-volume-import-{event}")));
        assert_eq!(committed(&fixture, &private), "imported", "{pool}");
        let (status, said) = import(&fixture, pool, &with_vid(&private.vid, &data[1..]));
        assert_eq!(status, 0);
        assert!(said.contains("not enough data (copied 8191 bytes, expected 8192 bytes)"), "{said}");
        let _domain = fixture.domain(&qube, "Running");
        let (status, said) = import(&fixture, pool, &with_vid(&private.vid, &data));
        let running = format!("2·QubesVMNotHaltedError··Domain is not powered off: '{qube}'·");
        assert_eq!((status, said), (1, running));
        assert_eq!(committed(&fixture, &private), "imported", "{pool}");
    }
}

/// A volume of 8192 bytes in each pool that can tell of volumes which no qube has.
fn unowned(fixture: &Fixture) -> [(&'static str, &'static str); 2] {
    add_lvm(fixture);
    add_zfs(fixture);
    let made = |program: &str, arguments: &[&str]| {
        let status =
            std::process::Command::new(fixture.path("/usr/sbin").join(program)).args(arguments).status();
        assert!(status.unwrap().success());
    };
    made("lvm", &["lvcreate", "--thin", "--name=loose", "--virtualsize=8192B", "--", "vg/pool"]);
    made("zfs", &["create", "-p", "-s", "-V", "8192", "tank/vms/loose/data"]);
    [("lvm", "vg/loose"), ("zfs", "tank/vms/loose/data")]
}

#[test]
fn a_volume_that_no_qube_has_is_filled_by_pool() {
    let fixture = Fixture::new();
    for (pool, vid) in unowned(&fixture) {
        let data = [b"imported".as_slice(), &[0; 8184]].concat();
        let content = || {
            read(&fixture.path(if pool == "lvm" { "/dev/vg/loose" } else { "/dev/zvol/tank/vms/loose/data" }))
        };
        let events = fixture.events_of(|fixture| {
            assert_eq!(import(fixture, pool, &with_vid(vid, &data)), (0, "0·".to_owned()), "{pool}");
            for bad in [&data[1..], &[data.as_slice(), b"x"].concat()] {
                let (status, said) = import(fixture, pool, &with_vid(vid, bad));
                assert!(status == 0 && said.contains("Data import failed"), "{pool}: {said}");
            }
        });
        assert_eq!(events, [""; 0]);
        assert_eq!(content(), "imported", "{pool}");
        let is_room = |path: &str| path.ends_with("-import") || path.contains("/.importing/");
        assert!(!fixture.files().keys().any(|path| is_room(&path.to_string_lossy())), "{pool}");
    }
    // What somebody uses, as dom0 its own, is left alone.
    std::fs::write(fixture.path("/lvm-open"), "vg/loose").unwrap();
    let in_use = "2·StoragePoolException··Cannot import data to volume vg/loose, which is in use·";
    assert_eq!(import(&fixture, "lvm", &with_vid("vg/loose", &[1; 8192])), (1, in_use.to_owned()));
    assert_eq!(read(&fixture.path("/dev/vg/loose")), "imported");
}

#[test]
fn an_import_by_pool_checks_its_request_first() {
    let fixture = Fixture::new();
    unowned(&fixture);
    let exception = |class: &str, text: &str| (1, format!("2·{class}··{text}·"));
    let safe = "Volume ID must be in safe set: \
        abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:@";
    for bad in [&b"a*b\nx"[..], b" x\nx", b"\xff\nx", b"\nx"] {
        assert_eq!(import(&fixture, "lvm", bad), exception("ProtocolError", safe), "{bad:?}");
    }
    for none in [&b""[..], b"vg/loose", &[b'a'; 2000]] {
        assert_eq!(import(&fixture, "lvm", none), exception("ProtocolError", "expected payload"));
    }
    let denied = |reason: &str| exception("PermissionDenied", &format!("Argument not in '{reason}'"));
    assert_eq!(import(&fixture, "nopool", b"vg/loose\nx"), denied("pools"));
    for (pool, vid) in [
        ("lvm", "vg/nothing"),
        ("lvm", "vg/plain"),
        ("lvm", "vg/pool"),
        ("zfs", "tank/vms"),
        ("zfs", "tank/vms/loose"),
    ] {
        assert_eq!(import(&fixture, pool, &with_vid(vid, b"x")), denied(&format!("{pool} volumes")), "{vid}");
    }
    assert_eq!(import(&fixture, "", b"x\nx"), exception("ProtocolError", "expected an argument"));
    let told = fixture.refused("admin.pool.volume.Import+lvm", "dom0", "vg/loose\nx");
    assert_eq!(told, "ProtocolError: no such method: 'admin.pool.volume.Import'");
}

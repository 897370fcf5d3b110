//! Volumes encrypted with a throw-away key, with a stand-in for `cryptsetup` (spec 20 §6.5).
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::indexing_slicing, reason = "test code")]

use std::path::{Path, PathBuf};

use tests::Fixture;
use tests::in_use::{marked, start_all, stop_all};
use tests::pools::{
    add_callback, add_lvm, add_zfs, commands, configure_callback, install_cryptsetup, read, volume, write,
};

const POOLS: [&str; 4] = ["varlibqubes", "lvm", "zfs", "callback"];
/// Long enough to show what of it is cleared.
const SIZE: usize = 131_072;

/// A qube `a-b_c` whose volatile volume lies in a pool.
fn with_qube(pool: &str) -> Fixture {
    let fixture = Fixture::new();
    install_cryptsetup(&fixture);
    match pool {
        "lvm" => add_lvm(&fixture),
        "zfs" => add_zfs(&fixture),
        "callback" => add_callback(&fixture, ""),
        _ => {}
    }
    let payload = format!("name=a-b_c label=red pool:volatile={pool}");
    fixture.ok("admin.vm.CreateInPool.StandaloneVM", "dom0", payload);
    fixture.ok("admin.vm.volume.Resize+volatile", "a-b_c", SIZE.to_string());
    fixture
}

fn encrypt(fixture: &Fixture) {
    fixture.ok("admin.vm.volume.Set.ephemeral+volatile", "a-b_c", "True");
}

/// Where the domain gets its volatile volume, or why there is none.
fn started(fixture: &Fixture) -> Result<PathBuf, String> {
    let started = start_all(fixture, "a-b_c")?;
    let volatile = started.into_iter().find(|started| started.volume.name.as_str() == "volatile");
    Ok(volatile.unwrap().path)
}

fn mapping(fixture: &Fixture, pool: &str) -> PathBuf {
    let name = match pool {
        "lvm" => "vg-vm--a--b_c--volatile@crypt",
        _ => "vm-volatile-a_db_uc-crypt@volatile",
    };
    fixture.path("/dev/mapper").join(name)
}

fn is_clear(device: &Path) -> bool {
    let content = std::fs::read(device).unwrap();
    assert_eq!(content.len(), SIZE);
    let (head, rest) = content.split_at(65_536);
    head.iter().all(|byte| *byte == 0) && rest.iter().all(|byte| *byte == 0xee)
}

#[test]
fn what_a_domain_writes_goes_through_a_mapping_with_a_key_of_its_own() {
    for pool in POOLS {
        let fixture = with_qube(pool);
        let plain = started(&fixture).unwrap();
        stop_all(&fixture, "a-b_c");
        assert_eq!(commands(&fixture, "cryptsetup"), [""; 0], "{pool}");
        encrypt(&fixture);
        let device = started(&fixture).unwrap();
        assert_eq!(device, mapping(&fixture, pool));
        assert!(is_clear(&device), "{pool}");
        let (name, plain) = (device.file_name().unwrap().display(), plain.display());
        let opened =
            format!("--key-file=/dev/urandom --cipher=aes-xts-plain64 --type=plain -- open {plain} {name}");
        assert_eq!(commands(&fixture, "cryptsetup"), [opened]);
        write(&device, "secret");
        stop_all(&fixture, "a-b_c");
        assert_eq!(commands(&fixture, "cryptsetup"), [format!("-- close {name}")]);
        assert_eq!(marked(&fixture, "a-b_c"), [""; 0], "{pool}");
        assert_eq!(read(&started(&fixture).unwrap()), "", "{pool}");
    }
}

#[test]
fn a_pool_says_it_of_its_volatile_volumes_and_a_callback_pools_back_end_of_them() {
    let fixture = with_qube("varlibqubes");
    fixture.ok("admin.pool.Set.ephemeral_volatile+varlibqubes", "dom0", "True");
    assert_eq!(started(&fixture).unwrap(), mapping(&fixture, "varlibqubes"));
    assert_eq!(commands(&fixture, "cryptsetup").len(), 1, "no other volume is encrypted");
    fixture.ok("admin.pool.Set.ephemeral_volatile+varlibqubes", "dom0", "False");
    stop_all(&fixture, "a-b_c");
    assert!(!mapping(&fixture, "varlibqubes").exists(), "what was encrypted at its start is closed");
    let fixture = with_qube("callback");
    configure_callback(&fixture, "");
    let settings = fixture.path("/etc/qubes_callback.json");
    let text = std::fs::read_to_string(&settings).unwrap();
    std::fs::write(
        &settings,
        text.replace("\"setup_check\"", "\"ephemeral_volatile\": true, \"setup_check\""),
    )
    .unwrap();
    assert_eq!(started(&fixture).unwrap(), mapping(&fixture, "callback"));
}

#[test]
fn a_mapping_that_was_left_is_closed_and_made_anew() {
    for pool in POOLS {
        let fixture = with_qube(pool);
        encrypt(&fixture);
        write(&started(&fixture).unwrap(), "secret");
        commands(&fixture, "cryptsetup");
        assert_eq!(read(&started(&fixture).unwrap()), "", "{pool}");
        let actions: Vec<bool> =
            commands(&fixture, "cryptsetup").iter().map(|said| said.starts_with("-- close ")).collect();
        assert_eq!(actions, [true, false], "{pool}");
    }
}

#[test]
fn a_volume_that_cannot_be_encrypted_is_not_used_in_the_clear() {
    for pool in POOLS {
        let fixture = with_qube(pool);
        let plain = started(&fixture).unwrap();
        stop_all(&fixture, "a-b_c");
        encrypt(&fixture);
        std::fs::write(fixture.path("/cryptsetup.fail"), "open").unwrap();
        let told = "StoragePoolException: Device is _[31m busy %";
        assert_eq!(started(&fixture).unwrap_err(), told, "{pool}");
        assert_eq!(marked(&fixture, "a-b_c"), [""; 0], "{pool}");
        assert!(!plain.exists(), "{pool}");
    }
}

#[test]
fn a_mapping_in_use_keeps_its_volume_and_no_other() {
    let fixture = with_qube("varlibqubes");
    encrypt(&fixture);
    let device = started(&fixture).unwrap();
    std::fs::write(fixture.path("/cryptsetup.fail"), "close").unwrap();
    stop_all(&fixture, "a-b_c");
    assert_eq!(marked(&fixture, "a-b_c"), ["volatile"]);
    assert!(device.exists() && fixture.path("/var/lib/qubes/appvms/a-b_c/volatile-dirty.img").exists());
    std::fs::remove_file(fixture.path("/cryptsetup.fail")).unwrap();
    stop_all(&fixture, "a-b_c");
    assert_eq!(marked(&fixture, "a-b_c"), [""; 0]);
}

#[test]
fn a_removed_qube_leaves_no_mapping() {
    let fixture = with_qube("lvm");
    encrypt(&fixture);
    let device = started(&fixture).unwrap();
    assert_eq!(volume(&fixture, "a-b_c", "volatile").ephemeral, Some(true));
    fixture.ok("admin.vm.Remove", "a-b_c", "");
    assert!(!device.exists());
}

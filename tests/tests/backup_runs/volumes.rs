//! Volumes of drivers that make something for each export, or export what a domain would write to.

use tests::pools::{add_zfs, commands, volume};

use super::*;

/// Has a backup to a qube begun, whose service takes nothing; waits until a volume is exported for it.
fn stuck(fixture: &Fixture, qube: &str) -> Child {
    services(fixture, "", "exec cat \"$root/never\"");
    let text = format!("include: [{qube}]\npassphrase_text: \"{SECRET}\"\ncompression: no\n");
    fixture.profile("p", &format!("destination_vm: net\ndestination_path: /x\n{text}"));
    let call = calling(fixture, EXECUTE, "dom0");
    exported(fixture);
    call
}

/// Whether some work on a qube has its lifecycle lock.
fn is_locked(fixture: &Fixture, qube: &str) -> bool {
    fixture.store().try_lock_lifecycle(&QubeName::parse(qube).unwrap()).unwrap().is_none()
}

#[test]
fn what_is_made_for_an_export_goes_with_it_also_where_the_run_is_killed() {
    let fixture = system();
    add_zfs(&fixture);
    fixture.ok("admin.vm.CreateInPool.AppVM+test-template", "dom0", "name=far label=red pool:private=zfs");
    fixture.ok("admin.vm.volume.Resize+private", "far", "262144");
    let private = volume(&fixture, "far", "private");
    fs::write(tests::pools::start(&fixture, &private), noise(6, 262_144)).unwrap();
    tests::pools::stop(&fixture, &private);
    to_folder(&fixture, "include: [far]");
    commands(&fixture, "zfs");
    fixture.ok(EXECUTE, "dom0", "");
    assert!(taken(&fixture).file(&format!("{}private.img", folder(&fixture, "far"))) == noise(6, 262_144));
    let made = |commands: &[String], what: &str| commands.iter().filter(|line| line.contains(what)).count();
    let told = commands(&fixture, "zfs");
    assert_eq!((made(&told, "zfs clone"), made(&told, "zfs destroy")), (1, 1), "{told:#?}");
    let _running = fixture.domain("net", "Running");
    let call = stuck(&fixture, "far");
    kill(process(&fixture, "qubes-backup"), Signal::SIGKILL).unwrap();
    startable::reply(call);
    let told = commands(&fixture, "zfs");
    assert_eq!((made(&told, "zfs clone"), made(&told, "zfs destroy")), (1, 0), "{told:#?}");
    // It may have been killed when its driver had made the clone and not told yet what it is.
    let note = fixture.path("/run/qubes/admin/backups/p.left");
    let text = fs::read_to_string(&note).unwrap();
    let (before, after) = text.split_once("\"path\":\"").unwrap();
    let unknown = format!("{before}\"path\":null{}", after.split_once('"').unwrap().1);
    to_folder(&fixture, "include: [work]");
    for text in [&text, &unknown] {
        fs::write(&note, text).unwrap();
        fixture.ok(EXECUTE, "dom0", "");
        let told = commands(&fixture, "zfs");
        assert_eq!((made(&told, "zfs clone"), made(&told, "zfs destroy")), (0, 1), "{told:#?}");
        taken(&fixture);
        // Another one that is left.
        tests::pools::driver(&fixture, "zfs").export(&private, false).unwrap();
        commands(&fixture, "zfs");
    }
}

#[test]
fn a_qube_whose_image_itself_is_read_does_not_start_meanwhile() {
    let fixture = system();
    fixture.ok("admin.vm.CreateInPool.AppVM+test-template", "dom0", "name=far label=red pool:private=test");
    let image = fixture.path("/var/lib/qubes/test/appvms/far/private.img");
    fs::write(&image, noise(4, 300_000)).unwrap();
    let _running = fixture.domain("net", "Running");
    // Without snapshots a domain would change the very image.
    fixture.ok("admin.vm.CreateInPool.AppVM+test-template", "dom0", "name=bare label=red");
    fixture.ok("admin.vm.volume.Set.revisions_to_keep+private", "bare", "-1");
    fs::write(super::image(&fixture, "bare"), noise(5, 300_000)).unwrap();
    for (qube, is_held) in [("far", true), ("bare", true), ("work", false)] {
        let call = stuck(&fixture, qube);
        until("the lock of a qube", || is_locked(&fixture, qube) == is_held);
        fixture.ok(CANCEL, "dom0", "");
        assert_eq!(startable::reply(call), "2·BackupCancelledError··Backup cancelled·");
        assert!(!is_locked(&fixture, qube));
    }
    to_folder(&fixture, "include: [far]");
    fixture.ok(EXECUTE, "dom0", "");
    assert!(taken(&fixture).file(&format!("{}private.img", folder(&fixture, "far"))) == noise(4, 300_000));
}

#[test]
fn a_qube_that_was_removed_is_restored_from_it() {
    let fixture = system();
    tests::tool::install(&fixture);
    fixture.ok("admin.vm.notes.Set", "work", "words");
    to_folder(&fixture, "include: [work]");
    fixture.ok(EXECUTE, "dom0", "");
    fixture.ok("admin.vm.Remove", "work", "");
    let secret = fixture.path("/passphrase");
    fs::write(&secret, format!("{SECRET}\n")).unwrap();
    let (secret, file) = (secret.display().to_string(), made(&fixture)[0].display().to_string());
    let output = tests::tool::tool(&fixture, &["restore", "--passphrase-file", &secret, &file]);
    assert!(output.status.success(), "{output:?}");
    assert!(fs::read(super::image(&fixture, "work")).unwrap() == noise(1, 200_000));
    assert_eq!(fixture.ok("admin.vm.notes.Get", "work", ""), "words");
    assert_eq!(fixture.ok("admin.vm.property.Get+netvm", "work", ""), "default=False type=vm net");
}

#[test]
fn a_backup_takes_little_memory_beside_what_its_keys_take() {
    /// Of one key at a time, and of one that is made beforehand.
    const KEYS: u64 = 256 << 10;
    const MOST: u64 = 64 << 10;
    let fixture = system();
    fs::write(super::image(&fixture, "work"), noise(5, 150 << 20)).unwrap();
    to_folder(&fixture, "include: [work]\ncompression: no");
    let mut peaks = [0, 0];
    let mut look = || {
        for (peak, program) in peaks.iter_mut().zip(["qubes-backup-writer", "qubes-backup"]) {
            for process in processes(&fixture, program) {
                let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
                let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
                let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
                *peak = kib.unwrap_or_default().max(*peak);
            }
        }
    };
    let store = fixture.store();
    let locked = store.lock_lifecycle(&QubeName::parse("work").unwrap()).unwrap();
    let call = calling(&fixture, EXECUTE, "dom0");
    process(&fixture, "qubes-backup-writer");
    look();
    drop(locked);
    until("a backup", || {
        look();
        !made(&fixture).is_empty()
    });
    assert_eq!(startable::reply(call), "0·");
    assert!(peaks[0] > 0 && peaks[0] < KEYS + MOST, "{peaks:?}");
    assert!(peaks[1] > 0 && peaks[1] < MOST, "{peaks:?}");
    fs::remove_file(&made(&fixture)[0]).unwrap();
}

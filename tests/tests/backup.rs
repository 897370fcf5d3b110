//! Backups as their profiles describe them (spec 40 §11 to §13).
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::indexing_slicing, reason = "test code")]

use tests::Fixture;
use tests::pools::{add_callback, add_lvm, add_zfs, commands};

const INFO: &str = "admin.backup.Info+p";
const DOM0: &str = "destination_vm: dom0\ndestination_path: /var/tmp/x\n";
const RULE: &str = "------------------+--------------+--------------+\n";

/// A root whose profile `p` goes to a file of dom0 and says this too.
fn described(said: &str) -> Fixture {
    let fixture = Fixture::new();
    fixture.profile("p", &format!("{DOM0}{said}"));
    fixture
}

/// The lines of qubes in a table, each without the space before it.
fn lines(table: &str) -> Vec<&str> {
    let rows = table.split(RULE).nth(2).unwrap();
    rows.lines().map(str::trim_start).collect()
}

/// The qubes that are not selected.
fn left_out(table: &str) -> Vec<&str> {
    let names = table.split_once("VMs not selected for backup:\n").unwrap().1;
    names.lines().map(|line| line.strip_prefix(" - ").unwrap()).collect()
}

#[test]
fn a_profile_is_described_as_a_table() {
    let fixture = described("include: [test-vm1]");
    let expected = format!(
        "{RULE}               VM |         type |         size |\n{RULE}         \
         test-vm1 |           VM |            0 |\n{RULE}      \
         Total size: |                           0 |\n{RULE}VMs not selected for backup:\n - dom0\n - test-net\n - \
         test-template\n"
    );
    assert_eq!(fixture.ok(INFO, "dom0", ""), expected);
}

#[test]
fn what_is_wrong_with_a_profile_is_told_in_order() {
    let fixture = Fixture::new();
    let said = |text: &str| {
        fixture.profile("p", text);
        fixture.refused(INFO, "dom0", "")
    };
    let invalid = |what: &str| format!("QubesException: Invalid backup profile - {what}");
    assert_eq!(
        fixture.refused(INFO, "dom0", ""),
        "QubesBackupProfileNotFoundError: Backup profile does not exist: p"
    );
    for no_map in ["", "- a", "text", "a: [", "a: b: c", "--- {a: b}\n--- {a: b}"] {
        assert_eq!(said(no_map), invalid("not a YAML map"), "{no_map}");
    }
    assert_eq!(said("{a: b}"), invalid("missing 'destination_vm'"));
    assert_eq!(said("destination_vm: nosuch"), invalid("missing 'destination_path'"));
    assert_eq!(said("destination_vm: nosuch\ndestination_path: /x"), invalid("missing 'include'"));
    for qube in ["nosuch", "../x", "", "[dom0]"] {
        let text = format!("destination_vm: {qube}\ndestination_path: /x\ninclude: 5");
        assert_eq!(said(&text), "QubesException: Invalid destination_vm specified in backup profile");
    }
    assert_eq!(said(&format!("{DOM0}include: test-vm1")), invalid("include is no list"));
    assert_eq!(said(&format!("{DOM0}include:\nexclude: 5")), invalid("exclude is no list"));
    assert_eq!(said(&format!("{DOM0}include: [[a]]")), invalid("include has an entry that is no text"));
    let absent = "QubesVMNotFoundError: No such domain: 'nosuch'";
    assert_eq!(said(&format!("{DOM0}include: [nosuch]")), absent);
    assert_eq!(said(&format!("{DOM0}include: []\nexclude: [nosuch]")), absent);
    fixture.profile("p", "");
    std::fs::write(fixture.path("/etc/qubes/backup/p.conf"), b"a: \xff").unwrap();
    assert_eq!(fixture.refused(INFO, "dom0", ""), invalid("not a YAML map"));
}

#[test]
fn a_profile_is_a_file_and_no_path() {
    let fixture = described("include: [test-vm1]");
    let slash = "ProtocolError: Backup profile ID must not contain forward slash character";
    assert_eq!(fixture.refused("admin.backup.Info+../backup/p", "dom0", ""), slash);
    let absent = fixture.refused("admin.backup.Info+..", "dom0", "");
    assert_eq!(absent, "QubesBackupProfileNotFoundError: Backup profile does not exist: ..");
    let long = "x".repeat(300);
    let absent = fixture.refused(&format!("admin.backup.Info+{long}"), "dom0", "");
    assert_eq!(absent, format!("QubesBackupProfileNotFoundError: Backup profile does not exist: {long}"));
}

#[test]
fn lists_name_qubes_tags_and_classes_in_both_forms() {
    let fixture = Fixture::new();
    fixture.ok("admin.vm.tag.Set+kept", "test-net", "");
    let included = |said: &str| {
        fixture.profile("p", &format!("{DOM0}{said}"));
        let table = fixture.ok(INFO, "dom0", "");
        lines(&table).iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(included("include: [test-vm1, test-net, test-vm1]"), ["test-net", "test-vm1"]);
    assert_eq!(included("include: ['@type:AppVM']"), ["test-net", "test-vm1"]);
    assert_eq!(included("include: [$type:TemplateVM]"), ["test-template"]);
    assert_eq!(included("include: ['@tag:kept', $tag:none]"), ["test-net"]);
    assert_eq!(included("include:\n- $tag:kept\n- test-vm1\nexclude:\n- '@tag:kept'\n"), ["test-vm1"]);
    assert_eq!(included("include: [test-net]\nexclude: [$type:AppVM]"), [""; 0]);
}

#[test]
fn without_a_list_those_are_backed_up_that_say_so() {
    let fixture = described("include:\nexclude: [dom0]");
    fixture.ok("admin.vm.property.Set+include_in_backups", "test-net", "False");
    assert_eq!(left_out(&fixture.ok(INFO, "dom0", "")), ["dom0", "test-net"]);
    fixture.ok("admin.vm.property.Set+include_in_backups", "test-net", "True");
    assert_eq!(left_out(&fixture.ok(INFO, "dom0", "")), ["dom0"]);
}

#[test]
fn kept_volumes_rules_and_notes_count() {
    let fixture = described("include: [test-vm1, test-template]");
    let image = fixture.path("/var/lib/qubes/appvms/test-vm1/private.img");
    std::fs::create_dir_all(image.parent().unwrap()).unwrap();
    std::fs::write(&image, vec![1; 3 << 20]).unwrap();
    std::fs::write(image.with_file_name("volatile.img"), vec![1; 1 << 20]).unwrap();
    assert_eq!(
        lines(&fixture.ok(INFO, "dom0", "")),
        ["test-template |  Template VM |            0 |", "test-vm1 |           VM |      3.0 MiB |"]
    );
    fixture.ok("admin.vm.notes.Set", "test-vm1", "words");
    fixture.ok("admin.vm.firewall.Set", "test-vm1", "action=accept");
    let table = fixture.ok(INFO, "dom0", "");
    assert_eq!(lines(&table)[1], "test-vm1 |           VM |      3.0 MiB |");
    std::fs::remove_file(&image).unwrap();
    let table = fixture.ok(INFO, "dom0", "");
    assert_eq!(lines(&table)[1], "test-vm1 |           VM |      8.0 KiB |");
    assert!(table.contains("      Total size: |                     8.0 KiB |\n"), "{table}");
}

/// AppVMs with their private volumes in a pool.
fn with_private_in(fixture: &Fixture, pool: &str, names: &[&str]) {
    for name in names {
        let told = format!("name={name} label=red pool:private={pool}");
        fixture.ok("admin.vm.CreateInPool.AppVM", "dom0", &told);
    }
}

#[test]
fn each_pool_is_asked_once_for_all_its_volumes() {
    let fixture = described("include: [one, two, three, four]");
    add_lvm(&fixture);
    add_zfs(&fixture);
    with_private_in(&fixture, "lvm", &["one", "two"]);
    with_private_in(&fixture, "zfs", &["three", "four"]);
    let _ = (commands(&fixture, "lvm"), commands(&fixture, "zfs"));
    assert_eq!(lines(&fixture.ok(INFO, "dom0", "")).len(), 4);
    for program in ["lvm", "zfs"] {
        let said = commands(&fixture, program);
        assert_eq!(said.len(), 1, "{said:?}");
    }
}

#[test]
fn a_pool_is_not_made_ready_to_be_looked_at() {
    let fixture = described("include: [one]");
    let made = fixture.path("/made-ready");
    add_callback(&fixture, &format!(r#", "pre_sinit": "echo >> {}""#, made.display()));
    with_private_in(&fixture, "callback", &["one"]);
    let image = fixture.path("/var/lib/qubes/back/appvms/one/private.img");
    std::fs::write(image, vec![1; 3 << 20]).unwrap();
    let size = || lines(&fixture.ok(INFO, "dom0", ""))[0].split('|').nth(2).unwrap().trim().to_owned();
    let times = || std::fs::read_to_string(&made).unwrap().len();
    assert_eq!((size(), times()), ("3.0 MiB".to_owned(), 1));
    // As a boot leaves it.
    std::fs::remove_file(fixture.path("/run/qubes/admin/callback-callback")).unwrap();
    assert_eq!((size(), times()), ("0".to_owned(), 1));
    fixture.ok("admin.vm.volume.Resize+private", "one", "3000000000");
    assert_eq!((size(), times()), ("3.0 MiB".to_owned(), 2));
}

#[test]
fn running_qubes_are_remarked_upon() {
    let fixture = described("include: ['@type:AppVM']");
    fixture.edit("test-net", |qube| qube.volumes.iter_mut().for_each(|volume| volume.revisions_to_keep = -1));
    let _running = [fixture.domain("test-vm1", "Running"), fixture.domain("test-net", "Paused")];
    assert_eq!(
        lines(&fixture.ok(INFO, "dom0", "")),
        [
            "test-net |           VM |            0 | <-- The VM is running and private volume snapshots are \
             disabled. Backup will fail!",
            "test-vm1 |           VM |            0 | <-- The VM is running, backup will contain its state from \
             before its start!",
        ]
    );
}

#[test]
fn each_qube_is_asked_for_further_files() {
    let fixture = described("include: [test-vm1, test-net]");
    let stored = fixture.stored();
    let events = fixture.events_of(|fixture| drop(fixture.ok(INFO, "dom0", "")));
    assert_eq!(events, ["test-net backup-get-files", "test-vm1 backup-get-files"]);
    assert_eq!(fixture.stored(), stored);
}

/// Accounts with a user of dom0, whose home has 64 KiB.
fn with_home(fixture: &Fixture) {
    std::fs::write(fixture.path("/etc/group"), "root:x:0:\nqubes:x:98:user,other\n").unwrap();
    let users = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/bash\n";
    std::fs::write(fixture.path("/etc/passwd"), users).unwrap();
    std::fs::create_dir_all(fixture.path("/home/user/below")).unwrap();
    std::fs::write(fixture.path("/home/user/below/file"), vec![1; 65_536]).unwrap();
}

#[test]
fn dom0_is_the_home_of_its_user() {
    let fixture = described("include: [dom0]");
    assert_eq!(
        fixture.refused(INFO, "dom0", ""),
        "QubesException: dom0 has no user in group qubes whose home directory could be backed up"
    );
    with_home(&fixture);
    let table = fixture.ok(INFO, "dom0", "");
    assert!(lines(&table)[0].starts_with("dom0 |    User home |     "), "{table}");
    let size = lines(&table)[0].split('|').nth(2).unwrap().trim().trim_end_matches(" KiB").to_owned();
    assert!((64.0..=96.0).contains(&size.parse::<f64>().unwrap()), "{table}");
    assert_eq!(fixture.events_of(|fixture| drop(fixture.ok(INFO, "dom0", ""))), [""; 0]);
}

#[test]
fn the_home_of_dom0_is_not_backed_up_into_itself() {
    let fixture = Fixture::new();
    with_home(&fixture);
    std::os::unix::fs::symlink("user", fixture.path("/home/link")).unwrap();
    let into = |qube: &str, path: &str| {
        fixture.profile("p", &format!("destination_vm: {qube}\ndestination_path: {path}\ninclude: [dom0]"));
        fixture.call(INFO, "dom0", "")
    };
    for path in ["/home/user", "/home/user/below", "/home/user/new", "/home/link/x", "/home/link/../user"] {
        let said = tests::fixture::refusal(&into("dom0", path));
        assert_eq!(said, "QubesException: Can not backup dom0 home directory to itself!", "{path}");
    }
    for (qube, path) in [("dom0", "/home"), ("dom0", "/home/user2"), ("test-vm1", "/home/user")] {
        assert!(into(qube, path).starts_with(b"0\0"), "{path}");
    }
}

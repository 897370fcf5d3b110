//! Backups to a file or folder of dom0.

use std::os::unix::fs::MetadataExt;
use std::process::Command;

use super::*;

#[test]
fn a_backup_in_a_folder_has_what_was_chosen() {
    let fixture = system();
    to_folder(&fixture, "include: [work, net]");
    fixture.ok("admin.vm.notes.Set", "work", "words");
    fixture.ok("admin.vm.firewall.Set", "work", "action=drop");
    let before = common::clock::seconds_now();
    let events = fixture.events_of(|fixture| assert_eq!(fixture.ok(EXECUTE, "dom0", ""), ""));
    let name = made(&fixture)[0].file_name().unwrap().to_str().unwrap().to_owned();
    let digits = name.strip_prefix("qubes-").unwrap();
    assert!(digits.len() == 17 && digits.as_bytes()[10] == b'T', "{name}");
    assert_eq!(made(&fixture)[0].metadata().unwrap().mode() & 0o777, 0o644);
    let restored = taken(&fixture);
    let [work, net] = ["work", "net"].map(|qube| folder(&fixture, qube));
    assert_eq!(
        restored.names(),
        [
            "qubes.xml",
            &format!("{net}private.img"),
            &format!("{work}private.img"),
            &format!("{work}firewall.xml"),
            &format!("{work}notes.txt"),
        ]
    );
    assert!(restored.file(&format!("{work}private.img")) == noise(1, 200_000));
    assert!(restored.file(&format!("{net}private.img")) == fs::read(image(&fixture, "net")).unwrap());
    assert_eq!(restored.file(&format!("{work}notes.txt")), b"words");
    assert!(restored.header.compressed && restored.header.filter == "gzip");
    let id = restored.header.id.as_str();
    assert!(id.len() > 16 && id.as_bytes()[8] == b'T' && id.as_bytes()[15] == b'-', "{id}");
    check_events(&fixture, &events, before);
    check_cleared(&fixture, &[]);
}

/// Progress at most once a second, then each qube gets its time.
fn check_events(fixture: &Fixture, events: &[String], before: u64) {
    assert_eq!(events[..2], ["net backup-get-files", "work backup-get-files"]);
    let (progress, told): (Vec<&String>, Vec<&String>) =
        events[2..].iter().partition(|event| event.contains("backup-progress"));
    let seconds = common::clock::seconds_now() - before;
    assert!((1..=seconds + 1).contains(&(progress.len() as u64)), "{progress:?}");
    for event in progress {
        let percent = event.strip_prefix(" backup-progress backup_profile=p progress=").unwrap();
        assert!(percent.contains('.') && (0.0..=100.0).contains(&percent.parse::<f64>().unwrap()), "{event}");
    }
    let expected = ["net", "work"].map(|qube| {
        let stamp = stamp(fixture, qube).strip_prefix("default=False type=int ").unwrap().to_owned();
        assert!(stamp.parse::<u64>().unwrap() >= before, "{stamp}");
        ["pre-set", "set"].map(|kind| {
            let details = format!("name=backup_timestamp newvalue={stamp} oldvalue=None");
            format!("{qube} property-{kind}:backup_timestamp {details}")
        })
    });
    assert_eq!(told, expected.iter().flatten().collect::<Vec<_>>());
}

#[test]
fn the_operators_tool_finds_it_whole() {
    let fixture = system();
    to_folder(&fixture, "include: [work]");
    fixture.ok(EXECUTE, "dom0", "");
    let passphrase = fixture.path("/passphrase");
    fs::write(&passphrase, format!("{SECRET}\n")).unwrap();
    let (passphrase, file) = (passphrase.display().to_string(), made(&fixture)[0].display().to_string());
    let scratch = std::env::temp_dir().display().to_string();
    let words = ["verify-backup", "--scratch", &scratch, "--passphrase-file", &passphrase, &file];
    let output = tests::tool::tool(&fixture, &words);
    let text = tests::tool::text(&output);
    assert!(output.status.success(), "{output:?}");
    assert!(text.contains("private.img 200000\n"), "{text}");
    assert!(text.lines().last().unwrap().starts_with("proven: 2 files, "), "{text}");
}

#[cfg_attr(not(scrypt), ignore = "needs the program scrypt")]
#[test]
fn the_programs_find_in_it_what_was_there() {
    let fixture = system();
    to_folder(&fixture, "include: [work]");
    fixture.ok(EXECUTE, "dom0", "");
    let id = Restored::of(&made(&fixture)[0]).header.id.as_str().to_owned();
    let member = format!("{}private.img.000", folder(&fixture, "work"));
    let script = "mkdir out && tar -xif \"$0\" -C out && \
                  SECRET=\"backup-header!$PASS\" scrypt dec -f --passphrase env:SECRET out/backup-header.hmac \
                  | cmp - out/backup-header && \
                  SECRET=\"$ID!$MEMBER!$PASS\" scrypt dec -f --passphrase env:SECRET \"out/$MEMBER.enc\" \
                  | gzip -d | tar -xf - -C out && cat \"out/${MEMBER%.000}\"";
    let work = tempfile::tempdir().unwrap();
    let mut shell = Command::new("bash");
    shell.args(["-euo", "pipefail", "-c", script]).arg(&made(&fixture)[0]).current_dir(work.path());
    let output = shell.env("PASS", SECRET).env("ID", id).env("MEMBER", member).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout == noise(1, 200_000));
}

#[test]
fn a_path_is_the_file_itself_whose_folder_must_be_there() {
    let fixture = system();
    let to = |path: &str| {
        let text = format!("destination_vm: dom0\ndestination_path: {path}\ninclude: [work]\n");
        fixture.profile("p", &format!("{text}passphrase_text: \"{SECRET}\""));
    };
    let path = format!("{FOLDER}/my backup");
    to(&path);
    fs::write(fixture.path(&path), "an older one").unwrap();
    fixture.ok(EXECUTE, "dom0", "");
    assert_eq!(made(&fixture), [fixture.path(&path)]);
    assert_eq!(taken(&fixture).names().len(), 2);
    to("/mnt/nowhere/x");
    assert_eq!(
        fixture.refused(EXECUTE, "dom0", ""),
        "QubesException: ERROR: the backup directory for /mnt/nowhere/x does not exists"
    );
    check_cleared(&fixture, &[]);
    let pipe = fixture.path("/mnt/pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    to("/mnt/pipe");
    let refused = fixture.refused(EXECUTE, "dom0", "");
    assert!(refused.starts_with("QubesException: Failed to write the backup to /mnt/pipe: "), "{refused}");
}

#[test]
fn files_are_compressed_as_is_said() {
    let fixture = system();
    let private = format!("{}private.img", folder(&fixture, "work"));
    for (said, compressed, filter) in
        [("False", false, "gzip"), ("yes", true, "gzip"), ("bzip2", true, "bzip2"), ("", true, "gzip")]
    {
        to_folder(&fixture, &format!("include: [work]\ncompression: {said}"));
        fixture.ok(EXECUTE, "dom0", "");
        let restored = taken(&fixture);
        assert_eq!(
            (restored.header.compressed, restored.header.filter.as_str()),
            (compressed, filter),
            "{said}"
        );
        assert!(restored.file(&private) == noise(1, 200_000), "{said}");
    }
    for said in ["xz -9", "/bin/gzip", "[a]"] {
        to_folder(&fixture, &format!("include: [work]\ncompression: {said}"));
        let invalid = "QubesException: Invalid backup profile - compression is no name of a program";
        assert_eq!(fixture.refused(EXECUTE, "dom0", ""), invalid);
    }
    to_folder(&fixture, "include: [work]\ncompression: nosuch");
    let refused = fixture.refused(EXECUTE, "dom0", "");
    assert!(refused.starts_with("QubesException: the compression filter fails: "), "{refused}");
    check_cleared(&fixture, &[]);
}

#[test]
fn a_volume_that_cannot_be_read_is_told() {
    let fixture = system();
    to_folder(&fixture, "include: [work, net]");
    fs::remove_file(image(&fixture, "work")).unwrap();
    let expected = format!("QubesException: Failed to archive {} file", image(&fixture, "work").display());
    assert_eq!(fixture.refused(EXECUTE, "dom0", ""), expected);
    assert_eq!(stamp(&fixture, "net"), "default=True type=int ");
    check_cleared(&fixture, &[]);
}

#[cfg_attr(not(root), ignore = "needs root, to mount a small disk")]
#[test]
fn a_full_disk_leaves_nothing_and_is_told() {
    let fixture = system();
    tests::loops::own_namespace();
    let (path, flags) = (fixture.path(FOLDER), nix::mount::MsFlags::empty());
    nix::mount::mount(Some("small"), &path, Some("tmpfs"), flags, Some("size=128k")).unwrap();
    to_folder(&fixture, "include: [work]");
    assert_eq!(
        fixture.refused(EXECUTE, "dom0", ""),
        "QubesException: ERROR: Failed to write the backup, out of disk space? Check console output or \
         ~/.xsession-errors for details."
    );
    assert_eq!(stamp(&fixture, "work"), "default=True type=int ");
    check_cleared(&fixture, &[]);
    to_folder(&fixture, "include: [net]");
    fixture.ok(EXECUTE, "dom0", "");
    assert_eq!(taken(&fixture).names().len(), 2);
}

#[cfg_attr(not(root), ignore = "needs root, to mount a disk whose files all have names")]
#[test]
fn where_each_file_has_a_name_it_has_another_one_until_it_is_whole() {
    let fixture = system();
    tests::loops::own_namespace();
    let (path, flags) = (fixture.path(FOLDER), nix::mount::MsFlags::empty());
    let disk = fixture.path("/disk");
    for folder in ["lower", "upper", "work"] {
        fs::create_dir_all(disk.join(folder)).unwrap();
    }
    // A file system of this kind that lies on another one of it has no files without names.
    nix::mount::mount(Some("disk"), &disk, Some("tmpfs"), flags, None::<&str>).unwrap();
    for folder in ["lower", "upper", "work"] {
        fs::create_dir_all(disk.join(folder)).unwrap();
    }
    let within = |name: &str| disk.join(name).display().to_string();
    let layers =
        format!("lowerdir={},upperdir={},workdir={}", within("lower"), within("upper"), within("work"));
    nix::mount::mount(Some("overlay"), &path, Some("overlay"), flags, Some(layers.as_str())).unwrap();
    to_folder(&fixture, "include: [work]");
    fixture.ok(EXECUTE, "dom0", "");
    assert_eq!(taken(&fixture).names().len(), 2);
    check_cleared(&fixture, &[]);
}

#[cfg_attr(not(root), ignore = "needs root, to have a file as a block device")]
#[test]
fn a_device_that_held_something_else_is_read_to_the_end_of_the_backup() {
    let fixture = system();
    tests::tool::install(&fixture);
    let path = |name: &str| fixture.path(name).display().to_string();
    fixture.profile(
        "p",
        "destination_vm: dom0\ndestination_path: /device\npassphrase_text: secret\ninclude: [work]\n",
    );
    fs::write(path("/secret"), "secret").unwrap();
    // With room for the mark of the end, and with less.
    for room in [4 << 20, 512 << 10] {
        fs::write(path("/disk"), noise(7, room)).unwrap();
        let device = tests::loops::Device::of(&fixture.path("/disk"));
        std::os::unix::fs::symlink(device.path(), path("/device")).unwrap();
        fixture.ok(EXECUTE, "dom0", "");
        let verify = ["verify-backup", "--passphrase-file", &path("/secret"), &path("/device")];
        let verified = tests::tool::tool(&fixture, &verify);
        assert!(verified.status.success(), "{room}: {}", String::from_utf8_lossy(&verified.stderr));
        fs::remove_file(path("/device")).unwrap();
    }
}

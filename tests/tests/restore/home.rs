//! The files of dom0's home: all of them below a new directory, or none.

use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use libc::{SYS_fsync, SYS_renameat2, SYS_syncfs, SYS_utimensat};
use tests::executables::script;
use tests::startable::until;
use tests::tool::{command, tool};
use tests::{Fixture, stepper};

use super::killed::begun;
use super::stock::{ALONE, xml};
use super::{Files, fresh, names, path, restore, said, written};

/// dom0, whose files are in the backup.
fn xml_with_home(others: &str) -> Vec<u8> {
    let nothing = "<feature name=\"backup-content\"></feature>";
    let home = "<feature name=\"backup-content\">1</feature>\
        <feature name=\"backup-path\">dom0-home/user</feature><feature name=\"backup-size\">1048576</feature>";
    xml(others).replace(nothing, home).into_bytes()
}

/// A fresh system whose user has a home.
fn with_home() -> Fixture {
    let fixture = fresh();
    fs::write(fixture.path("/etc/group"), "qubes:x:98:user\n").unwrap();
    fs::write(fixture.path("/etc/passwd"), "user:x:1000:1000::/home/user:/bin/sh\n").unwrap();
    fs::create_dir_all(fixture.path("/home/user")).unwrap();
    fixture
}

/// A backup whose home is what a program gives in the place of what is packed: in whatever form.
struct Foreign {
    folder: tempfile::TempDir,
}

impl Foreign {
    fn new(archive: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("archive"), archive).unwrap();
        let text = format!(
            "#!/bin/sh\ncd {} && gzip -dc > packed && if grep -qa MARKER packed; then cat archive; else cat packed; fi\n",
            folder.path().display()
        );
        script(&folder.path().join("expand"), &text);
        Self { folder }
    }

    fn restore(&self, target: &Fixture, options: &[&str]) -> Output {
        let files: Files = vec![
            ("qubes.xml".to_owned(), xml_with_home("")),
            ("dom0-home/user".to_owned(), b"MARKER".to_vec()),
        ];
        let program = self.folder.path().join("expand");
        let filter = ["--filter", program.to_str().unwrap()];
        restore(target, &written(Some("gzip"), &files), &[&filter[..], options].concat())
    }
}

/// A member of an archive, in POSIX's form.
fn member(name: &[u8], kind: u8, mode: u32, target: &[u8], content: &[u8]) -> Vec<u8> {
    let mut block = vec![0; 512];
    let mut put = |offset: usize, bytes: &[u8]| block[offset..offset + bytes.len()].copy_from_slice(bytes);
    put(0, name);
    put(100, format!("{mode:07o}\0").as_bytes());
    put(108, b"0000000\x000000000\0");
    put(124, format!("{:011o}\x0014400000000\0", content.len()).as_bytes());
    put(148, b"        ");
    put(156, &[kind]);
    put(157, target);
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().copied().map(u32::from).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block.extend(content);
    block.resize(block.len().next_multiple_of(512), 0);
    block
}

fn archive(members: &[Vec<u8>]) -> Vec<u8> {
    let mut archive = members.concat();
    archive.resize((archive.len() + 1024).next_multiple_of(10_240), 0);
    archive
}

/// Everything below a directory: what it is, its mode, and its content or where it leads.
fn listed(top: &Path) -> Vec<(PathBuf, u32, Vec<u8>)> {
    fn add(top: &Path, path: &Path, all: &mut Vec<(PathBuf, u32, Vec<u8>)>) {
        let about = fs::symlink_metadata(path).unwrap();
        let content = if about.is_symlink() {
            fs::read_link(path).unwrap().as_os_str().as_bytes().to_vec()
        } else if about.is_file() {
            fs::read(path).unwrap()
        } else {
            Vec::new()
        };
        all.push((path.strip_prefix(top).unwrap().to_owned(), about.mode(), content));
        if about.is_dir() {
            let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
            entries.for_each(|path| add(top, &path, all));
        }
    }
    let mut all = Vec::new();
    add(top, top, &mut all);
    all.sort();
    all
}

/// A home with all that there can be.
fn home() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join("user").join(name);
    fs::create_dir_all(at("below/deeper")).unwrap();
    fs::create_dir(at("empty")).unwrap();
    fs::write(at("plain"), "plain").unwrap();
    fs::write(at("below/deeper/script"), "#!/bin/sh\n").unwrap();
    fs::write(at("nothing"), "").unwrap();
    fs::write(at(&"long".repeat(50)), "of a long name").unwrap();
    fs::write(folder.path().join("user").join(Path::new(std::ffi::OsStr::from_bytes(b"\xff\xfe"))), "bytes")
        .unwrap();
    let sparse = File::create(at("sparse")).unwrap();
    sparse.set_len(3 << 20).unwrap();
    sparse.write_all_at(b"in the middle", 2 << 20).unwrap();
    for (link, target) in
        [("absolute", "/etc/passwd"), ("up", "../../.."), ("dangling", "nowhere"), ("inside", "plain")]
    {
        symlink(target, at(link)).unwrap();
    }
    symlink("far/".repeat(60), at("long-link")).unwrap();
    for (name, mode) in
        [("plain", 0o640), ("below/deeper/script", 0o755), ("below/deeper", 0o500), ("below", 0o750)]
    {
        fs::set_permissions(at(name), Permissions::from_mode(mode)).unwrap();
    }
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    File::open(at("plain")).unwrap().set_modified(old).unwrap();
    File::open(at("below")).unwrap().set_modified(old).unwrap();
    folder
}

/// A backup of ours that has a directory as the home.
fn backup_of(home: &Path, others: &str, more: Files) -> Vec<u8> {
    use backup::{Content, Header, Options, Passphrase, Writer};
    let id = backup::BackupId::new("1").unwrap();
    let header = Header { compressed: true, filter: "gzip".to_owned(), id };
    let options = Options { cost: super::CHEAP, ..Options::usual(std::env::temp_dir()) };
    let mut writer = Writer::begin(Vec::new(), header, Passphrase::new(super::PASSPHRASE), options).unwrap();
    let mut go_on = |_| std::ops::ControlFlow::Continue(());
    writer.file("qubes.xml", Content::Bytes(&xml_with_home(others)), &mut go_on).unwrap();
    for (name, content) in &more {
        writer.file(name, Content::Bytes(content), &mut go_on).unwrap();
    }
    writer.file("dom0-home/user", Content::Tree(home), &mut go_on).unwrap();
    writer.finish().unwrap()
}

fn alone() -> Files {
    vec![
        ("vm5/root.img".to_owned(), b"root".repeat(500)),
        ("vm5/private.img".to_owned(), b"private".repeat(500)),
    ]
}

/// The directory that was made in the home.
fn made(target: &Fixture) -> Vec<PathBuf> {
    fs::read_dir(target.path("/home/user")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_home_comes_back_below_a_new_directory() {
    let (home, target) = (home(), with_home());
    let user = home.path().join("user");
    nix::unistd::mkfifo(&user.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let backup = backup_of(&user, ALONE, alone());
    let told = said(&restore(&target, &backup, &[]), true);
    assert!(told.contains("dom0-home/user/pipe is left out: neither a file nor a link"), "{told}");
    let [made] = made(&target).try_into().unwrap();
    let name = made.file_name().unwrap().to_str().unwrap();
    assert!(
        name.starts_with("home-restore-2") && name.len() == "home-restore-YYYY-MM-DDTHHMMSS".len(),
        "{name}"
    );
    assert!(told.contains(&format!("dom0: files restored into {}", made.display())), "{told}");
    fs::remove_file(user.join("pipe")).unwrap();
    assert_eq!(listed(&user), listed(&made));
    for name in ["plain", "below"] {
        assert_eq!(fs::metadata(made.join(name)).unwrap().mtime(), 1_000_000_000);
    }
    assert!(fs::metadata(made.join("sparse")).unwrap().blocks() < 1000);
    assert_eq!(names(&target), ["alone"]);
    // Another one has the place that it is told to have, which is never one that is there.
    let (place, other) = (path(&target, "/srv"), path(&target, "/other"));
    said(&restore(&target, &backup, &["--qubes", "dom0", "--dom0-home", &place]), true);
    assert_eq!(listed(&user), listed(Path::new(&place)));
    fs::write(&other, "is there").unwrap();
    for there in [&place, &other] {
        let told = said(&restore(&target, &backup, &["--qubes", "dom0", "--dom0-home", there]), false);
        assert!(told.contains("is there already"), "{told}");
    }
    assert_eq!(fs::read(&other).unwrap(), b"is there");
}

#[test]
fn a_home_that_tar_packed_is_read() {
    let (home, target) = (home(), with_home());
    let user = home.path().join("user");
    fs::hard_link(user.join("plain"), user.join("second")).unwrap();
    let options =
        ["-Pc", "--sparse", "-C", home.path().to_str().unwrap(), "--xform=s:^user:dom0-home/\\0:", "user"];
    for format in ["--format=gnu", "--format=posix"] {
        let packed = Command::new("tar").arg(format).args(options).output().unwrap();
        assert!(packed.status.success());
        let place = path(&target, &format!("/{format}"));
        let told = said(&Foreign::new(&packed.stdout).restore(&target, &["--dom0-home", &place]), true);
        assert!(!told.contains("left out"), "{told}");
        assert_eq!(listed(&user), listed(Path::new(&place)));
        let inode = |name: &str| fs::metadata(Path::new(&place).join(name)).unwrap().ino();
        assert_eq!(inode("plain"), inode("second"));
    }
}

#[test]
fn nothing_leads_out_of_the_directory_and_nothing_runs_as_somebody_else() {
    let target = with_home();
    let (outside, place) = (path(&target, "/outside"), path(&target, "/place"));
    fs::create_dir(&outside).unwrap();
    fs::write(Path::new(&outside).join("file"), "as it was").unwrap();
    let file = |name: &str| member(name.as_bytes(), b'0', 0o644, b"", b"hostile");
    let link = |name: &str, target: &str| member(name.as_bytes(), b'2', 0o777, target.as_bytes(), b"");
    let hostile = [
        file("/outside/absolute"),
        file(&format!("{outside}/absolute")),
        file("dom0-home/user/../../outside/up"),
        file("dom0-home/user/.."),
        file("dom0-home/user/./dot/../../../outside/dots"),
        file("dom0-home/other/elsewhere"),
        file("dom0-home/username"),
        file("dom0-home/user//double"),
        file("vm3/private.img"),
        link("dom0-home/user/out", &outside),
        file("dom0-home/user/out/through-link"),
        member(b"dom0-home/user/out", b'5', 0o777, b"", b""),
        file("dom0-home/user/out"),
        link("dom0-home/user/file-link", &format!("{outside}/file")),
        file("dom0-home/user/file-link"),
        link("dom0-home/user/here", "."),
        file("dom0-home/user/here/through"),
        member(b"dom0-home/user/second", b'1', 0o644, format!("{outside}/file").as_bytes(), b""),
        member(b"dom0-home/user/second", b'1', 0o644, b"dom0-home/user/../../outside/file", b""),
        member(b"dom0-home/user/second", b'1', 0o644, b"dom0-home/user/file-link", b""),
        member(b"dom0-home/user/device", b'3', 0o666, b"", b""),
        member(b"dom0-home/user/disk", b'4', 0o666, b"", b""),
        member(b"dom0-home/user/unknown", b'Z', 0o666, b"", b"content of its own"),
    ];
    let good = [
        member(b"dom0-home/user/", b'5', 0o755, b"", b""),
        member(b"dom0-home/user/runs", b'0', 0o6755, b"", b"runs"),
        member(b"dom0-home/user/sticky/", b'5', 0o7777, b"", b""),
        file("dom0-home/user/twice"),
    ];
    let last = [member(b"dom0-home/user/twice", b'0', 0o644, b"", b"another"), file("dom0-home/user/last")];
    let members = [&good[..], &hostile[..], &last[..]].concat();
    let told = said(&Foreign::new(&archive(&members)).restore(&target, &["--dom0-home", &place]), true);
    assert_eq!(told.matches(" is left out: ").count(), 20, "{told}");
    assert!(told.contains("dom0: 1 others are left out"), "{told}");
    let found: Vec<(String, u32, String)> = listed(Path::new(&place))
        .into_iter()
        .map(|(path, mode, content)| {
            (path.display().to_string(), mode & 0o7777, String::from_utf8_lossy(&content).into_owned())
        })
        .collect();
    let leaf = |path: &str, mode: u32, content: &str| (path.to_owned(), mode, content.to_owned());
    assert_eq!(
        found,
        [
            leaf("", 0o755, ""),
            leaf("file-link", 0o777, &format!("{outside}/file")),
            leaf("here", 0o777, "."),
            leaf("last", 0o644, "hostile"),
            leaf("out", 0o777, &outside),
            leaf("runs", 0o755, "runs"),
            leaf("sticky", 0o777, ""),
            leaf("twice", 0o644, "hostile"),
        ]
    );
    assert_eq!(listed(Path::new(&outside)).len(), 2);
    assert_eq!(fs::read(Path::new(&outside).join("file")).unwrap(), b"as it was");
}

#[test]
fn an_archive_that_is_malformed_or_breaks_off_leaves_nothing() {
    let target = with_home();
    let place = path(&target, "/place");
    let top = member(b"dom0-home/user/", b'5', 0o755, b"", b"");
    let file = member(b"dom0-home/user/file", b'0', 0o644, b"", &[7; 5000]);
    let whole = archive(&[top.clone(), file.clone()]);
    let mut summed_wrong = whole.clone();
    summed_wrong[600] ^= 1;
    let mut goes_on = whole.clone();
    goes_on.extend(&file);
    let huge = {
        let mut block = member(b"dom0-home/user/huge", b'0', 0o644, b"", b"");
        block[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        block[148..156].copy_from_slice(b"        ");
        let sum: u32 = block.iter().copied().map(u32::from).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        archive(&[top.clone(), block])
    };
    for (archive, why) in [
        (&whole[..3000], "truncated"),
        (&whole[..512], "truncated"),
        (&[][..], "truncated"),
        (&summed_wrong[..], "malformed"),
        (&goes_on[..], "goes on after its end"),
        (&huge[..], ""),
    ] {
        let told = said(&Foreign::new(archive).restore(&target, &["--dom0-home", &place]), false);
        assert!(told.contains("dom0's files could not be restored: ") && told.contains(why), "{told}");
        let left = fs::read_dir(target.path("/")).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(left.into_iter().all(|name| !name.to_str().unwrap().contains("place")));
    }
}

#[test]
fn an_altered_home_leaves_nothing_and_keeps_no_qube_from_being_restored() {
    let (home, target) = (home(), with_home());
    let mut backup = backup_of(&home.path().join("user"), ALONE, alone());
    let at = backup.windows(14).position(|window| window == b"dom0-home/user").unwrap();
    backup[at + 512 + 300] ^= 1;
    let told = said(&restore(&target, &backup, &[]), false);
    assert!(
        told.contains("alone: restored") && told.contains("dom0's files could not be restored: "),
        "{told}"
    );
    assert!(made(&target).is_empty());
    assert_eq!(names(&target), ["alone"]);
    // Cut off before its home, a backup has none.
    let told = said(&restore(&target, &backup[..at], &["--rename", "alone=again"]), false);
    assert!(told.contains("dom0's files could not be restored: the backup has none"), "{told}");
    assert_eq!(names(&target), ["again", "alone"]);
}

#[test]
fn to_verify_a_home_changes_nothing_and_without_a_user_it_is_left_out() {
    let (home, target) = (home(), with_home());
    let backup = backup_of(&home.path().join("user"), "", Vec::new());
    let told = said(&restore(&target, &backup, &["--verify-only"]), true);
    assert!(told.contains("dom0: files would be restored into "), "{told}");
    assert!(made(&target).is_empty());
    fs::remove_file(target.path("/etc/group")).unwrap();
    let told = said(&restore(&target, &backup, &[]), false);
    assert!(told.contains("skipped: dom0 has no user") && told.contains("--dom0-home says where"), "{told}");
    let folder = fs::metadata(target.path("/etc")).unwrap();
    let place = path(&target, "/etc/place");
    said(&restore(&target, &backup, &["--dom0-home", &place]), true);
    // It belongs to whom the directory belongs to that it is in.
    let owner = |about: fs::Metadata| (about.uid(), about.gid());
    assert_eq!(owner(fs::metadata(place).unwrap()), owner(folder));
    assert!(tool(&target, &["check"]).status.success());
}

/// Restores the home alone to a place, not yet begun.
fn to_place(target: &Fixture, backup: &[u8], place: &str) -> Command {
    let (file, secret) = (path(target, "/backup"), path(target, "/passphrase"));
    fs::write(&file, backup).unwrap();
    let options = ["--qubes", "dom0", "--dom0-home", place];
    command(target, &[&["restore", "--passphrase-file", &secret, &file], &options[..]].concat())
}

#[test]
fn a_place_is_told_from_where_the_command_is() {
    let (home, target) = (home(), with_home());
    let user = home.path().join("user");
    let backup = backup_of(&user, "", Vec::new());
    for place in ["place", "./other/", "home/third"] {
        let mut command = to_place(&target, &backup, place);
        let told = said(&command.current_dir(target.path("/")).output().unwrap(), true);
        let made = target.path("/").join(place.trim_start_matches("./").trim_end_matches('/'));
        assert!(told.contains(&format!("dom0: files restored into {}\n", made.display())), "{told}");
        assert_eq!(listed(&user), listed(&made));
    }
}

#[test]
fn a_place_that_cannot_be_had_is_refused_before_anything_is_done() {
    let (home, target) = (home(), with_home());
    let backup = backup_of(&home.path().join("user"), ALONE, alone());
    symlink("nowhere", target.path("/link")).unwrap();
    fs::write(target.path("/file"), "").unwrap();
    for (place, why) in [
        ("/link", "link: is there already"),
        ("/link/", "link: is there already"),
        ("/file/place", "place: Not a directory"),
        ("/nowhere/place", "nowhere: No such file or directory"),
        ("/nowhere/..", "nowhere: No such file or directory"),
        ("/home/..", "home/..: is there already"),
    ] {
        // A path of the fixture has no slash at its end.
        let place = format!("{}{place}", path(&target, "/").trim_end_matches('/'));
        let told = said(&restore(&target, &backup, &["--dom0-home", &place]), false);
        assert!(told.contains(why), "{told}");
        assert!(names(&target).is_empty());
    }
}

#[test]
fn what_a_killed_restore_left_of_a_home_is_told_of() {
    let (home, target) = (home(), with_home());
    let backup = backup_of(&home.path().join("user"), "", Vec::new());
    let at = backup.windows(14).position(|window| window == b"dom0-home/user").unwrap();
    let place = path(&target, "/place");
    let unfinished = "is of a restore that is not finished; if none goes on, it can be removed";
    let killed = |options: &[&str], is_begun: &dyn Fn() -> bool| {
        let mut child = begun(&target, &backup[..at + 1024], options);
        until("no home is begun", is_begun);
        child.kill().unwrap();
        child.wait().unwrap();
    };
    killed(&[], &|| !made(&target).is_empty());
    killed(&["--dom0-home", &place], &|| target.path("/.place~").exists());
    // What has another name is not ours.
    fs::create_dir(target.path("/home/user/.home-restore-2")).unwrap();
    let told = said(&restore(&target, &backup, &["--dom0-home", &place]), false);
    let left = made(&target).into_iter().find(|path| path.display().to_string().ends_with('~')).unwrap();
    for left in [&left, &target.path("/.place~")] {
        assert!(told.contains(&format!("{}: {unfinished}\n", left.display())), "{told}");
        fs::remove_dir_all(left).unwrap();
    }
    assert_eq!(told.matches(unfinished).count(), 2, "{told}");
    let told = said(&restore(&target, &backup, &["--dom0-home", &place]), true);
    assert!(!told.contains(unfinished), "{told}");
}

#[test]
fn files_are_on_the_disk_before_they_have_their_place() {
    let (home, target) = (home(), with_home());
    let user = home.path().join("user");
    let (backup, place) = (backup_of(&user, "", Vec::new()), path(&target, "/place"));
    // Directories get their times last.
    let calls = stepper::system_calls(to_place(&target, &backup, &place));
    let last = |call| calls.iter().rposition(|made| *made == call).unwrap();
    let order = [SYS_utimensat, SYS_syncfs, SYS_renameat2, SYS_fsync].map(last);
    assert!(order.is_sorted(), "{order:?}");
    fs::remove_dir_all(&place).unwrap();
    for (call, errno) in [(SYS_syncfs, libc::EIO), (SYS_renameat2, libc::EEXIST)] {
        let output = stepper::run_without(to_place(&target, &backup, &place), call, errno);
        let (told, why) = (said(&output, false), std::io::Error::from_raw_os_error(errno));
        assert!(told.contains(&format!("could not be restored: {place}: {why}\n")), "{told}");
        let left = fs::read_dir(target.path("/")).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(left.into_iter().all(|name| !name.to_str().unwrap().contains("place")));
    }
    // Once they have it they are restored.
    let told = said(&stepper::run_without(to_place(&target, &backup, &place), SYS_fsync, libc::EIO), true);
    assert!(told.contains("dom0: files may be gone after a loss of power: Input/output error"), "{told}");
    assert!(told.contains(&format!("dom0: files restored into {place}\n")), "{told}");
    assert_eq!(listed(&user), listed(Path::new(&place)));
}

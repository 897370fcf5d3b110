//! `qubes-admin` filling volumes: streams by hand, `import-volume` and `clone-volume`, and the progress of both.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::indexing_slicing, reason = "test code")]

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::process::{Command, Output, Stdio};

use tests::Fixture;
use tests::tool::{command, error, install, shown, tool};
use tests::volumes::{SIZE, image, images, is_temporary, new, old, system};

/// A root with the qube `made` and everything installed.
fn installed() -> Fixture {
    let fixture = system();
    install(&fixture);
    fixture
}

fn file(fixture: &Fixture, content: &[u8]) -> String {
    let path = fixture.path("/content");
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

fn content(fixture: &Fixture) -> Vec<u8> {
    std::fs::read(image(fixture, "private.img")).unwrap()
}

/// Runs a command with a pipe for its input, which it may close early.
fn with_pipe(mut command: Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn silent(output: &Output) -> bool {
    output.status.success() && output.stdout.is_empty() && output.stderr.is_empty()
}

#[test]
fn a_call_by_hand_takes_a_stream_from_standard_input() {
    let fixture = installed();
    let call = ["call", "made", "admin.vm.volume.Import+private"];
    let mut from_file = command(&fixture, &call);
    assert!(silent(&from_file.stdin(File::open(file(&fixture, &new())).unwrap()).output().unwrap()));
    assert!(content(&fixture) == new());
    let sized = command(&fixture, &["call", "made", "admin.vm.volume.ImportWithSize+private"]);
    assert!(silent(&with_pipe(sized, b"4\nabcd")));
    assert_eq!(content(&fixture), b"abcd");
    let nothing = error(&tool(&fixture, &call));
    assert!(nothing.contains("not enough data (copied 0 bytes, expected 4 bytes)"), "{nothing}");
    let stranger = command(&fixture, &["call", "--as", "nobody", "made", call[2]]);
    assert!(error(&with_pipe(stranger, b"abcd")).contains("No such domain: 'nobody'"));
}

#[test]
fn a_stream_is_never_held_in_memory() {
    const LONG: u64 = 256 << 20;
    const MOST_KIB: u64 = 128 << 10;
    let fixture = installed();
    let path = fixture.path("/long");
    File::create(&path).unwrap().set_len(LONG).unwrap();
    fixture.ok("admin.vm.volume.Resize+private", "made", LONG.to_string());
    for arguments in
        [&["call", "made", "admin.vm.volume.Import+private"][..], &["import-volume", "-", "made", "private"]]
    {
        let mut cat = Command::new("cat").arg(&path).stdout(Stdio::piped()).spawn().unwrap();
        let tool = command(&fixture, arguments);
        let mut limited = Command::new("sh");
        limited.args(["-c", &format!("ulimit -v {MOST_KIB} && exec \"$0\" \"$@\"")]).env_clear();
        limited.arg(tool.get_program()).args(tool.get_args());
        let output = limited.stdin(cat.stdout.take().unwrap()).output().unwrap();
        assert!(silent(&output), "{output:?}");
        assert!(cat.wait().unwrap().success());
    }
}

#[test]
fn an_import_gives_the_volume_the_size_of_the_file() {
    let fixture = installed();
    let larger = [new(), b"more".to_vec()].concat();
    let path = file(&fixture, &larger);
    assert!(silent(&tool(&fixture, &["import-volume", &path, "made", "private"])));
    assert!(content(&fixture) == larger);
    assert_eq!(fixture.ok("admin.vm.volume.ListSnapshots+private", "made", ""), "1\n");
    // Standard input that is a file is one too, from where it stands.
    let mut rest = File::open(&path).unwrap();
    rest.seek(SeekFrom::Start(SIZE as u64)).unwrap();
    let mut command = command(&fixture, &["import-volume", "-", "made", "private"]);
    assert!(silent(&command.stdin(rest).output().unwrap()));
    assert_eq!(content(&fixture), b"more");
}

#[test]
fn a_pipe_brings_exactly_what_the_volume_has_unless_a_size_is_given() {
    let fixture = installed();
    let piped = |more: &[&str], input: &[u8]| {
        let arguments = [&["import-volume", "-", "made", "private"], more].concat();
        with_pipe(command(&fixture, &arguments), input)
    };
    assert!(silent(&piped(&[], &new())));
    assert!(content(&fixture) == new());
    let short = error(&piped(&[], &new()[1..]));
    assert!(short.contains("Data import failed: not enough data (copied 65535 bytes"), "{short}");
    let long = error(&piped(&[], &[new(), old()].concat()));
    assert!(long.contains("Data import failed: too much data (expected 65536 bytes)"), "{long}");
    assert!(content(&fixture) == new());
    assert!(!images(&fixture).iter().any(|name| is_temporary(name)));
    assert!(silent(&piped(&["--size", "3"], b"abc")));
    assert_eq!(content(&fixture), b"abc");
    assert!(error(&piped(&["--size", "3"], b"abcd")).contains("too much data (expected 3 bytes)"));
}

#[test]
fn what_cannot_be_imported_is_refused_with_a_reason() {
    let fixture = installed();
    let path = file(&fixture, &new());
    let folder = fixture.path("/etc").to_str().unwrap().to_owned();
    let _running = fixture.domain("test-vm1", "Running");
    for (arguments, told) in [
        ([&path, "test-vm1", "private"], "QubesVMNotHaltedError: Domain is not powered off: 'test-vm1'"),
        ([&path, "made", "nonsense"], "ProtocolError: Argument not in made volumes"),
        ([&path, "nobody", "private"], "QubesVMNotFoundError: No such domain: 'nobody'"),
        ([&path, "made", "a b"], "a space cannot be sent in this place: 'a b'"),
        (["/nowhere", "made", "private"], "/nowhere: No such file or directory"),
        ([&folder, "made", "private"], "/etc: is a directory"),
    ] {
        let said = error(&tool(&fixture, &[&["import-volume"], &arguments[..]].concat()));
        assert!(said.contains(told), "{said}");
    }
    assert!(content(&fixture) == old());
}

#[test]
fn a_terminal_is_shown_the_progress_and_then_the_reason_of_a_failure() {
    let fixture = installed();
    let path = file(&fixture, &new());
    let on_terminal = |arguments: &[&str]| {
        shown(80, |terminal| command(&fixture, arguments).stderr(terminal).spawn().unwrap())
    };
    let told = on_terminal(&["import-volume", &path, "made", "private"]);
    let last = told.rsplit('\r').next().unwrap();
    assert!(last.starts_with("100% [####") && last.contains("64.0 KiB of 64.0 KiB"), "{last:?}");
    assert!(told.contains("/s") && told.ends_with(" left\n"), "{told:?}");
    let told = on_terminal(&["import-volume", "--size", "70000", &path, "made", "private"]);
    let (progress, reason) = told.split_once('\n').unwrap();
    assert!(progress.contains(" 93% [") && !progress.contains("100%"), "{progress:?}");
    let last = reason.lines().last().unwrap();
    assert!(last.starts_with("qubes-admin: QubesException: Data import failed: not enough data"), "{told:?}");
}

#[test]
fn a_clone_fills_a_volume_in_another_pool_and_shows_a_terminal_its_progress() {
    const LARGE: usize = 9 << 20;
    let fixture = installed();
    let store = fixture.path("/var/lib/qubes");
    let create = "name=copy label=red pool:private=test";
    fixture.ok("admin.vm.CreateInPool.AppVM+test-template", "dom0", create);
    fixture.ok("admin.vm.volume.Resize+private", "made", LARGE.to_string());
    let data: Vec<u8> = (0..LARGE).map(|number| number as u8 | 1).collect();
    std::fs::write(image(&fixture, "private.img"), &data).unwrap();
    let clone = ["clone-volume", "made", "copy", "private"];
    assert!(silent(&tool(&fixture, &clone)));
    assert!(std::fs::read(store.join("test/appvms/copy/private.img")).unwrap() == data);
    let told = shown(80, |terminal| command(&fixture, &clone).stderr(terminal).spawn().unwrap());
    assert!(told.contains("100% [####") && told.contains("9.0 MiB of 9.0 MiB"), "{told:?}");
    assert_eq!(told.matches('\n').count(), 1, "{told:?}");
    assert!(silent(&tool(&fixture, &["clone-volume", "made:private", "copy", "private"])));
    for (source, told) in [
        ("nobody", "QubesVMNotFoundError: No such domain: 'nobody'"),
        ("made:nonsense", "PermissionDenied: Argument not in 'made volumes'"),
    ] {
        let said = error(&tool(&fixture, &["clone-volume", source, "copy", "private"]));
        assert!(said.contains(told), "{said}");
    }
}

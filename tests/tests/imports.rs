//! New content for volumes: imports of every length, clones, emptied volumes, and what is left when they fail
//! (spec 20 §4.7, §4.8, §5).
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::indexing_slicing, reason = "test code")]

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use common::model::Import;
use tests::Fixture;
use tests::fixture::{readable, refusal};
use tests::pools::{add_callback, volume};
use tests::stepper::run_into_silence;
use tests::volumes::{SIZE, image, images, is_temporary, new, old, shown, stream, system};

const BEGIN: &str = "made domain-volume-import-begin volume=private size=";

fn reply(fixture: &Fixture, method: &str, volume: &str, payload: &[u8]) -> Vec<u8> {
    stream(fixture, method, volume, payload).output().unwrap().stdout
}

/// How a stream ended: exit status, readable answer, and what is logged.
fn ending(mut command: Command) -> (i32, String, String) {
    let output = command.output().unwrap();
    let logged = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), readable(&output.stdout), logged)
}

/// An import into a volume of `made` of which only the ending counts.
fn ends(fixture: &Fixture, method: &str, volume: &str, payload: &[u8]) -> (i32, String) {
    let (status, answer, _) = ending(stream(fixture, method, volume, payload));
    (status, answer)
}

fn content(fixture: &Fixture) -> Vec<u8> {
    std::fs::read(image(fixture, "private.img")).unwrap()
}

fn has_no_temporary(fixture: &Fixture) -> bool {
    !images(fixture).iter().any(|name| is_temporary(name))
}

#[test]
fn a_qube_that_nobody_can_tell_of_gets_no_content() {
    let fixture = system();
    // Nobody can open it, root neither.
    std::os::unix::fs::symlink("made", fixture.path("/run/qubes/admin/domains/made")).unwrap();
    let (_, answer) = ends(&fixture, "admin.vm.volume.Import", "private", &new());
    assert!(answer.starts_with("2·QubesException··The state store cannot be used: "), "{answer}");
    assert!(content(&fixture) == old() && has_no_temporary(&fixture));
}

#[test]
fn an_import_replaces_the_content_and_keeps_the_old_as_a_revision() {
    let fixture = system();
    let events = fixture.events_of(|fixture| {
        assert_eq!(readable(&reply(fixture, "admin.vm.volume.Import", "private", &new())), "0·");
    });
    assert_eq!(
        events,
        [format!("{BEGIN}{SIZE}"), "made domain-volume-import-end volume=private success=True".into()]
    );
    assert!(content(&fixture) == new());
    assert_eq!(fixture.ok("admin.vm.volume.ListSnapshots+private", "made", ""), "1\n");
    fixture.ok("admin.vm.volume.Revert+private", "made", "1");
    assert!(content(&fixture) == old());
    assert!(has_no_temporary(&fixture));
}

#[test]
fn an_import_with_size_sets_the_size_and_leaves_zeros_out() {
    let fixture = system();
    let size = 64 << 20;
    let mut data = vec![0_u8; size];
    data[40 << 20] = 7;
    let payload = [format!("{size}\n").as_bytes(), &data].concat();
    assert_eq!(readable(&reply(&fixture, "admin.vm.volume.ImportWithSize", "private", &payload)), "0·");
    let about = image(&fixture, "private.img").metadata().unwrap();
    assert_eq!(about.len(), 64 << 20);
    assert!(about.blocks() * 512 <= 1 << 20, "{} blocks for one byte", about.blocks());
    assert_eq!(content(&fixture)[40 << 20], 7);
    let info = fixture.ok("admin.vm.volume.Info+private", "made", "");
    assert!(info.contains("\nsize=67108864\n"), "{info}");
    assert_eq!(fixture.qube("made").volumes[1].size, 64 << 20);
    // An empty line announces the volume's own size.
    let payload = [b"\n".as_slice(), &data].concat();
    assert_eq!(readable(&reply(&fixture, "admin.vm.volume.ImportWithSize", "private", &payload)), "0·");
}

#[test]
fn an_import_of_the_wrong_length_changes_nothing() {
    let fixture = system();
    let before = shown(&fixture);
    for (payload, told) in [
        (&new()[..SIZE - 1], format!("not enough data (copied {} bytes, expected {SIZE} bytes)", SIZE - 1)),
        (&[], format!("not enough data (copied 0 bytes, expected {SIZE} bytes)")),
        (&[new(), vec![0]].concat(), format!("too much data (expected {SIZE} bytes)")),
    ] {
        let events = fixture.events_of(|fixture| {
            let reply = reply(fixture, "admin.vm.volume.Import", "private", payload);
            assert_eq!(refusal(&reply), format!("QubesException: Data import failed: {told}"));
        });
        assert_eq!(events[1], "made domain-volume-import-end volume=private success=False");
        assert_eq!(shown(&fixture), before);
        assert!(has_no_temporary(&fixture));
    }
}

#[test]
fn a_bad_first_line_gets_no_answer_and_a_bad_number_does() {
    let fixture = system();
    let before = shown(&fixture);
    for bad in [&b"65536"[..], b"\xff\n", b"1\r\n", b"6553600000000000000000\n", b""] {
        assert_eq!(reply(&fixture, "admin.vm.volume.ImportWithSize", "private", bad), b"", "{bad:?}");
    }
    for (bad, told) in [
        (&b"abc\n"[..], "Size of new data contains non ASCII digits"),
        (b" 1\n", "Size of new data contains non ASCII digits"),
        (b"007\n", "Size of new data contains spurious leading zeros"),
        (b"12345678901234567890\n", "Size of new data is bigger than 19 decimal digits"),
    ] {
        let reply = reply(&fixture, "admin.vm.volume.ImportWithSize", "private", bad);
        assert_eq!(refusal(&reply), format!("ProtocolError: {told}"));
    }
    assert_eq!(shown(&fixture), before);
}

#[test]
fn the_exit_status_tells_an_import_that_never_began_from_one_that_failed() {
    let fixture = system();
    let (import, sized) = ("admin.vm.volume.Import", "admin.vm.volume.ImportWithSize");
    let exception = |text: &str| {
        format!("2·{}··{}·", text.split(": ").next().unwrap(), &text[text.find(": ").unwrap() + 2..])
    };
    // Step 1: a line that is none gets a word in the log and no answer, whatever else is wrong.
    for bad in [&b"65536"[..], b"", b"1\r\n", b"6553600000000000000000\n"] {
        for (volume, target) in [("private", "made"), ("nosuch", "made"), ("", "made"), ("private", "nosuch")]
        {
            let mut command = stream(&fixture, sized, volume, bad);
            let (status, answer, logged) = ending({
                command.env("QREXEC_REQUESTED_TARGET", target);
                command
            });
            assert_eq!((status, answer.as_str()), (1, ""), "{bad:?} {volume} {target}");
            assert!(logged.contains("no line with the size"), "{logged}");
        }
    }
    // Step 3: what refuses to begin is the answer, and the status says that nothing began.
    let unknown = exception("ProtocolError: Argument not in made volumes");
    assert_eq!(ends(&fixture, import, "nosuch", b"x"), (1, unknown.clone()));
    assert_eq!(ends(&fixture, sized, "nosuch", b"1\nx"), (1, unknown));
    assert_eq!(ends(&fixture, import, "", b"x"), (1, exception("ProtocolError: expected an argument")));
    assert_eq!(ends(&fixture, import, "root", b"x"), (1, String::new()));
    let number = "ProtocolError: Size of new data contains non ASCII digits";
    assert_eq!(ends(&fixture, sized, "private", b"abc\n"), (1, exception(number)));
    let mut elsewhere = stream(&fixture, import, "private", b"x");
    elsewhere.env("QREXEC_REQUESTED_TARGET", "nosuch");
    let (status, answer, _) = ending(elsewhere);
    assert_eq!((status, answer), (1, exception("QubesVMNotFoundError: No such domain: 'nosuch'")));
    let mut nowhere = stream(&fixture, import, "private", b"x");
    nowhere.env_remove("QREXEC_REQUESTED_TARGET");
    nowhere.env("QREXEC_REMOTE_DOMAIN", "made");
    let (status, answer, _) = ending(nowhere);
    assert_eq!((status, answer.as_str()), (1, ""));
    let domain = fixture.domain("made", "Running");
    let running = exception("QubesVMNotHaltedError: Domain is not powered off: 'made'");
    assert_eq!(ends(&fixture, import, "private", &new()), (1, running));
    drop(domain);
    // Step 7: how an import ended that had begun is an answer like others.
    let short = "QubesException: Data import failed: not enough data (copied 1 bytes, expected 65536 bytes)";
    assert_eq!(ends(&fixture, import, "private", b"x"), (0, exception(short)));
    assert_eq!(ends(&fixture, import, "private", &new()), (0, "0·".to_owned()));
}

#[test]
fn a_caller_who_goes_away_in_the_middle_leaves_the_volume_as_it_was() {
    let fixture = system();
    let before = shown(&fixture);
    let (mut client, server) = UnixStream::pair().unwrap();
    let mut command = stream(&fixture, "admin.vm.volume.Import", "private", b"");
    let output = Stdio::from(OwnedFd::from(server.try_clone().unwrap()));
    let mut importer = command.stdin(Stdio::from(OwnedFd::from(server))).stdout(output).spawn().unwrap();
    drop(command);
    client.write_all(&new()[..SIZE / 2]).unwrap();
    drop(client);
    assert_eq!(importer.wait().unwrap().code(), Some(0));
    assert_eq!(shown(&fixture), before);
    assert!(has_no_temporary(&fixture));
    let ends = fixture.events();
    assert_eq!(ends.last().unwrap(), "made domain-volume-import-end volume=private success=False");
}

#[test]
fn an_import_is_refused_before_a_byte_is_read() {
    let fixture = system();
    let refused = |volume: &str| refusal(&reply(&fixture, "admin.vm.volume.Import", volume, b"x"));
    assert_eq!(refused("nosuch"), "ProtocolError: Argument not in made volumes");
    assert_eq!(reply(&fixture, "admin.vm.volume.Import", "root", b"x"), b"");
    assert_eq!(reply(&fixture, "admin.vm.volume.Import", "kernel", b"x"), b"");
    assert_eq!(refused(""), "ProtocolError: expected an argument");
    let _domain = fixture.domain("made", "Running");
    assert_eq!(refused("private"), "QubesVMNotHaltedError: Domain is not powered off: 'made'");
}

#[test]
fn an_import_is_no_call_of_the_socket_and_its_halves_none_of_qrexec() {
    let fixture = system();
    for method in ["admin.vm.volume.Import", "admin.vm.volume.ImportWithSize"] {
        let told = fixture.refused(&format!("{method}+private"), "made", "data");
        assert_eq!(told, format!("ProtocolError: no such method: '{method}'"));
    }
    for method in ["internal.vm.volume.ImportBegin", "internal.vm.volume.ImportEnd"] {
        let told = refusal(&reply(&fixture, method, "private", b"ok"));
        assert_eq!(told, format!("ProtocolError: no such method: '{method}'"));
    }
}

#[test]
fn reads_are_served_while_bytes_come_and_changes_wait() {
    let fixture = system();
    let mut command = stream(&fixture, "admin.vm.volume.Import", "private", b"");
    let mut importer = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = importer.stdin.take().unwrap();
    stdin.write_all(&new()[..SIZE / 2]).unwrap();
    while !images(&fixture).iter().any(|name| is_temporary(name)) {
        std::thread::yield_now();
    }
    // These would wait for ever if they waited for the import at all.
    fixture.ok("admin.vm.volume.Info+private", "made", "");
    fixture.ok("admin.vm.List", "dom0", "");
    fixture.ok("admin.vm.property.Set+vcpus", "made", "3");
    assert!(content(&fixture) == old());
    let store = fixture.store();
    assert!(store.is_busy(&common::names::QubeName::parse("made").unwrap()), "the import holds no lock");
    stdin.write_all(&new()[SIZE / 2..]).unwrap();
    drop(stdin);
    let mut answer = Vec::new();
    importer.stdout.take().unwrap().read_to_end(&mut answer).unwrap();
    importer.wait().unwrap();
    assert_eq!(readable(&answer), "0·");
    assert!(content(&fixture) == new());
}

#[test]
fn an_abandoned_import_is_replaced_by_the_next() {
    let fixture = system();
    let before = shown(&fixture);
    let begun = fixture.ok("internal.vm.volume.ImportBegin+private", "made", "99999999");
    assert!(begun.starts_with("99999999 /var/lib/qubes/appvms/made/private-import.img"), "{begun}");
    assert_eq!(shown(&fixture), before);
    assert_eq!(readable(&reply(&fixture, "admin.vm.volume.Import", "private", &new())), "0·");
    assert!(content(&fixture) == new());
    assert!(has_no_temporary(&fixture));
}

#[test]
fn the_halves_of_an_import_serve_a_program_of_this_machine() {
    let fixture = system();
    fixture.ok("internal.vm.volume.ImportBegin+private", "made", "");
    std::fs::write(image(&fixture, "private-import.img"), new()).unwrap();
    assert_eq!(fixture.ok("internal.vm.volume.ImportEnd+private", "made", "ok"), "");
    assert!(content(&fixture) == new());
    let missing = fixture.refused("internal.vm.volume.ImportEnd+private", "made", "ok");
    assert_eq!(missing, "StoragePoolException: committing an image: No such file or directory (os error 2)");
    let bad = fixture.refused("internal.vm.volume.ImportEnd+private", "made", "fail\n\x1b");
    assert_eq!(bad, "ProtocolError: Reason contains illegal characters");
    assert!(content(&fixture) == new());
}

#[test]
fn a_volume_that_a_domain_uses_by_then_keeps_what_it_holds() {
    let fixture = system();
    let before = content(&fixture);
    fixture.ok("internal.vm.volume.ImportBegin+private", "made", "");
    std::fs::write(image(&fixture, "private-import.img"), new()).unwrap();
    let running = fixture.domain("made", "Running");
    let mut told = String::new();
    let events = fixture.events_of(|fixture| {
        told = fixture.refused("internal.vm.volume.ImportEnd+private", "made", "ok");
    });
    assert_eq!(told, "QubesVMNotHaltedError: Domain is not powered off: 'made'");
    assert!(
        events[0].starts_with("made domain-volume-import-end") && events[0].ends_with("success=False"),
        "{events:?}"
    );
    drop(running);
    assert!(content(&fixture) == before);
    assert!(has_no_temporary(&fixture));
}

/// A token for a volume.
fn token(fixture: &Fixture, qube: &str, volume: &str) -> String {
    fixture.ok(&format!("admin.vm.volume.CloneFrom+{volume}"), qube, "")
}

#[test]
fn a_token_clones_once() {
    let fixture = system();
    fixture.ok("admin.vm.CreateInPool.AppVM", "dom0", "name=filed label=red pool:private=test");
    let token = token(&fixture, "made", "private");
    assert!(token.len() == 32 && token.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{token}");
    let events = fixture.events_of(|fixture| {
        fixture.ok("admin.vm.volume.CloneTo+private", "filed", format!(" {token}\n"));
    });
    assert_eq!(events, ["filed domain-import-volume name=private source=appvms/made/private"]);
    let cloned = fixture.path("/var/lib/qubes/test/appvms/filed/private.img");
    assert!(std::fs::read(cloned).unwrap() == old());
    assert_eq!(fixture.qube("filed").volumes[1].size, u64::try_from(SIZE).unwrap());
    let not_found = "QubesVolumeCopyTokenNotFoundError: 'Token to clone volume of qube was not found'";
    assert_eq!(fixture.refused("admin.vm.volume.CloneTo+private", "filed", &token), not_found);
    for bad in ["", "badtoken", "../../../../../../../../etc/passwd", &token[1..]] {
        if !bad.is_empty() {
            assert_eq!(fixture.refused("admin.vm.volume.CloneTo+private", "made", bad), not_found);
        }
    }
    assert_eq!(
        fixture.refused("admin.vm.volume.CloneTo+private", "made", b"\xff"),
        "ProtocolError: Token contains non-ASCII characters"
    );
}

#[test]
fn a_token_outlives_neither_its_volume_nor_a_wrong_target() {
    let fixture = system();
    fixture.ok("admin.vm.Create.AppVM", "dom0", "name=other label=red");
    let unused = token(&fixture, "made", "private");
    assert_eq!(
        fixture.refused("admin.vm.volume.CloneTo+nosuch", "other", &unused),
        "PermissionDenied: Argument not in 'other volumes'"
    );
    fixture.ok("admin.vm.volume.CloneTo+private", "other", &unused);
    let (first, second) = (token(&fixture, "other", "private"), token(&fixture, "made", "private"));
    fixture.ok("admin.vm.Remove", "other", "");
    let gone = "QubesException: Volume does not exist.";
    assert_eq!(fixture.refused("admin.vm.volume.CloneTo+private", "made", &first), gone);
    fixture.ok("admin.vm.volume.Set.revisions_to_keep+private", "made", "-1");
    let marker = fixture.path("/run/qubes/volume-running-varlibqubes:appvms-made-private");
    std::fs::write(marker, "").unwrap();
    fixture.ok("admin.vm.Create.AppVM", "dom0", "name=other label=red");
    assert_eq!(
        fixture.refused("admin.vm.volume.CloneTo+private", "other", &second),
        "StoragePoolException: Volume appvms/made/private must be stopped before importing its data"
    );
    let kernel = token(&fixture, "made", "kernel");
    fixture.ok("admin.vm.volume.CloneTo+kernel", "other", kernel);
    let other = token(&fixture, "other", "private");
    assert_eq!(
        fixture.refused("admin.vm.volume.CloneTo+kernel", "other", other),
        "StoragePoolException: clone of LinuxModules volume from different volume type is not supported"
    );
}

#[test]
fn a_volume_is_emptied_as_an_import_of_zeros() {
    let fixture = system();
    let events = fixture.events_of(|fixture| {
        fixture.ok("admin.vm.volume.Clear+private", "made", "");
    });
    assert_eq!(
        events,
        [format!("{BEGIN}{SIZE}"), "made domain-volume-import-end volume=private success=True".into()]
    );
    assert!(content(&fixture) == vec![0; SIZE]);
    for volume in ["root", "volatile", "kernel"] {
        let events = fixture.events_of(|fixture| {
            assert_eq!(fixture.call(&format!("admin.vm.volume.Clear+{volume}"), "made", ""), b"");
        });
        assert_eq!(events, [""; 0]);
    }
    fixture.ok("admin.vm.CreateInPool.AppVM", "dom0", "name=filed label=red pool:volatile=test");
    assert_eq!(
        fixture.refused("admin.vm.volume.Clear+volatile", "filed", ""),
        "StoragePoolException: Can not import into save_on_stop=False volume appvms/filed/volatile"
    );
}

/// A call that got these bytes, and whose caller then neither sends more nor ends: its answer.
fn answer_in_silence(mut command: Command, bytes: &[u8]) -> Vec<u8> {
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(bytes).unwrap();
    command.stdin(reader.try_clone().unwrap());
    let traced = run_into_silence(command, &reader);
    assert!(traced.met, "it does not wait");
    traced.output
}

#[test]
fn a_stream_that_falls_silent_ends_early() {
    let fixture = system();
    let (before, half) = (shown(&fixture), &new()[..SIZE / 2]);
    for (method, first, size) in [
        ("admin.vm.volume.Import", "", 65_536),
        ("admin.vm.volume.ImportWithSize", "70000\n", 70_000),
        ("admin.vm.volume.ImportWithSize", "\n", 65_536),
        ("admin.pool.volume.Import", "appvms/made/private\n", 65_536),
    ] {
        let mut command = stream(&fixture, method, "private", b"");
        if method == "admin.pool.volume.Import" {
            command = stream(&fixture, method, "varlibqubes", b"");
            command.env("QREXEC_REQUESTED_TARGET", "dom0");
        }
        let events = fixture.events_of(|_| {
            let told = format!("not enough data (copied 32768 bytes, expected {size} bytes)");
            let answer = answer_in_silence(command, &[first.as_bytes(), half].concat());
            assert_eq!(refusal(&answer), format!("QubesException: Data import failed: {told}"), "{method}");
        });
        let ended = "made domain-volume-import-end volume=private success=False".to_owned();
        assert_eq!(events, [format!("{BEGIN}{size}"), ended], "{method}");
        assert_eq!(shown(&fixture), before);
        assert!(has_no_temporary(&fixture));
        fixture.ok("admin.vm.volume.Set.rw+private", "made", "True");
    }
}

#[test]
fn a_stream_that_falls_silent_in_its_first_line_or_at_its_end_changes_nothing_by_that() {
    let fixture = system();
    let before = shown(&fixture);
    let with_size = || stream(&fixture, "admin.vm.volume.ImportWithSize", "private", b"");
    for first in ["", "655"] {
        assert_eq!(answer_in_silence(with_size(), first.as_bytes()), b"");
        assert_eq!(shown(&fixture), before);
    }
    assert_eq!(readable(&answer_in_silence(with_size(), b"8\nabcdefgh")), "0·");
    assert_eq!(content(&fixture), b"abcdefgh");
}

#[test]
fn an_import_that_could_not_begin_and_could_not_be_forgotten_is_forgotten_by_the_next_call() {
    let fixture = Fixture::new();
    add_callback(&fixture, "");
    fixture.ok("admin.vm.CreateInPool.AppVM", "dom0", "name=new label=red pool:private=callback");
    let spaced = fixture.path("/var/lib/qubes/with space");
    std::fs::rename(fixture.path("/var/lib/qubes/back"), &spaced).unwrap();
    let configure = |ended: &str| {
        let back = r#""bdriver": "file-reflink", "bdriver_args": {"dir_path": "/var/lib/qubes/with space"}"#;
        let file = format!(r#"{{"c": {{{back}, "post_volume_import_data_end": "{ended}"}}}}"#);
        std::fs::write(fixture.path("/etc/qubes_callback.json"), file).unwrap();
    };
    configure("false");
    let events = fixture.events_of(|fixture| {
        let told = fixture.refused("internal.vm.volume.ImportBegin+private", "new", "");
        assert_eq!(told, "ProtocolError: Path contains whitespace");
    });
    assert_eq!(events, [""; 0]);
    let mark = || volume(&fixture, "new", "private").import;
    assert_eq!(mark(), Some(Import::Preparing));
    // As long as it cannot be forgotten, all else is served.
    fixture.ok("admin.vm.volume.Set.rw+private", "new", "True");
    assert_eq!(mark(), Some(Import::Preparing));
    let ended = fixture.path("/ended");
    configure(&format!("touch {}", ended.display()));
    fixture.ok("admin.vm.volume.Set.rw+private", "new", "True");
    assert_eq!(mark(), None);
    assert!(ended.exists());
}

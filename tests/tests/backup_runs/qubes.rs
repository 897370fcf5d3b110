//! Backups that go to a qube, and passphrases that come from one.

use super::*;

/// Writes profile `p`, which goes to the qube `net`.
fn to_net(fixture: &Fixture, path: &str) {
    fixture.profile(
        "p",
        &format!(
            "destination_vm: net\ndestination_path: {path}\ninclude: [work]\npassphrase_text: \"{SECRET}\"\n"
        ),
    );
}

#[test]
fn a_qubes_service_gets_the_path_and_then_the_backup() {
    let fixture = system();
    services(&fixture, "", "cat > \"$root/mnt/backups/taken\"");
    to_net(&fixture, "\"/mnt/a b\\r\\n/c\"");
    assert!(fixture.refused(EXECUTE, "dom0", "").starts_with("QubesVMNotRunningError: "));
    let _running = fixture.domain("net", "Running");
    fixture.ok(EXECUTE, "dom0", "");
    assert_eq!(asked(&fixture), ["-d net user:QUBESRPC qubes.Backup dom0"]);
    assert_eq!(fs::read_to_string(fixture.path("/told")).unwrap(), "/mnt/a b/c");
    let restored = taken(&fixture);
    assert!(restored.file(&format!("{}private.img", folder(&fixture, "work"))) == noise(1, 200_000));
    assert_ne!(stamp(&fixture, "work"), "default=True type=int ");
}

#[test]
fn what_a_qubes_service_says_when_it_fails_is_told_in_plain_characters() {
    let fixture = system();
    to_net(&fixture, "/x");
    let _running = fixture.domain("net", "Running");
    let failed = "QubesException: Writing backup to VM net failed: ";
    // At once, having taken some, and having taken all.
    for take in ["", "head -c 1000 > \"$root/some\"; ", "cat > \"$root/some\"; "] {
        let complaint = "printf 'no %%{space}\\n\\033 left' >&2; exit 3";
        services(&fixture, "", &format!("{take}{complaint}"));
        assert_eq!(fixture.refused(EXECUTE, "dom0", ""), format!("{failed}no space left"), "{take}");
    }
    services(&fixture, "", "exec cat > \"$root/some\" & kill -9 $!; exit 1");
    assert_eq!(fixture.refused(EXECUTE, "dom0", ""), failed);
    assert_eq!(stamp(&fixture, "work"), "default=True type=int ");
    check_cleared(&fixture, &[]);
}

#[test]
fn a_service_that_prints_much_is_listened_to() {
    let fixture = system();
    services(&fixture, "", "head -c 1000000 /dev/zero >&2; cat > \"$root/mnt/backups/taken\"");
    to_net(&fixture, "/x");
    let _running = fixture.domain("net", "Running");
    fixture.ok(EXECUTE, "dom0", "");
    assert_eq!(taken(&fixture).names().len(), 2);
}

/// Writes profile `p`, whose passphrase a qube is asked for.
fn asking(fixture: &Fixture, said: &str) {
    let start = format!("destination_vm: dom0\ndestination_path: {FOLDER}\ninclude: [work]\n");
    fixture.profile("p", &format!("{start}{said}\n"));
}

#[test]
fn a_passphrase_comes_from_the_qube_that_is_asked() {
    let fixture = system();
    services(&fixture, &format!("printf ' \\t{}\\n\\n'", SECRET.replace('\'', "'\"'\"'")), "");
    asking(&fixture, "passphrase_vm: net");
    assert!(fixture.refused(EXECUTE, "dom0", "").starts_with("QubesVMNotRunningError: "));
    let _running = fixture.domain("net", "Running");
    fixture.ok(EXECUTE, "dom0", "");
    assert_eq!(asked(&fixture), ["-d net user:QUBESRPC qubes.BackupPassphrase+p dom0"]);
    assert_eq!(taken(&fixture).names().len(), 2);
    // What is said counts more.
    asking(&fixture, &format!("passphrase_vm: net\npassphrase_text: \"{SECRET}\""));
    fixture.ok(EXECUTE, "dom0", "");
    assert_eq!(asked(&fixture), [""; 0]);
    assert_eq!(taken(&fixture).names().len(), 2);
}

#[test]
fn dom0_is_asked_by_its_own_program() {
    let fixture = system();
    let script = format!(
        "#!/bin/sh\nroot=${{0%/usr/lib/*}}\necho \"$*\" > \"$root/client.log\"\necho \"{}\"\n",
        SECRET
    );
    executables::script(&fixture.path("/usr/lib/qubes/qubes-rpc-multiplexer"), &script);
    asking(&fixture, "passphrase_vm: dom0");
    fixture.ok(EXECUTE, "dom0", "");
    assert_eq!(asked(&fixture), ["qubes.BackupPassphrase+p dom0 name dom0"]);
    assert_eq!(taken(&fixture).names().len(), 2);
}

#[test]
fn answers_that_are_no_passphrase_are_refused() {
    let fixture = system();
    let _running = fixture.domain("net", "Running");
    let failed = "QubesException: Failed to retrieve passphrase from 'net' VM";
    let lines = "ProtocolError: Passphrase must not contain newline character";
    for (answer, refused) in [
        ("echo a; exit 1", failed),
        ("kill -9 $$", failed),
        ("printf 'a\\nb'", lines),
        ("", CANCELLED),
        ("printf ' \\n '", CANCELLED),
        ("head -c 5000 /dev/zero", "QubesException: The passphrase is too long"),
    ] {
        services(&fixture, answer, "");
        asking(&fixture, "passphrase_vm: net");
        assert_eq!(fixture.refused(EXECUTE, "dom0", ""), refused, "{answer}");
    }
    asking(&fixture, "passphrase_text: ''");
    assert_eq!(fixture.refused(EXECUTE, "dom0", ""), "QubesException: No passphrase set");
    let invalid = "QubesException: Invalid backup profile - ";
    for (said, what) in [
        ("passphrase_vm: nosuch", "invalid passphrase_vm"),
        ("", "you need to specify passphrase_text or passphrase_vm"),
        ("passphrase_text: [a]", "passphrase_text is no text"),
    ] {
        asking(&fixture, said);
        assert_eq!(fixture.refused(EXECUTE, "dom0", ""), format!("{invalid}{what}"));
    }
    check_cleared(&fixture, &[]);
    assert_eq!(stamp(&fixture, "work"), "default=True type=int ");
}

//! Which qubes a caller sees in a list: those that policy would let its call reach at once (spec 50 §13, §14).
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use tests::Fixture;

/// The names that `test-vm1` sees in the list of all.
fn seen(fixture: &Fixture) -> Vec<String> {
    let reply = fixture.call_as("test-vm1", "admin.vm.List", "dom0", "");
    let text = String::from_utf8(reply.strip_prefix(b"0\0").unwrap().to_vec()).unwrap();
    text.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

/// The same under a policy of its own.
fn seen_under(policy: &str) -> Vec<String> {
    let fixture = Fixture::new();
    fixture.policy("10-test.policy", policy);
    seen(&fixture)
}

#[test]
fn an_allowed_call_needs_a_place_to_go_to() {
    let all = ["dom0", "test-net", "test-template", "test-vm1"];
    for (parameters, expected) in [
        ("", &all[..]),
        ("target=dom0", &all),
        ("autostart=no", &all[..1]),
        ("target=@adminvm autostart=no", &all),
        ("target=test-net autostart=no", &[]),
        ("target=nobody", &[]),
        ("target=@dispvm", &[]),
        ("target=@dispvm:test-net", &[]),
    ] {
        let rule = format!("admin.vm.List * test-vm1 * allow {parameters}\n");
        assert_eq!(seen_under(&rule), expected, "{rule}");
    }
}

#[test]
fn a_rule_without_autostart_shows_what_runs() {
    let fixture = Fixture::new();
    fixture.policy("10-test.policy", "admin.vm.List * @anyvm @anyvm allow autostart=no\n");
    let watcher = fixture.domain("test-net", "Running");
    assert_eq!(seen(&fixture), ["test-net"]);
    drop(watcher);
    let _watcher = fixture.domain("test-net", "Paused");
    assert!(seen(&fixture).is_empty());
}

#[test]
fn absolute_includes_lie_below_the_root() {
    let fixture = Fixture::new();
    std::fs::write(fixture.path("/etc/qubes/more"), "admin.vm.List * test-vm1 dom0 allow\n").unwrap();
    fixture.policy("10-test.policy", "!include /etc/qubes/more\n");
    assert_eq!(seen(&fixture), ["dom0"]);
}

#[test]
fn a_file_name_that_is_no_policy_files_denies_everything() {
    let fixture = Fixture::new();
    fixture.policy("10-test.policy", "admin.vm.List * test-vm1 * allow\n");
    let folder = fixture.path("/etc/qubes/policy.d");
    for (name, is_legal) in
        [(&b"\xff.policy"[..], false), (b"A.policy", false), (b"\xff", true), (b".\xff.policy", true)]
    {
        let file = folder.join(OsStr::from_bytes(name));
        std::fs::write(&file, "").unwrap();
        assert_eq!(!seen(&fixture).is_empty(), is_legal, "{file:?}");
        std::fs::remove_file(file).unwrap();
    }
}

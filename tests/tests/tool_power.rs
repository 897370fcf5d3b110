//! `qubes-admin start`, `shutdown`, `autostart`, `shutdown-all` and `clean-up`, on simulated domains.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "test code")]

use tests::Fixture;
use tests::tool::{install, tool};

/// Exit status and what was said.
fn outcome(fixture: &Fixture, arguments: &[&str]) -> (Option<i32>, String) {
    let output = tool(fixture, arguments);
    assert!(output.stdout.is_empty());
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn disposables_of_an_earlier_boot_go_and_no_others() {
    let fixture = Fixture::new();
    install(&fixture);
    fixture.ok("admin.vm.property.Set+template_for_dispvms", "test-vm1", "True");
    let [left, running] = [(); 2].map(|()| fixture.ok("admin.vm.CreateDisposable", "test-vm1", ""));
    fixture.ok("admin.vm.Create.DispVM+test-vm1", "dom0", "name=named label=red");
    let _domain = fixture.domain(&running, "Running");
    assert_eq!(outcome(&fixture, &["clean-up"]), (Some(0), String::new()));
    let listed = fixture.ok("admin.vm.List", "dom0", "");
    assert!(!listed.contains(&left) && listed.contains(&running) && listed.contains("named"), "{listed}");
}

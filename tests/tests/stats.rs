//! `admin.vm.Stats` from outside: rounds, keys, who is shown to whom, and the end (spec 10 §2.9, 30 §15).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, reason = "test code")]

use tests::Fixture;
use tests::fixture::{Watcher, refusal};
use tests::listener::Listener;

const STATS: &str = "admin.vm.Stats";

fn running(fixture: &Fixture, qube: &str, domid: u32) -> Watcher {
    let state = format!(
        r#"{{"state": "Running", "domid": {domid}, "start_time_us": 1, "memory_kib": 409600,
            "cpu_time_ns": 42000999999, "vcpus": 2}}"#
    );
    fixture.published(qube, &state)
}

const PLAIN: &str = "vm-stats·memory_kb·409600·memory_assigned_total·409600·memory_assigned_usable·409600·\
    memory_with_swap_used·409600·cpu_time·42000·cpu_usage·0·online_vcpus·2··";

fn subject(message: &str) -> &str {
    message.split('·').nth(1).unwrap()
}

#[test]
fn a_running_qube_is_reported_in_every_round_until_it_stops() {
    let fixture = Fixture::new();
    fixture.ok("admin.property.Set+stats_interval", "dom0", "1");
    let domain = running(&fixture, "test-vm1", 7);
    let listener = Listener::to(&fixture, STATS, "dom0", "test-vm1");
    for _ in 0..2 {
        assert_eq!(listener.next().unwrap(), format!("1·test-vm1·{PLAIN}"));
    }
    drop(domain);
    while let Some(message) = listener.next() {
        assert!(message.starts_with("1·test-vm1·vm-stats·"), "no exception follows an event: {message}");
    }
    assert_eq!(listener.log(), "qubes-admin: test-vm1 stopped\n");
}

#[test]
fn a_qube_that_does_not_run_is_refused_before_any_event() {
    let fixture = Fixture::new();
    let expected = "QubesVMNotRunningError: Domain not running (either powered off or paused): 'test-vm1'";
    assert_eq!(fixture.refused(STATS, "test-vm1", ""), expected);
}

#[test]
fn dom0_comes_first_and_the_others_by_domain_number() {
    let fixture = Fixture::new();
    let _domains = [running(&fixture, "test-vm1", 9), running(&fixture, "test-net", 3)];
    let listener = Listener::to(&fixture, STATS, "dom0", "dom0");
    let round = [(); 3].map(|()| listener.next().unwrap());
    assert_eq!(round.each_ref().map(|message| subject(message)), ["dom0", "test-net", "test-vm1"]);
    assert_eq!(round[2], format!("1·test-vm1·{PLAIN}"));
    let keys: Vec<&str> = round[0].split('·').skip(3).step_by(2).collect();
    let expected = [
        "memory_kb",
        "memory_assigned_total",
        "memory_assigned_usable",
        "memory_with_swap_used",
        "cpu_time",
        "cpu_usage",
        "online_vcpus",
        "",
    ];
    assert_eq!(keys, expected);
}

#[test]
fn swap_and_the_helper_domain_have_keys_of_their_own() {
    let fixture = Fixture::new();
    let state = r#"{"state": "Running", "domid": 7, "start_time_us": 1, "memory_kib": 409600, "memory_max_kib": 500000,
        "guest_memory": {"used_kib": 300000, "swap_used_kib": 20}, "cpu_time_ns": 5000000, "vcpus": 2,
        "stubdom": {"domid": 8, "uuid": "u", "cpu_time_ns": 7000000, "vcpus": 1}}"#;
    let _domain = fixture.published("test-vm1", state);
    let listener = Listener::to(&fixture, STATS, "dom0", "test-vm1");
    let expected = "1·test-vm1·vm-stats·memory_kb·409600·memory_assigned_total·500000·memory_assigned_usable·409600·\
        memory_with_swap_used·300000·cpu_time·5·cpu_usage·0·online_vcpus·2·swap_used·20·cpu_time_internal·7·\
        cpu_usage_internal·0.0·online_vcpus_internal·1··";
    assert_eq!(listener.next().unwrap(), expected);
}

#[test]
fn others_see_the_qubes_that_policy_lets_them_list() {
    let fixture = Fixture::new();
    fixture.policy("10-test.policy", "admin.vm.List * test-net test-vm1 allow\n");
    let _domains = [running(&fixture, "test-vm1", 9), running(&fixture, "test-net", 3)];
    fixture.ok("admin.property.Set+stats_interval", "dom0", "1");
    let listener = Listener::to(&fixture, STATS, "test-net", "dom0");
    let rounds = [(); 2].map(|()| listener.next().unwrap());
    assert_eq!(rounds, [(); 2].map(|()| format!("1·test-vm1·{PLAIN}")));
    assert!(refusal(&fixture.call_as("test-net", STATS, "nobody", "")).starts_with("QubesVMNotFoundError: "));
}

//! Network values: addresses, gateways, loops and providers (spec 10 §3.4, §3.5 notes 2 and 3).

use super::{SYSTEM, feature, get, refused, reset, set, world};
use common::model::Value;

#[test]
fn addresses_are_made_from_numbers() {
    let fixture = world();
    set(&fixture, "test-vm1", "netvm", "test-net");
    feature(&fixture, "test-net", "ipv6", "1");
    for (number, ip, ip6) in [
        (1, "0.1", "1"),
        (254, "0.254", "fe"),
        (255, "1.1", "ff"),
        (256, "1.2", "100"),
        (508, "1.254", "1fc"),
        (509, "2.1", "1fd"),
        (513, "2.5", "201"),
        (9999, "39.93", "270f"),
    ] {
        fixture.edit("test-vm1", |qube| qube.qid = number);
        assert_eq!(get(&fixture, "test-vm1", "ip"), format!("default=True type=str 10.137.{ip}"));
        let shown = format!("default=True type=str fd09:24ef:4179::a89:{ip6}");
        assert_eq!(get(&fixture, "test-vm1", "ip6"), shown);
    }
    set(&fixture, "test-disp", "netvm", "test-net");
    fixture.edit("test-disp", |qube| drop(qube.properties.insert("dispid".to_owned(), Value::Int(300))));
    assert_eq!(get(&fixture, "test-disp", "ip"), "default=True type=str 10.138.1.46");
    assert_eq!(get(&fixture, "test-disp", "ip6"), "default=True type=str fd09:24ef:4179::a8a:12c");
}

#[test]
fn without_network_there_is_nothing_to_see() {
    let fixture = world();
    for property in [
        "dns",
        "ip",
        "ip6",
        "gateway",
        "gateway6",
        "visible_ip",
        "visible_ip6",
        "visible_gateway",
        "visible_netmask",
    ] {
        assert_eq!(get(&fixture, "test-vm1", property), "default=True type=str ", "{property}");
    }
}

/// `property value` of the network properties of a qube.
fn shown(fixture: &tests::Fixture, qube: &str) -> Vec<String> {
    const NAMES: [&str; 8] =
        ["dns", "ip", "ip6", "gateway", "gateway6", "visible_gateway", "visible_gateway6", "visible_netmask"];
    let value = |name: &&str| get(fixture, qube, name).replace("default=True type=str ", &format!("{name} "));
    NAMES.iter().map(value).collect()
}

#[test]
fn provider_and_client_see_each_other() {
    let fixture = world();
    set(&fixture, "test-vm1", "netvm", "test-net");
    let client = [
        "dns 10.139.1.1 10.139.1.2",
        "ip 10.137.0.2",
        "ip6 ",
        "gateway ",
        "gateway6 ",
        "visible_gateway 10.137.0.3",
        "visible_gateway6 ",
        "visible_netmask 255.255.255.255",
    ];
    assert_eq!(shown(&fixture, "test-vm1"), client);
    let provider = [
        "dns 10.139.1.1 10.139.1.2",
        "ip 10.137.0.3",
        "ip6 ",
        "gateway 10.137.0.3",
        "gateway6 ",
        "visible_gateway ",
        "visible_gateway6 ",
        "visible_netmask ",
    ];
    assert_eq!(shown(&fixture, "test-net"), provider);
    feature(&fixture, "test-net", "ipv6", "1");
    assert_eq!(shown(&fixture, "test-vm1")[2], "ip6 fd09:24ef:4179::a89:2");
    assert_eq!(shown(&fixture, "test-vm1")[6], "visible_gateway6 fd09:24ef:4179::a89:3");
    assert_eq!(shown(&fixture, "test-net")[4], "gateway6 fd09:24ef:4179::a89:3");
    feature(&fixture, "test-vm1", "ipv6", "");
    assert_eq!(shown(&fixture, "test-vm1")[2], "ip6 ");
    assert_eq!(shown(&fixture, "test-vm1")[6], "visible_gateway6 ");
}

#[test]
fn a_client_may_be_shown_other_addresses_than_its_own() {
    let fixture = world();
    set(&fixture, "test-vm1", "netvm", "test-net");
    for (qube, name, value) in [
        ("test-template", "net.fake-ip", "192.168.0.9"),
        ("test-vm1", "net.fake-gateway", "192.168.0.1"),
        ("test-vm1", "net.fake-netmask", "255.255.255.0"),
    ] {
        feature(&fixture, qube, name, value);
    }
    let visible = |property: &str| get(&fixture, "test-vm1", property).replace("default=True type=str ", "");
    assert_eq!(visible("visible_ip"), "192.168.0.9");
    assert_eq!(visible("ip"), "10.137.0.2");
    assert_eq!(visible("visible_gateway"), "192.168.0.1");
    assert_eq!(visible("visible_netmask"), "255.255.255.0");
    feature(&fixture, "test-vm1", "net.fake-ip", "");
    assert_eq!(visible("visible_ip"), "10.137.0.2");
}

#[test]
fn a_netvm_provides_network_and_is_not_reached_from_itself() {
    let fixture = world();
    let loops = "QubesValueError: Loops in network are unsupported";
    for (target, text) in [
        ("test-alone", "QubesValueError: The test-alone qube does not provide network"),
        ("test-vm1", "QubesValueError: The test-vm1 qube does not provide network"),
        ("dom0", "QubesValueError: The dom0 qube does not provide network"),
    ] {
        let events = fixture.events_of(|fixture| {
            assert_eq!(refused(fixture, "Set", "test-vm1", "netvm", target.as_bytes()), text);
        });
        assert!(events.is_empty(), "{target}");
    }
    for qube in ["test-vm1", "test-alone"] {
        set(&fixture, qube, "provides_network", "True");
    }
    assert_eq!(refused(&fixture, "Set", "test-vm1", "netvm", b"test-vm1"), loops);
    set(&fixture, "test-vm1", "netvm", "test-alone");
    set(&fixture, "test-alone", "netvm", "test-net");
    assert_eq!(refused(&fixture, "Set", "test-net", "netvm", b"test-alone"), loops);
    assert_eq!(refused(&fixture, "Set", "test-net", "netvm", b"test-vm1"), loops);
}

#[test]
fn the_default_must_suit_a_qube_that_returns_to_it() {
    let fixture = world();
    set(&fixture, SYSTEM, "default_netvm", "test-net");
    let events = fixture.events_of(|fixture| {
        let loops = "QubesValueError: Loops in network are unsupported";
        assert_eq!(refused(fixture, "Reset", "test-net", "netvm", b""), loops);
    });
    assert_eq!(events, ["test-net property-pre-reset:netvm name=netvm oldvalue=None"]);
    set(&fixture, "test-vm1", "netvm", "");
    set(&fixture, SYSTEM, "default_netvm", "dom0");
    let text = "QubesValueError: The dom0 qube does not provide network";
    assert_eq!(refused(&fixture, "Reset", "test-vm1", "netvm", b""), text);
}

#[test]
fn the_default_netvm_is_not_reached_from_itself() {
    let fixture = world();
    for (target, first) in [("test-vm1", "test-vm1"), ("test-template", "test-template")] {
        let events = fixture.events_of(|fixture| {
            let text = format!("QubesPropertyValueError: Network loop on '{first}'");
            assert_eq!(refused(fixture, "Set", SYSTEM, "default_netvm", target.as_bytes()), text);
        });
        assert!(events.is_empty());
    }
    set(&fixture, "test-alone", "provides_network", "True");
    set(&fixture, "test-net", "netvm", "test-alone");
    let text = "QubesPropertyValueError: Network loop on 'test-alone'";
    assert_eq!(refused(&fixture, "Set", SYSTEM, "default_netvm", b"test-net"), text);
    set(&fixture, "test-alone", "netvm", "");
    set(&fixture, SYSTEM, "default_netvm", "test-net");
}

#[test]
fn a_provider_in_use_keeps_providing_unless_reset() {
    let fixture = world();
    set(&fixture, "test-vm1", "netvm", "test-net");
    let text = "QubesValueError: The qube is still used by other qubes, change theirs 'netvm' first";
    let events = fixture.events_of(|fixture| {
        assert_eq!(refused(fixture, "Set", "test-net", "provides_network", b"False"), text);
    });
    assert!(events.is_empty());
    set(&fixture, "test-vm1", "netvm", "");
    set(&fixture, SYSTEM, "default_netvm", "test-net");
    assert_eq!(refused(&fixture, "Set", "test-net", "provides_network", b"False"), text);
    reset(&fixture, "test-net", "provides_network");
    assert_eq!(get(&fixture, "test-net", "provides_network"), "default=True type=bool False");
}

//! `admin.vm.firewall.*` (spec 30 §8 to §11).
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "test code"
)]

use std::time::{SystemTime, UNIX_EPOCH};

use common::names::Rule;
use tests::Fixture;
use tests::companions::{install, recorded};
use tests::fixture::readable;
use tests::startable::{system, until};
use tests::tool::{error, text, tool};

const SET: &str = "admin.vm.firewall.Set";
const GET: &str = "admin.vm.firewall.Get";
const FLUSH: &str = "admin.vm.firewall.Flush";
const SET_POLICY: &str = "admin.vm.firewall.SetPolicy";
const GET_POLICY: &str = "admin.vm.firewall.GetPolicy";
const CHANGED: &str = "test-vm1 firewall-changed";

fn rules(lines: &str) -> Vec<Rule> {
    Rule::parse_all(lines).unwrap()
}

#[test]
fn rules_are_told_as_their_options_are_meant() {
    let fixture = Fixture::new();
    assert_eq!(fixture.ok(GET, "test-vm1", ""), "action=accept\n");
    for (set, told) in [
        ("action=drop expire=99999999999 dsthost=1.2.3.4", "action=drop expire=99999999999 dst4=1.2.3.4/32"),
        ("action=accept dst4=2001:db8::1", "action=accept dst6=2001:db8::1/128"),
        ("action=accept dst4=2001:DB8::1", "action=accept dst6=2001:DB8::1/128"),
        ("action=accept dst4=300.1.1.1", "action=accept dsthost=300.1.1.1"),
        ("action=accept dst6=10.1.2.3/8", "action=accept dst4=10.1.2.3/8"),
        ("action=accept dsthost=::ffff:1.2.3.4/96", "action=accept dst6=::ffff:1.2.3.4/96"),
        ("action=accept dst4=10.0.0.0/08", "action=accept dst4=10.0.0.0/08"),
        ("action=accept dstname=a-b_c.example", "action=accept dsthost=a-b_c.example"),
        (
            "action=accept dsthost=example.com proto=udp dstports=53",
            "action=accept dsthost=example.com proto=udp dstports=53-53",
        ),
        (
            "dstports=0-65535 proto=tcp specialtarget=dns action=drop",
            "action=drop proto=tcp specialtarget=dns dstports=0-65535",
        ),
        ("icmptype=008 action=accept proto=icmp", "action=accept proto=icmp icmptype=8"),
        ("action=accept proto=icmp icmptype=255", "action=accept proto=icmp icmptype=255"),
        ("  action=accept\t comment= a, [b]  ", "action=accept comment= a, [b]  "),
        ("action=acceptcomment=x", "action=accept comment=x"),
        ("action=accept comment=", "action=accept"),
        ("action=accept proto=udp\naction=drop", "action=accept proto=udp\naction=drop"),
    ] {
        assert_eq!(fixture.ok(SET, "test-vm1", set), "", "{set}");
        assert_eq!(fixture.ok(GET, "test-vm1", ""), format!("{told}\n"), "{set}");
        assert_eq!(fixture.ok(SET, "test-vm1", format!("{told}\n")), "", "{told}");
        assert_eq!(fixture.ok(GET, "test-vm1", ""), format!("{told}\n"), "{told}");
    }
}

#[test]
fn a_bad_rule_refuses_the_whole_set_and_is_told() {
    const OPTION: &str = "Invalid firewall option";
    const STRANGE: &str = "strange characters in rule";
    let fixture = Fixture::new();
    fixture.ok(SET, "test-vm1", "action=drop");
    let long = format!("action=accept comment={}", "x".repeat(3060));
    let events = fixture.events_of(|fixture| {
        for (bad, why) in [
            ("\n", OPTION),
            ("action=accept\n\n", OPTION),
            ("garbage", OPTION),
            ("action=accept  proto=tcp", OPTION),
            ("action=", OPTION),
            ("action=accept dsthost=", OPTION),
            ("comment=alone", OPTION),
            ("=", "Unknown firewall option"),
            ("action=accept dpi=http", "Unknown firewall option"),
            ("Action=accept", "Unknown firewall option"),
            ("action=accept action=drop", "Option 'action' already set"),
            ("action=accept dst4=1.1.1.1 dst4=1.1.1.1", "Option 'dsthost' already set"),
            ("action=accept dst4=1.1.1.1 dst6=::1", "Option 'dsthost' already set"),
            ("action=Accept", "Accept"),
            ("action=reject", "reject"),
            ("action=forward", "forward"),
            ("action=accept proto=igmp", "igmp"),
            ("action=accept specialtarget=foo", "foo"),
            ("action=acc%pt", STRANGE),
            ("action=accept expire=12=3", STRANGE),
            ("action=accept dsthost=\u{1}", STRANGE),
            ("proto=tcp", "Missing firewall action"),
            ("action=accept proto=tcp dstports=1-2-3", "1-2-3"),
            ("action=accept proto=tcp dstports=65536", "Ports out of range"),
            ("action=accept proto=tcp dstports=1-99999999999999999999", "Ports out of range"),
            ("action=accept proto=tcp dstports=90-80", "Invalid port range"),
            ("action=accept proto=tcp dstports=abc", "Invalid port"),
            ("action=accept proto=tcp dstports=8_0", "Invalid port"),
            ("action=accept proto=tcp dstports=-80", "Invalid port"),
            ("action=accept dstports=80", "dstports valid only for 'tcp' and 'udp' protocols"),
            ("action=accept proto=icmp dstports=80", "dstports valid only for 'tcp' and 'udp' protocols"),
            ("action=accept proto=icmp icmptype=256", "ICMP type out of range"),
            ("action=accept proto=icmp icmptype=0008", "bad ICMP type"),
            ("action=accept proto=icmp icmptype=x", "bad ICMP type"),
            ("action=accept icmptype=8", "icmptype valid only for 'icmp' protocol"),
            ("action=accept proto=tcp icmptype=8", "icmptype valid only for 'icmp' protocol"),
            ("action=accept expire=abc", "bad expiration time"),
            ("action=accept expire=99999999999999999999", "bad expiration time"),
            ("action=accept dst4=1.2.3.4/33", "netmask for IPv4 must be <= 32"),
            ("action=accept dst6=::1/129", "netmask for IPv6 must be <= 128"),
            ("action=accept dst4=1.2.3.4/x", "bad prefix length"),
            ("action=accept dst4=1.2.3.4/", "bad prefix length"),
            ("action=accept dst4=1.2.3.4/-1", "bad prefix length"),
            ("action=accept dst4=1.2.3.4/8/8", "Too many /: 1.2.3.4/8/8"),
            ("action=accept dst4=127/8", "Invalid IP address: 127"),
            ("action=accept dst4=137.327.0.0/16", "Invalid IP address: 137.327.0.0"),
            ("action=accept dst4=1.2.3.4.5/32", "Invalid IP address: 1.2.3.4.5"),
            ("action=accept dst6=2001:db8::g/32", "Invalid IP address: 2001:db8::g"),
            ("action=accept dst6=2001:db8::g", "Invalid hostname"),
            ("action=accept dsthost=EXAMPLE.com", "Invalid hostname"),
            ("action=accept dsthost=a b", OPTION),
            ("action=accept comment=a=b", "strange characters comment"),
            ("action=accept comment=100%", "strange characters comment"),
            ("action=accept comment=\u{1}", "strange characters comment"),
            ("action=accept comment=x proto=tcp", "strange characters comment"),
            ("action=accept\naction=drop proto=x\nbad", "x"),
            (&long, "Firewall rule too long"),
        ] {
            assert_eq!(fixture.refused(SET, "test-vm1", bad), format!("ProtocolError: {why}"), "{bad:?}");
        }
        for (payload, why) in [
            (&b"action=accept comment=\xff"[..], "Rules contains non-ASCII characters"),
            (b"", "expected payload"),
        ] {
            assert_eq!(fixture.refused(SET, "test-vm1", payload), format!("ProtocolError: {why}"));
        }
    });
    assert_eq!(events, [""; 0]);
    assert_eq!(fixture.ok(GET, "test-vm1", ""), "action=drop\n");
}

#[test]
fn every_change_is_announced_and_reads_are_not() {
    let fixture = Fixture::new();
    for (call, payload, expected) in [
        (SET, "action=accept", &[CHANGED][..]),
        (SET, "action=accept", &[CHANGED]),
        ("admin.vm.firewall.Reload", "", &[CHANGED]),
        (FLUSH, "", &[CHANGED]),
        (SET_POLICY, "drop", &[CHANGED]),
        (GET, "", &[]),
        (GET_POLICY, "", &[]),
    ] {
        let events = fixture.events_of(|fixture| drop(fixture.ok(call, "test-vm1", payload)));
        assert_eq!(events, expected, "{call}");
    }
}

#[test]
fn the_policy_is_the_last_rule_where_that_is_an_action_alone() {
    let fixture = Fixture::new();
    let is = |rules: &str, policy: &str| {
        assert_eq!(fixture.ok(GET, "test-vm1", ""), rules);
        assert_eq!(fixture.ok(GET_POLICY, "test-vm1", ""), policy, "{rules}");
    };
    is("action=accept\n", "accept");
    fixture.ok(SET_POLICY, "test-vm1", "drop");
    is("", "drop");
    fixture.ok(SET_POLICY, "test-vm1", "accept");
    is("action=accept\n", "accept");
    fixture.ok(SET, "test-vm1", "action=accept\naction=drop dst4=10.0.0.0/8\naction=drop");
    is("action=accept\naction=drop dst4=10.0.0.0/8\naction=drop\n", "drop");
    fixture.ok(SET_POLICY, "test-vm1", "accept");
    is("action=accept\naction=drop dst4=10.0.0.0/8\naction=accept\n", "accept");
    fixture.ok(SET_POLICY, "test-vm1", "accept");
    fixture.ok(FLUSH, "test-vm1", "");
    is("action=accept\n", "accept");
    fixture.ok(SET, "test-vm1", "action=accept\naction=accept comment=last");
    is("action=accept\naction=accept comment=last\n", "drop");
    fixture.ok(SET_POLICY, "test-vm1", "drop");
    is("action=accept\naction=accept comment=last\n", "drop");
    fixture.ok(FLUSH, "test-vm1", "");
    is("", "drop");
    for policy in ["Accept", "accept\n", "reject", "\u{ff}"] {
        let refused = fixture.refused(SET_POLICY, "test-vm1", policy);
        assert_eq!(refused, "ProtocolError: Invalid firewall policy");
    }
}

#[test]
fn dom0_and_remote_qubes_have_no_rules() {
    let fixture = Fixture::new();
    fixture.ok("admin.vm.Create.RemoteVM", "dom0", "name=far label=red");
    for (call, payload) in [
        (GET, ""),
        (SET, "action=accept"),
        (FLUSH, ""),
        (GET_POLICY, ""),
        (SET_POLICY, "drop"),
        ("admin.vm.firewall.Reload", ""),
    ] {
        let refused = fixture.refused(call, "dom0", payload);
        assert_eq!(refused, "ProtocolError: expected destination to not be AdminVM", "{call}");
        if !call.ends_with("Reload") {
            assert_eq!(fixture.call(call, "far", payload), b"", "{call}");
        }
    }
    let reload = fixture.events_of(|fixture| drop(fixture.ok("admin.vm.firewall.Reload", "far", "")));
    assert_eq!(reload, ["far firewall-changed"]);
}

#[test]
fn rules_that_ended_are_neither_told_nor_kept() {
    let fixture = Fixture::new();
    fixture.ok(SET, "test-vm1", "action=drop expire=1\naction=accept expire=4102444800\naction=drop");
    assert_eq!(
        fixture.qube("test-vm1").firewall,
        Some(rules("action=accept expire=4102444800\naction=drop"))
    );
    fixture.ok(SET, "test-vm1", "action=accept expire=1");
    assert_eq!(fixture.qube("test-vm1").firewall, Some(Vec::new()));
    assert_eq!(readable(&fixture.call(GET, "test-vm1", "")), "0·");
    fixture.edit("test-vm1", |qube| qube.firewall = Some(rules("action=drop expire=1\naction=accept")));
    assert_eq!(fixture.ok(GET, "test-vm1", ""), "action=accept\n");
    fixture.ok(FLUSH, "test-vm1", "");
    assert_eq!(fixture.qube("test-vm1").firewall, Some(rules("action=accept")));
}

#[test]
fn thousands_of_rules_are_kept_in_order() {
    let fixture = Fixture::new();
    let thousand: String =
        (0..1000).map(|port| format!("action=accept proto=tcp dstports={port}-1000\n")).collect();
    fixture.ok(SET, "test-vm1", &thousand);
    assert_eq!(fixture.ok(GET, "test-vm1", ""), thousand);
    let most = "action=drop\n".repeat(5_000);
    assert_eq!(fixture.ok(SET, "test-vm1", &most), "");
    assert_eq!(fixture.ok(GET, "test-vm1", ""), most);
}

#[test]
fn a_disposable_begins_with_its_templates_rules_and_other_qubes_with_the_usual_one() {
    let fixture = Fixture::new();
    fixture.ok(SET, "test-vm1", "action=drop dst4=10.0.0.1\n");
    fixture.ok(SET, "test-template", "action=drop\n");
    fixture.ok("admin.vm.property.Set+template_for_dispvms", "test-vm1", "True");
    fixture.ok("admin.vm.Create.DispVM+test-vm1", "dom0", "name=disp label=red");
    assert_eq!(fixture.ok(GET, "disp", ""), "action=drop dst4=10.0.0.1/32\n");
    fixture.ok(SET, "test-vm1", "action=accept\n");
    assert_eq!(fixture.ok(GET, "disp", ""), "action=drop dst4=10.0.0.1/32\n");
    fixture.ok("admin.vm.Create.AppVM+test-template", "dom0", "name=app label=red");
    assert_eq!(fixture.ok(GET, "app", ""), "action=accept\n");
    fixture.ok(SET, "app", "action=drop\n");
    fixture.ok("admin.vm.Remove", "app", "");
    fixture.ok("admin.vm.Create.AppVM+test-template", "dom0", "name=app label=red");
    assert_eq!(fixture.ok(GET, "app", ""), "action=accept\n");
}

fn ip(fixture: &Fixture, qube: &str, property: &str) -> String {
    let told = fixture.ok(&format!("admin.vm.property.Get+{property}"), qube, "");
    told.rsplit_once(' ').unwrap().1.to_owned()
}

/// A root where `work` and its netvm `net` run and have version 6 addresses; what the netvm was told until then is past.
fn running() -> Fixture {
    let fixture = system();
    install(&fixture);
    fixture.ok("admin.vm.feature.Set+qubes-firewall", "test-template", "1");
    fixture.ok("admin.vm.feature.Set+ipv6", "net", "1");
    fixture.ok("admin.vm.Start", "work", "");
    recorded(&fixture, "qubesdb.net");
    fixture
}

/// What the netvm is told of rules for one address.
fn told_of(ip: &str, rules: &[(usize, &str)]) -> Vec<String> {
    let base = format!("/qubes-firewall/{ip}");
    let rules = rules.iter().map(|(number, rule)| format!("{base}/{number:04} = {rule:?}"));
    [format!("{base}/ -"), format!("{base}/policy = \"drop\"")]
        .into_iter()
        .chain(rules)
        .chain([format!("{base} = \"\"")])
        .collect()
}

#[test]
fn the_netvm_of_a_running_qube_is_told_each_time() {
    let fixture = running();
    let [ip4, ip6] = ["ip", "ip6"].map(|property| ip(&fixture, "work", property));
    let lines = "action=accept dst4=10.0.0.1 comment=a\naction=accept dst6=::1\n\
        action=accept proto=tcp dstports=80 expire=4102444800\naction=drop specialtarget=dns";
    let (tcp, dns) = ("action=accept proto=tcp dstports=80-80", "action=drop specialtarget=dns");
    let of_4 = told_of(&ip4, &[(0, "action=accept dst4=10.0.0.1/32"), (2, tcp), (3, dns)]);
    let of_6 = told_of(&ip6, &[(1, "action=accept dst6=::1/128"), (2, tcp), (3, dns)]);
    let both = [of_4, of_6].concat();
    fixture.ok(SET, "work", lines);
    assert_eq!(recorded(&fixture, "qubesdb.net"), both);
    fixture.ok("admin.vm.firewall.Reload", "work", "");
    assert_eq!(recorded(&fixture, "qubesdb.net"), both);
    fixture.ok(SET_POLICY, "work", "drop");
    assert_eq!(recorded(&fixture, "qubesdb.net"), both);

    // A netvm that starts anew finds the rules of those that run.
    fixture.ok("admin.vm.Kill", "net", "");
    recorded(&fixture, "qubesdb.net");
    fixture.ok(SET, "work", "action=drop dst4=10.0.0.0/8\naction=accept");
    assert_eq!(recorded(&fixture, "qubesdb.net"), [""; 0]);
    fixture.ok("admin.vm.Start", "net", "");
    let told = recorded(&fixture, "qubesdb.net");
    let of_4 = told_of(&ip4, &[(0, "action=drop dst4=10.0.0.0/8"), (1, "action=accept")]);
    assert!(told.windows(of_4.len()).any(|window| window == of_4), "{told:?}");

    // One that does not run is told at its start alone.
    fixture.ok("admin.vm.Kill", "work", "");
    recorded(&fixture, "qubesdb.net");
    fixture.ok(SET, "work", "action=drop");
    assert_eq!(recorded(&fixture, "qubesdb.net"), [""; 0]);
    fixture.ok("admin.vm.Start", "work", "");
    let told = recorded(&fixture, "qubesdb.net");
    let of_4 = told_of(&ip4, &[(0, "action=drop")]);
    assert_eq!(told.windows(of_4.len()).filter(|window| *window == of_4).count(), 2, "{told:?}");
    fixture.ok("admin.vm.Kill", "work", "");
    fixture.ok("admin.vm.Kill", "net", "");
}

#[test]
fn a_new_netvm_is_told_the_rules() {
    let fixture = running();
    let ip4 = ip(&fixture, "work", "ip");
    fixture.ok(SET, "work", "action=accept dst4=10.0.0.1");
    fixture.ok("admin.vm.Create.AppVM+test-template", "dom0", "name=other label=red");
    fixture.ok("admin.vm.volume.Resize+private", "other", "65536");
    fixture.ok("admin.vm.property.Set+provides_network", "other", "True");
    fixture.ok("admin.vm.property.Set+netvm", "other", "");
    fixture.ok("admin.vm.Start", "other", "");
    recorded(&fixture, "qubesdb.other");
    fixture.ok("admin.vm.property.Set+netvm", "work", "other");
    let told = recorded(&fixture, "qubesdb.other");
    let rules = told_of(&ip4, &[(0, "action=accept dst4=10.0.0.1/32")]);
    assert!(told.windows(rules.len()).any(|window| window == rules), "{told:?}");
    for qube in ["work", "other", "net"] {
        fixture.ok("admin.vm.Kill", qube, "");
    }
}

fn in_seconds(seconds: u64) -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + seconds
}

fn are_stored(fixture: &Fixture, expected: &str) -> bool {
    fixture.qube("work").firewall == Some(rules(expected))
}

#[test]
fn a_rule_ends_by_itself_whatever_was_waited_for_before() {
    let fixture = running();
    let ip4 = ip(&fixture, "work", "ip");
    // Whoever waits for this one hears of the next.
    fixture.ok(SET, "work", "action=accept expire=4102444800");
    let soon = in_seconds(2);
    fixture.ok(
        SET,
        "work",
        format!("action=accept expire={soon}\naction=drop proto=tcp\naction=accept expire=4102444800"),
    );
    until("the rule ends", || are_stored(&fixture, "action=drop proto=tcp\naction=accept expire=4102444800"));
    assert!(in_seconds(0) >= soon);
    assert!(fixture.events().iter().filter(|event| *event == "work firewall-changed").count() >= 3);
    let rules = told_of(&ip4, &[(0, "action=drop proto=tcp"), (1, "action=accept")]);
    until("the netvm is told", || {
        let told = std::fs::read_to_string(fixture.path("/qubesdb.net.log")).unwrap_or_default();
        let of_it: Vec<&str> = told.lines().filter(|line| line.contains(&ip4)).collect();
        of_it.ends_with(&rules.iter().map(String::as_str).collect::<Vec<_>>())
    });
    for qube in ["work", "net"] {
        fixture.ok("admin.vm.Kill", qube, "");
    }
}

#[test]
fn a_boot_and_a_start_take_up_the_waiting_again() {
    let fixture = system();
    for by in ["boot", "start"] {
        fixture
            .edit("work", |qube| qube.firewall = Some(rules("action=drop expire=1\naction=drop proto=udp")));
        match by {
            "boot" => assert_eq!(text(&tool(&fixture, &["clean-up"])), ""),
            _ => drop(fixture.ok("admin.vm.Start", "work", "")),
        }
        until(by, || are_stored(&fixture, "action=drop proto=udp"));
    }
    for qube in ["work", "net"] {
        fixture.ok("admin.vm.Kill", qube, "");
    }
}

/// The rules that `test-vm1` has after an import of all there is, with a file in its home directory.
fn imported(exported: &str, home: &str) -> Result<String, String> {
    let fixture = Fixture::empty();
    let folder = fixture.path("/var/lib/qubes/appvms/test-vm1");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("firewall.xml"), home).unwrap();
    let file = fixture.path("/in.xml");
    std::fs::write(&file, exported).unwrap();
    let output = tool(&fixture, &["import", file.to_str().unwrap()]);
    if output.status.success() { Ok(fixture.ok(GET, "test-vm1", "")) } else { Err(error(&output)) }
}

#[test]
fn an_import_reads_the_rules_of_home_directories() {
    let exported = text(&tool(&Fixture::new(), &["export"]));
    assert!(!exported.contains("firewall"));
    for (file, expected) in [
        (
            "<firewall version=\"2\"><rules>
               <rule><properties><property name=\"action\">accept</property>
                 <property name=\"comment\">two words</property>
                 <property name=\"dsthost\">10.0.0.0/8</property><property name=\"proto\">tcp</property>
                 <property name=\"dstports\">80</property></properties></rule>
               <rule><properties><property name=\"action\">drop</property></properties></rule>
             </rules></firewall>",
            "action=accept dst4=10.0.0.0/8 proto=tcp dstports=80-80 comment=two words\naction=drop\n",
        ),
        ("<firewall version=\"2\"><rules/></firewall>", ""),
        (
            "<firewall policy=\"deny\" dns=\"allow\" icmp=\"allow\">
               <rule address=\"192.168.0.0\" netmask=\"24\" proto=\"tcp\" port=\"443\"/>
               <rule address=\"qubes-os.org\" port=\"443\" toport=\"1024\"/>
               <rule address=\"10.0.0.1\" proto=\"any\" expire=\"4102444800\"/></firewall>",
            "action=accept specialtarget=dns\naction=accept proto=icmp\n\
             action=accept dst4=192.168.0.0/24 proto=tcp dstports=443-443\n\
             action=accept dsthost=qubes-os.org proto=tcp dstports=443-1024\n\
             action=accept expire=4102444800 dst4=10.0.0.1/32\n",
        ),
        (
            "<firewall policy=\"allow\" icmp=\"deny\"><rule address=\"10.0.0.1\"/></firewall>",
            "action=accept specialtarget=dns\naction=drop proto=icmp\naction=drop dst4=10.0.0.1/32\naction=accept\n",
        ),
    ] {
        assert_eq!(imported(&exported, file).as_deref(), Ok(expected), "{file}");
    }
    for (file, why) in [
        ("<firewall version=\"3\"/>", "line 1: Unsupported firewall.xml version: 3"),
        ("<firewall/>", "line 1: <firewall> without policy"),
        ("<firewall policy=\"perhaps\"/>", "line 1: policy is neither allow nor deny"),
        ("<other version=\"2\"/>", "line 1: the root element is not <firewall>"),
        (
            "<firewall version=\"2\"><rules>\n<rule><properties/></rule></rules></firewall>",
            "line 2: Invalid firewall option",
        ),
        (
            "<firewall version=\"2\"><rules><rule><properties><property name=\"action\">drop proto=tcp\
             </property></properties></rule></rules></firewall>",
            "line 1: strange characters in rule",
        ),
        ("<firewall", "line 1: not well-formed"),
    ] {
        let refused = imported(&exported, file).unwrap_err();
        assert!(refused.contains("test-vm1/firewall.xml: "), "{refused}");
        assert!(refused.contains(why), "{refused}");
    }
}

#[test]
fn an_export_holds_the_rules_and_leads_back_to_them() {
    let fixture = Fixture::new();
    let lines = "action=accept expire=4102444800 dst6=::1/128 proto=icmp specialtarget=dns icmptype=8 comment=a, b\n\
        action=drop proto=udp dstports=1-2\n";
    for set in [lines, "action=drop expire=1"] {
        fixture.ok(SET, "test-vm1", set);
        let exported = text(&tool(&fixture, &["export"]));
        let told = fixture.ok(GET, "test-vm1", "");
        assert_eq!(imported(&exported, "<firewall version=\"2\"><rules/></firewall>"), Ok(told));
    }
}

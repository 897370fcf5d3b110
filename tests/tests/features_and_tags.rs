//! Features and tags on the wire (behaviours 52 to 71 and 104 to 111 of spec 10 §11).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use tests::Fixture;
use tests::fixture::refusal;

const SET: &str = "admin.vm.feature.Set";

#[test]
fn features_are_listed_in_insertion_order_and_read_back() {
    let fixture = Fixture::new();
    for (feature, value) in [("b", "1"), ("a", ""), ("c", "x y"), ("b", "2")] {
        assert_eq!(fixture.ok(&format!("{SET}+{feature}"), "test-vm1", value), "");
    }
    assert_eq!(fixture.ok("admin.vm.feature.List", "test-vm1", ""), "b\na\nc\n");
    assert_eq!(fixture.ok("admin.vm.feature.Get+b", "test-vm1", ""), "2");
    assert_eq!(fixture.ok("admin.vm.feature.Get+a", "test-vm1", ""), "");
    let absent = "QubesFeatureNotFoundError: Feature not set for domain test-vm1: nope";
    assert_eq!(fixture.refused("admin.vm.feature.Get+nope", "test-vm1", ""), absent);
}

#[test]
fn a_list_with_an_identifier_answers_that_entry_alone() {
    let fixture = Fixture::new();
    fixture.ok(&format!("{SET}+known"), "test-vm1", "1");
    assert_eq!(fixture.ok("admin.vm.feature.List+known", "test-vm1", ""), "known\n");
    for call in ["admin.vm.feature.List+other", "admin.vm.tag.List+other", "admin.vm.List+other"] {
        assert!(fixture.refused(call, "test-vm1", "").starts_with("PermissionDenied: "), "{call}");
    }
    assert_eq!(fixture.ok("admin.vm.tag.List+guivm-dom0", "test-vm1", ""), "guivm-dom0\n");
    assert_eq!(fixture.ok("admin.vmclass.List+AppVM", "dom0", ""), "AppVM\n");
    assert_eq!(fixture.ok("admin.label.List+red", "dom0", ""), "red\n");
}

#[test]
fn removing_a_feature_needs_it_to_be_there() {
    let fixture = Fixture::new();
    fixture.ok(&format!("{SET}+f"), "test-vm1", "1");
    let events = fixture.events_of(|fixture| {
        assert_eq!(fixture.ok("admin.vm.feature.Remove+f", "test-vm1", ""), "");
        let absent = "QubesFeatureNotFoundError: Feature not set for domain test-vm1: f";
        assert_eq!(fixture.refused("admin.vm.feature.Remove+f", "test-vm1", ""), absent);
    });
    let expected = [
        "test-vm1 domain-feature-pre-delete:f feature=f",
        "test-vm1 domain-feature-delete:f feature=f",
        "test-vm1 domain-feature-pre-delete:f feature=f",
    ];
    assert_eq!(events, expected);
}

#[test]
fn features_of_the_system_are_not_for_callers_not_even_dom0() {
    let fixture = Fixture::new();
    let denied = "PermissionDenied: changing this feature is prohibited by qubes.ext.admin.AdminExtension";
    for name in [
        "deferred-netvm-original",
        "preload-dispvm",
        "preload-dispvm-completed",
        "preload-dispvm-in-progress",
    ] {
        assert_eq!(fixture.refused(&format!("{SET}+{name}"), "test-vm1", "x"), denied);
        assert_eq!(fixture.refused(&format!("admin.vm.feature.Remove+{name}"), "test-vm1", ""), denied);
    }
    assert!(fixture.events().is_empty());
}

#[test]
fn searches_follow_template_and_dom0_and_stop_at_an_empty_value() {
    let fixture = Fixture::new();
    let absent = "QubesFeatureNotFoundError: Feature not set for domain test-vm1: f";
    for check in ["Template", "Netvm", "AdminVM", "TemplateAndAdminVM"] {
        assert_eq!(fixture.refused(&format!("admin.vm.feature.CheckWith{check}+f"), "test-vm1", ""), absent);
    }
    fixture.ok(&format!("{SET}+f"), "dom0", "of dom0");
    assert_eq!(fixture.ok("admin.vm.feature.CheckWithAdminVM+f", "test-vm1", ""), "of dom0");
    assert_eq!(fixture.ok("admin.vm.feature.CheckWithTemplateAndAdminVM+f", "test-vm1", ""), "of dom0");
    fixture.ok(&format!("{SET}+f"), "test-template", "of template");
    assert_eq!(fixture.ok("admin.vm.feature.CheckWithTemplate+f", "test-vm1", ""), "of template");
    assert_eq!(fixture.ok("admin.vm.feature.CheckWithTemplateAndAdminVM+f", "test-vm1", ""), "of template");
    fixture.ok(&format!("{SET}+f"), "test-vm1", "");
    assert_eq!(fixture.ok("admin.vm.feature.CheckWithTemplate+f", "test-vm1", ""), "");
}

#[test]
fn searches_follow_the_network() {
    let fixture = Fixture::new();
    fixture.ok("admin.vm.property.Set+netvm", "test-vm1", "test-net");
    fixture.ok(&format!("{SET}+f"), "test-net", "of netvm");
    assert_eq!(fixture.ok("admin.vm.feature.CheckWithNetvm+f", "test-vm1", ""), "of netvm");
}

#[test]
fn values_and_names_are_checked_before_anything_else() {
    let fixture = Fixture::new();
    let refused =
        |feature: &str, value: &[u8]| fixture.refused(&format!("{SET}+{feature}"), "test-vm1", value);
    assert_eq!(refused("f", b"\x01"), "ProtocolError: f value contains illegal characters");
    assert_eq!(
        refused("f", "\u{f6}".as_bytes()),
        "ProtocolError: Feature value contains non-ASCII characters"
    );
    assert_eq!(refused("bad/name", b"1"), "ProtocolError: feature name contains illegal characters");
    assert_eq!(fixture.refused(SET, "test-vm1", "1"), "ProtocolError: expected an argument");
    assert_eq!(fixture.ok("admin.vm.feature.List", "test-vm1", ""), "");
    assert!(fixture.events().is_empty());
}

#[test]
fn features_with_a_meaning_are_checked_after_the_pre_event_and_nothing_is_stored() {
    let fixture = Fixture::new();
    let long = format!("service.{}", "x".repeat(49));
    for (feature, value, text) in [
        (long.as_str(), "1", "Service name must not exceed 48 bytes"),
        ("service.", "1", "Service name cannot be empty"),
        ("service...", "1", "Service name cannot be \".\" or \"..\""),
        ("vm-config.", "1", "Empty config name not allowed"),
        ("vm-config.1", "1", "Config name must start with an ASCII letter"),
        ("custom-persist.", "/x", "custom-persist key cannot be empty"),
        ("custom-persist.k", "rel", "invalid value format: 'rel'"),
        (
            "custom-persist.k",
            "blk:u:u:0755:/x",
            "invalid resource type option 'blk' in value 'blk:u:u:0755:/x'",
        ),
        ("custom-persist.k", "dir:u:u:9999:/x", "invalid mode option '9999' in value 'dir:u:u:9999:/x'"),
        ("net.fake-ip", "300.1.1.1", "Invalid value for net.fake-ip: '300.1.1.1'"),
        ("net.fake-netmask", "25", "Invalid value for net.fake-netmask: '25'"),
        ("preload-dispvm-max", "1", "Qube does not support qrexec"),
        ("preload-dispvm-delay", "1_", "Invalid preload-dispvm-delay value: not an integer or float"),
        ("preload-dispvm-delay", "1__0", "Invalid preload-dispvm-delay value: not an integer or float"),
        ("preload-dispvm-delay", "z", "Invalid preload-dispvm-delay value: not an integer or float"),
    ] {
        let events = fixture.events_of(|fixture| {
            let refused = fixture.refused(&format!("{SET}+{feature}"), "test-vm1", value);
            assert_eq!(refused, format!("QubesValueError: {text}"));
        });
        assert_eq!(events.len(), 1, "{feature}");
        assert!(events[0].starts_with(&format!("test-vm1 domain-feature-pre-set:{feature} ")));
    }
    assert_eq!(fixture.ok("admin.vm.feature.List", "test-vm1", ""), "");
    assert_eq!(
        fixture.refused(&format!("{SET}+preload-dispvm-max"), "dom0", "x"),
        "QubesValueError: Invalid preload-dispvm-max value: not a digit"
    );
}

#[test]
fn network_features_reset_what_depends_on_them() {
    let fixture = Fixture::new();
    let events = fixture.events_of(|fixture| {
        fixture.ok(&format!("{SET}+ipv6"), "test-vm1", "1");
        fixture.ok("admin.vm.feature.Remove+ipv6", "test-vm1", "");
    });
    let names: Vec<&str> = events.iter().map(|event| event.split(' ').nth(1).unwrap()).collect();
    let expected = [
        "domain-feature-pre-set:ipv6",
        "property-reset:visible_ip6",
        "property-reset:visible_gateway6",
        "domain-feature-set:ipv6",
        "domain-feature-pre-delete:ipv6",
        "property-reset:visible_ip6",
        "property-reset:visible_gateway6",
        "domain-feature-delete:ipv6",
    ];
    assert_eq!(names, expected);
}

#[test]
fn a_service_of_dom0_is_a_file_while_it_is_true() {
    let fixture = Fixture::new();
    let file = fixture.path("/run/qubes-service/crond");
    fixture.ok(&format!("{SET}+service.crond"), "dom0", "1");
    assert!(file.exists());
    fixture.ok(&format!("{SET}+service.crond"), "dom0", "");
    assert!(!file.exists());
    let clock = fixture.path("/run/qubes-service/clocksync");
    fixture.ok("admin.property.Set+clockvm", "dom0", "dom0");
    assert!(clock.exists());
    fixture.ok("admin.property.Reset+clockvm", "dom0", "");
    assert!(!clock.exists());
}

#[test]
fn tags_are_a_sorted_set() {
    let fixture = Fixture::new();
    let events = fixture.events_of(|fixture| {
        assert_eq!(fixture.ok("admin.vm.tag.Set+some-tag", "test-vm1", ""), "");
        assert_eq!(fixture.ok("admin.vm.tag.Set+some-tag", "test-vm1", ""), "");
        assert_eq!(fixture.ok("admin.vm.tag.List", "test-vm1", ""), "audiovm-dom0\nguivm-dom0\nsome-tag\n");
        assert_eq!(fixture.ok("admin.vm.tag.Get+some-tag", "test-vm1", ""), "1");
        assert_eq!(fixture.ok("admin.vm.tag.Get+other", "test-vm1", ""), "0");
        assert_eq!(fixture.ok("admin.vm.tag.Remove+some-tag", "test-vm1", ""), "");
    });
    let expected =
        ["test-vm1 domain-tag-add:some-tag tag=some-tag", "test-vm1 domain-tag-delete:some-tag tag=some-tag"];
    assert_eq!(events, expected);
    let absent = "QubesTagNotFoundError: Tag not set for domain test-vm1: some-tag";
    assert_eq!(fixture.refused("admin.vm.tag.Remove+some-tag", "test-vm1", ""), absent);
}

#[test]
fn bad_tags_are_refused() {
    let fixture = Fixture::new();
    assert_eq!(
        fixture.refused("admin.vm.tag.Set++.some-tag", "test-vm1", ""),
        "QubesInvalidTagError: disallowed characters"
    );
    assert_eq!(fixture.refused("admin.vm.tag.Set", "test-vm1", ""), "ProtocolError: expected an argument");
    assert_eq!(
        fixture.refused("admin.vm.tag.Set++", "test-vm1", ""),
        "QubesInvalidTagError: disallowed characters"
    );
}

#[test]
fn creator_tags_are_for_dom0_and_name_a_qube() {
    let fixture = Fixture::new();
    let reply = fixture.call_as("test-vm1", "admin.vm.tag.Set+created-by-test-vm1", "test-net", "");
    let denied = "PermissionDenied: changing this tag is prohibited by qubes.ext.admin.AdminExtension";
    assert_eq!(refusal(&reply), denied);
    assert_eq!(
        fixture.refused("admin.vm.tag.Set+created-by-nobody", "test-vm1", ""),
        "QubesVMNotFoundError: No such domain: 'nobody'"
    );
    assert_eq!(fixture.ok("admin.vm.tag.Get+created-by-nobody", "test-vm1", ""), "0");
    fixture.ok(&format!("{SET}+tag-created-vm-with"), "test-net", "one two");
    fixture.ok("admin.vm.tag.Set+created-by-test-net", "test-vm1", "");
    let tags = fixture.ok("admin.vm.tag.List", "test-vm1", "");
    assert_eq!(tags, "audiovm-dom0\ncreated-by-test-net\nguivm-dom0\none\ntwo\n");
    let reply = fixture.call_as("test-vm1", "admin.vm.tag.Set+managed-by-test-vm1", "test-net", "");
    assert_eq!(reply, b"0\0");
}

#[test]
fn a_creator_tag_that_is_there_may_stay_when_its_qube_is_gone() {
    let fixture = Fixture::new();
    fixture.ok("admin.vm.tag.Set+created-by-test-net", "test-vm1", "");
    fixture.ok("admin.vm.Remove", "test-net", "");
    let events = fixture.events_of(|fixture| {
        assert_eq!(fixture.ok("admin.vm.tag.Set+created-by-test-net", "test-vm1", ""), "");
    });
    assert!(events.is_empty());
}

//! Features and tags on the wire (behaviours 52 to 71 and 104 to 111 of spec 10 §11).
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

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
fn a_value_set_again_is_announced_with_its_old_one() {
    let fixture = Fixture::new();
    fixture.ok(&format!("{SET}+f"), "test-vm1", "1");
    let events = fixture.events_of(|fixture| drop(fixture.ok(&format!("{SET}+f"), "test-vm1", "1")));
    let expected = [
        "test-vm1 domain-feature-pre-set:f feature=f value=1 oldvalue=1",
        "test-vm1 domain-feature-set:f feature=f value=1 oldvalue=1",
    ];
    assert_eq!(events, expected);
}

#[test]
fn each_network_feature_has_its_rule_and_resets_its_property() {
    let fixture = Fixture::new();
    for (feature, property, fine, wrong) in [
        ("net.fake-ip", "visible_ip", ["10.0.0.1", ""], ["10.0.0", "::1"]),
        ("net.fake-gateway", "visible_gateway", ["10.0.0.1", ""], ["10.0.0.256", "24"]),
        ("net.fake-netmask", "visible_netmask", ["24", "255.0.0.0"], ["25", "-1"]),
        ("net.fake-netmask", "visible_netmask", ["0", ""], ["+1", "x"]),
    ] {
        for value in fine {
            let events =
                fixture.events_of(|fixture| drop(fixture.ok(&format!("{SET}+{feature}"), "test-vm1", value)));
            assert_eq!(events[1], format!("test-vm1 property-reset:{property} name={property}"));
            assert_eq!(events.len(), 3);
        }
        for value in wrong {
            let text = format!("QubesValueError: Invalid value for {feature}: '{value}'");
            assert_eq!(fixture.refused(&format!("{SET}+{feature}"), "test-vm1", value), text);
        }
        let remove = format!("admin.vm.feature.Remove+{feature}");
        let events = fixture.events_of(|fixture| drop(fixture.ok(&remove, "test-vm1", "")));
        let expected = [
            format!("test-vm1 domain-feature-pre-delete:{feature} feature={feature}"),
            format!("test-vm1 property-reset:{property} name={property}"),
            format!("test-vm1 domain-feature-delete:{feature} feature={feature}"),
        ];
        assert_eq!(events, expected);
    }
}

#[test]
fn the_active_boot_mode_resets_its_property_when_set() {
    let fixture = Fixture::new();
    let events = fixture.events_of(|fixture| {
        fixture.ok(&format!("{SET}+boot-mode.active"), "test-vm1", "m");
        fixture.ok("admin.vm.feature.Remove+boot-mode.active", "test-vm1", "");
    });
    let expected = [
        "test-vm1 domain-feature-pre-set:boot-mode.active feature=boot-mode.active value=m",
        "test-vm1 property-reset:bootmode name=bootmode",
        "test-vm1 domain-feature-set:boot-mode.active feature=boot-mode.active value=m",
        "test-vm1 domain-feature-pre-delete:boot-mode.active feature=boot-mode.active",
        "test-vm1 domain-feature-delete:boot-mode.active feature=boot-mode.active",
    ];
    assert_eq!(events, expected);
}

#[test]
fn the_old_switch_of_memory_balancing_becomes_maxmem_and_goes() {
    let fixture = Fixture::new();
    let call = format!("{SET}+service.meminfo-writer");
    let feature = |kind: &str, value: &str| {
        format!("test-vm1 domain-feature-{kind}:service.meminfo-writer feature=service.meminfo-writer{value}")
    };
    let events = fixture.events_of(|fixture| drop(fixture.ok(&call, "test-vm1", "")));
    let expected = [
        feature("pre-set", " value="),
        "test-vm1 property-pre-set:maxmem name=maxmem newvalue=0 oldvalue=4000".to_owned(),
        "test-vm1 property-set:maxmem name=maxmem newvalue=0 oldvalue=4000".to_owned(),
        feature("pre-delete", ""),
        feature("delete", ""),
        feature("set", " value="),
    ];
    assert_eq!(events, expected);
    assert_eq!(fixture.ok("admin.vm.property.Get+maxmem", "test-vm1", ""), "default=False type=int 0");
    fixture.ok(&call, "test-vm1", "1");
    assert_eq!(fixture.ok("admin.vm.property.Get+maxmem", "test-vm1", ""), "default=True type=int 4000");
    assert_eq!(fixture.ok("admin.vm.feature.List", "test-vm1", ""), "");
    let text = "QubesPropertyValueError: property 'maxmem' on AdminVM instance cannot be set";
    assert_eq!(fixture.refused(&call, "dom0", ""), text);
    assert_eq!(fixture.ok("admin.vm.feature.List", "dom0", ""), "service.meminfo-writer\n");
}

#[test]
fn disposables_in_advance_need_services_and_a_number() {
    let fixture = Fixture::new();
    let set = |qube: &str, feature: &str, value: &str| fixture.ok(&format!("{SET}+{feature}"), qube, value);
    let said = |qube: &str, feature: &str, value: &str| {
        let said = fixture.refused(&format!("{SET}+{feature}"), qube, value);
        said.strip_prefix("QubesValueError: ").unwrap().to_owned()
    };
    let max = "preload-dispvm-max";
    set("test-vm1", "qrexec", "");
    assert_eq!(said("test-vm1", max, "1"), "Qube does not support qrexec");
    set("test-vm1", "qrexec", "1");
    let missing = "Qube does not support the RPC(s) 'qubes.WaitForRunningSystem, qubes.WaitForSession'";
    assert_eq!(said("test-vm1", max, "1"), missing);
    set("test-template", "supported-rpc.qubes.WaitForRunningSystem", "1");
    assert_eq!(said("test-vm1", max, "1"), "Qube does not support the RPC(s) 'qubes.WaitForSession'");
    set("test-template", "supported-rpc.qubes.WaitForSession", "1");
    for value in ["x", "-1", "1.0"] {
        assert_eq!(said("test-vm1", max, value), "Invalid preload-dispvm-max value: not a digit");
    }
    for value in ["2", ""] {
        set("test-vm1", max, value);
    }
    assert_eq!(said("dom0", max, "x"), "Invalid preload-dispvm-max value: not a digit");
    set("dom0", max, "1");
    fixture.ok("admin.vm.property.Set+template_for_dispvms", "test-net", "True");
    fixture.ok("admin.property.Set+default_dispvm", "dom0", "test-net");
    set("dom0", max, "1");
    assert_eq!(said("dom0", max, "2"), "Qube does not support qrexec");
    assert_eq!(
        said("dom0", "preload-dispvm-threshold", "x"),
        "Invalid preload-dispvm-threshold value: not a digit"
    );
    set("test-vm1", "preload-dispvm-threshold", "x");
    for value in ["1", "0.5", "-2", "nan", "inf"] {
        set("dom0", "preload-dispvm-delay", value);
    }
    assert_eq!(
        said("dom0", "preload-dispvm-delay", "x"),
        "Invalid preload-dispvm-delay value: not an integer or float"
    );
    set("test-template", "preload-dispvm-delay", "x");
}

#[test]
fn remote_qubes_and_dom0_have_features_without_a_meaning() {
    let fixture = Fixture::new();
    fixture.ok("admin.vm.Create.RemoteVM", "dom0", "name=far label=red");
    for feature in ["service.", "vm-config.1", "custom-persist.", "net.fake-ip", "preload-dispvm-max"] {
        let events = fixture.events_of(|fixture| drop(fixture.ok(&format!("{SET}+{feature}"), "far", "x")));
        assert_eq!(events.len(), 2, "{feature}");
    }
    fixture.ok(&format!("{SET}+net.fake-ip"), "dom0", "x");
    for check in ["Get", "CheckWithTemplate", "CheckWithNetvm"] {
        for qube in ["far", "dom0", "test-template"] {
            let text = format!("QubesFeatureNotFoundError: Feature not set for domain {qube}: f");
            assert_eq!(fixture.refused(&format!("admin.vm.feature.{check}+f"), qube, ""), text);
        }
    }
    fixture.ok(&format!("{SET}+f"), "dom0", "of dom0");
    assert_eq!(fixture.ok("admin.vm.feature.CheckWithAdminVM+f", "far", ""), "of dom0");
}

#[test]
fn long_names_have_their_own_limits() {
    let fixture = Fixture::new();
    let set = |feature: &str, value: &str| fixture.call(&format!("{SET}+{feature}"), "test-vm1", value);
    let times = |count| "x".repeat(count);
    for (name, value) in [
        (format!("service.{}", times(48)), "1"),
        (format!("service.app-dispvm.{}", times(60)), "1"),
        (format!("vm-config.{}", times(52)), "1"),
        (format!("custom-persist.{}", times(54)), "file:u:g:7777:/x:y"),
        (times(300), ""),
    ] {
        assert_eq!(set(&name, value), b"0\0", "{name}");
    }
    let config = set(&format!("vm-config.{}", times(53)), "1");
    assert_eq!(refusal(&config), "QubesValueError: VM config name must not exceed 46 bytes");
    let key = times(55);
    let persist = set(&format!("custom-persist.{key}"), "/x");
    let text = format!("QubesValueError: custom-persist key is too long (max 54), ignoring: {key}");
    assert_eq!(refusal(&persist), text);
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
fn services_of_dom0_are_there_again_after_a_boot() {
    let fixture = Fixture::new();
    fixture.ok(&format!("{SET}+service.crond"), "dom0", "1");
    fixture.ok(&format!("{SET}+service.off"), "dom0", "");
    std::fs::remove_dir_all(fixture.path("/run")).unwrap();
    let check = |arguments: &[&str]| {
        let mut command = std::process::Command::new(tests::executables::executable("qubes-admin"));
        command.env_clear().arg("--root").arg(fixture.path("/")).arg("check").args(arguments);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    fixture.store().prepare().unwrap();
    let told =
        "the file of dom0's service crond is not as its feature; finish it: qubes-admin check --repair\n";
    assert_eq!(check(&[]), told);
    // What the unit of the boot runs.
    assert_eq!(check(&["--repair"]), "everything is as it should be\n");
    assert!(fixture.path("/run/qubes-service/crond").exists());
    assert!(!fixture.path("/run/qubes-service/off").exists());
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
    let reply = fixture.call_as("test-vm1", "admin.vm.tag.Remove+created-by-test-net", "test-vm1", "");
    assert_eq!(refusal(&reply), denied);
    for tag in ["managed-by-test-vm1", "guivm-stray", "disp-created-by-x"] {
        let reply = fixture.call_as("test-vm1", &format!("admin.vm.tag.Set+{tag}"), "test-net", "");
        assert_eq!(reply, b"0\0");
    }
    fixture.ok("admin.vm.tag.Remove+created-by-test-net", "test-vm1", "");
}

#[test]
fn a_remote_caller_is_bound_by_the_same_rules() {
    let fixture = Fixture::new();
    fixture.ok("admin.vm.Create.RemoteVM", "dom0", "name=far label=red");
    let feature = fixture.call_as("far", &format!("{SET}+preload-dispvm"), "test-vm1", "x");
    let denied = "PermissionDenied: changing this feature is prohibited by qubes.ext.admin.AdminExtension";
    assert_eq!(refusal(&feature), denied);
    let tag = fixture.call_as("far", "admin.vm.tag.Set+created-by-far", "test-vm1", "");
    let denied = "PermissionDenied: changing this tag is prohibited by qubes.ext.admin.AdminExtension";
    assert_eq!(refusal(&tag), denied);
    assert_eq!(fixture.call_as("far", "admin.vm.List", "dom0", ""), b"0\0");
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

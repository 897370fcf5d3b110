//! Creation in full: what a payload may say, where volumes go, what is taken over and announced (spec 10 §2.4).
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

use common::names::{FeatureName, FeatureValue};
use tests::Fixture;

const CREATE: &str = "admin.vm.Create.AppVM+test-template";
const IN_POOL: &str = "admin.vm.CreateInPool.AppVM+test-template";

#[test]
fn words_of_the_payload_are_checked_one_by_one() {
    let fixture = Fixture::new();
    let before = fixture.stored();
    let safe = "QubesInvalidLabelError: Label must be in safe set: \
        abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    let protocol = |text: &str| format!("ProtocolError: {text}");
    let unique = || protocol("Options must be unique");
    let options = || protocol("Options does not match: name, label, pool, pool:");
    for (call, payload, said) in [
        (CREATE, &b"name=n\xff label=red"[..], protocol("Parameters contains non-ASCII characters")),
        (CREATE, b"name=n label=red x=\xff", protocol("Parameters contains non-ASCII characters")),
        (CREATE, b"", protocol("Options must be key=value")),
        (CREATE, b"name", protocol("Options must be key=value")),
        (CREATE, b"name=n  label=red", protocol("Options must be key=value")),
        (CREATE, b" name=n label=red", protocol("Options must be key=value")),
        (CREATE, b"name=n label=red ", protocol("Options must be key=value")),
        (CREATE, b"label=red label=red name=n", unique()),
        (CREATE, b"template=test-template name=n label=red", unique()),
        ("admin.vm.Create.AppVM", b"template=test-template name=n label=red", options()),
        (CREATE, b"name=n label=", "QubesInvalidLabelError: Label name must be set".to_owned()),
        (CREATE, b"name=n label=a/b", safe.to_owned()),
        (CREATE, b"name=n label=red\n", safe.to_owned()),
        (CREATE, b"name=n\n label=red", "QubesValueError: VM name contains illegal characters".to_owned()),
        (CREATE, b"name= label=red", "QubesValueError: VM name contains illegal characters".to_owned()),
        (
            CREATE,
            b"name=-x label=a/b",
            "QubesValueError: VM name cannot start with hyphen, underscore, dot or numbers".to_owned(),
        ),
        (CREATE, b"label=a/b name=-x", safe.to_owned()),
        (CREATE, b"Name=n label=red", options()),
        (IN_POOL, b"pool=test pool=test name=n label=red", protocol("Option 'pool' must be unique")),
        (
            IN_POOL,
            b"pool:private=test pool:private=test name=n label=red",
            protocol("Option 'pool:private' must be unique"),
        ),
        (
            IN_POOL,
            b"pool:=test name=n label=red",
            protocol("Volume must be one of: root, private, volatile, kernel"),
        ),
        (
            CREATE,
            b"pool:private=test name=n label=red",
            protocol("Pool option specified but 'allow_pool' is False"),
        ),
        (IN_POOL, b"pool=test", protocol("Creation requested without key: name")),
        (
            IN_POOL,
            b"pool=a pool:root=b name=n label=red",
            protocol("Conflicting options specified: 'pool=', 'pool:volume='"),
        ),
    ] {
        assert_eq!(fixture.refused(call, "dom0", payload), said, "{}", String::from_utf8_lossy(payload));
    }
    assert!(fixture.stored() == before && fixture.events().is_empty());
}

#[test]
fn what_is_not_there_is_told_after_permission_in_the_order_of_the_table() {
    let fixture = Fixture::new();
    for (call, payload, said) in [
        (
            "admin.vm.Create.AppVM+nobody",
            "name=test-vm1 label=nope",
            "QubesVMAlreadyExistsError: Qube already exists: test-vm1",
        ),
        (
            "admin.vm.Create.AppVM+nobody",
            "name=n label=nope",
            "QubesVMNotFoundError: No such domain: 'nobody'",
        ),
        (
            IN_POOL,
            "name=n label=nope pool=nope",
            "QubesLabelNotFoundError: Label does not exist: untrusted label",
        ),
        (
            IN_POOL,
            "name=n label=red pool:private=one pool:root=two",
            "QubesException: Unknown storage pool two",
        ),
        (
            IN_POOL,
            "name=n label=red pool:private=one pool:root=test",
            "QubesException: Unknown storage pool one",
        ),
        (
            "admin.vm.CreateInPool.DispVM+test-vm1",
            "name=n label=red pool=nope",
            "QubesException: Unknown storage pool nope",
        ),
        (
            "admin.vm.Create.DispVM+test-template",
            "name=n label=red",
            "QubesValueError: template for disposable (test-template) needs to be an AppVM with \
             template_for_dispvms=True",
        ),
        (
            "admin.vm.CreateInPool.AdminVM",
            "name=n label=red",
            "QubesPropertyValueError: property 'qid' on AdminVM instance cannot be set",
        ),
        (
            "admin.vm.Create.TemplateVM+test-template",
            "name=n label=red",
            "ProtocolError: TemplateVM cannot be based on template",
        ),
        (
            "admin.vm.Create.RemoteVM+nobody",
            "name=n label=red",
            "ProtocolError: RemoteVM cannot be based on template",
        ),
    ] {
        assert_eq!(fixture.refused(call, "dom0", payload), said, "{call} {payload}");
    }
    assert!(fixture.events().is_empty());
}

#[test]
fn without_a_template_named_the_default_serves_if_there_is_one() {
    let fixture = Fixture::new();
    let none = "QubesValueError: Template for the qube not specified, nor default template set.";
    let create = |class: &str| format!("admin.vm.Create.{class}");
    assert_eq!(fixture.refused(&create("DispVM"), "dom0", "name=n label=red"), none);
    for (call, payload) in
        [("admin.property.Set+default_template", ""), ("admin.property.Reset+default_template", "")]
    {
        fixture.ok(call, "dom0", payload);
        assert_eq!(fixture.refused(&create("AppVM"), "dom0", "name=n label=red"), none);
    }
    fixture.ok("admin.property.Set+default_template", "dom0", "test-template");
    fixture.ok(&create("AppVM"), "dom0", "name=app label=red");
    assert_eq!(
        fixture.ok("admin.vm.property.Get+template", "app", ""),
        "default=False type=vm test-template"
    );
    fixture.ok("admin.vm.property.Set+template_for_dispvms", "app", "True");
    fixture.ok("admin.property.Set+default_dispvm", "dom0", "app");
    fixture.ok(&create("DispVM"), "dom0", "name=thrown label=red");
    assert_eq!(fixture.ok("admin.vm.property.Get+template", "thrown", ""), "default=False type=vm app");
}

/// `volume pool` of each of a qube's volumes.
fn pools(fixture: &Fixture, qube: &str) -> Vec<String> {
    let qube = fixture.qube(qube);
    qube.volumes.iter().map(|volume| format!("{} {}", volume.name, volume.pool)).collect()
}

#[test]
fn volumes_go_where_the_payload_says() {
    let fixture = Fixture::new();
    fixture.ok("admin.vm.Create.TemplateVM", "dom0", "name=tpl label=black");
    let make = |name: &str, options: &str| {
        fixture.ok("admin.vm.CreateInPool.AppVM+tpl", "dom0", format!("name={name} label=red{options}"));
        pools(&fixture, name)
    };
    let (root, kernel) = ("root varlibqubes", "kernel linux-kernel");
    assert_eq!(make("plain", ""), [root, "private varlibqubes", "volatile varlibqubes", kernel]);
    assert_eq!(make("all", " pool=test"), [root, "private test", "volatile test", kernel]);
    assert_eq!(make("one", " pool:private=test"), [root, "private test", "volatile varlibqubes", kernel]);
    fixture.ok("admin.vm.CreateInPool.StandaloneVM", "dom0", "pool:root=test name=alone label=red");
    let expected = ["root test", "private varlibqubes", "volatile varlibqubes", kernel];
    assert_eq!(pools(&fixture, "alone"), expected);
    fixture.ok("admin.vm.CreateInPool.RemoteVM", "dom0", "pool=test name=far label=red");
    assert!(pools(&fixture, "far").is_empty());
    fixture.ok("admin.property.Set+default_pool_volatile", "dom0", "test");
    assert_eq!(make("by-default", ""), [root, "private varlibqubes", "volatile test", kernel]);
}

#[test]
fn a_disposable_takes_over_its_template_but_not_what_is_its_own() {
    let fixture = Fixture::new();
    fixture.ok(CREATE, "dom0", "name=dvm label=blue");
    for (property, value) in [
        ("template_for_dispvms", "True"),
        ("debug", "True"),
        ("netvm", "test-net"),
        ("vcpus", "5"),
        ("label", "green"),
    ] {
        fixture.ok(&format!("admin.vm.property.Set+{property}"), "dvm", value);
    }
    fixture.ok("admin.vm.feature.Set+kept", "dvm", "x");
    fixture.ok("admin.vm.tag.Set+some-tag", "dvm", "");
    fixture.edit("dvm", |qube| {
        let preload = FeatureName::parse("preload-dispvm-max").unwrap();
        qube.set_feature(preload, FeatureValue::parse("1").unwrap());
    });
    let events = fixture.events_of(|fixture| {
        fixture.ok("admin.vm.Create.DispVM+dvm", "dom0", "name=thrown label=red");
    });
    assert_eq!(events, [" domain-add vm=thrown", "thrown domain-create-on-disk"]);
    let get = |property: &str| fixture.ok(&format!("admin.vm.property.Get+{property}"), "thrown", "");
    for (property, shown) in [
        ("debug", "default=False type=bool True"),
        ("netvm", "default=False type=vm test-net"),
        ("vcpus", "default=False type=int 5"),
        ("label", "default=False type=label red"),
        ("template", "default=False type=vm dvm"),
        ("auto_cleanup", "default=True type=bool False"),
    ] {
        assert_eq!(get(property), shown);
    }
    assert_eq!(fixture.ok("admin.vm.feature.List", "thrown", ""), "kept\n");
    let tags = "audiovm-dom0\ncreated-by-dom0\nguivm-dom0\nsome-tag\n";
    assert_eq!(fixture.ok("admin.vm.tag.List", "thrown", ""), tags);
}

#[test]
fn new_qubes_follow_the_system_and_their_creator() {
    let fixture = Fixture::new();
    fixture.ok("admin.property.Set+check_updates_vm", "dom0", "False");
    fixture.ok("admin.property.Set+default_guivm", "dom0", "test-net");
    fixture.ok("admin.property.Set+default_audiovm", "dom0", "");
    fixture.ok("admin.vm.feature.Set+tag-created-vm-with", "test-net", "one two");
    let events = fixture.events_of(|fixture| {
        assert_eq!(fixture.call_as("test-net", CREATE, "dom0", "name=n label=red"), b"0\0");
    });
    let expected = [
        " domain-add vm=n",
        "n domain-tag-add:created-by-test-net tag=created-by-test-net",
        "n domain-tag-add:one tag=one",
        "n domain-tag-add:two tag=two",
        "n domain-create-on-disk",
    ];
    assert_eq!(events, expected);
    assert_eq!(fixture.ok("admin.vm.tag.List", "n", ""), "created-by-test-net\nguivm-test-net\none\ntwo\n");
    assert_eq!(fixture.ok("admin.vm.feature.List", "n", ""), "check-updates\n");
    assert_eq!(fixture.ok("admin.vm.feature.Get+check-updates", "n", ""), "");
    let events = fixture.events_of(|fixture| {
        fixture.ok("admin.vm.Create.RemoteVM", "dom0", "name=far label=red");
    });
    assert_eq!(events, [" domain-add vm=far", "far domain-tag-add:created-by-dom0 tag=created-by-dom0"]);
    assert_eq!(fixture.ok("admin.vm.feature.List", "far", ""), "");
    assert_eq!(fixture.ok("admin.vm.tag.List", "far", ""), "created-by-dom0\n");
}

#[test]
fn a_refused_wish_of_the_creator_is_announced_and_undone() {
    let fixture = Fixture::new();
    for (feature, value, said) in [
        ("set-created-guivm", "nobody", "QubesVMNotFoundError: No such domain: 'nobody'"),
        ("tag-created-vm-with", "bad.tag", "QubesInvalidTagError: disallowed characters"),
    ] {
        fixture.ok(&format!("admin.vm.feature.Set+{feature}"), "test-net", value);
        let before = fixture.stored();
        let events = fixture.events_of(|fixture| {
            let reply = fixture.call_as("test-net", CREATE, "dom0", "name=n label=red");
            assert_eq!(tests::fixture::refusal(&reply), said);
        });
        assert_eq!(events.first().unwrap(), " domain-add vm=n");
        assert_eq!(events.last().unwrap(), " domain-delete vm=n");
        assert!(fixture.stored() == before);
        fixture.ok(&format!("admin.vm.feature.Remove+{feature}"), "test-net", "");
    }
}

#[test]
fn numbers_of_removed_qubes_are_used_again() {
    let fixture = Fixture::new();
    let qid = |name: &str| fixture.ok("admin.vm.property.Get+qid", name, "");
    for name in ["one", "two", "three"] {
        fixture.ok("admin.vm.Create.RemoteVM", "dom0", format!("name={name} label=red"));
    }
    assert_eq!(qid("three"), "default=False type=int 6");
    fixture.ok("admin.vm.Remove", "two", "");
    fixture.ok("admin.vm.Create.RemoteVM", "dom0", "label=red name=four");
    assert_eq!(qid("four"), "default=False type=int 5");
    let uuid = |name: &str| fixture.ok("admin.vm.property.Get+uuid", name, "");
    assert_ne!(uuid("one"), uuid("four"));
    assert_eq!(uuid("four").as_bytes().get(37), Some(&b'4'), "{}", uuid("four"));
}

//! Lists, creation and removal on the wire (behaviours 1 to 6, 72 to 89, 100 to 103, 120 of spec 10 §11).
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::indexing_slicing, reason = "test code")]

use tests::Fixture;
use tests::fixture::{readable, refusal, uuid};

const CREATE: &str = "admin.vm.Create.AppVM+test-template";

#[test]
fn lists_tell_name_class_state_and_uuid() {
    let fixture = Fixture::new();
    let list = fixture.ok("admin.vm.List", "dom0", "");
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines[0], "dom0 class=AdminVM state=Running uuid=00000000-0000-0000-0000-000000000000");
    assert_eq!(lines[2], format!("test-template class=TemplateVM state=Halted uuid={}", uuid(1)));
    assert_eq!(lines.len(), 4);
    let one = format!("test-vm1 class=AppVM state=Halted uuid={}\n", uuid(2));
    assert_eq!(fixture.ok("admin.vm.List", "test-vm1", ""), one);
    assert_eq!(fixture.ok("admin.vm.List", &format!("uuid:{}", uuid(2)), ""), one);
    assert_eq!(fixture.ok("admin.vm.List+test-vm1", "dom0", ""), one);
}

#[test]
fn parties_that_are_not_there_or_malformed_are_told_apart() {
    let fixture = Fixture::new();
    let list = |destination: &str| fixture.refused("admin.vm.List", destination, "");
    assert_eq!(
        list(".test-vm1"),
        "QubesValueError: VM name cannot start with hyphen, underscore, dot or numbers"
    );
    assert_eq!(list("uuid:"), "QubesVMInvalidUUIDError: VM UUID is not valid: ''");
    let bad_end = "uuid:00000000-0000-4000-8000-00000000000g";
    assert_eq!(
        list(bad_end),
        "QubesVMInvalidUUIDError: VM UUID is not valid: '00000000-0000-4000-8000-00000000000g'"
    );
    let unknown = "uuid:00000000-0000-4000-8000-999999999999";
    assert_eq!(list(unknown), format!("QubesVMNotFoundError: No such domain: '{unknown}'"));
    assert_eq!(list("x-dm"), "QubesValueError: VM name cannot end with -dm");
    assert_eq!(list("none"), "QubesValueError: VM name cannot be 'none' nor 'default'");
    assert_eq!(list(&"a".repeat(32)), "QubesValueError: VM name must be shorter than 32 characters");
}

#[test]
fn other_callers_see_what_policy_plainly_allows() {
    let fixture = Fixture::new();
    fixture.policy(
        "10-test.policy",
        "admin.vm.List * test-vm1 dom0 allow\nadmin.vm.List * test-vm1 test-vm1 allow\n\
        admin.vm.List * test-vm1 test-net ask\n",
    );
    let names = |fixture: &Fixture, destination: &str| {
        let reply = fixture.call_as("test-vm1", "admin.vm.List", destination, "");
        let text = String::from_utf8(reply.strip_prefix(b"0\0").unwrap().to_vec()).unwrap();
        text.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&fixture, "dom0"), ["dom0", "test-vm1"]);
    assert!(names(&fixture, "test-net").is_empty());
    let hidden = fixture.call_as("test-vm1", "admin.vm.List+test-net", "dom0", "");
    let unknown = fixture.call_as("test-vm1", "admin.vm.List+nobody", "dom0", "");
    assert_eq!(hidden, unknown, "a hidden qube must look like one that is not there");
    fixture.policy("Illegal.policy", "");
    assert!(names(&fixture, "dom0").is_empty());
}

#[test]
fn a_qube_is_made_with_its_volumes_and_events_and_removed_again() {
    let fixture = Fixture::new();
    let home = fixture.path("/var/lib/qubes/appvms/new");
    let events = fixture.events_of(|fixture| {
        assert_eq!(fixture.ok(CREATE, "dom0", "name=new label=red"), "");
    });
    let expected = [
        " domain-add vm=new",
        "new domain-tag-add:created-by-dom0 tag=created-by-dom0",
        "new domain-create-on-disk",
    ];
    assert_eq!(events, expected);
    for image in ["private.img", "private-precache.img"] {
        let found = std::fs::metadata(home.join(image)).unwrap();
        assert_eq!(found.len(), 2_147_483_648);
        assert_eq!(std::os::unix::fs::MetadataExt::blocks(&found), 0, "{image} is not sparse");
    }
    assert_eq!(fixture.ok("admin.vm.property.Get+qid", "new", ""), "default=False type=int 4");
    assert_eq!(fixture.ok("admin.vm.tag.List", "new", ""), "audiovm-dom0\ncreated-by-dom0\nguivm-dom0\n");
    fixture.ok("admin.vm.notes.Set", "new", "a note");
    let events = fixture.events_of(|fixture| assert_eq!(fixture.ok("admin.vm.Remove", "new", ""), ""));
    assert_eq!(events, [" domain-pre-delete vm=new", " domain-delete vm=new"]);
    assert!(!home.exists());
    assert_eq!(fixture.refused("admin.vm.List", "new", ""), "QubesVMNotFoundError: No such domain: 'new'");
}

#[test]
fn every_class_is_made_as_its_table_says() {
    let fixture = Fixture::new();
    fixture.ok("admin.vm.Create.StandaloneVM", "dom0", "name=alone label=green");
    assert!(fixture.path("/var/lib/qubes/appvms/alone/root.img").exists());
    fixture.ok("admin.vm.Create.TemplateVM", "dom0", "name=tpl label=black");
    assert!(fixture.path("/var/lib/qubes/vm-templates/tpl/root.img").exists());
    fixture.ok("admin.vm.Create.AppVM", "dom0", "label=red name=by-default");
    assert_eq!(
        fixture.ok("admin.vm.property.Get+template", "by-default", ""),
        "default=False type=vm test-template"
    );
    fixture.ok("admin.vm.Create.RemoteVM", "dom0", "name=far label=gray");
    assert_eq!(
        fixture.ok("admin.vm.CurrentState", "far", ""),
        "mem=0 mem_static_max=0 cputime=0 power_state=Running"
    );
    fixture.ok("admin.vm.property.Set+template_for_dispvms", "test-vm1", "True");
    fixture.ok("admin.vm.feature.Set+kept", "test-vm1", "1");
    fixture.ok("admin.vm.tag.Set+copied", "test-vm1", "");
    fixture.ok("admin.vm.property.Set+vcpus", "test-vm1", "3");
    fixture.ok("admin.vm.Create.DispVM+test-vm1", "dom0", "name=disp label=red");
    assert_eq!(fixture.ok("admin.vm.property.Get+vcpus", "disp", ""), "default=False type=int 3");
    assert_eq!(fixture.ok("admin.vm.feature.Get+kept", "disp", ""), "1");
    assert_eq!(fixture.ok("admin.vm.tag.Get+copied", "disp", ""), "1");
}

/// Call, payload, and what is said.
const REFUSED_CREATIONS: &[(&str, &str, &str)] = &[
    (
        "admin.vm.Create.StandaloneVM+test-template",
        "name=n label=red",
        "ProtocolError: StandaloneVM cannot be based on template",
    ),
    ("admin.vm.Create.AppVM+nobody", "name=n label=red", "QubesVMNotFoundError: No such domain: 'nobody'"),
    (CREATE, "name=test-### label=red", "QubesValueError: VM name contains illegal characters"),
    (
        CREATE,
        "name=--helpVM",
        "QubesValueError: VM name cannot start with hyphen, underscore, dot or numbers",
    ),
    (CREATE, "name=1stVM", "QubesValueError: VM name cannot start with hyphen, underscore, dot or numbers"),
    (CREATE, "label=red", "ProtocolError: Creation requested without key: name"),
    (CREATE, "name=n", "ProtocolError: Creation requested without key: label"),
    (CREATE, "name=n label=red pool=test", "ProtocolError: Pool option specified but 'allow_pool' is False"),
    (CREATE, "name=test-vm1 label=red", "QubesVMAlreadyExistsError: Qube already exists: test-vm1"),
    (CREATE, "name=n name=n label=red", "ProtocolError: Options must be unique"),
    (CREATE, "name=n label=red x=y", "ProtocolError: Options does not match: name, label, pool, pool:"),
    (CREATE, "name=n label=nope", "QubesLabelNotFoundError: Label does not exist: untrusted label"),
    (CREATE, "name=n label=1", "QubesInvalidLabelError: Label must not be a digit"),
    (
        "admin.vm.Create.AppVM+test-net",
        "name=n label=red",
        "QubesPropertyValueError: wrong VM class: domains['test-net'] is of type AppVM and not TemplateVM",
    ),
    (
        "admin.vm.Create.DispVM+test-net",
        "name=n label=red",
        "QubesValueError: template for disposable (test-net) needs to be an AppVM with template_for_dispvms=True",
    ),
    (
        "admin.vm.Create.DispVM",
        "name=n label=red",
        "QubesValueError: Template for the qube not specified, nor default template set.",
    ),
    (
        "admin.vm.Create.AdminVM",
        "name=n label=red",
        "QubesPropertyValueError: property 'qid' on AdminVM instance cannot be set",
    ),
    (
        "admin.vm.Create.NoSuchClass",
        "name=n label=red",
        "ProtocolError: no such method: 'admin.vm.Create.NoSuchClass'",
    ),
    (
        "admin.vm.CreateInPool.AppVM+test-template",
        "name=n label=red pool=nope",
        "QubesException: Unknown storage pool nope",
    ),
    (
        "admin.vm.CreateInPool.AppVM+test-template",
        "name=n label=red pool:private=nope",
        "QubesException: Unknown storage pool nope",
    ),
    (
        "admin.vm.CreateInPool.AppVM+test-template",
        "name=n label=red pool:x=test",
        "ProtocolError: Volume must be one of: root, private, volatile, kernel",
    ),
    (
        "admin.vm.CreateInPool.AppVM+test-template",
        "name=n label=red pool=test pool:root=test",
        "ProtocolError: Conflicting options specified: 'pool=', 'pool:volume='",
    ),
];

#[test]
fn creation_is_refused_with_the_right_words_and_leaves_nothing() {
    let fixture = Fixture::new();
    let before = fixture.ok("admin.vm.List", "dom0", "");
    for (call, payload, said) in REFUSED_CREATIONS {
        assert_eq!(fixture.refused(call, "dom0", payload), *said, "{call} {payload}");
    }
    assert!(fixture.events().is_empty());
    assert_eq!(fixture.ok("admin.vm.List", "dom0", ""), before);
    assert!(!fixture.path("/var/lib/qubes/appvms/n").exists());
}

#[test]
fn a_snapshot_stays_in_its_pool_and_a_pool_that_cannot_hold_a_volume_refuses() {
    let fixture = Fixture::new();
    let call = "admin.vm.CreateInPool.AppVM+test-template";
    let events = fixture.events_of(|fixture| {
        let said = fixture.refused(call, "dom0", "name=n label=red pool:root=test");
        let expected = "QubesException: Snapshot volume root must be in the same pool as its origin (root volume of \
            template),cannot move to pool test ";
        assert_eq!(said, expected);
    });
    let names: Vec<&str> = events.iter().map(|event| event.split(' ').nth(1).unwrap()).collect();
    assert_eq!(names, ["domain-add", "domain-tag-add:created-by-dom0", "domain-pre-delete", "domain-delete"]);
    fixture.ok("admin.property.Set+default_pool_private", "dom0", "linux-kernel");
    let events = fixture.events_of(|fixture| {
        let said = fixture.refused(CREATE, "dom0", "name=n label=red");
        assert!(said.starts_with("StoragePoolException: "), "{said}");
    });
    assert!(events.is_empty());
    assert!(!fixture.path("/var/lib/qubes/appvms/n").exists());
    fixture.ok("admin.vm.CreateInPool.AppVM+test-template", "dom0", "name=n label=red pool=test");
    assert!(fixture.path("/var/lib/qubes/test/appvms/n/private.img").exists());
    fixture.ok("admin.vm.Remove", "n", "");
    assert!(!fixture.path("/var/lib/qubes/test/appvms/n").exists());
}

#[test]
fn a_creator_whose_wish_fails_leaves_nothing_behind() {
    let fixture = Fixture::new();
    fixture.ok("admin.vm.feature.Set+set-created-guivm", "test-net", "nobody");
    let reply = fixture.call_as("test-net", CREATE, "dom0", "name=n label=red");
    assert_eq!(refusal(&reply), "QubesVMNotFoundError: No such domain: 'nobody'");
    assert_eq!(fixture.refused("admin.vm.List", "n", ""), "QubesVMNotFoundError: No such domain: 'n'");
    assert!(!fixture.path("/var/lib/qubes/appvms/n").exists());
    fixture.ok("admin.vm.feature.Set+set-created-guivm", "test-net", "test-vm1");
    assert_eq!(fixture.call_as("test-net", CREATE, "dom0", "name=n label=red"), b"0\0");
    assert_eq!(fixture.ok("admin.vm.property.Get+guivm", "n", ""), "default=False type=vm test-vm1");
}

#[test]
fn what_is_in_use_cannot_be_removed() {
    let fixture = Fixture::new();
    assert_eq!(fixture.refused("admin.vm.Remove", "dom0", ""), "QubesVMInUseError: 'dom0' cannot be removed");
    let events = fixture.events_of(|fixture| {
        assert_eq!(
            fixture.refused("admin.vm.Remove", "test-template", ""),
            "QubesVMInUseError: Domain is in use: 'test-template';  see 'journalctl -u qubesd -e' in dom0 for details"
        );
    });
    assert_eq!(events, [" domain-pre-delete vm=test-template"]);
    fixture.ok("admin.vm.property.Set+installed_by_rpm", "test-vm1", "True");
    assert_eq!(
        fixture.refused("admin.vm.Remove", "test-vm1", ""),
        "QubesVMInUseError: VM installed by package manager: test-vm1"
    );
}

#[test]
fn a_running_qube_is_not_removed_and_a_dead_watcher_counts_as_halted() {
    let fixture = Fixture::new();
    let watcher = fixture.domain("test-vm1", "Running");
    assert!(fixture.ok("admin.vm.List", "test-vm1", "").contains("state=Running"));
    assert_eq!(fixture.ok("admin.vm.property.Get+xid", "test-vm1", ""), "default=True type=int 7");
    assert_eq!(
        fixture.ok("admin.vm.property.Get+start_time", "test-vm1", ""),
        "default=True type=str 1700000000.0"
    );
    // A change under way keeps nobody waiting, nor the other way round.
    let store = fixture.store();
    let change = store.write().unwrap();
    let state = fixture.ok("admin.vm.CurrentState", "test-vm1", "");
    drop(change);
    assert!(
        state.starts_with("mem=409600 mem_static_max=") && state.ends_with(" cputime=5 power_state=Running")
    );
    assert_eq!(
        fixture.refused("admin.vm.Remove", "test-vm1", ""),
        "QubesVMNotHaltedError: Domain is not powered off: 'test-vm1'"
    );
    assert!(
        fixture
            .refused("admin.vm.property.Set+maxmem", "test-vm1", "123")
            .starts_with("QubesVMNotHaltedError: ")
    );
    drop(watcher);
    assert!(fixture.ok("admin.vm.List", "test-vm1", "").contains("state=Halted"));
    assert!(readable(&fixture.call("admin.vm.Remove", "test-vm1", "")).starts_with("0·"));
}

//! Disposables: made, named and tagged in one step for whoever asks (spec 10 §2.6).
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

use std::collections::BTreeSet;

use common::names::QubeName;
use common::storage::unfinished;
use tests::Fixture;
use tests::fixture::{readable, refusal};

const CREATE: &str = "admin.vm.CreateDisposable";
const NO_TEMPLATE: &str = "QubesException: Refusing to create disposable out of app qube which has \
    template_for_dispvms=False";

/// A root where `dvm`, green, is a template of disposables.
fn prepared() -> Fixture {
    let fixture = Fixture::new();
    fixture.ok("admin.vm.Create.AppVM+test-template", "dom0", "name=dvm label=green");
    fixture.ok("admin.vm.property.Set+template_for_dispvms", "dvm", "True");
    fixture.edit("dvm", |qube| qube.tags.retain(|tag| !tag.as_str().starts_with("created-by-")));
    fixture
}

#[test]
fn a_disposable_is_named_after_its_number_and_saved_with_its_tags() {
    let fixture = prepared();
    fixture.ok("admin.vm.property.Set+vcpus", "dvm", "5");
    let mut name = String::new();
    let events = fixture.events_of(|fixture| name = fixture.ok(CREATE, "dvm", ""));
    assert_eq!(
        events,
        [
            format!(" domain-add vm={name}"),
            format!("{name} domain-create-on-disk"),
            format!("{name} domain-tag-add:created-by-dom0 tag=created-by-dom0"),
            format!("{name} domain-tag-add:disp-created-by-dom0 tag=disp-created-by-dom0"),
        ]
    );
    let get = |property: &str| fixture.ok(&format!("admin.vm.property.Get+{property}"), &name, "");
    let number = name.strip_prefix("disp").unwrap();
    for (property, shown) in [
        ("dispid", &*format!("default=False type=int {number}")),
        ("auto_cleanup", "default=False type=bool True"),
        ("template", "default=False type=vm dvm"),
        ("label", "default=False type=label green"),
        ("vcpus", "default=False type=int 5"),
    ] {
        assert_eq!(get(property), shown);
    }
    let tags = "audiovm-dom0\ncreated-by-dom0\ndisp-created-by-dom0\nguivm-dom0\n";
    assert_eq!(fixture.ok("admin.vm.tag.List", &name, ""), tags);
    assert!(fixture.path(&format!("/var/lib/qubes/appvms/{name}")).is_dir());
}

#[test]
fn the_answer_is_the_name_or_the_uuid() {
    let fixture = prepared();
    let uuid = fixture.ok(CREATE, "dvm", "uuid");
    let listed = fixture.ok("admin.vm.List", &uuid, "");
    assert!(listed.starts_with("disp") && listed.contains(uuid.strip_prefix("uuid:").unwrap()), "{listed}");
}

#[test]
fn dom0_stands_for_the_callers_default() {
    let fixture = prepared();
    let refused = |caller: &str| refusal(&fixture.call_as(caller, CREATE, "dom0", ""));
    assert_eq!(refused("test-vm1"), NO_TEMPLATE);
    fixture.ok("admin.vm.property.Set+default_dispvm", "test-vm1", "dvm");
    assert_eq!(refused("dom0"), NO_TEMPLATE);
    let events = fixture.events_of(|fixture| {
        assert!(readable(&fixture.call_as("test-vm1", CREATE, "dom0", "")).starts_with("0·disp"));
    });
    assert!(events.last().unwrap().ends_with("tag=disp-created-by-test-vm1"), "{events:?}");
    fixture.ok("admin.property.Set+default_dispvm", "dom0", "dvm");
    fixture.ok(CREATE, "dom0", "");
    fixture.ok("admin.vm.Create.RemoteVM", "dom0", "name=far label=red");
    for destination in ["dom0", "far"] {
        let reply = fixture.call_as("far", CREATE, destination, "");
        assert_eq!(refusal(&reply), NO_TEMPLATE);
    }
}

#[test]
fn what_cannot_be_made_is_refused_and_changes_nothing() {
    let fixture = prepared();
    let before = fixture.stored();
    let argument = "PermissionDenied: Argument not in \"'', 'preload'\"";
    let payload = "ProtocolError: Invalid payload, expected empty string or 'uuid'";
    let call = |argument: &str| format!("{CREATE}+{argument}");
    let events = fixture.events_of(|fixture| {
        for (argument, destination, content, said) in [
            ("x", "dvm", &b""[..], argument),
            ("x", "dvm", b"x", argument),
            ("Preload", "test-vm1", b"", argument),
            ("", "dvm", b"uuid ", payload),
            ("", "test-vm1", b"name", payload),
            ("preload", "dvm", b"x", payload),
            ("", "dvm", b"\xff", payload),
            ("", "test-vm1", b"", NO_TEMPLATE),
            ("", "test-template", b"uuid", NO_TEMPLATE),
            ("", "dom0", b"", NO_TEMPLATE),
        ] {
            assert_eq!(fixture.refused(&call(argument), destination, content), said, "{argument}");
        }
    });
    assert!(events.is_empty() && fixture.stored() == before);
}

#[test]
fn a_tag_that_came_with_the_template_is_not_added_again() {
    let fixture = prepared();
    fixture.ok("admin.vm.tag.Set+created-by-dom0", "dvm", "");
    fixture.ok("admin.vm.feature.Set+tag-created-vm-with", "dom0", "extra");
    let events = fixture.events_of(|fixture| drop(fixture.ok(CREATE, "dvm", "")));
    let names: Vec<&str> = events.iter().map(|event| event.split(' ').nth(1).unwrap()).collect();
    assert_eq!(names, ["domain-add", "domain-create-on-disk", "domain-tag-add:disp-created-by-dom0"]);
}

#[test]
fn a_creators_wish_that_is_refused_is_announced_and_undone() {
    let fixture = prepared();
    fixture.ok("admin.vm.feature.Set+set-created-guivm", "test-net", "nobody");
    let before = fixture.stored();
    let events = fixture.events_of(|fixture| {
        let reply = fixture.call_as("test-net", CREATE, "dvm", "");
        assert_eq!(refusal(&reply), "QubesVMNotFoundError: No such domain: 'nobody'");
    });
    assert!(events.first().unwrap().starts_with(" domain-add vm=disp"));
    assert!(events.last().unwrap().starts_with(" domain-delete vm=disp"));
    assert!(fixture.stored() == before);
    assert!(unfinished::all(&fixture.store()).unwrap().is_empty());
}

/// Leaves only these numbers to draw from.
fn leave_numbers(fixture: &Fixture, free: std::ops::Range<u16>) {
    let store = fixture.store();
    let mut txn = store.write().unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let taken = (0..10_000).filter(|number| !free.contains(number));
    txn.edit_system(|system| system.blocked_dispids.extend(taken.map(|number| (number, now)))).unwrap();
    txn.commit().unwrap();
}

#[test]
fn those_who_ask_at_once_get_a_disposable_each_while_there_are_numbers() {
    let fixture = &prepared();
    leave_numbers(fixture, 70..76);
    // A qube of that name, whatever it is, takes the number too.
    fixture.ok("admin.vm.Create.RemoteVM", "dom0", "name=disp75 label=red");
    let answers: Vec<String> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..8).map(|_| scope.spawn(|| fixture.call(CREATE, "dvm", ""))).collect();
        asking.into_iter().map(|asking| readable(&asking.join().unwrap())).collect()
    });
    let (made, refused): (Vec<&str>, Vec<&str>) =
        answers.iter().map(String::as_str).partition(|answer| answer.starts_with("0·"));
    let made: BTreeSet<&str> = made.into_iter().collect();
    assert_eq!(
        made,
        (70..75)
            .map(|number| format!("0·disp{number}"))
            .collect::<BTreeSet<_>>()
            .iter()
            .map(String::as_str)
            .collect()
    );
    assert_eq!(refused, ["2·QubesException··No free dispid·"; 3]);
}

#[test]
fn the_next_disposable_clears_away_what_a_killed_call_left_of_another() {
    let fixture = prepared();
    let (store, root) = (fixture.store(), fixture.root());
    let name = fixture.ok(CREATE, "dvm", "");
    let qube = fixture.qube(&name);
    let mut txn = store.write().unwrap();
    unfinished::begin(&store, &root, &qube, &txn.pools().unwrap()).unwrap();
    txn.remove_qube(&QubeName::parse(&name).unwrap()).unwrap();
    txn.commit().unwrap();
    let home = fixture.path(&format!("/var/lib/qubes/appvms/{name}"));
    assert!(home.exists());
    fixture.ok(CREATE, "dvm", "");
    assert!(!home.exists() && unfinished::all(&store).unwrap().is_empty());
}

//! Disposables made in advance: made, kept in step with what is wished for, handed out (spec 10 §2.7).
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "test code")]

use std::collections::BTreeSet;

use common::model::Value;
use tests::Fixture;
use tests::fixture::{readable, refusal};
use tests::startable::{behave, end, guest, state, system, traces, until, watcher};
use tests::tool::{install, tool};

const CREATE: &str = "admin.vm.CreateDisposable";
const MAX: &str = "admin.vm.feature.Set+preload-dispvm-max";

/// A root where `dvm` is a template of disposables that could be made in advance, and none are.
fn prepared() -> Fixture {
    let fixture = system();
    fixture.ok("admin.vm.Create.AppVM+test-template", "dom0", "name=dvm label=red");
    fixture.ok("admin.vm.volume.Resize+private", "dvm", "65536");
    fixture.ok("admin.vm.property.Set+netvm", "dvm", "");
    fixture.ok("admin.vm.property.Set+template_for_dispvms", "dvm", "True");
    for service in ["qubes.WaitForRunningSystem", "qubes.WaitForSession"] {
        fixture.ok(&format!("admin.vm.feature.Set+supported-rpc.{service}"), "test-template", "1");
    }
    fixture.ok("admin.vm.feature.Set+preload-dispvm-delay", "dvm", "0");
    fixture
}

/// The names in the list.
fn listed(fixture: &Fixture) -> Vec<String> {
    let qube = fixture.qube("dvm");
    qube.feature("preload-dispvm")
        .unwrap_or_default()
        .split(' ')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Whether there are so many, all of them complete.
fn are_ready(fixture: &Fixture, count: usize) -> bool {
    let is_complete = |name: &String| {
        let store = fixture.store();
        let qube = store.read().unwrap().qube_named(name).unwrap();
        qube.is_some_and(|qube| qube.feature("preload-dispvm-in-progress") == Some(""))
    };
    let names = listed(fixture);
    names.len() == count && names.iter().all(is_complete)
}

/// Wishes for so many, past the feature `qrexec` that tells of a guest that is none here, and has them made.
fn filled(fixture: &Fixture, count: usize) -> Vec<String> {
    set_maximum(fixture, &count.to_string());
    fixture.ok(&format!("{CREATE}+preload"), "dvm", "");
    assert!(are_ready(fixture, count));
    listed(fixture)
}

fn set_maximum(fixture: &Fixture, value: &str) {
    use common::names::{FeatureName, FeatureValue};
    fixture.edit("dvm", |qube| {
        let name = FeatureName::parse("preload-dispvm-max").unwrap();
        qube.set_feature(name, FeatureValue::parse(value).unwrap());
    });
}

/// Every disposable there is.
fn disposables(fixture: &Fixture) -> BTreeSet<String> {
    let listed = fixture.ok("admin.vm.List", "dom0", "");
    let disposable =
        |line: &str| line.contains("class=DispVM").then(|| line.split(' ').next().unwrap().to_owned());
    listed.lines().filter_map(disposable).collect()
}

#[test]
fn those_asked_for_are_made_started_paused_and_listed() {
    let fixture = prepared();
    set_maximum(&fixture, "2");
    let events = fixture.events_of(|fixture| {
        assert_eq!(fixture.ok(&format!("{CREATE}+preload"), "dvm", ""), "");
    });
    let names = listed(&fixture);
    assert_eq!(names.len(), 2);
    assert_eq!(events[0], "dvm domain-preload-dispvm-start reason=autostart was requested");
    let first = &names[0];
    let of_first: Vec<&str> =
        events.iter().filter_map(|event| event.strip_prefix(&format!("{first} "))).collect();
    assert_eq!(
        of_first[0],
        "domain-feature-pre-set:preload-dispvm-in-progress feature=preload-dispvm-in-progress value=1"
    );
    assert!(of_first.contains(&"domain-create-on-disk") && of_first.contains(&"domain-paused"));
    assert_eq!(
        of_first.last().unwrap(),
        &"domain-feature-set:preload-dispvm-in-progress feature=preload-dispvm-in-progress value= oldvalue=1"
    );
    for name in &names {
        assert_eq!(state(&fixture, name), "Paused");
        let qube = fixture.qube(name);
        let features = ["internal", "preload-dispvm-completed", "preload-dispvm-in-progress"];
        assert_eq!(features.map(|feature| qube.feature(feature)), [Some("1"), Some("1"), Some("")]);
        assert!(!qube.tags.iter().any(|tag| tag.as_str().starts_with("disp-created-by")));
        assert_eq!(fixture.ok("admin.vm.property.Get+is_preload", name, ""), "default=True type=bool True");
    }
    let again = fixture.events_of(|fixture| drop(fixture.ok(&format!("{CREATE}+preload"), "dvm", "")));
    assert_eq!(again.len(), 1, "{again:?}");
    assert_eq!(listed(&fixture), names);
}

#[test]
fn the_first_is_handed_out_running_with_its_callers_tags_and_replaced() {
    let fixture = prepared();
    let names = filled(&fixture, 2);
    let mut given = String::new();
    let events = fixture.events_of(|fixture| {
        given = readable(&fixture.call_as("work", CREATE, "dvm", ""));
    });
    assert_eq!(given, format!("0·{}", names[0]));
    let name = &names[0];
    let expected = [
        format!(
            "dvm domain-feature-pre-set:preload-dispvm feature=preload-dispvm value={} oldvalue={}",
            names[1],
            names.join(" ")
        ),
        format!(
            "dvm domain-feature-set:preload-dispvm feature=preload-dispvm value={} oldvalue={}",
            names[1],
            names.join(" ")
        ),
        format!("{name} domain-pre-unpaused"),
        format!("{name} domain-unpaused"),
        format!("{name} domain-feature-pre-delete:internal feature=internal"),
        format!("{name} domain-feature-delete:internal feature=internal"),
        format!(
            "{name} domain-feature-pre-delete:preload-dispvm-in-progress feature=preload-dispvm-in-progress"
        ),
        format!("{name} domain-feature-delete:preload-dispvm-in-progress feature=preload-dispvm-in-progress"),
        format!("{name} domain-tag-add:created-by-work tag=created-by-work"),
        format!("{name} domain-tag-add:disp-created-by-work tag=disp-created-by-work"),
        format!("dvm domain-preload-dispvm-used dispvm={name} delay=0"),
    ];
    assert_eq!(events[..expected.len()], expected);
    assert_eq!(state(&fixture, name), "Running");
    assert_eq!(fixture.ok("admin.vm.property.Get+is_preload", name, ""), "default=True type=bool False");
    until("nobody fills the list again", || are_ready(&fixture, 2));
    assert!(!listed(&fixture).contains(name));
}

#[test]
fn those_who_ask_at_once_get_another_one_each() {
    let fixture = &prepared();
    let made = filled(fixture, 2);
    set_maximum(fixture, "0");
    let answers: BTreeSet<String> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..4).map(|_| scope.spawn(|| fixture.ok(CREATE, "dvm", ""))).collect();
        asking.into_iter().map(|asking| asking.join().unwrap()).collect()
    });
    assert_eq!(answers.len(), 4);
    assert!(made.iter().all(|name| answers.contains(name)), "{made:?} {answers:?}");
}

#[test]
fn what_its_template_would_make_otherwise_now_is_not_handed_out_but_replaced() {
    let set = |fixture: &Fixture, property: &str, value: Value| {
        fixture.edit("dvm", |qube| drop(qube.properties.insert(property.to_owned(), value)));
    };
    // Set past the calls, which would have them made anew at once.
    let changes: [&dyn Fn(&Fixture); 3] = [
        &|fixture| set(fixture, "debug", Value::Bool(true)),
        &|fixture| drop(fixture.ok("admin.vm.volume.Resize+private", "dvm", "131072")),
        &|fixture| set(fixture, "netvm", Value::Text("net".to_owned())),
    ];
    for change in changes {
        let fixture = prepared();
        let old = filled(&fixture, 1);
        change(&fixture);
        let given = fixture.ok(CREATE, "dvm", "");
        assert!(!old.contains(&given));
        assert_eq!(state(&fixture, &given), "Halted");
        // Off the list is not gone yet: the other one is made after that.
        until("no other one is made", || listed(&fixture) != old && are_ready(&fixture, 1));
        assert!(!disposables(&fixture).contains(&old[0]));
    }
}

#[test]
fn the_number_that_is_wished_for_is_followed_both_ways() {
    let fixture = prepared();
    fixture.ok("admin.vm.feature.Set+qrexec", "dvm", "1");
    fixture.ok("admin.vm.feature.Set+preload-dispvm-threshold", "dom0", "");
    let events = fixture.events_of(|fixture| drop(fixture.ok(MAX, "dvm", "3")));
    assert_eq!(events[2], "dvm domain-preload-dispvm-start reason=local feature was set to '3'");
    until("they are not made", || are_ready(&fixture, 3));
    let three = listed(&fixture);
    assert_eq!(fixture.events_of(|fixture| drop(fixture.ok(MAX, "dvm", "3"))).len(), 2);
    fixture.ok(MAX, "dvm", "1");
    until("the others stay", || disposables(&fixture).len() == 1);
    assert_eq!(listed(&fixture), three[..1]);
    fixture.ok("admin.vm.feature.Remove+preload-dispvm-max", "dvm", "");
    until("the last one stays", || disposables(&fixture).is_empty());
    until("something is left of it", || traces(&fixture).is_empty());
    fixture.ok("admin.property.Set+default_dispvm", "dom0", "dvm");
    let events = fixture.events_of(|fixture| drop(fixture.ok(MAX, "dom0", "1")));
    assert_eq!(events[2], "dvm domain-preload-dispvm-start reason=global feature was set to '1'");
    until("dom0's number does not count", || are_ready(&fixture, 1));
    let events = fixture.events_of(|fixture| {
        fixture.ok("admin.vm.feature.Remove+preload-dispvm-max", "dom0", "");
    });
    assert_eq!(events[2], "dvm domain-preload-dispvm-start reason=global feature was deleted");
    until("it stays without dom0's number", || disposables(&fixture).is_empty());
}

#[test]
fn memory_limits_how_many_are_made() {
    let fixture = prepared();
    set_maximum(&fixture, "2");
    fixture.ok("admin.vm.feature.Set+preload-dispvm-threshold", "dom0", "100");
    let preload = |free_mib: u64| {
        std::fs::write(fixture.path("/run/qubes/qmemman-avail-mem"), (free_mib << 20).to_string()).unwrap();
        fixture.ok(&format!("{CREATE}+preload"), "dvm", "");
        listed(&fixture).len()
    };
    assert_eq!(preload(499), 0);
    assert_eq!(preload(500), 2);
}

#[test]
fn without_the_services_or_a_template_it_is_refused() {
    let fixture = prepared();
    let preload = format!("{CREATE}+preload");
    assert_eq!(
        fixture.refused(&preload, "dom0", ""),
        "QubesException: There is no default template of disposables"
    );
    set_maximum(&fixture, "1");
    fixture.ok("admin.vm.feature.Remove+supported-rpc.qubes.WaitForSession", "test-template", "");
    let said = "QubesValueError: Qube does not support the RPC(s) 'qubes.WaitForSession' but tried to preload, check if \
        template is outdated";
    assert_eq!(fixture.refused(&preload, "dvm", ""), said);
    // Other classes have nobody who listens.
    assert_eq!(fixture.ok(&preload, "test-template", "uuid"), "");
    assert!(disposables(&fixture).is_empty());
}

#[test]
fn one_that_does_not_start_is_told_and_leaves_nothing() {
    let fixture = prepared();
    set_maximum(&fixture, "1");
    behave(&fixture, "dvm", "simulated.refuses");
    let said = refusal(&fixture.call(&format!("{CREATE}+preload"), "dvm", ""));
    assert!(said.starts_with("QubesException: Start failed"), "{said}");
    assert!(listed(&fixture).is_empty() && disposables(&fixture).is_empty());
    assert_eq!(traces(&fixture), [""; 0]);
}

#[test]
fn one_that_ends_is_dropped_from_the_list() {
    let fixture = prepared();
    let [first, second] = filled(&fixture, 2).try_into().unwrap();
    fixture.ok("admin.vm.Kill", &first, "");
    assert_eq!(listed(&fixture), [second]);
    assert_eq!(disposables(&fixture).len(), 1);
}

#[test]
fn they_are_made_anew_when_their_template_stops_or_changes() {
    let fixture = prepared();
    let mut last = filled(&fixture, 2);
    let changes: [fn(&Fixture); 2] = [
        |fixture| {
            fixture.ok("admin.vm.Start", "test-template", "");
            fixture.ok("admin.vm.Shutdown+wait", "test-template", "");
        },
        |fixture| drop(fixture.ok("admin.vm.property.Set+debug", "dvm", "True")),
    ];
    for change in changes {
        change(&fixture);
        let are_new = || listed(&fixture).iter().all(|name| !last.contains(name)) && are_ready(&fixture, 2);
        until("the outdated ones stay", are_new);
        until("something is left of them", || disposables(&fixture).len() == 2);
        last = listed(&fixture);
    }
}

#[test]
fn a_paused_one_is_shut_down_without_force() {
    let fixture = prepared();
    let [first, second] = filled(&fixture, 2).try_into().unwrap();
    fixture.ok("admin.vm.Shutdown+wait", &first, "");
    assert_eq!(listed(&fixture), [second]);
    assert_eq!(disposables(&fixture).len(), 1);
}

#[test]
fn they_go_with_their_template_unless_it_is_needed() {
    let fixture = prepared();
    let made = filled(&fixture, 2);
    fixture.ok("admin.property.Set+default_dispvm", "dom0", "dvm");
    let said = fixture.refused("admin.vm.Remove", "dvm", "");
    assert!(said.starts_with("QubesVMInUseError: Domain is in use: 'dvm'"), "{said}");
    assert!(are_ready(&fixture, 2) && listed(&fixture) == made);
    fixture.ok("admin.property.Set+default_dispvm", "dom0", "");
    let events = fixture.events_of(|fixture| drop(fixture.ok("admin.vm.Remove", "dvm", "")));
    for name in made.iter().map(String::as_str).chain(["dvm"]) {
        assert!(events.contains(&format!(" domain-delete vm={name}")), "{events:?}");
    }
    assert!(disposables(&fixture).is_empty());
    assert_eq!(traces(&fixture), [""; 0]);
}

#[test]
fn they_are_made_at_boot_in_place_of_those_that_the_machines_end_left() {
    let fixture = prepared();
    install(&fixture);
    let old = filled(&fixture, 2);
    for name in &old {
        let (watcher, guest) = (watcher(&fixture, name), guest(&fixture, name));
        end(watcher);
        end(guest);
    }
    for folder in ["domains", "simulated", "watchers"] {
        std::fs::remove_dir_all(fixture.path("/run/qubes/admin").join(folder)).unwrap();
        std::fs::create_dir(fixture.path("/run/qubes/admin").join(folder)).unwrap();
    }
    for command in ["clean-up", "preload"] {
        let done = tool(&fixture, &[command]);
        assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
    }
    assert!(are_ready(&fixture, 2) && listed(&fixture).iter().all(|name| !old.contains(name)));
    assert_eq!(disposables(&fixture).len(), 2);
}

#[test]
fn they_go_before_the_machine_sleeps_and_are_made_again_when_it_is_awake() {
    let fixture = prepared();
    filled(&fixture, 2);
    fixture.ok("internal.SuspendPre", "dom0", "");
    assert_eq!((listed(&fixture), disposables(&fixture)), (Vec::new(), BTreeSet::new()));
    fixture.ok(&format!("{CREATE}+preload"), "dvm", "");
    assert_eq!(disposables(&fixture), BTreeSet::new(), "none is made while the machine sleeps");
    let events = fixture.events_of(|fixture| drop(fixture.ok("internal.SuspendPost", "dom0", "")));
    assert_eq!(events.first().unwrap(), "dvm domain-preload-dispvm-start reason=system resumed");
    until("nobody makes them again", || are_ready(&fixture, 2));
}

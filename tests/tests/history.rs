//! `qubes-admin history` and `undo`, and what the store keeps for them: exactly the changes that took effect.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::indexing_slicing, reason = "test code")]

use common::store::{KEPT, Key, Store};
use tests::Fixture;
use tests::scenario::{
    Change, Place, apply, change_several, create_one, fill, name, remove_one, replace_one,
};
use tests::sim::{Plan, SimDisk};
use tests::tool::{error, install, text, tool};

fn installed() -> Fixture {
    let fixture = Fixture::new();
    install(&fixture);
    fixture
}

/// The rows of a qube's history, without their times.
fn history(fixture: &Fixture, qube: &str) -> Vec<String> {
    let told = text(&tool(fixture, &["history", qube]));
    let words = |line: &str| line.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let row = |line: &str| {
        let words = words(line);
        [&words[..1], &words[3..]].concat().join(" ")
    };
    told.lines().map(row).collect()
}

/// The number of the newest change of a qube, with what it changed.
fn newest(fixture: &Fixture, qube: &str) -> (String, String) {
    let row = history(fixture, qube).pop().unwrap();
    let (id, what) = row.split_once(' ').unwrap();
    (id.to_owned(), what.to_owned())
}

#[test]
fn changes_are_told_with_who_made_them_and_both_values() {
    let fixture = installed();
    fixture.policy("30-all.policy", "* * @anyvm @anyvm allow\n");
    fixture.ok("admin.vm.property.Set+memory", "test-vm1", "500");
    fixture.ok("admin.vm.property.Set+memory", "test-vm1", "600");
    fixture.ok("admin.vm.property.Reset+memory", "test-vm1", "");
    fixture.call_as("test-net", "admin.vm.feature.Set+f", "test-vm1", "a b");
    fixture.ok("admin.vm.tag.Set+t", "test-vm1", "");
    fixture.ok("admin.vm.feature.Set+elsewhere", "test-net", "1");
    fixture.refused("admin.vm.feature.Remove+none", "test-vm1", "");
    let told: Vec<String> =
        history(&fixture, "test-vm1").iter().map(|row| row.split_once(' ').unwrap().1.to_owned()).collect();
    let expected = [
        "dom0 - test-vm1: made",
        "dom0 admin.vm.property.Set test-vm1: property memory nothing -> 500",
        "dom0 admin.vm.property.Set test-vm1: property memory 500 -> 600",
        "dom0 admin.vm.property.Reset test-vm1: property memory 600 -> nothing",
        "test-net admin.vm.feature.Set test-vm1: feature f nothing -> 'a b'",
        "dom0 admin.vm.tag.Set test-vm1: tag t added",
    ];
    assert_eq!(told, expected);
    let json = text(&tool(&fixture, &["history", "--json", "test-net"]));
    let json: serde_json::Value = serde_json::from_str(json.lines().last().unwrap()).unwrap();
    assert_eq!(json["changes"][0]["part"], "feature elsewhere");
    assert_eq!(json["caller"], "dom0");
}

#[test]
fn each_kind_of_change_is_taken_back() {
    let fixture = installed();
    fixture.ok("admin.vm.feature.Set+old", "test-vm1", "1");
    fixture.ok("admin.vm.tag.Set+old", "test-vm1", "");
    fixture.ok("admin.label.Create+mine", "dom0", "0x123456");
    fixture.ok("admin.vm.device.pci.Assign+dom0+00_1f.2", "test-vm1", "mode='required' _o='v'");
    let cases = [
        ("test-vm1", "admin.vm.property.Set+memory", "test-vm1", "500"),
        ("test-vm1", "admin.vm.property.Set+label", "test-vm1", "blue"),
        ("test-vm1", "admin.vm.property.Set+netvm", "test-vm1", ""),
        ("test-vm1", "admin.vm.feature.Set+old", "test-vm1", "2"),
        ("test-vm1", "admin.vm.feature.Remove+old", "test-vm1", ""),
        ("test-vm1", "admin.vm.feature.Set+new", "test-vm1", ""),
        ("test-vm1", "admin.vm.tag.Remove+old", "test-vm1", ""),
        ("test-vm1", "admin.vm.tag.Set+new", "test-vm1", ""),
        ("test-vm1", "admin.vm.firewall.Set", "test-vm1", "action=drop\n"),
        ("test-vm1", "admin.vm.device.pci.Unassign+dom0+00_1f.2", "test-vm1", ""),
        ("test-vm1", "admin.vm.device.pci.Assign+dom0+00_20.0", "test-vm1", "mode='required'"),
        ("dom0", "admin.property.Set+stats_interval", "dom0", "7"),
        ("dom0", "admin.label.Remove+mine", "dom0", ""),
        ("dom0", "admin.label.Create+other", "dom0", "0x654321"),
    ];
    let shown = |fixture: &Fixture| {
        let store = fixture.store();
        let view = store.read().unwrap();
        let colors: Vec<_> = view
            .labels()
            .unwrap()
            .labels
            .iter()
            .map(|label| (label.name.clone(), label.color.clone()))
            .collect();
        let mut qube = fixture.qube("test-vm1");
        // None ever set lets everything through, as the one rule does.
        qube.firewall = Some(qube.rules());
        qube.features.sort();
        format!("{qube:?} {:?} {colors:?}", view.system().unwrap().properties)
    };
    for (whose, call, destination, payload) in cases {
        let before = shown(&fixture);
        fixture.ok(call, destination, payload);
        assert_ne!(shown(&fixture), before, "{call}");
        let (id, _) = newest(&fixture, whose);
        let undone = tool(&fixture, &["undo", &id]);
        assert!(undone.status.success(), "{call}: {}", String::from_utf8_lossy(&undone.stderr));
        assert_eq!(shown(&fixture), before, "{call}");
        let log = fixture.audited().pop().unwrap();
        assert!(log.contains("\"outcome\":\"ok\""), "taking back is a call like any: {log}");
    }
}

#[test]
fn what_is_not_as_the_change_left_it_stays_and_what_came_since_is_told() {
    let fixture = installed();
    fixture.ok("admin.vm.feature.Set+f", "test-vm1", "1");
    let (first, _) = newest(&fixture, "test-vm1");
    fixture.ok("admin.vm.feature.Set+g", "test-vm1", "1");
    fixture.ok("admin.vm.feature.Set+f", "test-vm1", "2");
    let (second, _) = newest(&fixture, "test-vm1");
    let refused = error(&tool(&fixture, &["undo", &first]));
    assert!(
        refused.ends_with(&format!("feature f nothing -> '1': changed since by {second}\n")),
        "{refused}"
    );
    assert_eq!(fixture.ok("admin.vm.feature.Get+f", "test-vm1", ""), "2");
    assert!(tool(&fixture, &["undo", &second]).status.success());
    assert!(tool(&fixture, &["undo", &first]).status.success(), "the value is that of the first again");
    assert!(
        fixture.refused("admin.vm.feature.Get+f", "test-vm1", "").starts_with("QubesFeatureNotFoundError")
    );
    assert!(error(&tool(&fixture, &["undo", "999999"])).contains("no change 999999"));
}

#[test]
fn qubes_that_were_made_or_removed_are_told_but_not_brought_back() {
    let fixture = installed();
    fixture.ok("admin.vm.Create.AppVM+test-template", "dom0", "name=fresh label=red");
    let (made, what) = newest(&fixture, "fresh");
    assert_eq!(what, "dom0 admin.vm.Create.AppVM fresh: made");
    assert!(error(&tool(&fixture, &["undo", &made])).contains("cannot be taken back"));
    fixture.ok("admin.vm.Remove", "fresh", "");
    assert_eq!(newest(&fixture, "fresh").1, "- fresh: removed");
    fixture.ok("admin.vm.Create.AppVM+test-template", "dom0", "name=fresh label=red");
    assert_eq!(newest(&fixture, "fresh").1, "dom0 admin.vm.Create.AppVM fresh: removed and made anew");
}

#[test]
fn only_so_many_states_are_kept_and_runs_count_for_none() {
    let fixture = installed();
    for number in 0..KEPT + 4 {
        fixture.ok("admin.vm.feature.Set+f", "test-vm1", number.to_string());
        fixture.edit("test-vm1", |qube| qube.volumes.iter_mut().for_each(|volume| volume.size += 1));
    }
    let rows = history(&fixture, "test-vm1");
    assert_eq!(rows.len(), usize::try_from(KEPT).unwrap());
    assert!(rows[0].ends_with("feature f '3' -> '4'"), "{}", rows[0]);
    let hidden = std::fs::read_dir(fixture.path("/var/lib/qubes/admin/qubes")).unwrap();
    let kept =
        hidden.filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().starts_with(".test-vm1."));
    assert_eq!(kept.count(), usize::try_from(KEPT).unwrap());
}

#[test]
fn a_disposable_leaves_no_history() {
    let fixture = installed();
    fixture.ok("admin.vm.property.Set+template_for_dispvms", "test-vm1", "True");
    let name = fixture.ok("admin.vm.CreateDisposable", "test-vm1", "");
    fixture.ok("admin.vm.feature.Set+f", &name, "1");
    fixture.ok("admin.vm.Remove", &name, "");
    assert!(history(&fixture, &name).is_empty());
}

/// Asserts that of each object exactly the changes that took effect are known.
fn is_complete(store: &Store, told: &str) {
    drop(store.read().unwrap());
    for key in ["a", "b", "more1", "new1"].map(|qube| Key::Qube(name(qube))).into_iter().chain([Key::System])
    {
        let versions = store.versions(&key).unwrap();
        let numbers: Vec<u64> = versions.iter().map(|version| version.stamp.before).collect();
        let expected: Vec<u64> = (0..).take(numbers.len()).collect();
        assert_eq!(numbers, expected, "{told}: {}", key.file());
        let changes: Vec<u64> = versions.iter().map(|version| version.stamp.change).collect();
        assert!(changes.is_sorted_by(|one, other| one < other), "{told}: {changes:?}");
    }
}

#[test]
fn after_a_power_loss_exactly_the_changes_are_known_that_took_effect() {
    let shapes: [&[Change]; 4] = [
        &[replace_one, replace_one],
        &[create_one, replace_one],
        &[remove_one, replace_one],
        &[change_several, remove_one, replace_one],
    ];
    for (shape, changes) in shapes.into_iter().enumerate() {
        let place = Place::new();
        let disk = SimDisk::default();
        let store = place.store(disk.clone());
        fill(&store);
        disk.plan(Plan::default());
        for (change, number) in changes.iter().zip(1..) {
            apply(&store, *change, number).unwrap();
        }
        for (moment, state) in disk.history().iter().enumerate() {
            for left in state.after_power_loss(&place.state()) {
                let store = place.store(SimDisk::of(left));
                is_complete(&store, &format!("shape {shape}, moment {moment}"));
            }
        }
    }
}

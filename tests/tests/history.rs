//! `qubes-admin history` and `undo`, and what the store keeps for them: exactly the changes that took effect.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "test code"
)]

use common::past;
use common::store::{KEPT, Key, Store};
use tests::Fixture;
use tests::scenario::{
    Change, Place, apply, change_several, create_one, fill, name, remove_one, replace_one,
};
use tests::sim::{Plan, SimDisk};
use tests::stepped::stops;
use tests::stepper::{Trouble, run};
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
        ("test-vm1", "admin.vm.volume.Set.revisions_to_keep+private", "test-vm1", "5"),
        ("test-vm1", "admin.vm.volume.Set.rw+private", "test-vm1", "False"),
        ("dom0", "admin.pool.Set.revisions_to_keep+varlibqubes", "dom0", "3"),
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
        let pools = &view.pools().unwrap().pools;
        format!("{qube:?} {:?} {colors:?} {pools:?}", view.system().unwrap().properties)
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
fn a_list_without_rules_comes_back_too() {
    let fixture = installed();
    fixture.ok("admin.vm.firewall.SetPolicy", "test-vm1", "drop");
    assert_eq!(fixture.qube("test-vm1").firewall, Some(vec![]));
    fixture.ok("admin.vm.firewall.Set", "test-vm1", "action=accept proto=icmp\naction=accept");
    let (id, _) = newest(&fixture, "test-vm1");
    let undone = tool(&fixture, &["undo", &id]);
    assert!(undone.status.success(), "{}", String::from_utf8_lossy(&undone.stderr));
    assert_eq!(fixture.qube("test-vm1").firewall, Some(vec![]));
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
fn settings_that_no_call_unsets_are_told_and_stay() {
    let fixture = installed();
    fixture.ok("admin.vm.volume.Set.ephemeral+volatile", "test-vm1", "True");
    let (id, what) = newest(&fixture, "test-vm1");
    assert_eq!(
        what,
        "dom0 admin.vm.volume.Set.ephemeral test-vm1: volume volatile ephemeral nothing -> True"
    );
    assert!(error(&tool(&fixture, &["undo", &id])).contains("no call makes it unset again"));
    fixture.ok("admin.vm.volume.Set.ephemeral+volatile", "test-vm1", "False");
    let (id, _) = newest(&fixture, "test-vm1");
    assert!(tool(&fixture, &["undo", &id]).status.success());
    let volumes = fixture.qube("test-vm1").volumes.clone();
    assert_eq!(volumes.iter().find_map(|volume| volume.ephemeral), Some(true));
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
fn policy_files_and_notes_have_a_history_and_are_taken_back() {
    let fixture = installed();
    std::fs::create_dir_all(fixture.path("/etc/qubes/policy.d/include")).unwrap();
    for (call, destination, payload) in [
        ("policy.Replace+30-new", "dom0", "new\nsvc * a b deny\n"),
        ("policy.Replace+30-new", "dom0", "any\nsvc * a b allow\n# why\n"),
        ("policy.Remove+30-new", "dom0", "any"),
        ("policy.include.Replace+part", "dom0", "new\n"),
        ("admin.vm.notes.Set", "test-vm1", "one\n"),
        ("admin.vm.notes.Set", "test-vm1", "two\n"),
    ] {
        fixture.ok(call, destination, payload);
    }
    let of_files = |qube: &str| {
        let mut rows = history(&fixture, qube);
        rows.retain(|row| row.contains('/'));
        rows
    };
    assert_eq!(
        of_files("dom0"),
        [
            "policy/30-new/1 dom0 policy.Replace policy 30-new: made, 1 lines more and 0 less",
            "policy/30-new/2 dom0 policy.Replace policy 30-new: changed, 2 lines more and 1 less",
            "policy/30-new/3 dom0 policy.Remove policy 30-new: removed, 0 lines more and 2 less",
            "policy/include/part/1 dom0 policy.include.Replace policy include/part: made, 0 lines more and 0 less",
        ]
    );
    let notes = of_files("test-vm1");
    assert!(
        notes[1].starts_with("notes/test-vm1/2 dom0 admin.vm.notes.Set test-vm1: notes changed, "),
        "{notes:?}"
    );
    let undo = |id: &str| tool(&fixture, &["undo", id]);
    let there = || std::fs::read_to_string(fixture.path("/etc/qubes/policy.d/30-new.policy")).ok();
    assert!(error(&undo("policy/30-new/1")).contains("changed since by policy/30-new/2, policy/30-new/3"));
    for (id, content) in [
        ("policy/30-new/3", Some("svc * a b allow\n# why\n")),
        ("policy/30-new/2", Some("svc * a b deny\n")),
        ("policy/30-new/1", None),
    ] {
        assert!(undo(id).status.success(), "{id}: {}", error(&undo(id)));
        assert_eq!(there().as_deref(), content, "{id}");
    }
    assert!(undo("policy/include/part/1").status.success());
    assert_eq!(fixture.ok("policy.include.List", "dom0", ""), "");
    assert!(undo("notes/test-vm1/2").status.success());
    assert_eq!(fixture.ok("admin.vm.notes.Get", "test-vm1", ""), "one\n");
}

#[test]
fn what_somebody_edits_by_hand_is_no_change_of_the_last_caller() {
    let fixture = installed();
    fixture.ok("admin.vm.notes.Set", "test-vm1", "one\n");
    let file = fixture.path("/var/lib/qubes/appvms/test-vm1/notes.txt");
    std::fs::write(&file, "by hand\n").unwrap();
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(60);
    std::fs::File::open(&file).unwrap().set_modified(later).unwrap();
    assert!(
        newest(&fixture, "test-vm1").1.ends_with("notes made, 1 lines more and 0 less, and edited since")
    );
    assert!(error(&tool(&fixture, &["undo", "notes/test-vm1/1"])).ends_with("and edited since\n"));
    assert_eq!(fixture.ok("admin.vm.notes.Get", "test-vm1", ""), "by hand\n");
}

#[test]
fn of_a_file_only_so_many_states_are_kept() {
    let fixture = installed();
    for number in 0..past::KEPT + 4 {
        fixture.ok("admin.vm.notes.Set", "test-vm1", number.to_string());
    }
    let home = std::fs::read_dir(fixture.path("/var/lib/qubes/appvms/test-vm1")).unwrap();
    let is_kept = |name: &str| name.starts_with(".notes.txt");
    let kept = home.filter(|file| is_kept(file.as_ref().unwrap().file_name().to_str().unwrap()));
    assert_eq!(kept.count(), past::KEPT);
    let undone = tool(&fixture, &["undo", "notes/test-vm1/20"]);
    assert!(undone.status.success(), "{}", error(&undone));
    assert_eq!(fixture.ok("admin.vm.notes.Get", "test-vm1", ""), "18");
}

#[test]
fn a_change_of_a_file_is_known_exactly_if_it_took_effect_whatever_is_killed() {
    let whole = installed();
    whole.ok("policy.Replace+30-new", "dom0", "new\nsvc * a b deny\n");
    for (call, payload) in [("policy.Replace", "any\nsvc * a b allow\n"), ("policy.Remove", "any")] {
        let (mut olds, mut places) = (0, 0);
        for stop in stops() {
            let fixture = whole.copy();
            let request = fixture.path("/request");
            std::fs::write(&request, format!("{call}+30-new dom0 name dom0\0{payload}")).unwrap();
            let mut command = fixture.command(call);
            command.stdin(std::fs::File::open(&request).unwrap());
            let met = run(command, Trouble::Kill(stop)).met;
            let file = fixture.path("/etc/qubes/policy.d/30-new.policy");
            let is_old = std::fs::read(&file).is_ok_and(|content| content == b"svc * a b deny\n");
            let methods: Vec<String> =
                past::changes(&file).unwrap().into_iter().map(|change| change.method).collect();
            let expected = if is_old { &["policy.Replace"][..] } else { &["policy.Replace", call] };
            assert_eq!(methods, expected, "{call}, killed at stop {stop}");
            olds += usize::from(is_old);
            places += 1;
            if !met {
                break;
            }
        }
        assert!(olds > 2 && olds < places, "{call}: {olds} of {places} old");
    }
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

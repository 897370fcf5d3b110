//! What listeners see on other qubes when a global property changes (spec 10 §3.4, appendix D).

use super::announcing::{framed, of_reset, of_set, refs, unframed};
use super::{SYSTEM, feature, set, world};

/// Qubes of the family that follow the system, in the order of lists.
const FAMILY: [&str; 7] =
    ["test-alone", "test-disp", "test-dvm", "test-net", "test-other", "test-template", "test-vm1"];

#[test]
fn the_clock_service_moves_with_the_clock() {
    let fixture = world();
    let service = |qube: &str, verb: &str, value: &str| {
        format!("{qube} domain-feature-{verb}:service.clocksync feature=service.clocksync{value}")
    };
    let given = |qube: &str| [service(qube, "pre-set", " value=1"), service(qube, "set", " value=1")];
    let taken = |qube: &str| [service(qube, "pre-delete", ""), service(qube, "delete", "")];
    let clockvm = "clockvm";
    assert_eq!(
        of_set(&fixture, SYSTEM, clockvm, "test-net"),
        framed(SYSTEM, clockvm, ["test-net", "None"], &refs(&given("test-net")))
    );
    assert_eq!(
        of_set(&fixture, SYSTEM, clockvm, "test-net"),
        framed(SYSTEM, clockvm, ["test-net", "test-net"], &[])
    );
    let both = [given("test-vm1"), taken("test-net")].concat();
    assert_eq!(
        of_set(&fixture, SYSTEM, clockvm, "test-vm1"),
        framed(SYSTEM, clockvm, ["test-vm1", "test-net"], &refs(&both))
    );
    assert_eq!(
        of_reset(&fixture, SYSTEM, clockvm),
        unframed(SYSTEM, clockvm, "test-vm1", &[], &refs(&taken("test-vm1")))
    );
    feature(&fixture, "test-vm1", "service.clocksync", "");
    assert_eq!(
        of_set(&fixture, SYSTEM, clockvm, "test-vm1"),
        framed(SYSTEM, clockvm, ["test-vm1", "None"], &[])
    );
    assert_eq!(of_set(&fixture, SYSTEM, clockvm, ""), framed(SYSTEM, clockvm, ["None", "test-vm1"], &[]));
}

#[test]
fn qubes_that_follow_the_default_disposable_template_are_reset() {
    let fixture = world();
    let property = "default_dispvm";
    set(&fixture, "test-alone", property, "test-dvm");
    let followers = ["dom0", "test-disp", "test-dvm", "test-net", "test-other", "test-template", "test-vm1"];
    let reset = |old: &str| {
        followers.map(|qube| format!("{qube} property-reset:{property} name={property} oldvalue={old}"))
    };
    assert_eq!(
        of_set(&fixture, SYSTEM, property, "test-dvm"),
        framed(SYSTEM, property, ["test-dvm", "None"], &refs(&reset("None")))
    );
    assert_eq!(
        of_reset(&fixture, SYSTEM, property),
        unframed(SYSTEM, property, "test-dvm", &[], &refs(&reset("test-dvm")))
    );
}

/// What followers of a default GUI or audio qube announce, with their tags.
fn followed(property: &str, new: &str, old: &str, tags: bool) -> Vec<String> {
    let tag = |qube: &str, verb: &str, target: &str| {
        format!("{qube} domain-tag-{verb}:{property}-{target} tag={property}-{target}")
    };
    let mut events = Vec::new();
    for qube in FAMILY.into_iter().filter(|qube| *qube != "test-alone") {
        if tags {
            events.extend([tag(qube, "delete", old), tag(qube, "add", new)]);
        }
        events.push(format!("{qube} property-set:{property} name={property} newvalue={new} oldvalue={old}"));
    }
    events
}

#[test]
fn qubes_that_follow_the_default_gui_and_audio_qube_get_their_tags() {
    let fixture = world();
    for (global, property, tags_if_same) in
        [("default_guivm", "guivm", false), ("default_audiovm", "audiovm", true)]
    {
        set(&fixture, "test-alone", property, "dom0");
        assert_eq!(
            of_set(&fixture, SYSTEM, global, "test-net"),
            framed(
                SYSTEM,
                global,
                ["test-net", "dom0"],
                &refs(&followed(property, "test-net", "dom0", true))
            )
        );
        let same = followed(property, "test-net", "test-net", tags_if_same);
        assert_eq!(
            of_set(&fixture, SYSTEM, global, "test-net"),
            framed(SYSTEM, global, ["test-net", "test-net"], &refs(&same))
        );
        let back = followed(property, "dom0", "test-net", true);
        assert_eq!(
            of_reset(&fixture, SYSTEM, global),
            unframed(SYSTEM, global, "test-net", &[], &refs(&back))
        );
    }
}

#[test]
fn qubes_that_follow_the_default_netvm_are_set_and_reset() {
    let fixture = world();
    set(&fixture, "test-alone", "netvm", "");
    let followers = FAMILY.into_iter().filter(|qube| !["test-alone", "test-net"].contains(qube));
    let change = |qube: &str, kind: &str, new: &str, old: &str| {
        format!("{qube} property-{kind}:netvm name=netvm newvalue={new} oldvalue={old}")
    };
    let is_template = |qube: &str| ["test-other", "test-template"].contains(&qube);
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for qube in followers.clone() {
        before.push(change(qube, "pre-set", "test-net", "None"));
        if !is_template(qube) {
            after.push(change(qube, "set", "test-net", "None"));
        }
        after.push(format!("{qube} property-reset:netvm name=netvm oldvalue=None"));
    }
    let property = "default_netvm";
    assert_eq!(
        of_set(&fixture, SYSTEM, property, "test-net"),
        framed(SYSTEM, property, ["test-net", "None"], &refs(&[before, after].concat()))
    );
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for qube in followers {
        before.push(change(qube, "pre-set", "None", "test-net"));
        after.push(change(qube, "set", "None", "test-net"));
        after.push(format!("{qube} property-reset:netvm name=netvm oldvalue=test-net"));
    }
    assert_eq!(
        of_reset(&fixture, SYSTEM, property),
        unframed(SYSTEM, property, "test-net", &refs(&before), &refs(&after))
    );
}

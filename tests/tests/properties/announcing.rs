//! What listeners see of Set and Reset, in order (spec 10 §1.10, appendix D).

use super::{SYSTEM, reset, set, world};
use tests::Fixture;

/// The events of one Set.
pub(super) fn of_set(fixture: &Fixture, holder: &str, property: &str, value: &str) -> Vec<String> {
    fixture.events_of(|fixture| set(fixture, holder, property, value))
}

/// The events of one Reset.
pub(super) fn of_reset(fixture: &Fixture, holder: &str, property: &str) -> Vec<String> {
    fixture.events_of(|fixture| reset(fixture, holder, property))
}

/// The events of a Set with what comes at the pre-event's and at the event's handlers.
pub(super) fn framed(holder: &str, property: &str, change: [&str; 2], inner: &[&str]) -> Vec<String> {
    let [new, old] = change;
    let event = |kind: &str| {
        format!("{holder} property-{kind}:{property} name={property} newvalue={new} oldvalue={old}")
    };
    let inner = inner.iter().map(|event| (*event).to_owned());
    std::iter::once(event("pre-set")).chain(inner).chain([event("set")]).collect()
}

/// The events of a Reset: what comes between the pre-events, and before the last two.
pub(super) fn unframed(
    holder: &str,
    property: &str,
    old: &str,
    inner: &[&str],
    fan_out: &[&str],
) -> Vec<String> {
    let event = |kind: &str| format!("{holder} property-{kind}:{property} name={property} oldvalue={old}");
    let texts = |events: &[&str]| events.iter().map(|event| (*event).to_owned()).collect::<Vec<_>>();
    let ends = [vec![event("pre-reset")], vec![event("pre-del")], vec![event("reset"), event("del")]];
    let [first, second, last] = ends;
    [first, texts(inner), second, texts(fan_out), last].concat()
}

/// `<qube> property-reset:<property> name=<property>`.
pub(super) fn reset_of(qube: &str, property: &str) -> String {
    format!("{qube} property-reset:{property} name={property}")
}

#[test]
fn plain_properties_announce_themselves_alone_even_unchanged() {
    let fixture = world();
    for (holder, property, old, new) in [
        ("test-vm1", "debug", "False", "True"),
        ("test-vm1", "debug", "True", "True"),
        ("test-vm1", "vcpus", "2", "3"),
        ("test-vm1", "stubdom_mem", "None", "5"),
        ("dom0", "include_in_backups", "True", "False"),
        ("test-far", "transport_rpc", "None", "x y"),
        (SYSTEM, "updatevm", "None", "test-net"),
        (SYSTEM, "default_template", "test-template", "test-other"),
        (SYSTEM, "default_pool", "varlibqubes", "test"),
        (SYSTEM, "default_kernel", "1.0", ""),
        (SYSTEM, "default_qrexec_timeout", "60", "5"),
        (SYSTEM, "stats_interval", "3", "5"),
        (SYSTEM, "check_updates_vm", "True", "False"),
        (SYSTEM, "management_dispvm", "None", "test-dvm"),
    ] {
        assert_eq!(
            of_set(&fixture, holder, property, new),
            framed(holder, property, [new, old], &[]),
            "{property}"
        );
    }
    assert_eq!(
        of_set(&fixture, SYSTEM, "updatevm", ""),
        framed(SYSTEM, "updatevm", ["None", "test-net"], &[])
    );
    for (holder, property, old) in [
        ("test-vm1", "debug", "True"),
        ("test-vm1", "debug", "False"),
        ("test-far", "transport_rpc", "x y"),
        (SYSTEM, "updatevm", "None"),
        (SYSTEM, "management_dispvm", "test-dvm"),
        ("test-vm1", "xid", "-1"),
        ("test-vm1", "start_time", "None"),
    ] {
        assert_eq!(
            of_reset(&fixture, holder, property),
            unframed(holder, property, old, &[], &[]),
            "{property}"
        );
    }
}

#[test]
fn a_value_that_was_not_there_has_no_old_value() {
    let fixture = world();
    reset(&fixture, SYSTEM, "default_kernel");
    let expected = [
        " property-pre-set:default_kernel name=default_kernel newvalue=1.0",
        " property-set:default_kernel name=default_kernel newvalue=1.0",
    ];
    assert_eq!(of_set(&fixture, SYSTEM, "default_kernel", "1.0"), expected);
}

#[test]
fn icons_follow_labels_and_serving_disposables() {
    let fixture = world();
    let icon = reset_of("test-vm1", "icon");
    assert_eq!(
        of_set(&fixture, "test-vm1", "label", "label-4"),
        framed("test-vm1", "label", ["green", "red"], &[&icon])
    );
    assert_eq!(of_set(&fixture, "dom0", "label", "red"), framed("dom0", "label", ["red", "black"], &[]));
    assert_eq!(
        of_set(&fixture, "test-far", "label", "blue"),
        framed("test-far", "label", ["blue", "red"], &[])
    );
    let serving = "template_for_dispvms";
    for old in ["False", "True"] {
        assert_eq!(
            of_set(&fixture, "test-vm1", serving, "True"),
            framed("test-vm1", serving, ["True", old], &[&icon])
        );
    }
    assert_eq!(of_reset(&fixture, "test-vm1", serving), unframed("test-vm1", serving, "True", &[], &[]));
}

#[test]
fn a_provider_is_a_service_qube_and_a_gateway() {
    let fixture = world();
    let provides = "provides_network";
    let (icon, gateway, gateway6) =
        (reset_of("test-vm1", "icon"), reset_of("test-vm1", "gateway"), reset_of("test-vm1", "gateway6"));
    let on = [
        "test-vm1 domain-feature-pre-set:servicevm feature=servicevm value=1",
        "test-vm1 domain-feature-set:servicevm feature=servicevm value=1",
        &icon,
        &gateway,
        &gateway6,
    ];
    let off = [
        "test-vm1 domain-feature-pre-delete:servicevm feature=servicevm",
        "test-vm1 domain-feature-delete:servicevm feature=servicevm",
        &icon,
        &gateway,
        &gateway6,
    ];
    assert_eq!(
        of_set(&fixture, "test-vm1", provides, "True"),
        framed("test-vm1", provides, ["True", "False"], &on)
    );
    let again = [
        "test-vm1 domain-feature-pre-set:servicevm feature=servicevm value=1 oldvalue=1",
        "test-vm1 domain-feature-set:servicevm feature=servicevm value=1 oldvalue=1",
        &icon,
    ];
    assert_eq!(
        of_set(&fixture, "test-vm1", provides, "True"),
        framed("test-vm1", provides, ["True", "True"], &again)
    );
    assert_eq!(fixture.ok("admin.vm.feature.Get+servicevm", "test-vm1", ""), "1");
    assert_eq!(
        of_set(&fixture, "test-vm1", provides, "False"),
        framed("test-vm1", provides, ["False", "True"], &off)
    );
    assert_eq!(
        of_set(&fixture, "test-vm1", provides, "False"),
        framed("test-vm1", provides, ["False", "False"], &[])
    );
    set(&fixture, "test-vm1", provides, "True");
    assert_eq!(
        of_reset(&fixture, "test-vm1", provides),
        unframed("test-vm1", provides, "True", &[], &off[..3])
    );
}

#[test]
fn a_changed_address_is_announced_to_the_clients() {
    let fixture = world();
    set(&fixture, "test-vm1", "netvm", "test-net");
    for (property, value, old, suffix) in
        [("ip", "10.0.0.9", "10.137.0.3", ""), ("ip6", "fd00::9", "None", "6")]
    {
        let own = reset_of("test-net", &format!("gateway{suffix}"));
        let visible = reset_of("test-net", &format!("visible_ip{suffix}"));
        let client = reset_of("test-vm1", &format!("visible_gateway{suffix}"));
        let all = [own.as_str(), &visible, &client];
        let holder = "test-net";
        assert_eq!(of_set(&fixture, holder, property, value), framed(holder, property, [value, old], &all));
        assert_eq!(of_set(&fixture, holder, property, value), framed(holder, property, [value, value], &[]));
        assert_eq!(of_reset(&fixture, holder, property), unframed(holder, property, value, &[], &all));
        assert_eq!(of_reset(&fixture, holder, property), unframed(holder, property, old, &[], &[]));
        let alone = reset_of("test-alone", &format!("visible_ip{suffix}"));
        assert_eq!(
            of_set(&fixture, "test-alone", property, value),
            framed("test-alone", property, [value, "None"], &[&alone])
        );
    }
}

#[test]
fn a_reset_netvm_is_also_set() {
    let fixture = world();
    assert_eq!(
        of_set(&fixture, "test-vm1", "netvm", "test-net"),
        framed("test-vm1", "netvm", ["test-net", "None"], &[])
    );
    let inner = "test-vm1 property-pre-set:netvm name=netvm newvalue=None oldvalue=test-net";
    let after = "test-vm1 property-set:netvm name=netvm newvalue=None oldvalue=test-net";
    assert_eq!(
        of_reset(&fixture, "test-vm1", "netvm"),
        unframed("test-vm1", "netvm", "test-net", &[inner], &[after])
    );
    assert_eq!(of_reset(&fixture, "test-vm1", "netvm"), unframed("test-vm1", "netvm", "None", &[], &[]));
}

#[test]
fn the_tag_of_the_gui_qube_follows_when_it_is_wrong() {
    let fixture = world();
    let tag = |verb: &str, qube: &str| format!("test-vm1 domain-tag-{verb}:guivm-{qube} tag=guivm-{qube}");
    let (gone, added) = (tag("delete", "dom0"), tag("add", "test-net"));
    assert_eq!(
        of_set(&fixture, "test-vm1", "guivm", "test-net"),
        framed("test-vm1", "guivm", ["test-net", "dom0"], &[&gone, &added])
    );
    assert_eq!(
        of_set(&fixture, "test-vm1", "guivm", "test-net"),
        framed("test-vm1", "guivm", ["test-net", "test-net"], &[])
    );
    let gone = tag("delete", "test-net");
    assert_eq!(
        of_set(&fixture, "test-vm1", "guivm", ""),
        framed("test-vm1", "guivm", ["None", "test-net"], &[&gone])
    );
    let added = tag("add", "dom0");
    assert_eq!(
        of_reset(&fixture, "test-vm1", "guivm"),
        unframed("test-vm1", "guivm", "None", &[], &[&added])
    );
}

#[test]
fn tags_of_audio_and_relay_qubes_are_always_written_again() {
    let fixture = world();
    let tag =
        |verb: &str, qube: &str| format!("test-vm1 domain-tag-{verb}:audiovm-{qube} tag=audiovm-{qube}");
    let (gone, added) = (tag("delete", "dom0"), tag("add", "dom0"));
    assert_eq!(
        of_set(&fixture, "test-vm1", "audiovm", "dom0"),
        framed("test-vm1", "audiovm", ["dom0", "dom0"], &[&gone, &added])
    );
    assert_eq!(
        of_set(&fixture, "test-vm1", "audiovm", ""),
        framed("test-vm1", "audiovm", ["None", "dom0"], &[&gone])
    );
    assert_eq!(
        of_reset(&fixture, "test-vm1", "audiovm"),
        unframed("test-vm1", "audiovm", "None", &[], &[&added])
    );
    let relay =
        |verb: &str, qube: &str| format!("test-far domain-tag-{verb}:relayvm-{qube} tag=relayvm-{qube}");
    let (gone, added) = (relay("delete", "dom0"), relay("add", "dom0"));
    assert_eq!(
        of_set(&fixture, "test-far", "relayvm", "dom0"),
        framed("test-far", "relayvm", ["dom0", "None"], &[&added])
    );
    assert_eq!(
        of_set(&fixture, "test-far", "relayvm", "dom0"),
        framed("test-far", "relayvm", ["dom0", "dom0"], &[&gone, &added])
    );
    assert_eq!(
        of_reset(&fixture, "test-far", "relayvm"),
        unframed("test-far", "relayvm", "dom0", &[], &[&gone])
    );
}

/// Texts as the slices the frames take.
pub(super) fn refs(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

#[test]
fn a_gui_qubes_layout_is_announced_to_those_it_shows() {
    let fixture = world();
    let layout = "keyboard_layout";
    set(&fixture, "test-vm1", "guivm", "test-net");
    set(&fixture, "test-alone", layout, "fr++");
    let reset_at = |qube: &str, old: &str| format!("{} oldvalue={old}", reset_of(qube, layout));
    let shown = |old: &str| {
        ["test-disp", "test-dvm", "test-net", "test-other", "test-template"].map(|qube| reset_at(qube, old))
    };
    assert_eq!(
        of_set(&fixture, "dom0", layout, "de++"),
        framed("dom0", layout, ["de++", "us++"], &refs(&shown("us++")))
    );
    assert_eq!(of_set(&fixture, "dom0", layout, "de++"), framed("dom0", layout, ["de++", "de++"], &[]));
    assert_eq!(
        of_reset(&fixture, "dom0", layout),
        unframed("dom0", layout, "de++", &[], &refs(&shown("de++")))
    );
    assert_eq!(
        of_set(&fixture, "test-net", layout, "de++"),
        framed("test-net", layout, ["de++", "us++"], &[&reset_at("test-vm1", "us++")])
    );
}

#[test]
fn a_changed_template_resets_the_defaults_of_those_based_on_it() {
    let fixture = world();
    set(&fixture, "test-vm1", "vcpus", "7");
    for (property, new, old) in [
        ("default_user", "root", "user"),
        ("kernel", "", "1.0"),
        ("kernelopts", "quiet", "swiotlb=2048"),
        ("vcpus", "3", "2"),
        ("memory", "500", "400"),
        ("maxmem", "600", "4000"),
        ("qrexec_timeout", "70", "60"),
        ("shutdown_timeout", "80", "60"),
        ("management_dispvm", "test-dvm", "None"),
    ] {
        let based = ["test-dvm", "test-net", "test-vm1"].map(|qube| reset_of(qube, property));
        let expected = if property == "vcpus" { &based[..2] } else { &based[..] };
        let holder = "test-template";
        assert_eq!(
            of_set(&fixture, holder, property, new),
            framed(holder, property, [new, old], &refs(expected)),
            "{property}"
        );
        assert_eq!(of_set(&fixture, holder, property, new), framed(holder, property, [new, new], &[]));
        assert_eq!(of_reset(&fixture, holder, property), unframed(holder, property, new, &[], &[]));
    }
    assert_eq!(of_set(&fixture, "test-dvm", "vcpus", "4"), framed("test-dvm", "vcpus", ["4", "2"], &[]));
}

#[test]
fn a_templates_boot_mode_resets_that_of_those_based_on_it() {
    let fixture = world();
    set(&fixture, "test-net", "bootmode", "own");
    let based = ["test-dvm", "test-vm1"].map(|qube| reset_of(qube, "bootmode"));
    let (holder, property) = ("test-template", "appvm_default_bootmode");
    assert_eq!(
        of_set(&fixture, holder, property, "m"),
        framed(holder, property, ["m", "default"], &refs(&based))
    );
    assert_eq!(of_set(&fixture, holder, property, "m"), framed(holder, property, ["m", "m"], &[]));
    assert_eq!(of_reset(&fixture, holder, property), unframed(holder, property, "m", &[], &refs(&based)));
    assert_eq!(
        of_reset(&fixture, holder, property),
        unframed(holder, property, "default", &[], &refs(&based))
    );
}

#[test]
fn the_unit_of_a_qube_follows_autostart() {
    let fixture = world();
    let unit = fixture.path("/etc/systemd/system/multi-user.target.wants/qubes-vm@test-vm1.service");
    let is_enabled = || unit.symlink_metadata().is_ok();
    assert_eq!(
        of_set(&fixture, "test-vm1", "autostart", "True"),
        framed("test-vm1", "autostart", ["True", "False"], &[])
    );
    assert!(is_enabled());
    set(&fixture, "test-vm1", "autostart", "False");
    assert!(!is_enabled());
    set(&fixture, "test-vm1", "autostart", "True");
    assert_eq!(
        of_reset(&fixture, "test-vm1", "autostart"),
        unframed("test-vm1", "autostart", "True", &[], &[])
    );
    assert!(!is_enabled());
    set(&fixture, "test-vm1", "autostart", "True");
    fixture.ok("admin.vm.Remove", "test-vm1", "");
    assert!(!is_enabled());
}

//! `template` and `template_for_dispvms`: who may be whose template, and what follows (spec 10 §3.5).

use super::{SYSTEM, get, refused, reset, set, world};
use common::names::{FeatureName, FeatureValue, VolumeName};
use tests::Fixture;

/// Writes the list of disposables made in advance, as only the system itself may.
pub(super) fn preload(fixture: &Fixture, template: &str, names: &str) {
    let (name, value) = (FeatureName::parse("preload-dispvm").unwrap(), FeatureValue::parse(names).unwrap());
    fixture.edit(template, |qube| qube.set_feature(name, value));
}

/// What the snapshot volume `volume` of a qube starts from.
fn source(fixture: &Fixture, qube: &str, volume: &str) -> Option<String> {
    let volume = VolumeName::parse(volume).unwrap();
    fixture.qube(qube).volume(&volume).and_then(|volume| volume.source.clone())
}

#[test]
fn a_template_is_replaced_but_never_unset() {
    let fixture = world();
    let instead = "QubesValueError: Cannot unset template. You can set it to the current default (test-template) instead";
    let events = fixture.events_of(|fixture| {
        assert_eq!(refused(fixture, "Reset", "test-vm1", "template", b""), instead);
    });
    assert_eq!(events, ["test-vm1 property-pre-reset:template name=template oldvalue=test-template"]);
    let plain = "QubesValueError: Cannot unset template";
    assert_eq!(refused(&fixture, "Reset", "test-disp", "template", b""), plain);
    set(&fixture, SYSTEM, "default_template", "");
    assert_eq!(refused(&fixture, "Reset", "test-vm1", "template", b""), plain);
    reset(&fixture, SYSTEM, "default_template");
    assert_eq!(refused(&fixture, "Reset", "test-vm1", "template", b""), plain);
    let events = fixture.events_of(|fixture| set(fixture, "test-vm1", "template", "test-other"));
    let expected = [
        "test-vm1 property-pre-set:template name=template newvalue=test-other oldvalue=test-template",
        "test-vm1 property-set:template name=template newvalue=test-other oldvalue=test-template",
    ];
    assert_eq!(events, expected);
    assert_eq!(get(&fixture, "test-vm1", "template"), "default=False type=vm test-other");
}

#[test]
fn snapshot_volumes_follow_a_new_template_down_to_disposables() {
    let fixture = world();
    fixture.ok("admin.vm.Create.TemplateVM", "dom0", "name=with-disk label=red");
    fixture.ok("admin.vm.Create.AppVM+with-disk", "dom0", "name=app label=red");
    assert_eq!(source(&fixture, "app", "root").unwrap(), "vm-templates/with-disk/root");
    set(&fixture, "app", "template", "test-other");
    assert_eq!(source(&fixture, "app", "root").unwrap(), "vm-templates/test-other/root");
    assert_eq!(source(&fixture, "app", "private"), None);
    set(&fixture, "app", "template_for_dispvms", "True");
    fixture.ok("admin.vm.Create.DispVM+app", "dom0", "name=thrown label=red");
    set(&fixture, "app", "template", "with-disk");
    assert_eq!(source(&fixture, "thrown", "root").unwrap(), "vm-templates/with-disk/root");
    assert_eq!(source(&fixture, "thrown", "private").unwrap(), "appvms/app/private");
    set(&fixture, "thrown", "template", "test-dvm");
    assert_eq!(source(&fixture, "thrown", "private").unwrap(), "appvms/test-dvm/private");
}

#[test]
fn a_template_of_disposables_in_use_stays_one() {
    let of_system = "QubesVMInUseError: Cannot change template_for_dispvms to False while it is in use by the system \
        by any of these properties: default_dispvm, management_dispvm";
    let of_qube = "QubesVMInUseError: Cannot change template_for_dispvms to False while it is the disposable template \
        of a qube by any of these properties: default_dispvm, management_dispvm, template";
    for (holder, property, text) in [
        (SYSTEM, "default_dispvm", of_system),
        (SYSTEM, "management_dispvm", of_system),
        ("test-vm1", "default_dispvm", of_qube),
        ("test-vm1", "management_dispvm", of_qube),
        ("dom0", "default_dispvm", of_qube),
        ("test-disp", "template", of_qube),
    ] {
        let fixture = world();
        set(&fixture, "test-alone", "template_for_dispvms", "True");
        set(&fixture, holder, property, "test-alone");
        let events = fixture.events_of(|fixture| {
            assert_eq!(refused(fixture, "Set", "test-alone", "template_for_dispvms", b"False"), text);
            assert_eq!(refused(fixture, "Reset", "test-alone", "template_for_dispvms", b""), text);
        });
        let expected = [
            "test-alone property-pre-set:template_for_dispvms name=template_for_dispvms newvalue=False oldvalue=True",
            "test-alone property-pre-reset:template_for_dispvms name=template_for_dispvms oldvalue=True",
        ];
        assert_eq!(events, expected, "{holder} {property}");
        set(&fixture, "test-alone", "template_for_dispvms", "True");
    }
}

#[test]
fn a_qubes_own_reference_does_not_keep_it_a_template_of_disposables() {
    let fixture = world();
    set(&fixture, "test-alone", "template_for_dispvms", "True");
    set(&fixture, "test-alone", "default_dispvm", "test-alone");
    set(&fixture, "test-alone", "template_for_dispvms", "False");
    reset(&fixture, "test-alone", "template_for_dispvms");
}

//! What a new qube has on disk, and what goes with it (spec 10 §2.4 steps 5 and 8, §2.8, spec 20 §6, §7).
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::indexing_slicing, reason = "test code")]

use common::names::{FeatureName, FeatureValue, QubeName};
use tests::Fixture;

#[test]
fn a_disposable_takes_over_its_templates_firewall_and_start_at_boot() {
    let fixture = Fixture::new();
    let home = |name: &str| fixture.path("/var/lib/qubes/appvms").join(name);
    let unit = fixture.path("/etc/systemd/system/multi-user.target.wants/qubes-vm@disp.service");
    std::fs::create_dir_all(home("test-vm1")).unwrap();
    std::fs::write(home("test-vm1").join("firewall.xml"), "<firewall version=\"2\"/>").unwrap();
    fixture.ok("admin.vm.property.Set+template_for_dispvms", "test-vm1", "True");
    fixture.ok("admin.vm.property.Set+autostart", "test-vm1", "True");
    fixture.ok("admin.vm.Create.DispVM+test-vm1", "dom0", "name=disp label=red");
    assert_eq!(fixture.ok("admin.vm.property.Get+autostart", "disp", ""), "default=False type=bool True");
    assert!(unit.is_symlink());
    let rules = std::fs::read_to_string(home("disp").join("firewall.xml")).unwrap();
    assert_eq!(rules, "<firewall version=\"2\"/>");
    fixture.ok("admin.vm.Create.AppVM", "dom0", "name=app label=red");
    assert!(!home("app").join("firewall.xml").exists());
    fixture.ok("admin.vm.Remove", "disp", "");
    assert!(!unit.is_symlink() && !home("disp").exists());
}

#[test]
fn disposables_made_in_advance_go_with_their_template() {
    let fixture = Fixture::new();
    fixture.ok("admin.vm.property.Set+template_for_dispvms", "test-vm1", "True");
    for name in ["disp1", "disp2"] {
        fixture.ok("admin.vm.Create.DispVM+test-vm1", "dom0", format!("name={name} label=red"));
    }
    fixture.ok("admin.vm.property.Set+default_dispvm", "disp1", "test-vm1");
    let in_use =
        "QubesVMInUseError: Domain is in use: 'test-vm1';  see 'journalctl -u qubesd -e' in dom0 for details";
    let store = fixture.store();
    let preload = |names: &str| {
        let (feature, value) = (FeatureName::parse("preload-dispvm"), FeatureValue::parse(names));
        let mut txn = store.write().unwrap();
        let template = QubeName::parse("test-vm1").unwrap();
        txn.edit_qube(&template, |qube| qube.set_feature(feature.unwrap(), value.unwrap())).unwrap();
        txn.commit().unwrap();
    };
    preload("disp1 gone");
    assert_eq!(fixture.refused("admin.vm.Remove", "test-vm1", ""), in_use);
    preload("disp1 disp2");
    fixture.ok("admin.vm.property.Set+guivm", "test-net", "disp2");
    assert_eq!(fixture.refused("admin.vm.Remove", "test-vm1", ""), in_use.replace("test-vm1", "disp2"));
    fixture.ok("admin.vm.property.Reset+guivm", "test-net", "");
    let events = fixture.events_of(|fixture| assert_eq!(fixture.ok("admin.vm.Remove", "test-vm1", ""), ""));
    let expected = [
        " domain-pre-delete vm=test-vm1",
        " domain-delete vm=test-vm1",
        " domain-pre-delete vm=disp1",
        " domain-delete vm=disp1",
        " domain-pre-delete vm=disp2",
        " domain-delete vm=disp2",
    ];
    assert_eq!(events, expected);
    for name in ["disp1", "disp2"] {
        assert!(!fixture.path("/var/lib/qubes/appvms").join(name).exists());
        assert!(fixture.refused("admin.vm.List", name, "").starts_with("QubesVMNotFoundError: "));
    }
}

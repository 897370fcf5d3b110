//! What a new qube has on disk, and what goes with it (spec 10 §2.4 steps 5 and 8, §2.8, spec 20 §6, §7).
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::indexing_slicing, reason = "test code")]

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

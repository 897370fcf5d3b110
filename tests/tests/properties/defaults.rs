//! Values of properties that are not set: from templates, the system, features and files (spec 10 §3.4 to §3.7).

use super::{SYSTEM, assign_pci, feature, get, reset, set, world};
use tests::Fixture;

/// What Get shows of a default.
fn default(fixture: &Fixture, holder: &str, property: &str) -> String {
    let shown = get(fixture, holder, property);
    shown.strip_prefix("default=True type=").unwrap_or_else(|| panic!("{property}: {shown}")).to_owned()
}

#[test]
fn values_come_down_from_template_to_disposable() {
    let fixture = world();
    for (property, value, shown) in [
        ("default_user", "root", "str root"),
        ("kernel", "", "str "),
        ("kernel", "1.0", "str 1.0"),
        ("kernelopts", "quiet", "str quiet"),
        ("vcpus", "3", "int 3"),
        ("memory", "600", "int 600"),
        ("maxmem", "700", "int 700"),
        ("qrexec_timeout", "70", "int 70"),
        ("shutdown_timeout", "80", "int 80"),
        ("management_dispvm", "test-dvm", "vm test-dvm"),
        ("virt_mode", "pv", "str pv"),
    ] {
        set(&fixture, "test-template", property, value);
        for based in ["test-vm1", "test-dvm", "test-disp"] {
            assert_eq!(default(&fixture, based, property), shown, "{based} {property}");
        }
    }
    set(&fixture, "test-dvm", "vcpus", "5");
    assert_eq!(default(&fixture, "test-disp", "vcpus"), "int 5");
    assert_eq!(default(&fixture, "test-alone", "vcpus"), "int 2");
}

#[test]
fn values_of_the_system_are_defaults_of_qubes() {
    let fixture = world();
    for (global, value, property, shown) in [
        ("default_kernel", "", "kernel", "str "),
        ("default_qrexec_timeout", "70", "qrexec_timeout", "int 70"),
        ("default_shutdown_timeout", "80", "shutdown_timeout", "int 80"),
        ("management_dispvm", "test-dvm", "management_dispvm", "vm test-dvm"),
        ("default_netvm", "test-net", "netvm", "vm test-net"),
        ("default_guivm", "test-net", "guivm", "vm test-net"),
        ("default_audiovm", "test-net", "audiovm", "vm test-net"),
        ("default_dispvm", "test-dvm", "default_dispvm", "vm test-dvm"),
    ] {
        set(&fixture, SYSTEM, global, value);
        assert_eq!(default(&fixture, "test-vm1", property), shown, "{property}");
        assert_eq!(default(&fixture, "test-alone", property), shown, "{property}");
        let of_template = if property == "netvm" { "vm " } else { shown };
        assert_eq!(default(&fixture, "test-template", property), of_template, "{property}");
    }
    assert_eq!(default(&fixture, "dom0", "default_dispvm"), "vm test-dvm");
    set(&fixture, SYSTEM, "default_dispvm", "");
    assert_eq!(default(&fixture, "test-disp", "default_dispvm"), "vm test-dvm");
    set(&fixture, SYSTEM, "default_pool", "test");
    for volume in ["private", "root", "volatile"] {
        assert_eq!(default(&fixture, SYSTEM, &format!("default_pool_{volume}")), "str test");
    }
    reset(&fixture, SYSTEM, "default_pool");
    assert_eq!(default(&fixture, SYSTEM, "default_pool"), "str varlibqubes");
}

#[test]
fn memory_is_limited_by_the_host_and_by_what_the_qube_can() {
    let fixture = world();
    let maxmem = || default(&fixture, "test-alone", "maxmem");
    assert_eq!(maxmem(), "int 4000");
    feature(&fixture, "test-alone", "os", "Linux");
    assert_eq!(maxmem(), "int 4000");
    set(&fixture, "test-alone", "memory", "100");
    assert_eq!(maxmem(), "int 1000");
    set(&fixture, "test-alone", "memory", "4000");
    assert_eq!(maxmem(), "int 8192");
    set(&fixture, "test-alone", "virt_mode", "hvm");
    assert_eq!(maxmem(), "int 0");
    feature(&fixture, "test-alone", "qrexec", "1");
    assert_eq!(maxmem(), "int 8192");
    feature(&fixture, "test-alone", "supported-service.x", "1");
    assert_eq!(maxmem(), "int 0");
    feature(&fixture, "test-alone", "supported-service.meminfo-writer", "1");
    assert_eq!(maxmem(), "int 8192");
    assign_pci(&fixture, "test-alone");
    assert_eq!(maxmem(), "int 0");
}

#[test]
fn devices_and_templates_decide_the_virtualisation_mode() {
    let fixture = world();
    assert_eq!(default(&fixture, "test-vm1", "virt_mode"), "str pvh");
    set(&fixture, "test-template", "virt_mode", "pv");
    assert_eq!(default(&fixture, "test-vm1", "virt_mode"), "str pv");
    assign_pci(&fixture, "test-vm1");
    assert_eq!(default(&fixture, "test-vm1", "virt_mode"), "str hvm");
}

#[test]
fn icons_tell_kind_and_label() {
    let fixture = world();
    let icon = |qube: &str| default(&fixture, qube, "icon");
    for (qube, shown) in [
        ("dom0", "str adminvm-black"),
        ("test-template", "str templatevm-black"),
        ("test-vm1", "str appvm-red"),
        ("test-dvm", "str templatevm-red"),
        ("test-disp", "str dispvm-red"),
        ("test-alone", "str standalonevm-red"),
        ("test-far", "str remotevm-red"),
    ] {
        assert_eq!(icon(qube), shown);
    }
    for qube in ["test-template", "test-vm1", "test-dvm", "test-disp", "test-alone", "test-far"] {
        feature(&fixture, qube, "servicevm", "1");
        set(&fixture, qube, "label", "green");
    }
    for (qube, shown) in [
        ("test-template", "str templatevm-green"),
        ("test-vm1", "str servicevm-green"),
        ("test-dvm", "str templatevm-green"),
        ("test-disp", "str servicevm-green"),
        ("test-alone", "str servicevm-green"),
        ("test-far", "str remotevm-green"),
    ] {
        assert_eq!(icon(qube), shown);
    }
}

#[test]
fn kernel_options_follow_kernel_devices_template_and_files() {
    let fixture = world();
    let options = || default(&fixture, "test-vm1", "kernelopts");
    let write = |file: &str, text: &str| {
        std::fs::write(fixture.path("/var/lib/qubes/vm-kernels/1.0").join(file), text).unwrap();
    };
    assert_eq!(options(), "str swiotlb=2048");
    write("default-kernelopts-nopci.txt", "of the file\n");
    assert_eq!(options(), "str of the file");
    set(&fixture, "test-template", "kernelopts", "of template");
    assert_eq!(options(), "str of template");
    assign_pci(&fixture, "test-vm1");
    assert_eq!(options(), "str ");
    write("default-kernelopts-pci.txt", "pci\n");
    assert_eq!(options(), "str pci");
    feature(&fixture, "dom0", "suspend-s0ix", "1");
    assert_eq!(options(), "str pci qubes_exp_pm_use_suspend=1");
    set(&fixture, "test-vm1", "kernel", "");
    assert_eq!(options(), "str ");
}

#[test]
fn boot_modes_count_only_where_they_are_known() {
    let fixture = world();
    let mode = |qube: &str| default(&fixture, qube, "bootmode");
    feature(&fixture, "test-vm1", "boot-mode.active", "own");
    assert_eq!(mode("test-vm1"), "str default");
    feature(&fixture, "test-template", "boot-mode.kernelopts.own", "");
    assert_eq!(mode("test-vm1"), "str own");
    set(&fixture, "test-template", "appvm_default_bootmode", "theirs");
    assert_eq!(mode("test-disp"), "str default");
    feature(&fixture, "test-template", "boot-mode.kernelopts.theirs", "x");
    assert_eq!(mode("test-disp"), "str theirs");
    assert_eq!(mode("test-template"), "str default");
    reset(&fixture, "test-template", "appvm_default_bootmode");
    feature(&fixture, "test-template", "boot-mode.appvm-default", "own");
    assert_eq!(default(&fixture, "test-template", "appvm_default_bootmode"), "str own");
    assert_eq!(mode("test-disp"), "str own");
    feature(&fixture, "test-vm1", "boot-mode.active", "default");
    assert_eq!(mode("test-vm1"), "str default");
}

#[test]
fn the_keyboard_layout_is_that_of_the_gui_qube() {
    let fixture = world();
    let layout = |qube: &str| default(&fixture, qube, "keyboard_layout");
    assert_eq!(layout("test-vm1"), "str us++");
    set(&fixture, "dom0", "keyboard_layout", "de++");
    assert_eq!(layout("test-vm1"), "str de++");
    set(&fixture, "test-vm1", "guivm", "test-net");
    assert_eq!(layout("test-vm1"), "str de++");
    set(&fixture, "test-net", "keyboard_layout", "fr++");
    assert_eq!(layout("test-vm1"), "str fr++");
    set(&fixture, "test-vm1", "guivm", "");
    assert_eq!(layout("test-vm1"), "str us++");
}

#[test]
fn a_gui_qube_of_its_own_ends_the_search() {
    let fixture = world();
    set(&fixture, "test-vm1", "guivm", "test-vm1");
    assert_eq!(default(&fixture, "test-vm1", "keyboard_layout"), "str us++");
    set(&fixture, "test-vm1", "guivm", "test-net");
    set(&fixture, "test-net", "guivm", "test-vm1");
    assert_eq!(default(&fixture, "test-vm1", "keyboard_layout"), "str us++");
    fixture.ok("admin.vm.property.GetAll", "test-vm1", "");
}

#[test]
fn backups_leave_out_what_is_thrown_away() {
    let fixture = world();
    let included = |qube: &str| default(&fixture, qube, "include_in_backups");
    assert_eq!(included("test-disp"), "bool True");
    set(&fixture, "test-disp", "auto_cleanup", "True");
    assert_eq!(included("test-disp"), "bool False");
    assert_eq!(included("test-far"), "bool False");
    assert_eq!(included("dom0"), "bool True");
}

#[test]
fn only_qubes_without_template_are_updated_on_their_own() {
    let fixture = world();
    for (qube, shown) in [
        ("dom0", "bool True"),
        ("test-template", "bool True"),
        ("test-alone", "bool True"),
        ("test-vm1", "bool False"),
        ("test-disp", "bool False"),
    ] {
        assert_eq!(default(&fixture, qube, "updateable"), shown, "{qube}");
    }
}

#[test]
fn a_disposable_in_its_templates_list_is_preloaded() {
    let fixture = world();
    assert_eq!(default(&fixture, "test-disp", "is_preload"), "bool False");
    super::templates::preload(&fixture, "test-dvm", "other test-disp");
    assert_eq!(default(&fixture, "test-disp", "is_preload"), "bool True");
}

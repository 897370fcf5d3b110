//! `qubes.xml` in and out: nothing lost on the way, and nothing taken that Set would refuse (spec 10 §7).
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

use std::process::{Command, Output, Stdio};

use tests::{Fixture, executables};

fn tool(fixture: &Fixture, arguments: &[&str]) -> Output {
    let mut command = Command::new(executables::executable("qubes-admin"));
    command.env_clear().arg("--root").arg(fixture.path("/")).args(arguments).stdin(Stdio::null());
    command.output().unwrap()
}

/// What a store reads from a file and writes back.
fn through(fixture: &Fixture, xml: &str) -> String {
    let imported = import(fixture, xml);
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    String::from_utf8(tool(fixture, &["export"]).stdout).unwrap()
}

fn import(fixture: &Fixture, xml: &str) -> Output {
    let file = fixture.path("/in.xml");
    std::fs::write(&file, xml).unwrap();
    tool(fixture, &["import", file.to_str().unwrap()])
}

const LABELS: &str = "<labels><label id=\"label-1\" color=\"0xcc0000\">red</label></labels>";
const POOLS: &str = "<pools>\
    <pool name=\"varlibqubes\" dir_path=\"/var/lib/qubes\" driver=\"file-reflink\" revisions_to_keep=\"2\"/>\
    <pool name=\"linux-kernel\" dir_path=\"/var/lib/qubes/vm-kernels\" driver=\"linux-kernel\"/></pools>";
const GLOBALS: &str = "<property name=\"default_pool_kernel\">linux-kernel</property>\
    <property name=\"default_kernel\">1.0</property>";

/// A store of the template `tpl`, and what else is given.
fn store(globals: &str, domains: &str) -> String {
    let template = qube("TemplateVM", "tpl", 1, "", "");
    format!(
        "<qubes>{LABELS}{POOLS}<properties>{GLOBALS}{globals}</properties><domains>{template}{domains}</domains></qubes>"
    )
}

fn qube(class: &str, name: &str, qid: u16, properties: &str, more: &str) -> String {
    format!(
        "<domain id=\"domain-{qid}\" class=\"{class}\"><properties><property name=\"name\">{name}</property>\
        <property name=\"qid\">{qid}</property><property name=\"label\">red</property>{properties}</properties>\
        {more}</domain>"
    )
}

fn appvm(name: &str, qid: u16, properties: &str, more: &str) -> String {
    qube("AppVM", name, qid, &format!("<property name=\"template\">tpl</property>{properties}"), more)
}

#[test]
fn devices_of_one_class_stay_together_and_odd_values_survive() {
    let device = |class: &str, id: &str| {
        format!(
            "<devices class=\"{class}\"><device backend-domain=\"dom0\" id=\"{id}\" mode=\"manual\" \
            identity=\"a&quot;b'&#10;&#9;&lt;\"><option name=\"o&amp;&#10;\"> a&#13;\nb </option></device></devices>"
        )
    };
    let devices = [device("pci", "00_14.0"), device("block", "sda"), device("pci", "00_15.0")].concat();
    let fixture = Fixture::empty();
    let once = through(&fixture, &store("", &appvm("work", 2, "", &devices)));
    assert_eq!(once.matches("<devices class=\"pci\">").count(), 1);
    assert_eq!(once.matches("<device ").count(), 3);
    assert!(once.contains("identity=\"a&quot;b'&#10;&#9;&lt;\""), "{once}");
    assert!(once.contains("<option name=\"o&amp;&#10;\"> a&#13;\nb </option>"), "{once}");
    assert_eq!(through(&Fixture::empty(), &once), once);
}

#[test]
fn a_kernel_volume_is_written_with_the_kernel_of_its_qube() {
    let fixture = Fixture::empty();
    let volume = "<volume-config><volume name=\"kernel\" pool=\"linux-kernel\" vid=\"old\" revisions_to_keep=\"0\" \
        rw=\"False\" save_on_stop=\"False\" snap_on_start=\"False\"/></volume-config>";
    let kernel = |text: &str| format!("<volume name=\"kernel\" pool=\"linux-kernel\" vid=\"{text}\" ");
    assert!(through(&fixture, &store("", &appvm("work", 2, "", volume))).contains(&kernel("1.0")));
    fixture.ok("admin.vm.property.Set+kernel", "work", "");
    let exported = String::from_utf8(tool(&fixture, &["export"]).stdout).unwrap();
    assert!(exported.contains(&kernel("None")), "{exported}");
}

fn volume(name: &str, more: &str) -> String {
    format!("<volume-config><volume name=\"{name}\" {more}/></volume-config>")
}

#[test]
fn volumes_have_what_the_file_says_and_else_what_their_class_gives() {
    let fixture = Fixture::empty();
    let domains = [
        appvm(
            "work",
            3,
            "<property name=\"template_for_dispvms\">True</property>",
            &volume("private", "size=\"4096\""),
        ),
        qube("DispVM", "disp", 2, "<property name=\"template\">work</property>", ""),
    ];
    let exported = through(&fixture, &store("", &domains.concat()));
    for expected in [
        "<volume name=\"root\" pool=\"varlibqubes\" vid=\"vm-templates/tpl/root\" revisions_to_keep=\"2\" rw=\"True\" \
        save_on_stop=\"True\" snap_on_start=\"False\" size=\"10737418240\"/>",
        "<volume name=\"private\" pool=\"varlibqubes\" vid=\"appvms/work/private\" revisions_to_keep=\"2\" rw=\"True\" \
        save_on_stop=\"True\" snap_on_start=\"False\" size=\"4096\"/>",
        "<volume name=\"private\" pool=\"varlibqubes\" vid=\"appvms/disp/private\" revisions_to_keep=\"2\" rw=\"True\" \
        save_on_stop=\"False\" snap_on_start=\"True\" size=\"4096\" source=\"appvms/work/private\"/>",
        "<volume name=\"kernel\" pool=\"linux-kernel\" vid=\"1.0\" ",
    ] {
        assert!(exported.contains(expected), "{expected}\nis not in\n{exported}");
    }
    assert_eq!(through(&Fixture::empty(), &exported), exported);
    fixture.ok("admin.vm.Create.AppVM+tpl", "dom0", "name=new label=red");
    fixture.ok("admin.vm.Remove", "new", "");
}

/// What the tool says of a file it refuses; nothing is stored then.
fn refused(xml: &str) -> String {
    let fixture = Fixture::empty();
    let output = import(&fixture, xml);
    assert_eq!(output.status.code(), Some(1), "{xml}");
    assert!(!fixture.path("/var/lib/qubes/admin/system.json").exists());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn values_that_set_would_refuse_are_refused() {
    let property = |name: &str, value: &str| format!("<property name=\"{name}\">{value}</property>");
    let far = qube("RemoteVM", "far", 3, "", "");
    for (globals, properties, said) in [
        ("", property("vcpus", "0"), "property 'vcpus': vcpus must be positive"),
        ("", property("virt_mode", "fast"), "property 'virt_mode': Invalid virtualization mode"),
        ("", property("ip", "10.0.0.256"), "property 'ip': not an IPv4 address"),
        ("", property("mac", "x"), "property 'mac': Invalid MAC address value"),
        ("", property("netvm", "tpl"), "property 'netvm': The tpl qube does not provide network"),
        (
            "",
            property("guivm", "far"),
            "property 'guivm': wrong VM class: domains['far'] is of type RemoteVM",
        ),
        (
            "<property name=\"default_pool\">gone</property>",
            String::new(),
            "property 'default_pool': No such storage pool",
        ),
        ("<property name=\"default_template\">work</property>", String::new(), "and not TemplateVM"),
    ] {
        let said_really =
            refused(&store(globals, &[appvm("work", 2, &properties, ""), far.clone()].concat()));
        assert!(said_really.contains(said), "{said_really} does not say: {said}");
    }
    for (class, more, said) in [
        ("AppVM", volume("private", "vid=\"appvms/../../x\""), "a volume without usable vid"),
        (
            "AppVM",
            volume("private", "vid=\"vm-templates/tpl/private\""),
            "vm-templates/tpl/private of work stands twice",
        ),
        ("AppVM", volume("root", "source=\"gone\""), "root of work has no source gone in its pool"),
        ("AppVM", volume("data", "vid=\"a\""), "a volume without pool"),
    ] {
        let template = "<property name=\"template\">tpl</property>";
        let said_really = refused(&store("", &qube(class, "work", 2, template, &more)));
        assert!(said_really.contains(said), "{said_really} does not say: {said}");
    }
}

#[test]
fn what_stands_twice_or_has_no_place_is_refused() {
    let uuid = "<property name=\"uuid\">67e92c87-65a9-4c7f-b2d3-35c459de9eb5</property>";
    let device = |backend: &str, id: &str| {
        format!("<devices class=\"pci\"><device backend-domain=\"{backend}\" id=\"{id}\"/></devices>")
    };
    let twice = store("", "").replace("</labels>", "<label id=\"label-2\">red</label></labels>");
    for (xml, said) in [
        (twice, "the label red or its id stands twice"),
        (store("", &[appvm("a", 2, uuid, ""), appvm("b", 3, uuid, "")].concat()), "uuid of b stands twice"),
        (store("", &appvm("a", 0, "", "")), "a without valid qid"),
        (
            store("", &appvm("a", 2, "", "<features><feature name=\"a b\"/></features>")),
            "feature name contains illegal characters",
        ),
        (store("", &appvm("a", 2, "", &device("dom0", "a,b"))), "a device whose class or id has"),
        (store("", &appvm("a", 2, "", &device("dom0", "a&#10;b"))), "a device whose class or id has"),
        (store("", &appvm("a", 2, "", &device("../x", "a"))), "VM name cannot start with"),
        (
            store("", &qube("RemoteVM", "a", 2, "<property name=\"hvm\">True</property>", "")),
            "'hvm' not applicable",
        ),
        (
            store("", &qube("StandaloneVM", "a", 2, "<property name=\"dispvm_allowed\">True</property>", "")),
            "'dispvm_allowed' not applicable",
        ),
    ] {
        let said_really = refused(&xml);
        assert!(said_really.contains(said), "{said_really} does not say: {said}");
    }
}

#[test]
fn older_names_of_devices_and_services_become_todays() {
    let fixture = Fixture::empty();
    let (devices, bridge) = (fixture.path("/sys/bus/pci/devices"), "pci0000:c0/0000:c0:03.5");
    std::fs::create_dir_all(&devices).unwrap();
    std::fs::create_dir_all(fixture.path("/sys/devices").join(bridge).join("0000:c6:00.0")).unwrap();
    std::fs::write(fixture.path("/sys/devices").join(bridge).join("secondary_bus_number"), "198\n").unwrap();
    for (name, place) in
        [("0000:c0:03.5", bridge.to_owned()), ("0000:c6:00.0", format!("{bridge}/0000:c6:00.0"))]
    {
        std::os::unix::fs::symlink(format!("../../../devices/{place}"), devices.join(name)).unwrap();
    }
    let device = |id: &str| format!("<device backend-domain=\"dom0\" id=\"{id}\"/>");
    let assigned = ["c6_00.0", "c0:03.5", "99_00.0"].map(device).concat();
    let service = "<features><feature name=\"service.meminfo-writer\"/></features>";
    let dom0 = format!("<domain id=\"domain-0\" class=\"AdminVM\">{service}</domain>");
    let work = appvm("work", 2, "", &format!("{service}<devices class=\"pci\">{assigned}</devices>"));
    let exported = through(&fixture, &store("", &[dom0, work].concat()));
    for id in ["c0_03.5-00_00.0", "c0_03.5", "99_00.0"] {
        assert!(exported.contains(&format!("id=\"{id}\"")), "{id} is not in {exported}");
    }
    assert_eq!(fixture.ok("admin.vm.property.Get+maxmem", "work", ""), "default=False type=int 0");
    assert_eq!(fixture.ok("admin.vm.feature.List", "work", ""), "");
    assert_eq!(fixture.ok("admin.vm.feature.List", "dom0", ""), "service.meminfo-writer\n");
    assert!(!exported.contains("4096"), "dom0 got a maxmem: {exported}");
}

#[test]
fn values_are_brought_to_the_form_that_set_gives_them_and_circles_of_netvms_are_broken() {
    let fixture = Fixture::empty();
    let net = |name: &str, qid: u16, netvm: &str| {
        let netvm = format!(
            "<property name=\"provides_network\">True</property><property name=\"netvm\">{netvm}</property>"
        );
        appvm(name, qid, &netvm, "")
    };
    let odd = "<property name=\"mac\">00:16:3E:5E:6C:0A</property><property name=\"ip6\">fd00:0::1</property>\
        <property name=\"virt_mode\">PVH</property>";
    let pci = "<devices class=\"pci\"><device backend-domain=\"dom0\" id=\"00_14.0\"/></devices>";
    let domains = [net("a", 2, "b"), net("b", 3, "c"), net("c", 4, "b"), appvm("odd", 5, odd, pci)];
    through(&fixture, &store("<property name=\"default_netvm\">c</property>", &domains.concat()));
    let get = |property: &str, qube: &str| fixture.ok(&format!("admin.vm.property.Get+{property}"), qube, "");
    assert_eq!(get("netvm", "a"), "default=False type=vm b");
    assert_eq!(get("netvm", "b"), "default=False type=vm ");
    assert_eq!(get("netvm", "c"), "default=False type=vm b");
    assert_eq!(get("mac", "odd"), "default=False type=str 00:16:3e:5e:6c:0a");
    assert_eq!(get("ip6", "odd"), "default=False type=str fd00::1");
    assert_eq!(get("virt_mode", "odd"), "default=False type=str pvh");
}

//! `qubes-admin` as an operator uses it.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::indexing_slicing, reason = "test code")]

use std::process::{Command, Output, Stdio};

use tests::{Fixture, executables};

const GOLDEN: &str = include_str!("../conformance/initial.qubes.xml");

fn tool(fixture: &Fixture, arguments: &[&str]) -> Output {
    let root = fixture.path("/");
    let mut command = Command::new(executables::executable("qubes-admin"));
    command.env_clear().arg("--root").arg(root).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn error(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn import(fixture: &Fixture, xml: &str) -> Output {
    let file = fixture.path("/in.xml");
    std::fs::write(&file, xml).unwrap();
    tool(fixture, &["import", file.to_str().unwrap()])
}

/// Links the executables the way the installer does.
fn install(fixture: &Fixture) {
    let rpc = fixture.path("/etc/qubes-rpc");
    std::fs::create_dir_all(&rpc).unwrap();
    for family in services::FAMILIES {
        for call in family.calls {
            std::os::unix::fs::symlink(executables::executable(family.name), rpc.join(call.row.name))
                .unwrap();
        }
    }
}

#[test]
fn export_after_import_gives_the_same_file() {
    let fixture = Fixture::empty();
    let xml = GOLDEN.replace("@BASE@", "/var/lib/qubes");
    assert!(import(&fixture, &xml).status.success());
    assert_eq!(text(&tool(&fixture, &["export"])), xml);
    assert!(error(&import(&fixture, &xml)).contains("the store is not empty"));
    assert_eq!(text(&tool(&fixture, &["export"])), xml);
}

#[test]
fn a_fresh_store_has_labels_pools_and_dom0() {
    let fixture = Fixture::empty();
    assert!(tool(&fixture, &["init"]).status.success());
    assert!(error(&tool(&fixture, &["init"])).contains("not empty"));
    let exported = text(&tool(&fixture, &["export"]));
    assert!(exported.contains("<label id=\"label-8\" color=\"0x000000\">black</label>"));
    assert!(exported.contains("<property name=\"default_pool_kernel\">linux-kernel</property>"));
    assert!(exported.contains(
        "<pool name=\"linux-kernel\" dir_path=\"/var/lib/qubes/vm-kernels\" driver=\"linux-kernel\"/>"
    ));
    assert_eq!(fixture.ok("admin.vm.property.Get+label", "dom0", ""), "default=False type=label black");
}

/// A store around one domain's elements.
fn around(globals: &str, domains: &str) -> String {
    format!(
        "<qubes version=\"3.0\"><properties>{globals}</properties><labels><label id=\"label-1\" color=\"#cc0000\">red</label>\
         <label id=\"label-2\" color=\"0x555753\">gray</label></labels><pools/><domains>{domains}</domains></qubes>"
    )
}

fn template(more: &str) -> String {
    format!(
        "<domain id=\"domain-1\" class=\"TemplateVM\"><properties><property name=\"name\">tpl</property>\
         <property name=\"qid\">1</property><property name=\"label\" ref=\"label-1\"/>{more}</properties></domain>"
    )
}

fn appvm(name: &str, qid: u16, more: &str) -> String {
    format!(
        "<domain id=\"domain-{qid}\" class=\"AppVM\"><properties><property name=\"name\">{name}</property>\
         <property name=\"qid\">{qid}</property><property name=\"label\">red</property>\
         <property name=\"template\" ref=\"domain-1\"/>{more}</properties></domain>"
    )
}

#[test]
fn older_files_are_brought_up_to_date() {
    let fixture = Fixture::empty();
    let net = appvm("net", 2, "<property name=\"provides_network\">True</property>");
    let old = appvm(
        "old",
        3,
        "<property name=\"hvm\">True</property><property name=\"dispvm_allowed\">True</property>",
    );
    let globals = "<property name=\"default_fw_netvm\"/><property name=\"default_netvm\">net</property>\
        <property name=\"default_dispvm\">net</property><property name=\"unknown\">x</property>";
    let xml = around(globals, &[template(""), net, old].concat());
    assert!(import(&fixture, &xml).status.success());
    let get = |property: &str, qube: &str| fixture.ok(&format!("admin.vm.property.Get+{property}"), qube, "");
    assert_eq!(get("virt_mode", "old"), "default=False type=str hvm");
    assert_eq!(get("template_for_dispvms", "old"), "default=False type=bool True");
    assert_eq!(get("netvm", "net"), "default=False type=vm ");
    assert_eq!(get("template", "net"), "default=False type=vm tpl");
    assert_eq!(get("label", "tpl"), "default=False type=label red");
    assert_eq!(fixture.ok("admin.property.Get+default_dispvm", "dom0", ""), "default=False type=vm ");
    assert_eq!(fixture.ok("admin.label.Get+red", "dom0", ""), "#cc0000");
    assert_eq!(fixture.ok("admin.label.Get+gray", "dom0", ""), "0x555555");
    assert_eq!(fixture.ok("admin.vm.tag.List", "net", ""), "audiovm-dom0\nguivm-dom0\n");
    assert!(get("uuid", "net").starts_with("default=False type=str "));
}

#[test]
fn unusable_files_are_refused_with_the_place_and_change_nothing() {
    for (xml, said) in [
        ("<qubes><labels>".to_owned(), "in.xml: not well-formed at byte 15"),
        ("<store/>".to_owned(), "the root element is not <qubes>"),
        (around("", "<domain id=\"domain-1\" class=\"QubesVM\"/>"), "no such VM class: 'QubesVM'"),
        (around("", "<domain id=\"domain-1\" class=\"AppVM\"><properties/></domain>"), "without name"),
        (
            around("", &template("<property name=\"nonsense\">1</property>")),
            "'nonsense' not applicable to 'TemplateVM'",
        ),
        (
            around("", &template("<property name=\"klass\">x</property>")),
            "'klass' on TemplateVM instance cannot be set",
        ),
        (around("", &template("<property name=\"vcpus\">many</property>")), "'vcpus': not a whole number"),
        (around("", &[template(""), appvm("tpl", 2, "")].concat()), "stands twice"),
        (around("", &appvm("lonely", 2, "")), "the template of lonely does not exist"),
        (around("", &[template(""), appvm("../x", 2, "")].concat()), "VM name cannot start with"),
    ] {
        let fixture = Fixture::empty();
        let said_really = error(&import(&fixture, &xml));
        assert!(said_really.contains(said), "{said_really} does not say: {said}");
        assert!(!fixture.path("/var/lib/qubes/admin/system.json").exists());
    }
}

#[test]
fn check_finds_what_is_wrong_and_repair_builds_the_index() {
    let fixture = Fixture::new();
    let state = |file: &str| fixture.path("/var/lib/qubes/admin").join(file);
    assert!(text(&tool(&fixture, &["check"])).contains("as it should be"));
    std::fs::write(fixture.path("/run/qubes/admin/index"), format!("{:020}\n.\n", 1)).unwrap();
    assert!(!tool(&fixture, &["check"]).status.success());
    assert!(tool(&fixture, &["check", "--repair"]).status.success());
    let whole = std::fs::read(state("qubes/test-vm1.json")).unwrap();
    std::fs::write(state("qubes/test-vm1.json"), &whole[..whole.len() / 2]).unwrap();
    let checked = tool(&fixture, &["check"]);
    assert!(text(&checked).contains("qubes/test-vm1.json is damaged"));
    assert!(error(&checked).contains("problems"));
    std::fs::remove_file(state("qubes/test-template.json")).unwrap();
    assert!(text(&tool(&fixture, &["check"])).contains("template of test-net: no qube test-template"));
}

#[test]
fn calls_by_hand_print_content_or_the_refusal() {
    let fixture = Fixture::new();
    install(&fixture);
    assert_eq!(
        text(&tool(&fixture, &["call", "test-vm1", "admin.vm.property.Get+label"])),
        "default=False type=label red"
    );
    let json = text(&tool(&fixture, &["call", "--json", "test-vm1", "admin.vm.property.Get+vcpus"]));
    assert_eq!(json, "{\"default\":true,\"type\":\"int\",\"value\":2}\n");
    let refused = error(&tool(&fixture, &["call", "dom0", "admin.label.Get+50%s"]));
    assert!(refused.contains("QubesInvalidLabelError: Label must be in safe set"));
    let refused = error(&tool(&fixture, &["call", "--as", "nobody", "dom0", "admin.vm.List"]));
    assert!(refused.contains("QubesVMNotFoundError: No such domain: 'nobody'"));
    assert!(
        error(&tool(&fixture, &["call", "dom0", "admin.nosuch"])).contains("no such method: admin.nosuch")
    );
}

#[test]
fn show_and_tree_tell_what_is_set_and_how_it_hangs_together() {
    let fixture = Fixture::new();
    fixture.ok("admin.vm.property.Set+netvm", "test-vm1", "test-net");
    let shown = text(&tool(&fixture, &["show", "test-vm1", "--changed"]));
    assert!(shown.contains("netvm") && shown.contains("test-net") && !shown.contains("vcpus"));
    assert!(text(&tool(&fixture, &["show", "--all"])).contains("vcpus"));
    assert!(text(&tool(&fixture, &["tree", "--net"])).contains("test-net\n└─ test-vm1\n"));
    let dot = text(&tool(&fixture, &["tree", "--templates", "--dot"]));
    assert!(dot.contains("  \"test-template\" -> \"test-vm1\";\n"));
}

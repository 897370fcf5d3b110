//! `qubes.xml`: which forms are read, what is refused with its place, what is brought up to date (spec 10 §7).
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

use std::process::{Command, Stdio};

use tests::{Fixture, executables};

/// What `qubes-admin` prints on success, or says on failure.
fn tool(fixture: &Fixture, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(executables::executable("qubes-admin"));
    command.env_clear().arg("--root").arg(fixture.path("/")).args(arguments).stdin(Stdio::null());
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// Imports a whole file into an empty root.
fn import_file(text: &str) -> (Fixture, Result<String, String>) {
    let fixture = Fixture::empty();
    let file = fixture.path("/in.xml");
    std::fs::write(&file, text).unwrap();
    let imported = tool(&fixture, &["import", file.to_str().unwrap()]);
    (fixture, imported)
}

/// Imports a file of two labels, two pools and the given global properties and domains.
fn import(globals: &str, domains: &str) -> (Fixture, Result<String, String>) {
    let text = format!(
        "<qubes><labels><label id=\"label-2\" color=\"0x555753\">gray</label>\
         <label id=\"label-1\" color=\"#cc0000\">red</label></labels>\
         <pools><pool name=\"varlibqubes\" driver=\"file\" dir_path=\"/var/lib/qubes\"/>\
         <pool name=\"strange\" driver=\"nobody's\"/></pools>\
         <properties>{globals}</properties><domains>{domains}</domains></qubes>"
    );
    import_file(&text)
}

fn accepted(globals: &str, domains: &str) -> Fixture {
    let (fixture, imported) = import(globals, domains);
    imported.unwrap();
    fixture
}

fn property(name: &str, value: &str) -> String {
    format!("<property name=\"{name}\">{value}</property>")
}

/// A domain of a class with name, number and more properties, and what follows them.
fn domain(class: &str, name: &str, qid: u16, properties: &str, rest: &str) -> String {
    let (name, number) = (property("name", name), property("qid", &qid.to_string()));
    format!(
        "<domain id=\"domain-{qid}\" class=\"{class}\"><properties>{name}{number}{properties}</properties>{rest}</domain>"
    )
}

fn template() -> String {
    domain("TemplateVM", "tpl", 1, &property("label", "red"), "")
}

/// An AppVM `app` on the template.
fn app(properties: &str, rest: &str) -> String {
    domain(
        "AppVM",
        "app",
        2,
        &format!("{}{}{properties}", property("label", "red"), property("template", "tpl")),
        rest,
    )
}

/// The store with the template and `app`.
fn with_app(properties: &str, rest: &str) -> Fixture {
    accepted("", &[template(), app(properties, rest)].concat())
}

#[test]
fn references_are_read_before_texts() {
    let reference =
        |name: &str, target: &str| format!("<property name=\"{name}\" ref=\"{target}\">none</property>");
    let properties =
        [reference("label", "label-2"), reference("template", "domain-1"), reference("guivm", "domain-1")]
            .concat();
    let fixture = accepted("", &[template(), domain("AppVM", "app", 2, &properties, "")].concat());
    let get = |property: &str| fixture.ok(&format!("admin.vm.property.Get+{property}"), "app", "");
    assert_eq!(get("label"), "default=False type=label gray");
    assert_eq!(get("template"), "default=False type=vm tpl");
    assert_eq!(get("guivm"), "default=False type=vm tpl");
    assert_eq!(fixture.ok("admin.vm.tag.List", "app", ""), "audiovm-dom0\nguivm-tpl\n");
}

#[test]
fn empty_elements_are_empty_texts_or_no_qube() {
    let fixture = with_app(
        "<property name=\"default_user\"/><property name=\"netvm\"></property><property name=\"bootmode\"/>",
        "<features><feature name=\"f\"/></features>",
    );
    let get = |property: &str| fixture.ok(&format!("admin.vm.property.Get+{property}"), "app", "");
    assert_eq!(get("default_user"), "default=False type=str ");
    assert_eq!(get("bootmode"), "default=False type=str ");
    assert_eq!(get("netvm"), "default=False type=vm ");
    assert_eq!(fixture.ok("admin.vm.feature.Get+f", "app", ""), "");
}

#[test]
fn what_is_missing_is_made_or_left_out() {
    let fixture = accepted(&property("nonsense", "1"), &domain("RemoteVM", "far", 3, "", ""));
    assert_eq!(fixture.ok("admin.vm.List", "dom0", "").lines().count(), 2);
    let uuid = fixture.ok("admin.vm.property.Get+uuid", "far", "");
    assert_eq!(uuid.len(), "default=False type=str 00000000-0000-0000-0000-000000000000".len());
    assert_eq!(fixture.ok("admin.vm.property.Get+label", "far", ""), "default=True type=label ");
    assert_eq!(fixture.ok("admin.vm.property.Get+icon", "far", ""), "default=True type=str ");
    assert_eq!(fixture.ok("admin.label.List", "dom0", ""), "red\ngray\n");
    assert_eq!(fixture.ok("admin.label.Get+red", "dom0", ""), "#cc0000");
    assert_eq!(fixture.ok("admin.label.Get+gray", "dom0", ""), "0x555555");
}

#[test]
fn a_property_that_names_nobody_is_dropped() {
    let globals = property("default_netvm", "nobody");
    let fixture = accepted(&globals, &[template(), app(&property("guivm", "nobody"), "")].concat());
    assert_eq!(fixture.ok("admin.property.Get+default_netvm", "dom0", ""), "default=True type=vm ");
    assert_eq!(fixture.ok("admin.vm.property.Get+guivm", "app", ""), "default=True type=vm dom0");
}

#[test]
fn values_are_checked_as_set_checks_them_and_refused_with_their_place() {
    for (globals, properties, said) in [
        ("", property("vcpus", "0"), "property 'vcpus': vcpus must be positive"),
        ("", property("vcpus", "many"), "property 'vcpus': not a whole number"),
        ("", property("debug", "2"), "property 'debug': not a switch"),
        ("", property("mac", "x"), "property 'mac': Invalid MAC address value"),
        ("", property("virt_mode", "x"), "property 'virt_mode': Invalid virtualization mode"),
        ("", property("kernel", "a/b"), "property 'kernel': Kernel name cannot contain '/'"),
        ("", property("keyboard_layout", "x"), "property 'keyboard_layout': invalid number of keyboard"),
        ("", property("label", "9"), "Label does not exist: 9"),
        (&property("default_pool", "nope"), String::new(), "property 'default_pool': No such storage pool"),
        (
            &property("default_pool", "strange"),
            String::new(),
            "property 'default_pool': No such storage pool",
        ),
        (
            &property("stats_interval", "0"),
            String::new(),
            "property 'stats_interval': stats_interval must be positive",
        ),
        (
            &property("default_template", "app"),
            String::new(),
            "property 'default_template': wrong VM class: domains['app'] is of type AppVM and not TemplateVM",
        ),
    ] {
        let (fixture, imported) = import(globals, &[template(), app(&properties, "")].concat());
        let error = imported.unwrap_err();
        assert!(error.contains("in.xml: line ") && error.contains(said), "{error} does not say: {said}");
        assert!(!fixture.path("/var/lib/qubes/admin/system.json").exists());
    }
}

#[test]
fn domains_that_make_no_sense_are_refused() {
    let label = property("label", "red");
    for (domains, said) in [
        (domain("QubesVM", "a", 2, &label, ""), "no such VM class: 'QubesVM'"),
        (domain("AppVM", "app", 2, &label, ""), "app without template"),
        (domain("TemplateVM", "../x", 2, &label, ""), "VM name cannot start with"),
        (domain("TemplateVM", "none", 2, &label, ""), "VM name cannot be 'none' nor 'default'"),
        (domain("TemplateVM", "a", 10_001, &label, ""), "a without valid qid"),
        (domain("TemplateVM", "tpl", 2, &label, ""), "stands twice"),
        (domain("TemplateVM", "other", 1, &label, ""), "stands twice"),
        (domain("TemplateVM", "a", 2, "", "<tags><tag name=\"a.b\"/></tags>"), "disallowed characters"),
        (
            domain("TemplateVM", "a", 2, &property("nonsense", "x"), ""),
            "'nonsense' not applicable to 'TemplateVM'",
        ),
        (
            domain("TemplateVM", "a", 2, &property("klass", "x"), ""),
            "'klass' on TemplateVM instance cannot be set",
        ),
        ("<domain class=\"TemplateVM\"><properties/></domain>".to_owned(), "a domain without name"),
    ] {
        let (fixture, imported) = import("", &[template(), domains].concat());
        let error = imported.unwrap_err();
        assert!(error.contains(said), "{error} does not say: {said}");
        assert!(!fixture.path("/var/lib/qubes/admin/system.json").exists());
    }
}

#[test]
fn values_are_stored_as_set_stores_them() {
    let properties = [
        property("mac", "00:16:3E:5E:6C:AB"),
        property("virt_mode", "HVM"),
        property("devices_denied", "u******b******u******"),
    ]
    .concat();
    let fixture = with_app(&properties, "");
    let get = |property: &str| fixture.ok(&format!("admin.vm.property.Get+{property}"), "app", "");
    assert_eq!(get("mac"), "default=False type=str 00:16:3e:5e:6c:ab");
    assert_eq!(get("virt_mode"), "default=False type=str hvm");
    assert_eq!(get("devices_denied"), "default=False type=str b******u******");
}

#[test]
fn old_properties_and_features_get_their_names_of_today() {
    let get = |fixture: &Fixture, property: &str| {
        fixture.ok(&format!("admin.vm.property.Get+{property}"), "app", "")
    };
    for (old, mode) in [("True", "hvm"), ("False", "pv")] {
        let fixture = with_app(&property("hvm", old), "");
        assert_eq!(get(&fixture, "virt_mode"), format!("default=False type=str {mode}"));
    }
    let fixture = with_app(&property("dispvm_allowed", "True"), "");
    assert_eq!(get(&fixture, "template_for_dispvms"), "default=False type=bool True");
    let feature = |value: &str| {
        format!("<features><feature name=\"service.meminfo-writer\">{value}</feature></features>")
    };
    let fixture = with_app("", &feature(""));
    assert_eq!(get(&fixture, "maxmem"), "default=False type=int 0");
    assert_eq!(fixture.ok("admin.vm.feature.List", "app", ""), "");
    let fixture = with_app("", &feature("1"));
    assert_eq!(get(&fixture, "maxmem"), "default=True type=int 4000");
    assert_eq!(fixture.ok("admin.vm.feature.List", "app", ""), "");
}

#[test]
fn providers_keep_their_old_default_netvm() {
    let provider = |name: &str, qid: u16, more: &str| {
        let properties =
            [property("label", "red"), property("template", "tpl"), property("provides_network", "True")];
        domain("AppVM", name, qid, &[properties.concat(), more.to_owned()].concat(), "")
    };
    let domains =
        [template(), app("", ""), provider("net", 3, &property("netvm", "")), provider("fw", 4, "")].concat();
    let netvm = |fixture: &Fixture, qube: &str| fixture.ok("admin.vm.property.Get+netvm", qube, "");
    for (old, shown) in [
        ("net", "default=False type=vm net"),
        ("", "default=False type=vm "),
        ("nobody", "default=True type=vm "),
    ] {
        let globals = property("default_fw_netvm", old);
        let globals = if old.is_empty() { globals + &property("default_netvm", "net") } else { globals };
        let fixture = accepted(&globals, &domains);
        assert_eq!(netvm(&fixture, "fw"), shown, "{old}");
        assert!(netvm(&fixture, "app").starts_with("default=True "));
    }
}

#[test]
fn what_cannot_serve_disposables_is_no_template_of_them() {
    let globals = [property("default_dispvm", "app"), property("management_dispvm", "app")].concat();
    let fixture = accepted(&globals, &[template(), app(&property("default_dispvm", "app"), "")].concat());
    for call in ["admin.property.Get+default_dispvm", "admin.property.Get+management_dispvm"] {
        assert_eq!(fixture.ok(call, "dom0", ""), "default=False type=vm ");
    }
    assert_eq!(fixture.ok("admin.vm.property.Get+default_dispvm", "app", ""), "default=False type=vm ");
}

#[test]
fn devices_of_old_files_get_a_mode_and_an_identity() {
    let device = |id: &str, attributes: &str, options: &str| {
        format!("<device backend-domain=\"dom0\" id=\"{id}\" {attributes}>{options}</device>")
    };
    let devices = [
        device("a", "required=\"True\"", ""),
        device("b", "required=\"False\"", ""),
        device("c", "", "<option name=\"identity\">i</option><option name=\"ro\">yes</option>"),
        device("d", "mode=\"ask-to-attach\" identity=\"j\"", ""),
        device("e", "mode=\"sometimes\"", ""),
    ]
    .concat();
    let fixture =
        with_app("", &format!("<devices class=\"block\">{devices}</devices><devices class=\"pci\"/>"));
    let shown: Vec<String> = fixture
        .qube("app")
        .devices
        .iter()
        .map(|device| {
            format!("{} {} {} {:?}", device.id, device.mode.as_str(), device.identity, device.options)
        })
        .collect();
    let expected =
        ["a required * []", "b auto-attach * []", "c required i [(\"ro\", \"yes\")]", "d ask-to-attach j []"];
    assert_eq!(shown, expected);
}

#[test]
fn a_store_can_be_read_back_whatever_was_set() {
    let fixture = Fixture::new();
    fixture.ok("admin.vm.property.Set+kernelopts", "test-vm1", "<&>\"'\n\ttail ");
    fixture.ok("admin.vm.property.Set+default_user", "test-vm1", "");
    fixture.ok("admin.vm.feature.Set+f", "test-vm1", "<&>\"' ");
    fixture.ok("admin.vm.property.Set+netvm", "test-vm1", "test-net");
    let exported = tool(&fixture, &["export"]).unwrap();
    let (copy, imported) = import_file(&exported);
    imported.unwrap();
    assert_eq!(tool(&copy, &["export"]).unwrap(), exported);
    let shown = copy.ok("admin.vm.property.Get+kernelopts", "test-vm1", "");
    assert_eq!(shown, "default=False type=str <&>\"'\n\ttail ");
}

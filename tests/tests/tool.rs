//! `qubes-admin` as an operator uses it.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::indexing_slicing, reason = "test code")]

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

use tests::tool::{command, error, install, on_terminal, text, tool};
use tests::{Fixture, companions, executables};

const GOLDEN: &str = include_str!("../conformance/initial.qubes.xml");

/// Puts a value into the store past all rules.
fn put(fixture: &Fixture, qube: &str, property: &str, value: &str) {
    let (store, name) = (fixture.store(), common::names::QubeName::parse(qube).unwrap());
    let value = common::model::Value::Text(value.to_owned());
    let mut txn = store.write().unwrap();
    txn.edit_qube(&name, |qube| drop(qube.properties.insert(property.to_owned(), value))).unwrap();
    txn.commit().unwrap();
}

/// A service that answers with fixed bytes, written as `printf` reads them.
fn install_answer(fixture: &Fixture, method: &str, answer: &str) {
    let file = fixture.path("/etc/qubes-rpc").join(method);
    executables::script(&file, &format!("#!/bin/sh\nprintf '{answer}'\n"));
}

fn import(fixture: &Fixture, xml: &str) -> Output {
    let file = fixture.path("/in.xml");
    std::fs::write(&file, xml).unwrap();
    tool(fixture, &["import", file.to_str().unwrap()])
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

#[test]
fn the_first_pool_is_one_whose_volumes_can_start() {
    for has_device_mapper in [false, true] {
        let fixture = Fixture::empty();
        if has_device_mapper {
            tests::pools::install_mapper(&fixture);
        }
        assert!(tool(&fixture, &["init"]).status.success());
        let shares_blocks = common::storage::supports_clone(&fixture.path("/var/lib/qubes"));
        let driver = if has_device_mapper && !shares_blocks { "file" } else { "file-reflink" };
        let pool = fixture.ok("admin.pool.Info+varlibqubes", "dom0", "");
        assert!(pool.lines().any(|line| line == format!("driver={driver}")), "{driver}: {pool}");
    }
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
        ("<qubes>\n<labels>".to_owned(), "in.xml: line 2: not well-formed: ends too early"),
        ("<qubes>\n\n<labels/>\n</domains>".to_owned(), "in.xml: line 4: not well-formed"),
        ("<a>".repeat(100_000), "line 1: not well-formed: nested too deeply"),
        (
            "<qubes>\n<labels>&#27;</labels></qubes>".to_owned(),
            "line 2: not well-formed: a character that XML does",
        ),
        ("<qubes>\n<labels>&lol;</labels></qubes>".to_owned(), "line 2: not well-formed"),
        (
            around("", &[template(""), "\n\n".to_owned(), appvm("tpl", 2, "")].concat()),
            "line 3: name, qid or uuid of tpl",
        ),
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
    std::fs::write(fixture.path("/run/qubes/admin/index"), format!("{:020} {:020}\n.\n", 1, 1)).unwrap();
    assert!(text(&tool(&fixture, &["check"])).contains("build it anew: qubes-admin check --repair"));
    assert!(tool(&fixture, &["check", "--repair"]).status.success());
    let whole = std::fs::read(state("qubes/test-vm1.json")).unwrap();
    std::fs::write(state("qubes/test-vm1.json"), &whole[..whole.len() / 2]).unwrap();
    let checked = tool(&fixture, &["check"]);
    assert!(text(&checked).contains("qubes/test-vm1.json is damaged; put the file back"));
    assert!(error(&checked).contains("2 problems"));
    std::fs::remove_file(state("qubes/test-template.json")).unwrap();
    assert!(text(&tool(&fixture, &["check"])).contains("template of test-net: no qube test-template"));
}

#[test]
fn check_follows_every_default_pool() {
    let fixture = Fixture::new();
    let pools =
        ["", "_kernel", "_private", "_root", "_volatile"].map(|volume| format!("default_pool{volume}"));
    let store = fixture.store();
    let mut txn = store.write().unwrap();
    let nowhere = common::model::Value::Text("gone".to_owned());
    let names = pools.iter().map(|pool| (pool.clone(), nowhere.clone()));
    txn.edit_system(|system| system.properties.extend(names)).unwrap();
    txn.commit().unwrap();
    let checked = text(&tool(&fixture, &["check"]));
    for pool in pools {
        assert!(
            checked.contains(&format!("{pool} of the system: no pool gone; set another value")),
            "{checked}"
        );
    }
}

#[test]
fn homes_without_a_qube_are_reported_but_never_that_of_a_damaged_one() {
    let fixture = Fixture::new();
    for home in ["appvms/test-vm1", "appvms/gone", "vm-templates/test-net"] {
        std::fs::create_dir_all(fixture.path("/var/lib/qubes").join(home)).unwrap();
    }
    std::fs::write(fixture.path("/var/lib/qubes/admin/qubes/test-vm1.json"), "").unwrap();
    let checked = text(&tool(&fixture, &["check", "--repair"]));
    assert!(checked.contains("appvms/gone belongs to no qube; remove it if"));
    assert!(checked.contains("vm-templates/test-net belongs to no qube"));
    assert!(!checked.contains("appvms/test-vm1 belongs"));
}

#[test]
fn a_damaged_object_is_never_left_out_in_silence() {
    let fixture = Fixture::new();
    std::fs::write(fixture.path("/var/lib/qubes/admin/qubes/test-vm1.json"), "").unwrap();
    assert!(!tool(&fixture, &["check", "--repair"]).status.success());
    for arguments in [&["show", "--all"][..], &["tree", "--net"], &["tree", "--templates", "--dot"]] {
        let shown = tool(&fixture, arguments);
        assert!(text(&shown).contains("test-net"));
        assert!(error(&shown).contains("qubes/test-vm1.json is damaged; see qubes-admin check"));
    }
    let file = fixture.path("/backup.xml");
    std::fs::write(&file, "older").unwrap();
    assert!(error(&tool(&fixture, &["export", file.to_str().unwrap()])).contains("is damaged"));
    assert_eq!(std::fs::read(&file).unwrap(), b"older");
    assert!(text(&tool(&fixture, &["status"])).contains("1 problem; qubes-admin check names it"));
}

#[test]
fn status_tells_versions_hypervisor_qubes_and_health() {
    let fixture = Fixture::new();
    install(&fixture);
    let status = text(&tool(&fixture, &["status"]));
    for line in [
        "version     0.1.0, store format 1",
        "hypervisor  simulated: processes stand in for domains",
        "companions  none; qubes start without QubesDB, qrexec, memory daemon",
        "qubes       4: 1 AdminVM, 2 AppVM, 1 TemplateVM",
        "running     0",
        "unfinished  nothing",
        "health      sound",
    ] {
        assert!(status.lines().any(|it| it == line), "{line}\n{status}");
    }
    companions::install(&fixture);
    let status = text(&tool(&fixture, &["status"]));
    assert!(status.contains("companions  QubesDB, qrexec; qubes start without memory daemon"), "{status}");
    // As a killed call leaves it: recorded, and not yet seen to be whole.
    std::fs::write(fixture.path("/run/qubes/admin/pending.json"), "").unwrap();
    assert!(
        text(&tool(&fixture, &["check"])).contains("a change waits to be finished; any call finishes it")
    );
}

#[test]
fn an_unfinished_change_is_told_and_finished() {
    let fixture = Fixture::new();
    std::fs::write(fixture.path("/run/qubes/admin/pending.json"), "").unwrap();
    assert!(
        text(&tool(&fixture, &["status"]))
            .contains("unfinished  a change was left behind and is finished now")
    );
    assert!(text(&tool(&fixture, &["status"])).contains("unfinished  nothing"));
}

#[test]
fn without_a_store_every_command_says_so() {
    let fixture = Fixture::empty();
    let elsewhere = fixture.path("/nowhere");
    for arguments in [&["status"][..], &["check"], &["export"], &["show", "--all"], &["tree", "--net"]] {
        let mut command = command(&fixture, arguments);
        let said = error(&command.arg("--root").arg(&elsewhere).output().unwrap());
        assert!(
            said.contains("there is no store; use qubes-admin init or qubes-admin import"),
            "{arguments:?}"
        );
    }
    assert!(!elsewhere.exists());
}

#[test]
fn the_root_of_the_environment_is_ignored_after_sudo_but_not_the_one_that_is_typed() {
    let fixture = Fixture::new();
    let mut tool = Command::new(executables::executable("qubes-admin"));
    tool.env_clear().env("QUBES_ADMIN_ROOT", fixture.path("/")).args(["show", "test-vm1"]);
    assert!(text(&tool.output().unwrap()).contains("test-template"));
    assert!(!text(&tool.env("SUDO_UID", "1000").output().unwrap()).contains("test-template"));
    let mut typed = command(&fixture, &["show", "test-vm1"]);
    assert!(text(&typed.env("SUDO_UID", "1000").output().unwrap()).contains("test-template"));
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
    for method in ["admin.nosuch", "..", "../../usr/bin/true", "", "+"] {
        assert!(error(&tool(&fixture, &["call", "dom0", method])).contains("no such method: "), "{method}");
    }
    let spaced = error(&tool(&fixture, &["call", "--as", "dom0 name x", "dom0", "admin.vm.List"]));
    assert!(spaced.contains("a space cannot be sent in this place"));
}

#[test]
fn json_is_refused_before_a_call_without_structure_is_made() {
    let fixture = Fixture::new();
    install(&fixture);
    assert!(
        error(&tool(&fixture, &["call", "--json", "test-vm1", "admin.vm.Remove"]))
            .contains("leave out --json")
    );
    assert!(tool(&fixture, &["call", "test-vm1", "admin.vm.tag.List"]).status.success());
}

#[test]
fn a_call_without_payload_waits_for_no_input() {
    let fixture = Fixture::new();
    install(&fixture);
    let mut command = command(&fixture, &["call", "dom0", "admin.vmclass.List"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    // Our end stays open for as long as the child runs.
    let open = child.stdin.take();
    assert!(child.wait().unwrap().success());
    drop(open);
}

#[test]
fn a_payload_comes_from_standard_input() {
    let fixture = Fixture::new();
    install(&fixture);
    std::fs::write(fixture.path("/payload"), "green").unwrap();
    let input = std::fs::File::open(fixture.path("/payload")).unwrap();
    let mut command = command(&fixture, &["call", "test-vm1", "admin.vm.property.Set+label"]);
    assert!(command.stdin(input).status().unwrap().success());
    assert_eq!(fixture.ok("admin.vm.property.Get+label", "test-vm1", ""), "default=False type=label green");
}

#[test]
fn tables_are_aligned_on_a_terminal_and_folded_where_it_is_narrow() {
    let fixture = Fixture::new();
    install(&fixture);
    let wide = on_terminal(&fixture, 100, &["call", "dom0", "admin.vm.List"]);
    let lines: Vec<&str> = wide.lines().collect();
    assert_eq!(lines[0], "NAME           CLASS       STATE    UUID");
    assert_eq!(lines[1], "dom0           AdminVM     Running  00000000-0000-0000-0000-000000000000");
    let narrow = on_terminal(&fixture, 50, &["call", "test-vm1", "admin.vm.property.GetAll"]);
    assert!(narrow.lines().all(|line| line.chars().count() <= 50), "{narrow}");
    assert!(narrow.contains("uuid                  False    str    00000000-000\n"));
    let single = on_terminal(&fixture, 80, &["call", "test-vm1", "admin.vm.property.Get+vcpus"]);
    assert_eq!(single, "value    2\ndefault  True\ntype     int\n");
}

#[test]
fn nothing_in_a_value_reaches_the_terminal_as_a_command() {
    let fixture = Fixture::new();
    install_answer(
        &fixture,
        "admin.vm.notes.Get",
        r"0\000a\tb\033[2J\ncaf\303\251 \302\233 \342\200\256\377",
    );
    let shown = on_terminal(&fixture, 80, &["call", "test-vm1", "admin.vm.notes.Get"]);
    assert_eq!(
        shown.replace("     ", "\t"),
        "a\tb\\u{1b}[2J\ncaf\u{e9} \\u{9b} \\u{202e}\u{fffd}\n".replace("     ", "\t")
    );
    let raw = tool(&fixture, &["call", "test-vm1", "admin.vm.notes.Get"]).stdout;
    assert!(raw.ends_with(b"\xff") && raw.contains(&0x1b));
    install_answer(&fixture, "admin.vm.tag.List", r"0\000a\033]0;x\007\n");
    assert_eq!(on_terminal(&fixture, 80, &["call", "test-vm1", "admin.vm.tag.List"]), "a\\u{1b}]0;x\\u{7}\n");
    let json = text(&tool(&fixture, &["call", "--json", "test-vm1", "admin.vm.tag.List"]));
    assert_eq!(json, "[\"a\\u001b]0;x\\u0007\"]\n");
    install_answer(&fixture, "admin.vm.List", r"2\000Bad\033[1m\000\000no\nnews\000");
    assert!(
        error(&tool(&fixture, &["call", "dom0", "admin.vm.List"])).contains("Bad\\u{1b}[1m: no\\nnews\n")
    );
}

#[test]
fn hidden_characters_of_stored_values_are_written_out() {
    let fixture = Fixture::new();
    put(&fixture, "test-vm1", "default_user", "us\u{202e}er\nroot\u{7f}");
    let shown = text(&tool(&fixture, &["show", "test-vm1", "--changed"]));
    assert!(shown.contains("us\\u{202e}er\\nroot\\u{7f}  (default: user)"), "{shown}");
}

#[test]
fn answers_that_are_none_are_told() {
    let fixture = Fixture::new();
    install_answer(&fixture, "admin.vm.Start", "");
    assert!(
        error(&tool(&fixture, &["call", "test-vm1", "admin.vm.Start"])).contains("dropped without an answer")
    );
    install_answer(&fixture, "admin.vm.Start", "hello");
    assert!(error(&tool(&fixture, &["call", "test-vm1", "admin.vm.Start"])).contains("none of the protocol"));
}

#[test]
fn events_are_printed_as_they_come_until_the_reader_leaves() {
    let fixture = Fixture::new();
    let events =
        r"1\000\000connection-established\000\0001\000work\000property-set:label\000newvalue\000red\000\000";
    install_answer(&fixture, "admin.Events", events);
    let json = text(&tool(&fixture, &["call", "--json", "dom0", "admin.Events"]));
    let second = "{\"event\":\"property-set:label\",\"newvalue\":\"red\",\"subject\":\"work\"}";
    assert_eq!(json.lines().nth(1), Some(second));
    let shown = on_terminal(&fixture, 80, &["call", "dom0", "admin.Events"]);
    assert!(shown.ends_with("work property-set:label newvalue=red\n"));
    // A stream that never ends by itself.
    let file = fixture.path("/etc/qubes-rpc/admin.Events");
    let endless = format!("#!/bin/sh\nwhile :; do printf '{events}'; done\n");
    executables::script(&file, &endless);
    let mut command = command(&fixture, &["call", "--json", "dom0", "admin.Events"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.contains("connection-established"));
    assert!(child.wait().unwrap().success());
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let fixture = Fixture::new();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = command(&fixture, &["export"]).stdout(full).output().unwrap();
    assert!(error(&output).contains("writing the output: No space left on device"));
}

#[test]
fn show_and_tree_tell_what_is_set_and_how_it_hangs_together() {
    let fixture = Fixture::new();
    fixture.ok("admin.vm.property.Set+netvm", "test-vm1", "test-net");
    fixture.ok("admin.vm.property.Set+vcpus", "test-vm1", "2");
    let shown = text(&tool(&fixture, &["show", "test-vm1", "--changed"]));
    assert!(shown.contains("netvm         set  test-net  (default: None)"), "{shown}");
    assert!(shown.contains("vcpus         set  2  (also the default)") && !shown.contains("memory"));
    let all = text(&tool(&fixture, &["show", "--all"]));
    assert!(
        all.starts_with("the system\n")
            && all.contains("default_template")
            && all.contains("\ntest-net (AppVM)\n")
    );
    assert!(text(&tool(&fixture, &["tree", "--net"])).contains("test-net\n└─ test-vm1\n"));
    let dot = text(&tool(&fixture, &["tree", "--templates", "--dot"]));
    assert!(dot.contains("  \"test-template\" -> \"test-vm1\";\n"));
    assert_eq!(tool(&fixture, &["tree"]).status.code(), Some(2));
    assert!(error(&tool(&fixture, &["show", "nobody"])).contains("no such qube: nobody"));
}

#[test]
fn trees_of_stores_that_make_no_sense_show_every_qube() {
    let fixture = Fixture::new();
    for (qube, netvm) in [("test-net", "test-vm1"), ("test-vm1", "test-net"), ("test-template", "gone")] {
        put(&fixture, qube, "netvm", netvm);
    }
    let drawn = text(&tool(&fixture, &["tree", "--net"]));
    assert_eq!(
        drawn,
        "dom0\ngone (missing)\n└─ test-template\ntest-net\n└─ test-vm1\n   └─ test-net (again: a circle)\n"
    );
}

/// What bash offers for the last of the words.
fn completed(fixture: &Fixture, words: &[&str]) -> Vec<String> {
    let tool = executables::executable("qubes-admin");
    let script = "source <(qubes-admin completions bash); COMP_WORDS=(qubes-admin \"$@\"); COMP_CWORD=$#; \
        _clap_complete_qubes_admin qubes-admin \"${COMP_WORDS[COMP_CWORD]}\" ''; printf '%s\\n' \"${COMPREPLY[@]}\"";
    let mut bash = Command::new("bash");
    bash.args(["-c", script, "bash"]).args(words).env_clear();
    bash.env("PATH", format!("{}:/usr/bin:/bin", tool.parent().unwrap().display()));
    bash.env("QUBES_ADMIN_ROOT", fixture.path("/"));
    let output = bash.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    text(&output).lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_qubes_methods_and_properties() {
    let fixture = Fixture::new();
    assert_eq!(completed(&fixture, &["ex"]), ["export", "explain"]);
    assert_eq!(completed(&fixture, &["call", "test-v"]), ["test-vm1"]);
    assert_eq!(completed(&fixture, &["call", "--as", "test-n"]), ["test-net"]);
    assert_eq!(completed(&fixture, &["show", "test-t"]), ["test-template"]);
    assert_eq!(completed(&fixture, &["call", "dom0", "admin.vmc"]), ["admin.vmclass.List"]);
    let property = completed(&fixture, &["call", "test-vm1", "admin.vm.property.Get+net"]);
    assert_eq!(property, ["admin.vm.property.Get+netvm"]);
    let global = completed(&fixture, &["call", "dom0", "admin.property.Get+default_p"]);
    assert!(global.contains(&"admin.property.Get+default_pool".to_owned()));
    assert_eq!(completed(&fixture, &["call", "dom0", "admin.label.Get+r"]), ["admin.label.Get+red"]);
    assert_eq!(completed(&fixture, &["tree", "--n"]), ["--net"]);
    let elsewhere = Fixture::empty();
    let root = elsewhere.path("/");
    assert_eq!(completed(&fixture, &["--root", root.to_str().unwrap(), "show", "test"]), [""]);
}

#[test]
fn other_shells_get_scripts_and_man_a_page() {
    let fixture = Fixture::empty();
    assert!(text(&tool(&fixture, &["completions", "zsh"])).starts_with("#compdef qubes-admin"));
    assert!(text(&tool(&fixture, &["completions", "fish"])).contains("complete --keep-order"));
    let page = text(&tool(&fixture, &["man"]));
    for section in
        [".TH qubes-admin 1", ".SH COMMANDS", ".SH ENVIRONMENT", ".SH \"EXIT STATUS\"", ".SH EXAMPLES"]
    {
        assert!(page.contains(section), "{section}");
    }
    for command in ["init", "import", "export", "status", "check", "show", "tree", "call"] {
        assert!(page.contains(&format!(".SS \"qubes-admin {command}")), "{command}");
    }
}

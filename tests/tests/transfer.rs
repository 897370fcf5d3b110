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

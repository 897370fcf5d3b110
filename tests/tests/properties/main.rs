//! Properties on the wire: what is listed, read, refused, stored and announced (spec 10 §3, appendix D).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "test code"
)]

use tests::Fixture;

mod announcing;
mod defaults;
mod network;
mod reading;
mod refusing;
mod running;
mod setting;
mod system_wide;
mod templates;

/// The fixture with a qube of every class, a second template and a template of disposables.
fn world() -> Fixture {
    let fixture = Fixture::new();
    for (call, payload) in [
        ("admin.vm.Create.TemplateVM", "name=test-other label=black"),
        ("admin.vm.Create.AppVM+test-template", "name=test-dvm label=red"),
        ("admin.vm.Create.StandaloneVM", "name=test-alone label=red"),
        ("admin.vm.Create.RemoteVM", "name=test-far label=red"),
    ] {
        fixture.ok(call, "dom0", payload);
    }
    set(&fixture, "test-dvm", "template_for_dispvms", "True");
    fixture.ok("admin.vm.Create.DispVM+test-dvm", "dom0", "name=test-disp label=red");
    fixture
}

/// The holder that stands for the global properties.
const SYSTEM: &str = "";

/// Calls a property call on a qube or on the system.
fn call(fixture: &Fixture, verb: &str, holder: &str, property: &str, payload: &[u8]) -> Vec<u8> {
    let (family, destination) =
        if holder == SYSTEM { ("admin.property", "dom0") } else { ("admin.vm.property", holder) };
    fixture.call(&format!("{family}.{verb}+{property}"), destination, payload)
}

/// The content of an OK reply.
fn content(reply: &[u8]) -> String {
    let content = reply.strip_prefix(b"0\0").unwrap_or_else(|| panic!("{}", tests::fixture::readable(reply)));
    String::from_utf8(content.to_vec()).unwrap()
}

fn get(fixture: &Fixture, holder: &str, property: &str) -> String {
    content(&call(fixture, "Get", holder, property, b""))
}

fn set(fixture: &Fixture, holder: &str, property: &str, value: &str) {
    assert_eq!(content(&call(fixture, "Set", holder, property, value.as_bytes())), "", "{holder} {property}");
}

fn reset(fixture: &Fixture, holder: &str, property: &str) {
    assert_eq!(content(&call(fixture, "Reset", holder, property, b"")), "", "{holder} {property}");
}

fn feature(fixture: &Fixture, qube: &str, name: &str, value: &str) {
    fixture.ok(&format!("admin.vm.feature.Set+{name}"), qube, value);
}

/// `Class: text` of a refusal that changes nothing.
fn refused(fixture: &Fixture, verb: &str, holder: &str, property: &str, payload: &[u8]) -> String {
    let before = fixture.stored();
    let text = tests::fixture::refusal(&call(fixture, verb, holder, property, payload));
    assert!(fixture.stored() == before, "a refused {verb} of {property} changed the store");
    text
}

/// Assigns a PCI device of dom0 as the store keeps it.
fn assign_pci(fixture: &Fixture, qube: &str) {
    let text = str::to_owned;
    fixture.edit(qube, |qube| {
        qube.devices.push(common::model::Device {
            class: text("pci"),
            backend: text("dom0"),
            id: text("00_14.0"),
            mode: common::names::Mode::Required,
            identity: text("*"),
            options: Vec::new(),
        });
    });
}

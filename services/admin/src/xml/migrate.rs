//! What older files say in other words (spec 10 §7.4, second table).

use std::collections::BTreeMap;

use common::log;
use common::model::{Class, Qube, System, Value};
use common::root::Root;
use services::device::bus;

use super::complete::Places;

/// Brings one qube's old properties and features to today's names.
pub(super) fn qube(qube: &mut Qube) {
    if let Some(hvm) = qube.properties.remove("hvm") {
        let mode = if hvm.is_true() { "hvm" } else { "pv" };
        qube.properties.insert("virt_mode".to_owned(), Value::Text(mode.to_owned()));
    }
    if qube.class == Class::AppVM
        && let Some(allowed) = qube.properties.remove("dispvm_allowed")
    {
        qube.properties.insert("template_for_dispvms".to_owned(), allowed);
    }
    let balancing = qube.feature("service.meminfo-writer").map(str::to_owned);
    if let Some(value) = balancing.filter(|_| qube.class.is_qubes_vm()) {
        qube.remove_feature("service.meminfo-writer");
        if value.is_empty() {
            qube.properties.insert("maxmem".to_owned(), Value::Int(0));
        }
    }
}

/// Whether a class had a switch of that name, which is read and then replaced by [`qube`].
pub(super) fn is_old_property(class: Class, name: &str) -> bool {
    match name {
        "hvm" => class.is_qubes_vm(),
        "dispvm_allowed" => class == Class::AppVM,
        _ => false,
    }
}

/// The qube with its PCI devices named by their path, where they are there and were named by bus and slot.
pub(super) fn pci_devices(root: &Root, mut qube: Qube) -> Qube {
    for device in qube.devices.iter_mut().filter(|device| device.class == "pci") {
        if let Some(port) = bus::port_of(root, &device.id) {
            device.id = port;
        }
    }
    qube
}

/// Replaces the default netvm that provider qubes once had of their own.
pub(super) fn provider_netvm(system: &System, old: Option<&str>, qubes: &mut [Qube]) {
    let current = system.properties.get("default_netvm").and_then(Value::as_text).unwrap_or_default();
    let Some(old) = old.filter(|old| *old != current) else { return };
    let exists = old.is_empty() || qubes.iter().any(|qube| qube.name.as_str() == old);
    if !exists {
        return;
    }
    let value = if old.is_empty() { Value::None } else { Value::Text(old.to_owned()) };
    let providers = qubes.iter_mut().filter(|qube| {
        qube.properties.get("provides_network").is_some_and(Value::is_true)
            && !qube.properties.contains_key("netvm")
    });
    for qube in providers {
        qube.properties.insert("netvm".to_owned(), value.clone());
    }
}

/// Breaks circles of netvms, whose qubes could reach nothing: the first of each, in the order of lists, gets none.
pub(super) fn loops_of_netvms(system: &System, qubes: &mut [Qube]) {
    let default = system.properties.get("default_netvm").and_then(Value::as_text);
    let follows_default = |qube: &Qube| qube.class.is_qubes_vm() && qube.class != Class::TemplateVM;
    let netvm = |qube: &Qube| match qube.properties.get("netvm") {
        Some(value) => value.as_text().map(str::to_owned),
        None => default.filter(|_| follows_default(qube)).map(str::to_owned),
    };
    let mut netvms: BTreeMap<String, String> =
        qubes.iter().filter_map(|qube| Some((qube.name.as_str().to_owned(), netvm(qube)?))).collect();
    let names: Vec<String> = netvms.keys().cloned().collect();
    for name in &names {
        if !is_in_circle(name, &netvms) {
            continue;
        }
        netvms.remove(name);
        log::line(&format!("{name} is connected to itself through its netvm; it gets none"));
        for qube in qubes.iter_mut().filter(|qube| qube.name.as_str() == name) {
            qube.properties.insert("netvm".to_owned(), Value::None);
        }
    }
}

/// Whether a qube is among those it reaches along netvms.
fn is_in_circle(name: &str, netvms: &BTreeMap<String, String>) -> bool {
    let along = std::iter::successors(netvms.get(name), |here| netvms.get(*here));
    along.take(netvms.len()).any(|here| here == name)
}

/// Explicitly unsets templates of disposables that may not serve as such.
pub(super) fn disposable_templates(system: &mut System, qubes: &mut [Qube], places: &Places) {
    let serving: Vec<String> = qubes
        .iter()
        .filter(|qube| qube.properties.get("template_for_dispvms").is_some_and(Value::is_true))
        .map(|qube| qube.name.as_str().to_owned())
        .collect();
    let of_qubes = qubes.iter_mut().map(|qube| (Some(&qube.name), &mut qube.properties));
    for (holder, properties) in std::iter::once((None, &mut system.properties)).chain(of_qubes) {
        for name in ["default_dispvm", "management_dispvm"] {
            if let Some(value @ Value::Text(_)) = properties.get_mut(name)
                && !serving.contains(&value.to_text())
                && !places.is_kept(holder, name)
            {
                *value = Value::None;
            }
        }
    }
}

//! What a running qube finds in its QubesDB (spec 40 §3.4): a table, and a function from the stored state to entries.

use std::path::Path;

use common::failure::Failure;
use common::files;
use common::model::{Class, Qube, Value};
use common::names::QubeName;
use common::qubesdb::Entry;
use sha2::{Digest, Sha256};

use super::{base64, clients};
use crate::property::Case;

type Found = Result<Option<String>, Failure>;
type When = fn(&Case<'_>) -> Result<bool, Failure>;

/// One key, when there is such an entry, and its value; without a value there is none either.
struct Row(&'static str, When, fn(&Case<'_>) -> Found);

const ROWS: &[Row] = &[
    Row("/name", always, |case| property(case, "name")),
    Row("/type", always, |case| property(case, "klass")),
    Row("/default-user", always, default_user),
    Row("/qubes-vm-updateable", always, |case| property(case, "updateable")),
    Row("/qubes-vm-persistence", always, persistence),
    Row("/qubes-debug-mode", always, |case| digit(case.is_on("debug"))),
    Row("/qubes-base-template", always, base_template),
    Row("/qubes-netvm-network", provides_network, |case| property(case, "gateway")),
    Row("/qubes-netvm-gateway", provides_network, |case| property(case, "gateway")),
    Row("/qubes-netvm-gateway6", provides_network, |case| property(case, "gateway6")),
    Row("/qubes-netvm-netmask", provides_network, |_| text("255.255.255.255")),
    Row("/qubes-netvm-primary-dns", provides_network, |case| dns(case, 0)),
    Row("/qubes-netvm-secondary-dns", provides_network, |case| dns(case, 1)),
    Row("/qubes-mac", has_netvm, |case| property(case, "mac")),
    Row("/qubes-ip", has_netvm, |case| property(case, "visible_ip")),
    Row("/qubes-netmask", has_netvm, |case| property(case, "visible_netmask")),
    Row("/qubes-gateway", has_netvm, |case| property(case, "visible_gateway")),
    Row("/qubes-primary-dns", has_netvm, |case| dns(case, 0)),
    Row("/qubes-secondary-dns", has_netvm, |case| dns(case, 1)),
    Row("/qubes-ip6", has_netvm, |case| property(case, "visible_ip6")),
    Row("/qubes-gateway6", has_netvm, |case| property(case, "visible_gateway6")),
    Row("/qubes-timezone", has_own_timezone, |case| Ok(timezone(case))),
    Row("/qubes-block-devices", always, |_| text("")),
    Row("/qubes-usb-devices", always, |_| text("")),
    Row("/qubes-service/meminfo-writer", always, |case| digit(case.number("maxmem").map(|size| size > 0))),
    Row("/qubes-service/qubes-update-check", always, |case| own_switch(case, "check-updates")),
    Row("/qubes-service/qubes-dvm", always, |case| own_switch(case, "dvm")),
    Row("/qubes-service/yum-proxy-setup", always, |case| own_switch(case, "updates-proxy-setup")),
    Row("/qubes-gui-videoram-overhead", always, |case| feature_or_dom0s(case, "gui-videoram-overhead")),
    Row("/qubes-gui-videoram-min", always, |case| feature_or_dom0s(case, "gui-videoram-min")),
    Row("/qubes-gui-enabled", always, |case| Ok(Some(truth(case.named_by("guivm")?.is_some())))),
    Row("/keyboard-layout", has_other_guivm, |case| property(case, "keyboard_layout")),
    Row("/qubes-gui-domain-xid", has_other_guivm, |case| number_of(case, "guivm")),
    Row("/guivm-windows-prefix", is_guivm, windows_prefix),
    Row("/qubes-audio-domain-xid", has_other_audiovm, |case| number_of(case, "audiovm")),
    Row("/qubes-vm-type", always, vm_type),
    Row("/qubes-iptables-error", always, |_| text("")),
    Row("/connected-ips", provides_network, |case| clients::addresses(case, "visible_ip")),
    Row("/connected-ips6", provides_network, |case| clients::addresses(case, "visible_ip6")),
];

/// All entries of a qube's database but the random seed, in the order in which they are written. Those that the state
/// has none of are told as such, so that a database which is written anew keeps nothing old.
///
/// # Errors
/// What the store says.
pub fn of(case: &Case<'_>, qube: &Qube) -> Result<Vec<Entry>, Failure> {
    let mut entries = Vec::new();
    for Row(key, when, value) in ROWS {
        let value = if when(case)? { value(case)? } else { None };
        entries.push(Entry { key: (*key).to_owned(), value });
    }
    entries.extend(qube.features.iter().flat_map(|(name, value)| of_feature(name.as_str(), value.as_str())));
    entries.extend(clients::of_provider(case, qube)?);
    entries.extend(relayed(case, qube)?);
    Ok(entries)
}

/// Qubes on other hosts that are reached through this one, and their names there.
fn relayed(case: &Case<'_>, qube: &Qube) -> Result<Vec<Entry>, Failure> {
    let index = case.view.index()?;
    let mut entries = Vec::new();
    for entry in index.entries().iter().filter(|entry| entry.class() == Class::RemoteVM) {
        let Some(remote) = case.view.qube_named(entry.name())? else { continue };
        let there = case.at(&remote);
        if there.named_by("relayvm")?.is_some_and(|relay| relay.name == qube.name) {
            let name = Some(there.text("remote_name")?).filter(|name| !name.is_empty());
            entries.push(Entry::new(
                format!("/remote/{}", remote.name),
                name.unwrap_or(remote.name.to_string()),
            ));
        }
    }
    Ok(entries)
}

/// The entries that follow from one of a qube's own features.
fn of_feature(name: &str, value: &str) -> Vec<Entry> {
    const LONGEST_SERVICE: usize = 48;
    let mut entries = Vec::new();
    if let Some(key) = name.strip_prefix("vm-config.") {
        entries.push(Entry::new(format!("/vm-config/{key}"), value));
    }
    if let Some(key) = name.strip_prefix("custom-persist.") {
        entries.push(Entry::new(format!("/persist/{key}"), value));
    }
    let Some(service) = name.strip_prefix("service.") else { return entries };
    if service.len() <= LONGEST_SERVICE {
        entries.push(Entry::new(format!("/qubes-service/{service}"), one_or_zero(!value.is_empty())));
    }
    if let Some(app) = service.strip_prefix("app-dispvm.") {
        let hash = base64::url_safe(&Sha256::digest(app));
        entries.push(Entry::new(format!("/hash-app-dispvm/{hash}"), app));
    }
    entries
}

fn always(_: &Case<'_>) -> Result<bool, Failure> {
    Ok(true)
}

fn provides_network(case: &Case<'_>) -> Result<bool, Failure> {
    case.is_on("provides_network")
}

fn has_netvm(case: &Case<'_>) -> Result<bool, Failure> {
    Ok(case.named_by("netvm")?.is_some())
}

fn has_own_timezone(case: &Case<'_>) -> Result<bool, Failure> {
    Ok(!case.has_feature("anon-timezone")?)
}

fn has_other_guivm(case: &Case<'_>) -> Result<bool, Failure> {
    Ok(other(case, "guivm")?.is_some())
}

fn has_other_audiovm(case: &Case<'_>) -> Result<bool, Failure> {
    Ok(other(case, "audiovm")?.is_some())
}

fn is_guivm(case: &Case<'_>) -> Result<bool, Failure> {
    Ok(case.qube.and_then(|qube| qube.feature("service.guivm")).is_some_and(|value| !value.is_empty()))
}

/// The qube that a property names, if that is not the holder itself.
fn other(case: &Case<'_>, property: &str) -> Result<Option<std::rc::Rc<Qube>>, Failure> {
    let own = case.qube.map(|qube| &qube.name);
    Ok(case.named_by(property)?.filter(|found| Some(&found.name) != own))
}

fn text(text: &str) -> Found {
    Ok(Some(text.to_owned()))
}

fn truth(is_so: bool) -> String {
    Value::Bool(is_so).to_text()
}

fn one_or_zero(is_one: bool) -> &'static str {
    if is_one { "1" } else { "0" }
}

fn digit(switch: Result<bool, Failure>) -> Found {
    text(one_or_zero(switch?))
}

/// A property's text; nothing for one that is none.
fn property(case: &Case<'_>, name: &str) -> Found {
    Ok(case.value(name)?.filter(|value| *value != Value::None).map(|value| value.to_text()))
}

fn dns(case: &Case<'_>, place: usize) -> Found {
    Ok(case.text("dns")?.split(' ').nth(place).map(str::to_owned))
}

/// The active boot mode's user, if that has one.
pub(super) fn default_user(case: &Case<'_>) -> Found {
    match case.feature(&format!("boot-mode.default-user.{}", case.text("bootmode")?))? {
        Some(user) => Ok(Some(user)),
        None => property(case, "default_user"),
    }
}

fn persistence(case: &Case<'_>) -> Found {
    text(match case.qube.map(|qube| qube.class) {
        Some(Class::DispVM) => "none",
        _ if case.is_on("updateable")? => "full",
        _ => "rw-only",
    })
}

fn base_template(case: &Case<'_>) -> Found {
    Ok(Some(case.template()?.map(|template| template.name.to_string()).unwrap_or_default()))
}

/// The name of dom0's time zone, as far as the link that sets it tells.
fn timezone(case: &Case<'_>) -> Option<String> {
    let zone = files::link_target(&case.context.root.path("/etc/localtime")).ok()?;
    let name = zone.to_str()?.split_once("/zoneinfo/")?.1;
    Path::new(name).file_name().map(|_| name.to_owned())
}

/// One of the qube's own features as a service, if it is set at all.
fn own_switch(case: &Case<'_>, feature: &str) -> Found {
    let value = case.qube.and_then(|qube| qube.feature(feature));
    Ok(value.map(|value| one_or_zero(!value.is_empty()).to_owned()))
}

/// A feature of the qube, its templates, else of dom0.
fn feature_or_dom0s(case: &Case<'_>, name: &str) -> Found {
    if let Some(value) = case.feature(name)? {
        return Ok(Some(value));
    }
    let dom0 = case.view.qube(&QubeName::dom0())?;
    Ok(dom0.and_then(|dom0| dom0.feature(name).map(str::to_owned)))
}

/// The number of the running domain of the qube that a property names.
fn number_of(case: &Case<'_>, property: &str) -> Found {
    let Some(named) = case.named_by(property)? else { return Ok(None) };
    if named.name.is_dom0() {
        return text("0");
    }
    Ok(case.context.hypervisor.domain(&named.name).map(|domain| domain.domid.0.to_string()))
}

fn windows_prefix(case: &Case<'_>) -> Found {
    text(case.qube.and_then(|qube| qube.feature("guivm-windows-prefix")).unwrap_or("GuiVM"))
}

fn vm_type(case: &Case<'_>) -> Found {
    text(match (case.qube.map(|qube| qube.class), provides_network(case)?, has_netvm(case)?) {
        (Some(Class::TemplateVM), ..) => "TemplateVM",
        (_, true, true) => "ProxyVM",
        (_, true, false) => "NetVM",
        (_, false, _) => "AppVM",
    })
}

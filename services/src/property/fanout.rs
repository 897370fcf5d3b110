//! What follows from a changed property: events on others, tags, features, volumes (spec 10 appendix D).

use common::call::World;
use common::event::Event;
use common::failure::Failure;
use common::model::{Class, Qube, Value};
use common::names::{QubeName, TagName};
use common::store::{Entry, Txn};

use super::change::Step;
use super::check::clients;
use super::row::Case;
use super::{attachment, effective};
use crate::{feature, tag};

type Done = Result<(), Failure>;

/// Properties whose change on a template resets them on the qubes based on it (spec 10 §3.5 note 1).
const FOLLOW_TEMPLATE: [&str; 9] = [
    "default_user",
    "kernel",
    "kernelopts",
    "vcpus",
    "memory",
    "maxmem",
    "qrexec_timeout",
    "shutdown_timeout",
    "management_dispvm",
];

const CLOCKSYNC: &str = "service.clocksync";

/// What happens at the pre-event of Set.
pub(super) fn before_set(txn: &mut Txn<'_>, step: &Step<'_>) -> Done {
    match (step.holder, step.property) {
        (Some(holder), "netvm") => {
            attachment::prepare(txn, step.context, holder, &step.new, step.old.as_ref())
        }
        (None, "clockvm") => give_clock(txn, step),
        (None, "default_netvm") => announce_default_netvm(txn, step),
        _ => Ok(()),
    }
}

/// What happens once the value is stored.
pub(super) fn after_set(txn: &mut Txn<'_>, step: &Step<'_>) -> Done {
    let Some(holder) = step.holder else { return after_global(txn, step) };
    let is_qubes_vm = step.class.is_some_and(Class::is_qubes_vm);
    match step.property {
        "label" | "template_for_dispvms" if is_qubes_vm => announce_reset(txn, holder, "icon"),
        "provides_network" => {
            follow_provider(txn, step, holder)?;
            if step.changes() {
                announce_resets(txn, holder, &["gateway", "gateway6"]);
            }
        }
        "netvm" => attachment::announce(txn, step.context, holder, &step.new)?,
        "template" => point_volumes_to_template(txn, holder)?,
        property if FOLLOW_TEMPLATE.contains(&property) => {
            if step.class == Some(Class::TemplateVM) && step.changes() {
                reset_on_based(txn, holder, property, property);
            }
        }
        "appvm_default_bootmode" if step.changes() => {
            reset_on_based(txn, holder, "bootmode", "bootmode");
        }
        _ => return after_any(txn, step, holder),
    }
    Ok(())
}

/// What happens inside Reset, between its two pre-events.
pub(super) fn inside_reset(txn: &mut Txn<'_>, step: &Step<'_>) -> Done {
    match (step.holder, step.property) {
        (Some(holder), "netvm") if step.changes() => {
            txn.event(Step::event_on(Some(holder), "pre-set", "netvm").with_change(step));
            attachment::prepare(txn, step.context, holder, &step.new, step.old.as_ref())
        }
        (None, "default_netvm") => announce_default_netvm(txn, step),
        _ => Ok(()),
    }
}

/// What happens once the explicit value is gone.
pub(super) fn after_reset(txn: &mut Txn<'_>, step: &Step<'_>) -> Done {
    let Some(holder) = step.holder else { return after_global(txn, step) };
    match step.property {
        "provides_network" => follow_provider(txn, step, holder),
        "netvm" if step.changes() => {
            attachment::announce(txn, step.context, holder, &step.new)?;
            txn.event(Step::event_on(Some(holder), "set", "netvm").with_change(step));
            Ok(())
        }
        "appvm_default_bootmode" => {
            reset_on_based(txn, holder, "bootmode", "bootmode");
            Ok(())
        }
        _ => after_any(txn, step, holder),
    }
}

/// What follows Set and Reset of a qube's property alike.
fn after_any(txn: &mut Txn<'_>, step: &Step<'_>, holder: &QubeName) -> Done {
    match step.property {
        "ip" if step.changes() => {
            follow_address(txn, step, holder, ["gateway", "visible_ip", "visible_gateway"])
        }
        "ip6" if step.changes() => {
            follow_address(txn, step, holder, ["gateway6", "visible_ip6", "visible_gateway6"])
        }
        "guivm" => follow_with_tag(txn, holder, "guivm-", &step.new, Rewrite::WhenWrong),
        "audiovm" => follow_with_tag(txn, holder, "audiovm-", &step.new, Rewrite::Always),
        "relayvm" => follow_with_tag(txn, holder, "relayvm-", &step.new, Rewrite::Always),
        "keyboard_layout" if step.changes() => reset_layouts(txn, step, holder),
        _ => Ok(()),
    }
}

fn after_global(txn: &mut Txn<'_>, step: &Step<'_>) -> Done {
    match step.property {
        "clockvm" => take_clock(txn, step),
        "default_dispvm" => reset_default_dispvm(txn, step),
        "default_guivm" => follow_default(txn, step, "guivm", Rewrite::WhenWrong),
        "default_audiovm" => follow_default(txn, step, "audiovm", Rewrite::Always),
        "default_netvm" => follow_default_netvm(txn, step),
        _ => Ok(()),
    }
}

/// What follows a committed change outside the store: dom0 may be, or have been, the clock qube.
pub(super) fn after_commit(world: &World<'_>, property: &str) {
    if property == "clockvm" {
        feature::follow_service(world, CLOCKSYNC);
    }
}

/// Adds new and old value of a step to an event.
trait WithChange {
    fn with_change(self, step: &Step<'_>) -> Self;
}

impl WithChange for Event {
    fn with_change(self, step: &Step<'_>) -> Self {
        self.with("newvalue", step.new.to_event_text()).with_some("oldvalue", step.old_text())
    }
}

fn announce_reset(txn: &mut Txn<'_>, qube: &QubeName, property: &str) {
    txn.event(Step::event_on(Some(qube), "reset", property));
}

fn announce_resets(txn: &mut Txn<'_>, qube: &QubeName, properties: &[&str]) {
    for property in properties {
        announce_reset(txn, qube, property);
    }
}

/// Names of the qubes whose index entries suit, in the order of lists.
fn names(txn: &Txn<'_>, suits: impl Fn(&Entry) -> bool) -> Vec<QubeName> {
    let Ok(index) = txn.listed() else { return Vec::new() };
    let suitable = index.entries().iter().filter(|entry| suits(entry));
    suitable.filter_map(|entry| QubeName::parse(entry.name()).ok()).collect()
}

/// Qubes of the QubesVM family whose property is default.
fn followers(txn: &Txn<'_>, property: &str) -> Vec<QubeName> {
    names(txn, |entry| entry.class().is_qubes_vm() && entry.reference(property).is_none())
}

/// Resets a property on the qubes directly based on a template that do not set it themselves.
fn reset_on_based(txn: &mut Txn<'_>, template: &QubeName, explicit: &str, reset: &str) {
    let based = names(txn, |entry| entry.reference("template") == Some(template.as_str()));
    for name in based {
        let is_default = txn
            .qube(&name)
            .is_ok_and(|qube| qube.is_some_and(|qube| !qube.properties.contains_key(explicit)));
        if is_default {
            announce_reset(txn, &name, reset);
        }
    }
}

/// A network provider is a service qube: the feature and the icon follow.
fn follow_provider(txn: &mut Txn<'_>, step: &Step<'_>, holder: &QubeName) -> Done {
    if step.new.is_true() {
        feature::store(txn, holder, "servicevm", "1")?;
        announce_reset(txn, holder, "icon");
    } else if txn.qube(holder)?.is_some_and(|qube| qube.feature("servicevm").is_some()) {
        feature::delete(txn, holder, "servicevm")?;
        announce_reset(txn, holder, "icon");
    }
    Ok(())
}

/// A new address is a new gateway for others: own gateway if a provider, the visible address, the clients' gateways.
fn follow_address(txn: &mut Txn<'_>, step: &Step<'_>, holder: &QubeName, names: [&str; 3]) -> Done {
    let [gateway, visible, clients_gateway] = names;
    let Some(qube) = txn.qube(holder)? else { return Ok(()) };
    if qube.properties.get("provides_network").is_some_and(Value::is_true) {
        announce_reset(txn, holder, gateway);
    }
    announce_reset(txn, holder, visible);
    let connected = clients(&Case { view: txn, context: *step.context, qube: Some(&qube) }, &qube)?;
    for client in connected.iter().filter_map(|client| QubeName::parse(client).ok()) {
        announce_reset(txn, &client, clients_gateway);
    }
    Ok(())
}

/// When the tags that mirror a property are written again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rewrite {
    /// Only if they are wrong.
    WhenWrong,
    /// Always, also if that changes nothing.
    Always,
}

/// Keeps the tags `<prefix><qube>` in step with a property's value.
fn follow_with_tag(
    txn: &mut Txn<'_>,
    holder: &QubeName,
    prefix: &str,
    value: &Value,
    rewrite: Rewrite,
) -> Done {
    let Some(qube) = txn.qube(holder)? else { return Ok(()) };
    let right = value.as_text().map(|target| TagName::parse(&format!("{prefix}{target}"))).transpose()?;
    let mirrors = qube.tags.iter().filter(|tag| tag.as_str().starts_with(prefix));
    let stale: Vec<TagName> =
        mirrors.filter(|tag| rewrite == Rewrite::Always || right.as_ref() != Some(tag)).cloned().collect();
    for tag in &stale {
        tag::delete(txn, holder, tag)?;
    }
    if let Some(right) = right {
        tag::add(txn, holder, &right)?;
    }
    Ok(())
}

/// The layout of a GUI qube is the default of those it shows.
fn reset_layouts(txn: &mut Txn<'_>, step: &Step<'_>, holder: &QubeName) -> Done {
    let (hypervisor, root) = (step.context.hypervisor, step.context.root);
    for name in names(txn, |entry| entry.class().is_qubes_vm() && entry.name() != holder.as_str()) {
        let Some(qube) = txn.qube(&name)? else { continue };
        if qube.properties.contains_key("keyboard_layout") {
            continue;
        }
        let guivm = effective(txn, hypervisor, root, &qube, "guivm")?;
        if guivm.as_ref().and_then(Value::as_text) == Some(holder.as_str()) {
            let event = Step::event_on(Some(&name), "reset", "keyboard_layout");
            txn.event(event.with_some("oldvalue", step.old_text()));
        }
    }
    Ok(())
}

/// Snapshot volumes take source, pool and size from the new template, on the qube and on its disposables.
fn point_volumes_to_template(txn: &mut Txn<'_>, holder: &QubeName) -> Done {
    let mut waiting = vec![holder.clone()];
    while let Some(name) = waiting.pop() {
        let Some(template) = template_of(txn, &name)? else { continue };
        txn.edit_qube(&name, |qube| point_volumes(qube, &template))?;
        waiting.extend(names(txn, |entry| {
            entry.class() == Class::DispVM && entry.reference("template") == Some(name.as_str())
        }));
    }
    Ok(())
}

fn template_of(txn: &Txn<'_>, name: &QubeName) -> Result<Option<std::rc::Rc<Qube>>, Failure> {
    let qube = txn.qube(name)?;
    let template = qube.as_ref().and_then(|qube| qube.properties.get("template")).and_then(Value::as_text);
    Ok(template.map_or(Ok(None), |template| txn.qube_named(template))?)
}

fn point_volumes(qube: &mut Qube, template: &Qube) {
    for volume in qube.volumes.iter_mut().filter(|volume| volume.snap_on_start) {
        if let Some(origin) = template.volume(&volume.name) {
            volume.source = Some(origin.source.clone().unwrap_or_else(|| origin.vid.clone()));
            volume.pool = origin.pool.clone();
            volume.size = origin.size;
        }
    }
}

/// The new clock qube gets the service, unless it has said something about it.
fn give_clock(txn: &mut Txn<'_>, step: &Step<'_>) -> Done {
    let Some(name) = step.new.as_text() else { return Ok(()) };
    match txn.qube_named(name)? {
        Some(qube) if qube.feature(CLOCKSYNC).is_none() => feature::store(txn, &qube.name, CLOCKSYNC, "1"),
        _ => Ok(()),
    }
}

/// The old clock qube loses it.
fn take_clock(txn: &mut Txn<'_>, step: &Step<'_>) -> Done {
    let old = step.old.as_ref().and_then(Value::as_text).filter(|_| step.changes());
    match old.map_or(Ok(None), |name| txn.qube_named(name))? {
        Some(qube) if qube.feature(CLOCKSYNC).is_some_and(|value| !value.is_empty()) => {
            feature::delete(txn, &qube.name, CLOCKSYNC)
        }
        _ => Ok(()),
    }
}

fn reset_default_dispvm(txn: &mut Txn<'_>, step: &Step<'_>) -> Done {
    for name in names(txn, |entry| entry.class().is_local() && entry.reference("default_dispvm").is_none()) {
        let event = Step::event_on(Some(&name), "reset", "default_dispvm");
        txn.event(event.with_some("oldvalue", step.old_text()));
    }
    Ok(())
}

/// Qubes that follow the default GUI or audio qube get their tags right and announce the new value.
fn follow_default(txn: &mut Txn<'_>, step: &Step<'_>, property: &str, rewrite: Rewrite) -> Done {
    for name in followers(txn, property) {
        follow_with_tag(txn, &name, &format!("{property}-"), &step.new, rewrite)?;
        txn.event(Step::event_on(Some(&name), "set", property).with_change(step));
    }
    Ok(())
}

fn announce_default_netvm(txn: &mut Txn<'_>, step: &Step<'_>) -> Done {
    for name in followers(txn, "netvm") {
        txn.event(Step::event_on(Some(&name), "pre-set", "netvm").with_change(step));
        if step.changes() && !is_template(txn, &name)? {
            attachment::prepare(txn, step.context, &name, &step.new, step.old.as_ref())?;
        }
    }
    Ok(())
}

/// Templates have no network by default, so their value is none whatever the system's.
fn follow_default_netvm(txn: &mut Txn<'_>, step: &Step<'_>) -> Done {
    for name in followers(txn, "netvm") {
        let value = if is_template(txn, &name)? { Value::None } else { step.new.clone() };
        if Some(&value) != step.old.as_ref() {
            attachment::announce(txn, step.context, &name, &value)?;
            let event = Step::event_on(Some(&name), "set", "netvm").with("newvalue", value.to_event_text());
            txn.event(event.with_some("oldvalue", step.old_text()));
        }
        let event = Step::event_on(Some(&name), "reset", "netvm");
        txn.event(event.with_some("oldvalue", step.old_text()));
    }
    Ok(())
}

fn is_template(txn: &Txn<'_>, name: &QubeName) -> Result<bool, Failure> {
    Ok(txn.listed()?.entry(name.as_str()).is_some_and(|entry| entry.class() == Class::TemplateVM))
}

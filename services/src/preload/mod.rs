//! Disposables made in advance: started, paused and kept in their template's list until somebody asks (spec 10 §2.7).
//!
//! What is wished for are features of the template and dom0; what is there are the list and two features of each
//! disposable. [`keep_up`] brings the one in step with the other, whatever was killed half-way before. Calls that change
//! the wish, and those that take a disposable, leave that to a process of its own ([`background`]).

mod background;
mod calls;
mod hand_out;
mod keep;
mod outdated;
mod refresh;
mod wish;

use std::time::Duration;

use common::event::Event;
use common::failure::{Exception, Failure};
use common::model::{Class, Qube, Value};
use common::names::QubeName;
use common::root::Root;
use common::store::{Store, Txn, View};

use crate::feature;
use crate::property::Case;

pub use background::{FAMILY, run_now, start};
pub use calls::{MAKE, hand_out};
use keep::keep_up;
pub use keep::{put_all_away, remove as put_away};
pub use refresh::refresh;
pub use wish::changed as wish_changed;

/// The template's list: names with spaces between them.
const LIST: &str = "preload-dispvm";
/// How many there shall be.
pub const MAX: &str = "preload-dispvm-max";
/// How long after one was taken the next is made, seconds.
const DELAY: &str = "preload-dispvm-delay";
/// Memory that is left alone, MiB.
const THRESHOLD: &str = "preload-dispvm-threshold";
/// On a disposable from before its start until it is handed out; empty once it is complete.
const IN_PROGRESS: &str = "preload-dispvm-in-progress";
const COMPLETED: &str = "preload-dispvm-completed";
const INTERNAL: &str = "internal";

/// The services by which a disposable tells that it is complete.
const SERVICES: [&str; 2] = ["qubes.WaitForRunningSystem", "qubes.WaitForSession"];

/// Whether disposables of a class's qubes are made in advance.
pub const fn is_for(class: Class) -> bool {
    matches!(class, Class::AppVM | Class::StandaloneVM)
}

/// The names in a template's list, whatever they stand for.
pub fn listed(template: &Qube) -> impl Iterator<Item = &str> {
    template.feature(LIST).unwrap_or_default().split_ascii_whitespace()
}

/// The event that begins a making in advance.
pub fn start_event(template: &QubeName, reason: &str) -> Event {
    Event::on(template, "domain-preload-dispvm-start").with("reason", reason)
}

/// How many there shall be of a template: dom0's number counts for the global `default_dispvm`.
fn maximum(view: &View<'_>, template: &Qube) -> Result<usize, Failure> {
    let dom0 = view.qube(&QubeName::dom0())?;
    let global = dom0.as_ref().and_then(|dom0| dom0.feature(MAX));
    let number = match global {
        Some(global) if is_default(view, template)? => global,
        _ => template.feature(MAX).unwrap_or_default(),
    };
    Ok(number.parse().unwrap_or_default())
}

/// Whether any shall be made of a qube.
fn is_wished(view: &View<'_>, template: &Qube) -> Result<bool, Failure> {
    Ok(is_for(template.class) && maximum(view, template)? > 0)
}

/// The qubes of which some shall be made.
///
/// # Errors
/// What the store says.
pub fn wished(view: &View<'_>) -> Result<Vec<QubeName>, Failure> {
    let mut wished = Vec::new();
    for entry in view.listed()?.entries().iter().filter(|entry| is_for(entry.class())) {
        if let Some(qube) = view.qube_named(entry.name())?
            && is_wished(view, &qube)?
        {
            wished.push(qube.name.clone());
        }
    }
    Ok(wished)
}

fn is_default(view: &View<'_>, template: &Qube) -> Result<bool, Failure> {
    let system = view.system()?;
    let default = system.properties.get("default_dispvm").and_then(Value::as_text);
    Ok(default == Some(template.name.as_str()))
}

/// Whether there is room for one more in the list.
pub fn has_room(view: &View<'_>, template: &Qube) -> Result<bool, Failure> {
    Ok(is_for(template.class) && listed(template).count() < maximum(view, template)?)
}

/// Lets a template's list be filled without us, after the delay that is set: negative is not while others are left.
/// What cannot be read now is left to the next who looks.
pub fn fill_gap(store: &Store, root: &Root, template: &QubeName) {
    let delay = store.read().map_err(Failure::from).and_then(|view| {
        let Some(template) = view.qube(template)? else { return Ok(None) };
        let delay = delay(&view, &template)?;
        let is_wanted = !delay.starts_with('-') || listed(&template).next().is_none();
        Ok(is_wanted.then(|| duration(&delay)))
    });
    if let Ok(Some(delay)) = delay {
        start(root, template, delay);
    }
}

/// Seconds until one that was taken is replaced, as they were set.
fn delay(view: &View<'_>, template: &Qube) -> Result<String, Failure> {
    const USUAL: &str = "3";
    let dom0 = view.qube(&QubeName::dom0())?;
    let value = template.feature(DELAY).or_else(|| dom0.as_ref().and_then(|dom0| dom0.feature(DELAY)));
    Ok(value.unwrap_or(USUAL).to_owned())
}

/// Seconds with a fraction, to the millisecond; nothing for what is no such number. Numbers in other forms may be set, but
/// nobody does, and to read them takes more code than all of this.
fn duration(seconds: &str) -> Duration {
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
    let thousandths: String = fraction.chars().chain("000".chars()).take(3).collect();
    let [whole, thousandths] = [whole, &thousandths].map(|digits| digits.parse::<u32>().unwrap_or_default());
    Duration::from_secs(whole.into()).saturating_add(Duration::from_millis(thousandths.into()))
}

/// The services for which neither a qube nor its templates have the feature that tells of them.
///
/// # Errors
/// Those of the look-up.
pub fn missing_services(
    has_feature: impl Fn(&str) -> Result<bool, Failure>,
) -> Result<Vec<&'static str>, Failure> {
    let mut missing = Vec::new();
    for service in SERVICES {
        if !has_feature(&format!("supported-rpc.{service}"))? {
            missing.push(service);
        }
    }
    Ok(missing)
}

/// Refuses where a qube lacks a service.
fn require_services(case: &Case<'_>) -> Result<(), Failure> {
    let missing = missing_services(|feature| case.has_feature(feature))?;
    if missing.is_empty() {
        return Ok(());
    }
    let text = format!(
        "Qube does not support the RPC(s) '{}' but tried to preload, check if template is outdated",
        missing.join(", ")
    );
    Err(Failure::new(Exception::QubesValueError, text))
}

/// Takes a name out of its template's list, with the events of the feature; tells whether it stood there.
///
/// # Errors
/// What the store says.
pub fn unlist(txn: &mut Txn<'_>, disposable: &Qube) -> Result<bool, Failure> {
    let template = disposable.properties.get("template").and_then(Value::as_text);
    let Some(template) = template.map_or(Ok(None), |name| txn.qube_named(name))? else { return Ok(false) };
    let name = disposable.name.as_str();
    let others: Vec<&str> = listed(&template).filter(|listed| *listed != name).collect();
    if others.len() == listed(&template).count() {
        return Ok(false);
    }
    feature::store(txn, &template.name, LIST, &others.join(" "))?;
    Ok(true)
}

/// Puts a new disposable into its template's list and marks it.
///
/// # Errors
/// What the store says.
pub fn enlist(txn: &mut Txn<'_>, name: &QubeName, template: &Qube) -> Result<(), Failure> {
    feature::store(txn, name, IN_PROGRESS, "1")?;
    let names: Vec<&str> = listed(template).chain([name.as_str()]).collect();
    feature::store(txn, &template.name, LIST, &names.join(" "))?;
    feature::store(txn, name, INTERNAL, "1")
}

/// Whether a disposable was made in advance and is not handed out yet.
pub fn is_waiting(template: &Qube, disposable: &Qube) -> bool {
    listed(template).any(|name| name == disposable.name.as_str()) || disposable.feature(IN_PROGRESS).is_some()
}

/// Changes the state by one transaction, and tells what `change` tells. One function for all changes.
///
/// # Errors
/// What `change` refuses with, or what the store says.
pub fn change(
    store: &Store,
    change: &mut dyn FnMut(&mut Txn<'_>) -> Result<bool, Failure>,
) -> Result<bool, Failure> {
    let mut txn = store.write()?;
    let outcome = change(&mut txn)?;
    txn.commit()?;
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn delays_have_thousandths() {
        for (text, milliseconds) in
            [("3", 3000), ("0", 0), ("", 0), ("3.14", 3140), ("0.0009", 0), ("-1", 0), ("nan", 0)]
        {
            assert_eq!(duration(text).as_millis(), milliseconds, "{text}");
        }
    }
}

//! `qubes-admin show`: properties, features and tags; with `--changed` only what differs from the defaults.

use std::collections::BTreeMap;
use std::rc::Rc;

use clap::{ArgGroup, Args};
use common::failure::Failure;
use common::hypervisor::Published;
use common::model::{Qube, Value};
use common::names::QubeName;
use common::root::Root;
use common::store::{Remedy, Store, View};
use services::property::{self, Case, Context, Row};

use super::out::{self, Stop};
use super::{complete, table};

/// What to show.
#[derive(Args)]
#[command(group = ArgGroup::new("what").required(true))]
pub(super) struct Show {
    /// The qube.
    #[arg(group = "what", add = complete::qubes())]
    qube: Option<String>,
    /// The system and all qubes.
    #[arg(long, group = "what")]
    all: bool,
    /// Only what is set explicitly, with the default it replaces.
    #[arg(long)]
    changed: bool,
}

/// Prints one qube, or the system and all of them.
pub(super) fn run(show: &Show, root: &Root) -> Result<(), Stop> {
    let store = Store::at(root);
    let view = store.read()?;
    let hypervisor = Published::at(root);
    let system = Case { view: &view, context: Context { hypervisor: &hypervisor, root }, qube: None };
    if let Some(name) = &show.qube {
        let name = QubeName::parse(name).map_err(|broken| broken.message.to_owned())?;
        let qube = view.qube(&name)?.ok_or_else(|| format!("no such qube: {name}"))?;
        return print_qube(&system, &qube, show.changed);
    }
    out::line("the system")?;
    let set = &view.system()?.properties;
    table::print(&properties(&system, property::global_rows().iter(), set, show.changed)?)?;
    for qube in readable_qubes(&view)? {
        out::line("")?;
        print_qube(&system, &qube, show.changed)?;
    }
    refuse_damaged(&store)
}

/// The qubes whose objects can be read, in the order of lists.
pub(super) fn readable_qubes(view: &View<'_>) -> Result<Vec<Rc<Qube>>, Stop> {
    let names = view.names()?;
    Ok(names.iter().filter_map(|name| view.qube(name).ok().flatten()).collect())
}

/// Fails if there are objects that cannot be read, which whoever shows everything must not keep silent about.
pub(super) fn refuse_damaged(store: &Store) -> Result<(), Stop> {
    let problems = store.check()?;
    let damaged = problems.iter().find(|problem| problem.remedy == Remedy::Restore);
    damaged.map_or(Ok(()), |problem| Err(format!("{}; see qubes-admin check", problem.text).into()))
}

fn print_qube(system: &Case<'_>, qube: &Qube, changed: bool) -> Result<(), Stop> {
    out::line(&format!("{} ({})", qube.name, qube.class.as_str()))?;
    let case = Case { qube: Some(qube), ..*system };
    let mut rows = properties(&case, property::rows_of(qube.class), &qube.properties, changed)?;
    let line = |name: &str, origin: &str, value: &str| {
        [format!("  {name}"), origin.to_owned(), value.to_owned()].to_vec()
    };
    rows.extend(qube.features.iter().map(|(name, value)| line(name.as_str(), "feature", value.as_str())));
    rows.extend(qube.tags.iter().map(|tag| line(tag.as_str(), "tag", "")));
    table::print(&rows)
}

fn properties(
    case: &Case<'_>,
    rows: impl Iterator<Item = &'static Row>,
    set: &BTreeMap<String, Value>,
    changed: bool,
) -> Result<Vec<Vec<String>>, Failure> {
    let mut lines = Vec::new();
    for row in rows {
        let default = (row.default)(case)?;
        let (origin, text) = match set.get(row.name) {
            Some(value) => ("set", beside_default(value, default.as_ref())),
            None if changed => continue,
            None => ("default", default.as_ref().map(Value::to_text).unwrap_or_default()),
        };
        lines.push(vec![format!("  {}", row.name), origin.to_owned(), text]);
    }
    Ok(lines)
}

/// A set value, and the default it replaces if there is one.
fn beside_default(value: &Value, default: Option<&Value>) -> String {
    let text = value.to_event_text();
    match default {
        Some(default) if default == value => format!("{text}  (also the default)"),
        Some(default) => format!("{text}  (default: {})", default.to_event_text()),
        None => text,
    }
}

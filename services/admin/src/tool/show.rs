//! `qubes-admin show`: a qube's properties, features and tags; with `--changed` only what differs from the defaults.

use clap::Args;
use common::hypervisor::Simulated;
use common::model::{Qube, Value};
use common::names::QubeName;
use common::root::Root;
use common::store::{Store, View};
use services::property;

use super::{out, table, told};

/// What to show.
#[derive(Args)]
pub(super) struct Show {
    /// The qube.
    #[arg(required_unless_present = "all")]
    qube: Option<String>,
    /// All qubes.
    #[arg(long, conflicts_with = "qube")]
    all: bool,
    /// Only what is set explicitly.
    #[arg(long)]
    changed: bool,
}

/// Prints one qube or all of them.
pub(super) fn run(show: &Show, root: &Root) -> Result<(), String> {
    let store = Store::at(root);
    let view = store.read().map_err(|error| error.to_string())?;
    let names = match &show.qube {
        Some(name) => vec![QubeName::parse(name).map_err(|broken| broken.message.to_owned())?],
        None => view.names().map_err(|error| error.to_string())?,
    };
    for (number, name) in names.iter().enumerate() {
        let qube = view.qube(name).map_err(|error| error.to_string())?;
        let qube = qube.ok_or_else(|| format!("no such qube: {name}"))?;
        if number > 0 {
            out::line("");
        }
        out::line(&format!("{name} ({})", qube.class.as_str()));
        table::print(&rows(&view, root, &qube, show.changed)?);
    }
    Ok(())
}

fn rows(view: &View<'_>, root: &Root, qube: &Qube, changed: bool) -> Result<Vec<Vec<String>>, String> {
    let hypervisor = Simulated::at(root);
    let mut rows = Vec::new();
    for row in property::rows_of(qube.class) {
        let explicit = qube.properties.contains_key(row.name);
        if changed && !explicit {
            continue;
        }
        let value = property::effective(view, &hypervisor, root, qube, row.name).map_err(told)?;
        let origin = if explicit { "set" } else { "default" };
        let text = value.as_ref().map(Value::to_text).unwrap_or_default();
        rows.push(vec![format!("  {}", row.name), origin.to_owned(), text]);
    }
    rows.extend(
        qube.features
            .iter()
            .map(|(name, value)| vec![format!("  {name}"), "feature".to_owned(), value.as_str().to_owned()]),
    );
    rows.extend(qube.tags.iter().map(|tag| vec![format!("  {tag}"), "tag".to_owned(), String::new()]));
    Ok(rows)
}

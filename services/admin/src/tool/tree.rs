//! `qubes-admin tree`: who is connected to whom, or based on whom.

use std::collections::BTreeMap;

use clap::Args;
use common::hypervisor::Simulated;
use common::model::Value;
use common::root::Root;
use common::store::Store;
use services::property;

use super::{out, told};

/// Which tree to draw.
#[derive(Args)]
pub(super) struct Tree {
    /// Along the network.
    #[arg(long, required_unless_present = "templates")]
    net: bool,
    /// Along templates.
    #[arg(long, conflicts_with = "net")]
    templates: bool,
    /// As input for graphviz.
    #[arg(long)]
    dot: bool,
}

/// Children by parent; roots stand under the empty name.
type Children = BTreeMap<String, Vec<String>>;

/// Draws the tree.
pub(super) fn run(tree: &Tree, root: &Root) -> Result<(), String> {
    let children = children(root, if tree.net { "netvm" } else { "template" })?;
    if tree.dot {
        dot(&children)
    } else {
        draw(&children, "", "")
    }
    Ok(())
}

fn children(root: &Root, property: &str) -> Result<Children, String> {
    let store = Store::at(root);
    let view = store.read().map_err(|error| error.to_string())?;
    let hypervisor = Simulated::at(root);
    let mut children = Children::new();
    for name in view.names().map_err(|error| error.to_string())? {
        let Some(qube) = view.qube(&name).map_err(|error| error.to_string())? else { continue };
        let value = property::effective(&view, &hypervisor, root, &qube, property).map_err(told)?;
        let parent = value.as_ref().and_then(Value::as_text).unwrap_or_default().to_owned();
        children.entry(parent).or_default().push(name.as_str().to_owned());
    }
    Ok(children)
}

fn draw(children: &Children, parent: &str, indent: &str) {
    let Some(names) = children.get(parent) else { return };
    for (number, name) in names.iter().enumerate() {
        let is_last = number.saturating_add(1) == names.len();
        let (branch, below) = match (parent.is_empty(), is_last) {
            (true, _) => ("", ""),
            (false, true) => ("└─ ", "   "),
            (false, false) => ("├─ ", "│  "),
        };
        out::line(&format!("{indent}{branch}{name}"));
        draw(children, name, &format!("{indent}{below}"));
    }
}

fn dot(children: &Children) {
    out::line("digraph qubes {");
    for (parent, names) in children {
        for name in names {
            match parent.is_empty() {
                true => out::line(&format!("  \"{name}\";")),
                false => out::line(&format!("  \"{parent}\" -> \"{name}\";")),
            }
        }
    }
    out::line("}");
}

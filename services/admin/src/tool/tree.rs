//! `qubes-admin tree`: who is connected to whom, or based on whom.

use std::collections::{BTreeMap, BTreeSet};

use clap::{ArgGroup, Args};
use common::hypervisor::Published;
use common::model::Value;
use common::root::Root;
use common::store::{Store, View};
use services::property;

use super::out::{self, Stop};
use super::show::{readable_qubes, refuse_damaged};

/// Which tree to draw.
#[derive(Args)]
#[command(group = ArgGroup::new("along").required(true))]
pub(super) struct Tree {
    /// Along the network.
    #[arg(long, group = "along")]
    net: bool,
    /// Along templates.
    #[arg(long, group = "along")]
    templates: bool,
    /// As input for graphviz.
    #[arg(long)]
    dot: bool,
}

/// Draws the tree.
pub(super) fn run(tree: &Tree, root: &Root) -> Result<(), Stop> {
    let store = Store::at(root);
    let forest = Forest::of(&store.read()?, root, if tree.net { "netvm" } else { "template" })?;
    if tree.dot { forest.print_dot() } else { forest.print() }?;
    refuse_damaged(&store)
}

/// Every qube under the one it names; a damaged or older store may name nobody, or go round in a circle.
#[derive(Default)]
struct Forest {
    names: BTreeSet<String>,
    children: BTreeMap<String, Vec<String>>,
    roots: Vec<String>,
}

impl Forest {
    fn of(view: &View<'_>, root: &Root, property: &str) -> Result<Self, Stop> {
        let hypervisor = Published::at(root);
        let mut forest = Self::default();
        for qube in readable_qubes(view)? {
            let name = qube.name.to_string();
            let parent = property::effective(view, &hypervisor, root, &qube, property)?;
            forest.names.insert(name.clone());
            match parent.as_ref().and_then(Value::as_text) {
                Some(parent) => forest.children.entry(parent.to_owned()).or_default().push(name),
                None => forest.roots.push(name),
            }
        }
        Ok(forest)
    }

    fn print(&self) -> Result<(), Stop> {
        let mut drawn = BTreeSet::new();
        for name in &self.roots {
            self.draw(name, "", "", &mut drawn)?;
        }
        for missing in self.children.keys().filter(|parent| !self.names.contains(*parent)) {
            out::line(&format!("{missing} (missing)"))?;
            self.draw_children(missing, "", &mut drawn)?;
        }
        for name in &self.names {
            if !drawn.contains(name) {
                self.draw(name, "", "", &mut drawn)?;
            }
        }
        Ok(())
    }

    /// Draws a qube behind `branch` and all below it behind `indent`; a circle ends where it closes.
    fn draw(&self, name: &str, branch: &str, indent: &str, drawn: &mut BTreeSet<String>) -> Result<(), Stop> {
        if !drawn.insert(name.to_owned()) {
            return out::line(&format!("{branch}{name} (again: a circle)"));
        }
        out::line(&format!("{branch}{name}"))?;
        self.draw_children(name, indent, drawn)
    }

    fn draw_children(&self, parent: &str, indent: &str, drawn: &mut BTreeSet<String>) -> Result<(), Stop> {
        let children = self.children.get(parent).map(Vec::as_slice).unwrap_or_default();
        let Some((last, others)) = children.split_last() else { return Ok(()) };
        for child in others {
            self.draw(child, &format!("{indent}├─ "), &format!("{indent}│  "), drawn)?;
        }
        self.draw(last, &format!("{indent}└─ "), &format!("{indent}   "), drawn)
    }

    fn print_dot(&self) -> Result<(), Stop> {
        out::line("digraph qubes {")?;
        for name in &self.names {
            out::line(&format!("  \"{name}\";"))?;
        }
        for (parent, child) in
            self.children.iter().flat_map(|(parent, names)| names.iter().map(move |it| (parent, it)))
        {
            out::line(&format!("  \"{parent}\" -> \"{child}\";"))?;
        }
        out::line("}")
    }
}

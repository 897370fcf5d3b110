//! `qubes-admin history` and `undo`: changes of the configuration, and how one is taken back.

mod files;
mod item;
mod stored;
mod undo;

use clap::Args;
use common::clock;
use common::root::Root;
use common::store::Store;
use serde_json::{Value, json};

use super::out::{self, Stop};
use super::{complete, table};
use item::Item;
pub(super) use undo::{Undo, rules_calls, undo, wish};

/// Which changes are told of.
#[derive(Args)]
pub(super) struct History {
    /// Only changes of this qube; dom0 stands for itself and for what concerns the whole system.
    #[arg(value_name = "QUBE", add = complete::qubes())]
    qube: Option<String>,
    /// Print each change as one line of JSON.
    #[arg(long)]
    json: bool,
}

/// What was done at once.
struct Change {
    /// What people name it by.
    id: String,
    /// Seconds since 1970.
    time: u64,
    caller: String,
    method: String,
    items: Vec<Item>,
}

/// Prints the changes that are still known, the newest last.
pub(super) fn run(history: &History, root: &Root) -> Result<(), Stop> {
    let mut changes = changes(root)?;
    for change in &mut changes {
        change.items.retain(|item| history.qube.as_ref().is_none_or(|asked| asked == item.destination()));
    }
    changes.retain(|change| !change.items.is_empty());
    if history.json {
        return changes.iter().try_for_each(|change| out::json(&change.to_json()));
    }
    table::print(&changes.iter().flat_map(Change::rows).collect::<Vec<_>>())
}

/// All known changes, oldest first, then what nobody knows the time of.
fn changes(root: &Root) -> Result<Vec<Change>, Stop> {
    let store = Store::at(root);
    let (mut changes, gone) = stored::changes(&store)?;
    for change in files::changes(root, &store)? {
        // Those of the store keep their order, whatever was done to the clock.
        let later = changes.iter().position(|known| known.time > change.time).unwrap_or(changes.len());
        changes.insert(later, change);
    }
    changes.push(gone);
    Ok(changes)
}

impl Change {
    fn rows(&self) -> Vec<Vec<String>> {
        let known = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        let time = if self.time == 0 { String::new() } else { clock::local(self.time) };
        let who = [&self.id, &time, &self.caller, &self.method].map(|text| known(text));
        let row = |item: &Item| who.iter().cloned().chain([item.in_words()]).collect();
        self.items.iter().map(row).collect()
    }

    fn to_json(&self) -> Value {
        let Self { id, time, caller, method, items } = self;
        let id = id.parse::<u64>().map_or_else(|_| json!(id), |number| json!(number));
        let items: Vec<Value> = items.iter().map(Item::to_json).collect();
        json!({"id": id, "time": time, "caller": caller, "method": method, "changes": items})
    }
}

//! `qubes-admin policy test`.

use std::path::PathBuf;

use clap::Args;
use common::files;
use common::hypervisor::Published;
use common::policy::IndexedSystem;
use common::root::Root;
use common::store::Store;

use super::super::out::{self, Stop};
use super::declared::Declared;
use super::files::{Proposed, unreadable};
use super::table::Table;

/// What is tested.
#[derive(Args)]
pub(super) struct Test {
    /// The table of expectations.
    #[arg(value_hint = clap::ValueHint::FilePath)]
    table: PathBuf,
    #[command(flatten)]
    proposed: Proposed,
}

/// Prints each decision that is not as expected.
pub(super) fn run(test: &Test, root: &Root) -> Result<(), Stop> {
    let bytes = files::read(&test.table).map_err(|error| unreadable(&test.table, &error))?;
    let name = test.table.display();
    let table = Table::parse(&String::from_utf8_lossy(&bytes)).map_err(|text| format!("{name}:{text}"))?;
    let policy = test.proposed.load(root)?;
    let (store, hypervisor) = (Store::at(root), Published::at(root));
    let differing = if table.has_qubes() {
        table.differing(&policy, &Declared::new())
    } else {
        table.differing(&policy, &IndexedSystem::of(&store.read()?, &hypervisor)?)
    };
    for (line, text) in &differing {
        out::line(&format!("{name}:{line}: {text}"))?;
    }
    match (differing.len(), table.len()) {
        (_, 0) => Err(format!("{name} expects nothing").into()),
        (0, all) => out::line(&format!("{all} decisions as expected")),
        (failed, all) => Err(format!("{failed} of {all} decisions not as expected").into()),
    }
}

//! `qubes-admin status`: what is there, and whether it is well.

use common::files;
use common::hypervisor::{Hypervisor, Kind, Published};
use common::model::Class;
use common::names::QubeName;
use common::root::Root;
use common::store::{FORMAT, Index, Problem, Store};
use services::companion;

use super::out::Stop;
use super::{rows, table};

/// Prints one line each about versions, root, hypervisor, store, calls and health.
pub(super) fn run(root: &Root) -> Result<(), Stop> {
    let store = Store::at(root);
    // Looked at before reading, which finishes a change that was left behind.
    let problems = store.check()?;
    let view = store.read()?;
    let index = view.listed()?;
    let lines = [
        ("version", format!("{}, store format {FORMAT}", env!("CARGO_PKG_VERSION"))),
        ("root", root.path("/").display().to_string()),
        ("hypervisor", hypervisor(root)),
        ("companions", companions(root)),
        ("qubes", qubes(&index)),
        ("running", running(root, &index)),
        ("store", format!("{}, generation {}", store.state_directory().display(), index.generation)),
        ("unfinished", unfinished(&problems)),
        ("health", health(&problems)),
        ("calls", calls(root)),
    ];
    table::print(&lines.map(|(name, value)| vec![name.to_owned(), value]))
}

fn hypervisor(root: &Root) -> String {
    match Published::at(root).kind() {
        Kind::Simulated => "simulated: processes stand in for domains".to_owned(),
        Kind::Libxl => "libxl: domains of Xen".to_owned(),
    }
}

/// What of other packages goes with running qubes, and what they start without.
fn companions(root: &Root) -> String {
    let (there, missing): (Vec<_>, Vec<_>) =
        companion::PARTS.into_iter().partition(|(_, path)| files::exists(&root.path(path)));
    let named = |parts: Vec<(&str, &str)>| parts.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    match (there.is_empty(), missing.is_empty()) {
        (_, true) => named(there),
        (true, _) => format!("none; qubes start without {}", named(missing)),
        _ => format!("{}; qubes start without {}", named(there), named(missing)),
    }
}

/// How many there are, in all and of each class that has any.
fn qubes(index: &Index) -> String {
    let of = |class: Class| index.entries().iter().filter(|entry| entry.class() == class).count();
    let counted = Class::ALL.map(|class| (class, of(class)));
    let some = counted.iter().filter(|(_, count)| *count > 0);
    let classes: Vec<String> = some.map(|(class, count)| format!("{count} {}", class.as_str())).collect();
    format!("{}: {}", index.entries().len(), classes.join(", "))
}

fn running(root: &Root, index: &Index) -> String {
    let hypervisor = Published::at(root);
    let names = index.entries().iter().filter_map(|entry| QubeName::parse(entry.name()).ok());
    names.filter(|name| hypervisor.domain(name).is_some()).count().to_string()
}

fn unfinished(problems: &[Problem]) -> String {
    let found = problems.iter().any(Problem::is_unfinished_change);
    if found { "a change was left behind and is finished now" } else { "nothing" }.to_owned()
}

fn health(problems: &[Problem]) -> String {
    match problems.iter().filter(|problem| !problem.is_unfinished_change()).count() {
        0 => "sound".to_owned(),
        1 => "1 problem; qubes-admin check names it".to_owned(),
        count => format!("{count} problems; qubes-admin check names them"),
    }
}

/// How many calls are there to be started.
fn calls(root: &Root) -> String {
    let rpc = root.path("/etc/qubes-rpc");
    let installed = rows().filter(|row| rpc.join(row.name).is_file()).count();
    format!("{installed} of {} installed in {}", rows().count(), rpc.display())
}

//! Completion of words in the shell: the shell asks this very tool, which looks at the store and at what is served.

use std::ffi::OsStr;
use std::path::PathBuf;

use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::{EnvCompleter, Shells};
use common::environment;
use common::root::Root;
use common::store::Store;
use services::property;

use super::out::{self, Stop};
use super::{backup, rows};

/// Set by the completion scripts when they ask.
pub(super) const VARIABLE: &str = "QUBES_ADMIN_COMPLETE";

/// Prints a shell's script, which asks the tool found by its name.
pub(super) fn print_script(shell: &str) -> Result<(), Stop> {
    let shells = Shells::builtins();
    let completer: &dyn EnvCompleter =
        shells.completer(shell).ok_or_else(|| format!("no completions for {shell}"))?;
    let mut script = Vec::new();
    let name = "qubes-admin";
    completer
        .write_registration(VARIABLE, name, name, name, &mut script)
        .map_err(|error| error.to_string())?;
    out::bytes(&script)
}

/// Completes the name of a qube.
pub(super) fn qubes() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| starting(current, qube_names()))
}

/// Completes the name of a volume that can be filled.
pub(super) fn volumes() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| starting(current, words(&["private", "root"])))
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Completes the profile of a backup.
pub(super) fn profiles() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| starting(current, backup::profiles(&root())))
}

/// Completes a method and, behind its plus sign, the name of a property, label, pool or volume.
pub(super) fn methods() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let typed = current.to_string_lossy();
        match typed.split_once('+') {
            Some((method, _)) => starting(current, arguments(method)),
            None => starting(current, rows().map(|row| row.name.to_owned()).collect()),
        }
    })
}

fn starting(current: &OsStr, words: Vec<String>) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    words.into_iter().filter(|word| word.starts_with(&*current)).map(CompletionCandidate::new).collect()
}

/// The root of the command line being completed: its `--root`, else the environment's.
fn root() -> Root {
    let words = environment::arguments();
    let given =
        words.iter().rposition(|word| word == "--root").and_then(|place| words.get(place.saturating_add(1)));
    given.map_or_else(Root::from_environment, |path| Root::at(PathBuf::from(path)))
}

/// No store, no names: a shell that completes is no place for errors.
fn qube_names() -> Vec<String> {
    let store = Store::at(&root());
    let names = store.read().and_then(|view| view.names()).unwrap_or_default();
    names.iter().map(ToString::to_string).collect()
}

fn label_names() -> Vec<String> {
    let store = Store::at(&root());
    let labels = store.read().and_then(|view| view.labels());
    labels.map_or_else(
        |_| Vec::new(),
        |labels| labels.labels.iter().map(|label| label.name.to_string()).collect(),
    )
}

fn pool_names() -> Vec<String> {
    let store = Store::at(&root());
    let pools = store.read().and_then(|view| view.pools());
    pools.map_or_else(|_| Vec::new(), |pools| pools.pools.iter().map(|pool| pool.name.to_string()).collect())
}

/// The method with every argument known for it.
fn arguments(method: &str) -> Vec<String> {
    let known = if method.starts_with("admin.property.") {
        property::global_rows().iter().map(|row| row.name.to_owned()).collect()
    } else if method.starts_with("admin.vm.property.") {
        property_names()
    } else if method.starts_with("admin.label.") {
        label_names()
    } else if method.starts_with("admin.pool.") && method != "admin.pool.Add" {
        pool_names()
    } else if method.starts_with("admin.vm.volume.") {
        words(&["root", "private", "volatile", "kernel"])
    } else {
        Vec::new()
    };
    known.iter().map(|argument| format!("{method}+{argument}")).collect()
}

/// Properties of any class, each once.
fn property_names() -> Vec<String> {
    let of_all = common::model::Class::ALL.into_iter().flat_map(property::rows_of);
    let mut names: Vec<String> = of_all.map(|row| row.name.to_owned()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

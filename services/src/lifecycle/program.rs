//! The program for what only watchers and the successors of killed ones need: it is apart, so that they and all calls stay
//! small.

use std::io::{self, Write};
use std::time::Duration;

use common::failure::Failure;
use common::hypervisor::{Published, Reply, Request, launch};
use common::names::QubeName;
use common::root::Root;
use common::storage;
use common::store::Store;
use common::{environment, log, reply, run};

use super::{finish, volumes};
use crate::volume::end_clone;

/// Its name.
pub(super) const PROGRAM: &str = "qubes-run";
/// How long it may take to clear away what a run left.
const DEADLINE: Duration = Duration::from_secs(300);

/// Does what the process's arguments tell.
///
/// # Errors
/// What stands in the way, as text.
pub fn program() -> Result<(), String> {
    log::catch_panics();
    let words: Vec<String> =
        environment::arguments().into_iter().skip(1).filter_map(|word| word.into_string().ok()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let root = Root::from_environment();
    match words.as_slice() {
        ["end", name, begun] => {
            let begun_us = begun.parse().map_err(|_| "when did the run begin?".to_owned())?;
            let ended = finish::end(&Store::at(&root), &root, &named(name)?, begun_us);
            ended.map_err(|failure| failure.into_text().into_owned())
        }
        ["verify", name] => answered(volumes::verified(&Store::at(&root), &root, &named(name)?)),
        ["start", name] => answered(volumes::started(&Store::at(&root), &root, &named(name)?)),
        ["imports", name] => {
            storage::import::settle(&Store::at(&root), &root, &named(name)?, end_clone);
            Ok(())
        }
        ["settle", name, reason @ ..] => replace(&root, &named(name)?, reason.first().copied()),
        _ => Err("neither volumes, imports, an end nor a watcher to be replaced".to_owned()),
    }
}

/// Tells whoever started us how it went, as calls are answered.
fn answered(outcome: Result<Vec<u8>, Failure>) -> Result<(), String> {
    let bytes = match outcome {
        Ok(content) => reply::ok(&content),
        Err(Failure::Exception { exception, message, .. }) => reply::exception(exception, "", &message),
        Err(Failure::Dropped(reason)) => return Err(reason.into_owned()),
    };
    let mut output = io::stdout();
    output.write_all(&bytes).and_then(|()| output.flush()).map_err(|error| error.to_string())
}

fn named(name: &str) -> Result<QubeName, String> {
    QubeName::parse(name).map_err(|_| "there is no such name".to_owned())
}

/// Starts a watcher in place of one that was killed. The lifecycle lock keeps others from the same until there is one that
/// takes it.
fn replace(root: &Root, name: &QubeName, reason: Option<&str>) -> Result<(), String> {
    let held = Store::at(root).lock_lifecycle(name).map_err(|error| error.to_string())?;
    let published = Published::at(root);
    let run = published.watched_run(name).map_err(|error| error.to_string())?;
    if run.is_none_or(|(_, is_watched)| is_watched) {
        return Ok(());
    }
    let watcher = launch(root, name).map_err(|error| error.to_string())?;
    drop(held);
    match watcher.ask(&Request::Settle(reason.map(str::to_owned))).map_err(|error| error.to_string())? {
        Some(Reply::Refused(text)) => Err(text),
        _ => Ok(()),
    }
}

/// Has a watcher take the place of one that was killed, and waits until it watches the domain, or all is cleared away that
/// the run left. The reason is why the run's start failed, if that is known. The lifecycle lock must not be held.
pub(super) fn settle(root: &Root, name: &QubeName, reason: Option<&str>) -> Result<(), String> {
    let words: Vec<&str> = ["settle", name.as_str()].into_iter().chain(reason).collect();
    let settled = run::of_ours(root, PROGRAM, &words, DEADLINE).map_err(|error| error.to_string())?;
    if settled.is_success() { Ok(()) } else { Err(settled.errors()) }
}

//! The program for what of a backup needs the drivers of volumes.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;

use common::failure::Failure;
use common::hypervisor::Connection;
use common::opened;
use common::root::Root;
use common::store::Store;
use common::{environment, log, reply};

use super::job::{Job, Secret};
use super::run::Run;

/// Its name.
pub(super) const PROGRAM: &str = "qubes-backup";

/// Does what the process's arguments tell.
///
/// # Errors
/// What stands in the way, as text.
pub fn program() -> Result<(), String> {
    log::catch_panics();
    let words = environment::arguments();
    if let Some((purpose, path)) = opened::asked(PROGRAM, &words) {
        let status = opened::hand_over(purpose, path);
        return if status == 0 { Ok(()) } else { Err("it cannot be opened".to_owned()) };
    }
    let root = Root::from_environment();
    match words.iter().skip(1).filter_map(|word| word.to_str()).collect::<Vec<_>>().as_slice() {
        ["run"] => run(&root),
        _ => Err("nothing that is known".to_owned()),
    }
}

/// What the call is told of how it went, as calls are answered.
fn answer(outcome: Result<(), Failure>) -> Result<Vec<u8>, String> {
    Ok(match outcome {
        Ok(()) => reply::ok(&[]),
        Err(Failure::Exception { exception, message, .. }) => reply::exception(exception, "", &message),
        Err(Failure::Dropped(reason)) => return Err(reason.into_owned()),
    })
}

/// Makes a backup. Standard input is the turn to do so, standard output one end of a conversation with the call.
fn run(root: &Root) -> Result<(), String> {
    let in_words = |error: io::Error| error.to_string();
    let stop = io::stdin();
    let call = Connection::on(io::stdout().as_fd().try_clone_to_owned().map_err(in_words)?);
    let ordered = call.receive_with::<Secret>().map_err(in_words)?;
    let Some((secret, Some(told))) = ordered else { return Err("nobody says what to do".to_owned()) };
    let mut text = Vec::new();
    File::from(told).read_to_end(&mut text).map_err(in_words)?;
    let job: Job = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    let run = Run { root, store: &Store::at(root), job: &job, stop: stop.as_fd() };
    let bytes = answer(run.make(secret))?;
    // A call that was ended meanwhile changes nothing.
    let _ = call.send(&bytes);
    Ok(())
}

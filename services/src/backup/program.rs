//! The program for what of a backup needs the drivers of volumes.

use std::io::{self, Read, Write};

use common::failure::Failure;
use common::root::Root;
use common::{environment, log, reply};
use serde::de::DeserializeOwned;

use super::content::Contents;

/// Does what the process's arguments tell.
///
/// # Errors
/// What stands in the way, as text.
pub fn program() -> Result<(), String> {
    log::catch_panics();
    let words: Vec<_> = environment::arguments().into_iter().skip(1).collect();
    let root = Root::from_environment();
    match words.iter().filter_map(|word| word.to_str()).collect::<Vec<_>>().as_slice() {
        ["sizes"] => answer(told::<Contents>()?.measured(&root)),
        _ => Err("nothing that is known".to_owned()),
    }
}

/// What we are told on standard input.
fn told<T: DeserializeOwned>() -> Result<T, String> {
    let mut text = Vec::new();
    io::stdin().read_to_end(&mut text).map_err(|error| error.to_string())?;
    serde_json::from_slice(&text).map_err(|error| error.to_string())
}

/// Tells whoever started us how it went, as calls are answered.
fn answer(outcome: Result<Vec<u64>, Failure>) -> Result<(), String> {
    let bytes = match outcome {
        Ok(sizes) => reply::ok(&serde_json::to_vec(&sizes).map_err(|error| error.to_string())?),
        Err(Failure::Exception { exception, message, .. }) => reply::exception(exception, "", &message),
        Err(Failure::Dropped(reason)) => return Err(reason.into_owned()),
    };
    let mut output = io::stdout();
    output.write_all(&bytes).and_then(|()| output.flush()).map_err(|error| error.to_string())
}

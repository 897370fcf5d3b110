//! The program that tells calls what the constraints say: it is apart, so that they stay small (ADR 14).

use std::io::{Read, Write};

use common::names::QubeName;
use common::root::Root;
use common::store::{Entry, Store, View};
use common::{environment, log, standard};

use super::sets::qube_in;
use super::{Ask, Constraints};

/// Answers the one question of this process: what is asked is an argument, about whom comes by standard input.
///
/// # Errors
/// What stands in the way, as text.
pub fn program() -> Result<(), String> {
    log::catch_panics();
    let root = Root::from_environment();
    let mut told = String::new();
    standard::input().read_to_string(&mut told).map_err(|error| error.to_string())?;
    let words: Vec<&str> = told.split('\0').collect();
    let store = Store::at(&root);
    let view = store.read_one().map_err(|error| error.to_string())?;
    let what = environment::arguments().into_iter().nth(1).unwrap_or_default();
    let answer = answer(&Constraints::load(&root), what.to_str().unwrap_or_default(), &words, &view)?;
    standard::output().write_all(answer.as_bytes()).map_err(|error| error.to_string())
}

fn answer(constraints: &Constraints, what: &str, words: &[&str], view: &View<'_>) -> Result<String, String> {
    match (what, words) {
        ("standing", [caller, method, destination]) => {
            let caller = entry(caller, view)?;
            if !constraints.are_about(&caller) {
                return Ok("free".to_owned());
            }
            let is_seen =
                *destination == "dom0" || constraints.shows(&caller, method, &entry(destination, view)?);
            Ok(if is_seen { "constrained" } else { "unseen" }.to_owned())
        }
        ("seen", [caller, method, words @ ..]) => {
            let caller = entry(caller, view)?;
            let is_seen = |word: &str| match qube_in(word) {
                None | Some("dom0") => true,
                Some(name) => entry(name, view).is_ok_and(|qube| constraints.shows(&caller, method, &qube)),
            };
            let seen: Vec<&str> = words.iter().copied().filter(|word| is_seen(word)).collect();
            Ok(seen.join("\0"))
        }
        ("verdict", [caller, method, destination, scope, argument, values @ ..]) => {
            let (pairs, rest) = values.as_chunks::<2>();
            let values = pairs.iter().map(|[name, value]| (*name, *value)).collect();
            let ask = Ask { method, is_global: *scope == "global", destination, argument, values };
            if !rest.is_empty() {
                return Err("a value without a name".to_owned());
            }
            Ok(match constraints.judge(&entry(caller, view)?, &ask, view) {
                Ok(quota) => format!("granted {}", quota.to_text()),
                Err(reason) => format!("denied {}: {}", reason.place, reason.text),
            })
        }
        _ => Err("an unknown question".to_owned()),
    }
}

/// A qube as it is now.
fn entry(name: &str, view: &View<'_>) -> Result<Entry, String> {
    let name = QubeName::parse(name).map_err(|broken| broken.message.to_owned())?;
    let qube = view.qube(&name).map_err(|error| error.to_string())?;
    qube.map(|qube| Entry::of(&qube)).ok_or_else(|| "there is no such qube".to_owned())
}

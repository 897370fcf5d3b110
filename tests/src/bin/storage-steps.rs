//! Starts or stops the storage of a qube as its domain's start and stop do: `storage-steps start|stop QUBE`. A start prints
//! each volume and its device. `storage-steps places start|stop QUBE` does it too and prints at how many places it could be
//! killed, `storage-steps kill PLACE start|stop QUBE` kills it there. For the emulated machines, where the system's own
//! programs do the work.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "test code"
)]

use std::process::{Command, Stdio};

use common::hypervisor::Published;
use common::root::Root;
use common::storage;
use common::store::Store;
use services::property::Context;
use services::volume::with_volumes_named;
use tests::stepper::{Trouble, run, system_calls};

fn main() {
    let words: Vec<String> = std::env::args().collect();
    match words[1].as_str() {
        "places" => println!("{}", 2 * system_calls(another(&words[2..])).len()),
        "kill" => drop(run(another(&words[3..]), Trouble::Kill(words[2].parse().unwrap()))),
        _ => step(&words),
    }
}

/// This program, asked for something else.
fn another(words: &[String]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(words).stdin(Stdio::null());
    command
}

fn step(words: &[String]) {
    let root = Root::from_environment();
    let (store, hypervisor) = (Store::at(&root), Published::at(&root));
    let view = store.read().unwrap();
    let qube = view.qube_named(&words[2]).unwrap().unwrap();
    let context = Context { hypervisor: &hypervisor, root: &root };
    let (qube, pools) = with_volumes_named(&view, &context, &qube).unwrap();
    drop(view);
    let _lifecycle = store.lock_lifecycle(&qube.name).unwrap();
    if words[1] == "stop" {
        return storage::stop_all(&root, &pools, &qube);
    }
    let started =
        storage::verify_all(&root, &pools, &qube).and_then(|()| storage::start_all(&root, &pools, &qube));
    match started {
        Ok(started) => {
            started.iter().for_each(|started| println!("{} {}", started.volume.name, started.path.display()));
        }
        Err(error) => {
            println!("{error}");
            std::process::exit(1);
        }
    }
}

//! `qubes-admin shutdown-all`: the end of all qubes, before the machine's own.

use std::collections::BTreeSet;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use clap::Args;
use common::hypervisor::{self, Hypervisor, Published};
use common::model::{Qube, Value};
use common::root::Root;
use common::store::{Store, View};
use services::property;

use super::out::{self, Stop};
use super::power::{all_done, call};

/// How all are ended.
#[derive(Args)]
pub(super) struct ShutdownAll {
    /// How long a qube may take before it is killed, if its shutdown_timeout is not shorter.
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
}

/// Shuts all qubes down, clients before those that serve them, as many at once as can be. One that takes too long is
/// killed, which is told.
pub(super) fn run(shutdown: &ShutdownAll, root: &Root) -> Result<(), Stop> {
    let timeout = shutdown.timeout.map(Duration::from_secs);
    let mut stuck = BTreeSet::new();
    loop {
        let running: Vec<Running> =
            running(root)?.into_iter().filter(|qube| !stuck.contains(&qube.name)).collect();
        let round = without_clients(&running);
        if round.is_empty() {
            break;
        }
        let ended = side_by_side(&round, |name| end(root, name, timeout));
        stuck.extend(round.into_iter().zip(ended).filter(|(_, ended)| !ended).map(|(name, _)| name));
    }
    all_done(stuck.len())
}

/// A qube with a domain, and whom it needs for its own work.
struct Running {
    name: String,
    needs: Vec<String>,
}

fn running(root: &Root) -> Result<Vec<Running>, Stop> {
    let (store, hypervisor) = (Store::at(root), Published::at(root));
    let view = store.read()?;
    let mut running = Vec::new();
    for name in hypervisor.running() {
        let Some(qube) = view.qube_named(&name)? else { continue };
        if !hypervisor::is_halted(&hypervisor, &qube) {
            running.push(Running { needs: needs(&view, &hypervisor, root, &qube)?, name });
        }
    }
    Ok(running)
}

fn needs(view: &View<'_>, hypervisor: &Published, root: &Root, qube: &Qube) -> Result<Vec<String>, Stop> {
    let mut needs = Vec::new();
    for property in ["netvm", "guivm", "audiovm"] {
        let value = property::effective(view, hypervisor, root, qube, property)?;
        needs.extend(value.as_ref().and_then(Value::as_text).map(str::to_owned));
    }
    needs.retain(|name| *name != qube.name.as_str());
    Ok(needs)
}

/// Those that no other one needs. Where they need each other in a circle, all of them.
fn without_clients(running: &[Running]) -> Vec<String> {
    let needed: BTreeSet<&String> = running.iter().flat_map(|qube| &qube.needs).collect();
    let names = |qubes: &mut dyn Iterator<Item = &Running>| qubes.map(|qube| qube.name.clone()).collect();
    let free: Vec<String> = names(&mut running.iter().filter(|qube| !needed.contains(&qube.name)));
    if free.is_empty() { names(&mut running.iter()) } else { free }
}

/// Brings one qube to its end; tells whether it got there.
fn end(root: &Root, name: &str, timeout: Option<Duration>) -> bool {
    let asked = {
        let (root, name) = (root.clone(), name.to_owned());
        within(timeout, move || call(&root, &name, "admin.vm.Shutdown+force+wait"))
    };
    let Err(said) = asked else { return true };
    out::error(&format!("{name} is killed: {said}"));
    let killed = call(root, name, "admin.vm.Kill");
    if let Err(Stop::Failed(said)) = &killed {
        // It may have ended by itself meanwhile.
        if said.starts_with("QubesVMNotStartedError") {
            return true;
        }
        out::error(&format!("{name}: {said}"));
    }
    killed.is_ok()
}

/// Does something to each of them at once.
fn side_by_side(names: &[String], act: impl Fn(&str) -> bool + Sync) -> Vec<bool> {
    thread::scope(|scope| {
        let threads: Vec<_> = names.iter().map(|name| scope.spawn(|| act(name))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_default()).collect()
    })
}

/// Waits for something no longer than allowed. What takes longer goes on by itself.
fn within(
    timeout: Option<Duration>,
    act: impl FnOnce() -> Result<(), Stop> + Send + 'static,
) -> Result<(), String> {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || tell.send(act()));
    let outcome = match timeout {
        Some(timeout) => told.recv_timeout(timeout).map_err(|_| "it takes too long".to_owned())?,
        None => told.recv().map_err(|error| error.to_string())?,
    };
    match outcome {
        Err(Stop::Failed(text)) => Err(text),
        _ => Ok(()),
    }
}

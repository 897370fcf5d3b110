//! `qubes-admin start`, `shutdown`, `autostart` and `clean-up`: qubes' runs by hand, and at the machine's start.

use clap::Args;
use common::hypervisor::{self, Published};
use common::model::{Class, Qube, Value};
use common::root::Root;
use common::store::Store;
use services::{firewall, preload};

use super::complete;
use super::out::{self, Stop};
use super::service::Service;

/// Qubes by name.
#[derive(Args)]
pub(super) struct Named {
    /// The qubes.
    #[arg(value_name = "QUBE", required = true, add = complete::qubes())]
    names: Vec<String>,
}

/// What shall end.
#[derive(Args)]
pub(super) struct Shutdown {
    #[command(flatten)]
    named: Named,
    /// Also where others need them, and paused ones.
    #[arg(long)]
    force: bool,
    /// Return only when they are halted.
    #[arg(long)]
    wait: bool,
}

/// Starts them one after the other. Those that run already are left as they are.
pub(super) fn start(named: &Named, root: &Root) -> Result<(), Stop> {
    each(&named.names, |name| call(root, name, "admin.vm.Start"))
}

/// Starts every qube that is to start with the machine.
pub(super) fn autostart(root: &Root) -> Result<(), Stop> {
    let names = chosen(root, |_, qube| is_on(qube, "autostart"))?;
    each(&names, |name| call(root, name, "admin.vm.Start"))
}

/// Makes the disposables that are wished for in advance.
pub(super) fn preload(root: &Root) -> Result<(), Stop> {
    let names: Vec<String> = {
        let store = Store::at(root);
        let wished = preload::wished(&store.read()?).map_err(|failure| failure.into_text().into_owned())?;
        wished.iter().map(ToString::to_string).collect()
    };
    each(&names, |name| call(root, name, "admin.vm.CreateDisposable+preload"))
}

/// Asks them to shut down.
pub(super) fn shutdown(shutdown: &Shutdown, root: &Root) -> Result<(), Stop> {
    let words: Vec<&str> = [("force", shutdown.force), ("wait", shutdown.wait)]
        .into_iter()
        .filter_map(|(word, is_given)| is_given.then_some(word))
        .collect();
    let method = format!("admin.vm.Shutdown+{}", words.join("+"));
    each(&shutdown.named.names, |name| call(root, name, &method))
}

/// Removes the disposables that a machine's end left: those that stop with their use, and do not run. Firewall rules that
/// end are watched from then on.
pub(super) fn clean_up(root: &Root) -> Result<(), Stop> {
    watch_rules(root)?;
    let is_left = |hypervisor: &Published, qube: &Qube| {
        qube.class == Class::DispVM && is_on(qube, "auto_cleanup") && hypervisor::is_halted(hypervisor, qube)
    };
    let names = chosen(root, is_left)?;
    each(&names, |name| call(root, name, "admin.vm.Remove"))
}

fn watch_rules(root: &Root) -> Result<(), Stop> {
    let store = Store::at(root);
    let view = store.read()?;
    for name in view.names()? {
        view.qube(&name)?.iter().for_each(|qube| firewall::arm(root, qube));
    }
    Ok(())
}

/// Names of the qubes that fit, in their order.
fn chosen(root: &Root, fits: impl Fn(&Published, &Qube) -> bool) -> Result<Vec<String>, Stop> {
    let (store, hypervisor) = (Store::at(root), Published::at(root));
    let view = store.read()?;
    let mut chosen = Vec::new();
    for name in view.names()? {
        if view.qube(&name)?.is_some_and(|qube| fits(&hypervisor, &qube)) {
            chosen.push(name.to_string());
        }
    }
    Ok(chosen)
}

/// Whether a switch that is off by default is on.
fn is_on(qube: &Qube, property: &str) -> bool {
    qube.properties.get(property).is_some_and(Value::is_true)
}

/// Makes a call that answers nothing.
pub(super) fn call(root: &Root, name: &str, method: &str) -> Result<(), Stop> {
    Service::find(root, "dom0", name, method)?.content("", None).map(drop)
}

/// Does something to each of them, whatever becomes of the others. What fails is told.
fn each(names: &[String], act: impl Fn(&str) -> Result<(), Stop>) -> Result<(), Stop> {
    let mut failed = 0_usize;
    for name in names {
        if let Err(Stop::Failed(text)) = act(name) {
            out::error(&format!("{name}: {text}"));
            failed = failed.saturating_add(1);
        }
    }
    all_done(failed)
}

/// An error if something failed, which was told before.
pub(super) fn all_done(failed: usize) -> Result<(), Stop> {
    match failed {
        0 => Ok(()),
        1 => Err("1 qube failed".to_owned().into()),
        count => Err(format!("{count} qubes failed").into()),
    }
}

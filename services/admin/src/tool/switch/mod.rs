//! `qubes-admin switch`: from qubesd to this project and back. A record says how far it went; each step may be done again, so
//! that after a kill the same command finishes and the other one undoes.

mod places;
mod qubesd;
mod record;
mod state;

use std::time::Duration;

use clap::Subcommand;
use common::root::Root;
use common::run;

use super::out::{self, Stop};
use super::show::refuse_damaged;
use places::Place;
use record::{Phase, Record};

/// Who serves dom0's tools, and who shuts qubes down at the machine's end, which may come before the next boot.
const STARTED: [&str; 2] = ["qubes-admin-gateway.socket", "qubes-admin-qubes.service"];
/// What the socket starts.
const GATEWAY: &str = "qubes-admin-gateway.service";
const QUBESD: &str = "qubesd.service";
const SYSTEMCTL: &str = "/usr/bin/systemctl";
/// Units end what they are at before they end.
const DEADLINE: Duration = Duration::from_secs(120);

/// What the command takes.
#[derive(Subcommand)]
pub(super) enum Switch {
    /// Have the calls served from a store of our own, filled from qubes.xml.
    ///
    /// All qubes must be shut down. If it fails, qubesd serves them as before; if it is killed, the same command finishes.
    To {
        /// Only tell what would be done.
        #[arg(long)]
        dry_run: bool,
    },
    /// Have the calls served by qubesd again, with what changed meanwhile.
    ///
    /// All qubes must be shut down. Links and units become what they were, and the store is put aside.
    Back {
        /// Only tell what would be done.
        #[arg(long)]
        dry_run: bool,
    },
}

/// Runs the command.
pub(super) fn run(switch: &Switch, root: &Root) -> Result<(), Stop> {
    if root.is_system() && !nix::unistd::geteuid().is_root() {
        return Err("this needs root".to_owned().into());
    }
    match switch {
        Switch::To { dry_run } => to(root, *dry_run),
        Switch::Back { dry_run } => back(root, *dry_run),
    }
}

fn to(root: &Root, dry_run: bool) -> Result<(), Stop> {
    let found = Record::load(root)?;
    let mut record = match found {
        Some(record) if record.phase == Phase::Done => return out::line("switched already"),
        Some(record) if record.phase == Phase::PuttingAside => {
            return Err("going back was not finished; qubes-admin switch back finishes it".to_owned().into());
        }
        Some(record) => {
            qubesd::refuse_running_if_it_answers(root)?;
            state::refuse_running(root)?;
            record
        }
        None => Record::new(begin(root)?),
    };
    if dry_run {
        return tell_to(root, &record);
    }
    record.enter(root, Phase::To)?;
    if let Err(failed) = take_over(root, &mut record) {
        give_back(root, record)?;
        return Err(failed);
    }
    out::line("switched; qubes-admin switch back returns to qubesd")
}

/// What there is to change, if all is as it must be.
fn begin(root: &Root) -> Result<Vec<Place>, Stop> {
    places::refuse_uninstalled(root)?;
    state::refuse_filled(root)?;
    state::read(root)?;
    qubesd::refuse_running(root)?;
    Ok(Place::all().into_iter().filter(|place| !place.is_ours(root)).collect())
}

fn take_over(root: &Root, record: &mut Record) -> Result<(), Stop> {
    systemctl(root, &["stop", QUBESD])?;
    state::import(root)?;
    record.places.iter().try_for_each(|place| place.change(root))?;
    systemctl(root, &["daemon-reload"])?;
    systemctl(root, &[&["start"][..], &STARTED].concat())?;
    record.enter(root, Phase::Done)
}

fn back(root: &Root, dry_run: bool) -> Result<(), Stop> {
    let Some(record) = Record::load(root)? else { return Err("qubesd is in charge".to_owned().into()) };
    state::refuse_running(root)?;
    if record.phase != Phase::PuttingAside {
        let store = state::settled(root)?;
        // Taking over may have been killed before there was anything in it.
        if record.phase == Phase::Done || state::is_filled(root) {
            refuse_damaged(&store)?;
        }
    }
    if dry_run {
        return tell_back(root, &record);
    }
    give_back(root, record)?;
    out::line("qubesd is in charge again")
}

fn give_back(root: &Root, mut record: Record) -> Result<(), Stop> {
    if record.phase != Phase::PuttingAside {
        record.enter(root, Phase::Back)?;
        systemctl(root, &[&["stop", GATEWAY][..], &STARTED].concat())?;
        record.places.iter().try_for_each(|place| place.restore(root))?;
        places::remove_later_links(root)?;
        systemctl(root, &["daemon-reload"])?;
        if state::is_changed(root)? {
            // It would write over the file what it has in memory.
            systemctl(root, &["stop", QUBESD])?;
        }
    }
    state::return_to_qubesd(root, &mut record)?;
    systemctl(root, &["start", QUBESD])?;
    Record::drop_all(root)
}

fn systemctl(root: &Root, words: &[&str]) -> Result<(), Stop> {
    let said = |text: String| Stop::from(format!("systemctl {}: {text}", words.join(" ")));
    let done = run::as_root(root, SYSTEMCTL, words, DEADLINE).map_err(|error| said(error.to_string()))?;
    if done.is_success() { Ok(()) } else { Err(said(done.readable_errors())) }
}

fn tell_to(root: &Root, record: &Record) -> Result<(), Stop> {
    out::line(&format!("stop {QUBESD}"))?;
    out::line(&format!("import {} qubes from {}", state::read(root)?.count(), state::FILE))?;
    for place in &record.places {
        out::line(&format!("link {} to {}, where {}", place.path, place.target, place.found(root)))?;
    }
    out::line(&format!("start {}", STARTED.join(" ")))
}

fn tell_back(root: &Root, record: &Record) -> Result<(), Stop> {
    out::line(&format!("stop {GATEWAY} {}", STARTED.join(" ")))?;
    for place in &record.places {
        out::line(&format!("restore {}, where {}", place.path, place.was(root)))?;
    }
    let changed = if state::is_changed(root)? { "write" } else { "leave as it is" };
    out::line(&format!("{changed}: {}", state::FILE))?;
    out::line(&format!("put the store aside in {}", state::ASIDE))?;
    out::line(&format!("start {QUBESD}"))
}

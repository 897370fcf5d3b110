//! What running qubes find in their QubesDB follows changes of the state (spec 10 §8.5 to §8.10, spec 40 §3.4), and so does
//! what they are connected to (spec 10 §3.5, `netvm`).

use common::call::World;
use common::failure::Failure;
use common::hypervisor::{Nic, Request};
use common::log;
use common::model::Qube;
use common::names::QubeName;
use common::qubesdb::{Entry, exists};
use common::store::Store;

use super::{entries, others, qubesdb};
use crate::property::{Case, Context, DEFERRED_NETVM};
use crate::{domain, lifecycle};

/// Properties whose changes are told at once; all others are at the next start.
const PROPERTIES: [&str; 7] =
    ["audiovm", "default_audiovm", "default_netvm", "keyboard_layout", "netvm", "relayvm", "remote_name"];
/// How features begin whose changes are told at once.
const FEATURES: [&str; 3] = ["custom-persist.", "service.", "vm-config."];
/// How often the state may change again while running qubes are told of a change.
const ROUNDS: usize = 8;

/// What running qubes find, as the state is at one moment.
#[derive(PartialEq)]
pub struct Seen(Vec<Database>);

#[derive(PartialEq)]
struct Database {
    qube: QubeName,
    nic: Option<Nic>,
    /// Whether that has to wait until it is no longer paused.
    is_deferred: bool,
    /// None where there is no database.
    entries: Vec<Entry>,
}

/// What running qubes find before a property changes.
///
/// # Errors
/// What the store says.
pub fn before_property(world: &World<'_>, property: &str) -> Result<Seen, Failure> {
    if PROPERTIES.contains(&property) { seen(world) } else { Ok(Seen(Vec::new())) }
}

/// What running qubes find before a feature changes.
///
/// # Errors
/// What the store says.
pub fn before_feature(world: &World<'_>, feature: &str) -> Result<Seen, Failure> {
    if FEATURES.iter().any(|begin| feature.starts_with(begin)) { seen(world) } else { Ok(Seen(Vec::new())) }
}

fn seen(world: &World<'_>) -> Result<Seen, Failure> {
    all(world.store(), Context::of(world))
}

/// What there is of all running qubes, whether or not one knows them.
fn all(store: &Store, context: Context<'_>) -> Result<Seen, Failure> {
    let running = context.hypervisor.running();
    let has_domain = |name: &QubeName| context.hypervisor.domain(name).is_some();
    let names = running.iter().filter_map(|name| QubeName::parse(name).ok().filter(has_domain));
    let names: Vec<QubeName> = names.collect();
    if names.is_empty() {
        return Ok(Seen(Vec::new()));
    }
    let view = store.read()?;
    let mut found = Vec::new();
    for name in names {
        if let Some(qube) = view.qube(&name)? {
            found.push(database(&Case { view: &view, context, qube: Some(&qube) }, &qube)?);
        }
    }
    Ok(Seen(found))
}

fn database(case: &Case<'_>, qube: &Qube) -> Result<Database, Failure> {
    let has_database = exists(case.context.root, &qube.name);
    let entries = if has_database { entries::of(case, qube)? } else { Vec::new() };
    let is_deferred = qube.feature(DEFERRED_NETVM).is_some();
    Ok(Database { qube: qube.name.clone(), nic: domain::nic(case)?, is_deferred, entries })
}

/// Tells the netvm of a running qube the firewall rules that are stored. They may change again meanwhile, and who changes
/// them may have been faster to tell, so they are looked at again until nothing differs.
pub fn tell_firewall(store: &Store, context: Context<'_>, name: &QubeName) {
    let mut told = None;
    for _ in 0..ROUNDS {
        match rules(store, context, name) {
            Ok(now) if now == told => return,
            Ok(now) => {
                if let Some((netvm, entries)) = &now {
                    qubesdb::tell(context.root, netvm, entries);
                }
                told = now;
            }
            Err(failure) => {
                return log::line(&format!("rules of {name} are not told: {}", failure.into_text()));
            }
        }
    }
}

fn rules(store: &Store, context: Context<'_>, name: &QubeName) -> Result<Option<others::Told>, Failure> {
    if context.hypervisor.domain(name).is_none() {
        return Ok(None);
    }
    let view = store.read()?;
    let qube = view.qube(name)?;
    let case = qube.as_deref().map(|qube| Case { view: &view, context, qube: Some(qube) });
    case.map_or(Ok(None), |case| others::rules_in_netvm(&case))
}

impl Seen {
    /// Tells running qubes what became different since. The change itself is made: what cannot be told is logged. Who
    /// changes the state meanwhile may have been faster to tell, so it is looked at again until nothing differs.
    pub fn follow(self, world: &World<'_>) {
        let mut told = self;
        for _ in 0..ROUNDS {
            if told.0.is_empty() {
                return;
            }
            let now = match seen(world) {
                Ok(now) if now != told => now,
                Ok(_) => return,
                Err(failure) => return log::line(&format!("QubesDB is not told: {}", failure.into_text())),
            };
            told.tell_change(&now, world);
            told = now;
        }
    }
}

impl Seen {
    /// Nobody is connected to two netvms, nor to a new one before the databases tell of it.
    fn tell_change(&self, now: &Self, world: &World<'_>) {
        let known = |database: &'_ &Database| self.0.iter().find(|before| before.qube == database.qube);
        let both = || now.0.iter().filter_map(|database| Some((known(&database)?, database)));
        let moved = || {
            both()
                .filter(|(before, now)| before.netvm() != now.netvm() && !now.is_deferred)
                .map(|(_, now)| now)
        };
        moved().for_each(|database| database.connect(world, &Request::Disconnect));
        both().for_each(|(before, now)| now.tell_since(before, world));
        for database in moved() {
            if let Some(nic) = &database.nic {
                database.connect(world, &Request::Connect(Box::new(nic.clone())));
            }
        }
    }
}

impl Database {
    fn netvm(&self) -> Option<&QubeName> {
        self.nic.as_ref().map(|nic| &nic.backend)
    }

    fn connect(&self, world: &World<'_>, request: &Request) {
        if let Err(failure) = lifecycle::ask_run(world.store(), world.root(), &self.qube, request) {
            log::line(&format!("network of {}: {}", self.qube, failure.into_text()));
        }
    }

    /// Behind another netvm everything is written anew.
    fn tell_since(&self, before: &Self, world: &World<'_>) {
        if self.netvm() == before.netvm() {
            return qubesdb::tell(world.root(), &self.qube, &self.changes_since(before));
        }
        if let Err(failure) = qubesdb::fill(world.root(), &self.qube, &self.entries) {
            log::line(&failure.into_text());
        }
    }

    fn changes_since(&self, before: &Self) -> Vec<Entry> {
        let is_kept = |key: &str| self.entries.iter().any(|entry| entry.key == key);
        let gone = before.entries.iter().filter(|entry| entry.value.is_some() && !is_kept(&entry.key));
        let gone = gone.map(|entry| Entry::none(entry.key.clone()));
        let new = self.entries.iter().filter(|entry| !before.entries.contains(entry)).cloned();
        gone.chain(new).collect()
    }
}

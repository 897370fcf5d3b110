//! Small stores and the shapes of change that the crash tests put them through.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;

use common::event::Event;
use common::model::{Class, Labels, Pools, Qube, System, Value};
use common::names::{QubeName, QubeUuid};
use common::store::{Store, StoreError, Txn, Vfs};

use crate::fixture::logged_events;
use crate::sim::{Content, SimDisk, State};

/// Directories with real lock files, under whatever file layer.
pub struct Place {
    folder: tempfile::TempDir,
}

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

impl Place {
    pub fn new() -> Self {
        let folder = crate::scratch();
        for name in ["state", "run/locks", "run/events"] {
            std::fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        Self { folder }
    }

    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub fn run(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    pub fn store(&self, vfs: impl Vfs + 'static) -> Store {
        Store::on(Box::new(vfs), self.state(), self.run())
    }
}

/// One change; its number goes into what it writes, so that each leaves a state of its own.
pub type Change = fn(&mut Txn<'_>, i64) -> Result<(), StoreError>;

pub fn name(text: &str) -> QubeName {
    QubeName::parse(text).unwrap()
}

pub fn qube(text: &str, qid: u16) -> Qube {
    Qube::new(name(text), Class::AppVM, qid, QubeUuid::dom0())
}

/// The first state: two qubes and the system.
pub fn fill(store: &Store) {
    let mut txn = store.write().unwrap();
    txn.put_system(System::default());
    txn.put_labels(Labels::built_in());
    txn.put_pools(Pools::default());
    for (number, text) in ["a", "b"].into_iter().enumerate() {
        txn.insert_qube(qube(text, u16::try_from(number).unwrap())).unwrap();
    }
    txn.commit().unwrap();
}

pub fn replace_one(txn: &mut Txn<'_>, number: i64) -> Result<(), StoreError> {
    txn.event(Event::system(format!("replace:{number}")));
    txn.edit_qube(&name("a"), |qube| drop(qube.properties.insert("vcpus".into(), Value::Int(number))))
}

pub fn create_one(txn: &mut Txn<'_>, number: i64) -> Result<(), StoreError> {
    txn.event(Event::system(format!("create:{number}")));
    txn.insert_qube(qube(&format!("new{number}"), 100))
}

pub fn remove_one(txn: &mut Txn<'_>, number: i64) -> Result<(), StoreError> {
    txn.event(Event::system(format!("remove:{number}")));
    txn.remove_qube(&name("b"))
}

pub fn change_several(txn: &mut Txn<'_>, number: i64) -> Result<(), StoreError> {
    txn.event(Event::system(format!("several:{number}")));
    for qube in ["a", "b"] {
        txn.edit_qube(&name(qube), |qube| drop(qube.properties.insert("memory".into(), Value::Int(number))))?;
    }
    txn.insert_qube(qube(&format!("more{number}"), 200))?;
    txn.edit_system(|system| drop(system.properties.insert("stats_interval".into(), Value::Int(number))))
}

pub fn events_alone(txn: &mut Txn<'_>, number: i64) -> Result<(), StoreError> {
    txn.event(Event::system(format!("alone:{number}")));
    Ok(())
}

pub fn change_labels(txn: &mut Txn<'_>, number: i64) -> Result<(), StoreError> {
    txn.event(Event::system(format!("labels:{number}")));
    txn.edit_labels(|labels| labels.labels.truncate(usize::try_from(number).unwrap()))
}

/// Makes a change as a call does.
pub fn apply(store: &Store, change: Change, number: i64) -> Result<(), StoreError> {
    let mut txn = store.write()?;
    change(&mut txn, number)?;
    txn.commit()
}

/// Everything the store shows, through recovery: equal texts are equal states.
pub fn shown(store: &Store) -> Result<String, StoreError> {
    let view = store.read()?;
    let mut text = format!("system {:?}\n", view.system()?.properties);
    text.push_str(&format!("{:?}\n", view.labels()?));
    for name in view.names()? {
        text.push_str(&format!("{:?}\n", view.qube(&name)?));
    }
    Ok(text)
}

/// What recovery makes of states of the disk; many are alike, and each is recovered but once.
pub struct Recovery<'p> {
    place: &'p Place,
    known: BTreeMap<Content, Option<Rc<str>>>,
}

impl<'p> Recovery<'p> {
    pub fn new(place: &'p Place) -> Self {
        Self { place, known: BTreeMap::new() }
    }

    /// What the store shows after recovery, or nothing if it cannot be read. The state itself stays as it is.
    pub fn of(&mut self, state: State) -> Option<Rc<str>> {
        let recover = |state| shown(&self.place.store(SimDisk::of(state))).ok().map(Rc::from);
        self.known.entry(state.content()).or_insert_with(|| recover(state)).clone()
    }
}

/// Names of the published events, in order.
pub fn published(disk: &impl Vfs, place: &Place) -> Vec<String> {
    let folder = place.run().join("events");
    let segments = disk.list(&folder).unwrap();
    let text = |segment: &String| disk.read(&folder.join(segment)).unwrap().unwrap_or_default();
    let log = String::from_utf8(segments.iter().flat_map(text).collect()).unwrap();
    logged_events(&log).into_iter().map(|event| event.name).collect()
}

//! A write transaction: edits and events that take effect together or not at all.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::rc::Rc;

use serde_json::Value as Json;

use super::index::Entry;
use super::journal::{Change, ObjectChange, RUNS};
use super::{Index, Key, Note, StoreError, View, decode, encode, note};
use crate::event::Event;
use crate::hypervisor::Run;
use crate::model::{Labels, Pools, Qube, System};
use crate::names::QubeName;

/// Changes being made under the exclusive lock. Dropped without [`Txn::commit`], nothing has happened.
pub struct Txn<'s> {
    view: View<'s>,
    edited: BTreeSet<Key>,
    events: Vec<Event>,
    entries_changed: bool,
    notes: String,
}

impl<'s> Deref for Txn<'s> {
    type Target = View<'s>;

    fn deref(&self) -> &View<'s> {
        &self.view
    }
}

impl<'s> Txn<'s> {
    pub(super) fn new(view: View<'s>) -> Self {
        let (edited, events, notes) = (BTreeSet::new(), Vec::new(), String::new());
        Self { view, edited, events, entries_changed: false, notes }
    }

    /// Adds an event, published when the change commits, in the order added.
    pub fn event(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Removes what is published of a qube's run, together with this change's events: both once, or neither.
    pub fn end_run(&mut self, qube: &QubeName, run: &Run) {
        self.notes.push_str(&note::entry(&format!("{RUNS}{qube}"), &run.begun_us.to_string()));
    }

    /// Replaces a note about a qube together with this change's events: both once, or neither. One that says nothing is dropped.
    pub fn note(&mut self, note: Note, qube: &QubeName, content: &str) {
        self.notes.push_str(&note::entry(&note.file(qube), content));
    }

    /// A note about a qube as it is with this change.
    ///
    /// # Errors
    /// As [`super::Store::note`].
    pub fn noted(&self, note: Note, qube: &QubeName) -> Result<Option<Vec<u8>>, StoreError> {
        let file = note.file(qube);
        match note::entries(&self.notes).filter(|(changed, _)| *changed == file).last() {
            Some((_, content)) => Ok(Some(content.as_bytes().to_vec()).filter(|content| !content.is_empty())),
            None => self.view.store.note(note, qube),
        }
    }

    /// Changes a qube that exists; does nothing if it does not.
    ///
    /// # Errors
    /// As [`View::qube`].
    pub fn edit_qube(&mut self, name: &QubeName, edit: impl FnOnce(&mut Qube)) -> Result<(), StoreError> {
        let Some(mut qube) = self.view.qube(name)? else { return Ok(()) };
        edit(Rc::make_mut(&mut qube));
        self.put_qube(qube)
    }

    /// Adds a qube, or replaces the one of that name.
    ///
    /// # Errors
    /// As [`View::listed`].
    pub fn insert_qube(&mut self, qube: Qube) -> Result<(), StoreError> {
        self.put_qube(Rc::new(qube))
    }

    fn put_qube(&mut self, qube: Rc<Qube>) -> Result<(), StoreError> {
        let changed = self.index_mut()?.put(Entry::of(&qube));
        self.entries_changed |= changed;
        self.edited.insert(Key::Qube(qube.name.clone()));
        self.view.qubes.borrow_mut().insert(qube.name.clone(), Some(qube));
        Ok(())
    }

    /// Removes a qube.
    ///
    /// # Errors
    /// As [`View::listed`].
    pub fn remove_qube(&mut self, name: &QubeName) -> Result<(), StoreError> {
        let removed = self.index_mut()?.remove(name.as_str());
        self.entries_changed |= removed;
        self.edited.insert(Key::Qube(name.clone()));
        self.view.qubes.borrow_mut().insert(name.clone(), None);
        Ok(())
    }

    /// Changes the global state.
    ///
    /// # Errors
    /// As [`View::system`].
    pub fn edit_system(&mut self, edit: impl FnOnce(&mut System)) -> Result<(), StoreError> {
        let mut system = self.view.system()?;
        edit(Rc::make_mut(&mut system));
        self.put_system((*system).clone());
        Ok(())
    }

    /// Replaces the global state.
    pub fn put_system(&mut self, system: System) {
        self.view.system = Rc::new(system).into();
        self.edited.insert(Key::System);
    }

    /// Changes the labels.
    ///
    /// # Errors
    /// As [`View::labels`].
    pub fn edit_labels(&mut self, edit: impl FnOnce(&mut Labels)) -> Result<(), StoreError> {
        let mut labels = self.view.labels()?;
        edit(Rc::make_mut(&mut labels));
        self.put_labels((*labels).clone());
        Ok(())
    }

    /// Replaces the labels.
    pub fn put_labels(&mut self, labels: Labels) {
        self.view.labels = Rc::new(labels).into();
        self.edited.insert(Key::Labels);
    }

    /// Changes the pools.
    ///
    /// # Errors
    /// As [`View::pools`].
    pub fn edit_pools(&mut self, edit: impl FnOnce(&mut Pools)) -> Result<(), StoreError> {
        let mut pools = self.view.pools()?;
        edit(Rc::make_mut(&mut pools));
        self.put_pools((*pools).clone());
        Ok(())
    }

    /// Replaces the pools.
    pub fn put_pools(&mut self, pools: Pools) {
        self.view.pools = Rc::new(pools).into();
        self.edited.insert(Key::Pools);
    }

    fn index_mut(&mut self) -> Result<&mut Index, StoreError> {
        self.view.listed()?;
        self.view.index.get_mut().map(Rc::make_mut).ok_or(StoreError::Missing)
    }

    /// The events so far, in order.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// What has changed so far: the file of each object, and its content before and after.
    ///
    /// # Errors
    /// What the store says.
    pub fn edits(&self) -> Result<Vec<(String, Json, Json)>, StoreError> {
        let content = |file: &str, bytes: Option<Vec<u8>>| match bytes {
            Some(bytes) => decode::<Json>(file, &bytes).map(|(_, content)| content),
            None => Ok(Json::Null),
        };
        let edit = |key: &Key| {
            let file = key.file();
            let before = self.view.store.load::<Json>(&file)?.map_or(Json::Null, |(_, content)| content);
            let after = content(&file, self.encoded(key, 0)?)?;
            Ok((file, before, after))
        };
        self.edited.iter().map(edit).collect()
    }

    /// Makes everything take effect: objects, then events, at once or not at all.
    ///
    /// # Errors
    /// Before the commit point; nothing has changed then.
    pub fn commit(mut self) -> Result<(), StoreError> {
        let objects = std::mem::take(&mut self.edited);
        self.commit_objects(&objects)
    }

    /// Publishes the events of a refused change and forgets the change: listeners see a pre-event even when
    /// its change is then vetoed (spec 10 §1.10).
    ///
    /// # Errors
    /// What the file system says.
    pub fn refuse(mut self) -> Result<(), StoreError> {
        if self.events.is_empty() {
            return Ok(());
        }
        self.entries_changed = false;
        self.notes.clear();
        let stored = Rc::new(self.view.store.load_index()?);
        self.view.index = stored.into();
        self.commit_objects(&BTreeSet::new())
    }

    fn commit_objects(&mut self, keys: &BTreeSet<Key>) -> Result<(), StoreError> {
        let is_of_events = keys.is_empty() && self.notes.is_empty();
        if is_of_events && self.events.is_empty() {
            return Ok(());
        }
        if let ([event], true) = (&self.events[..], is_of_events)
            && self.view.store.commit_event(event)?
        {
            return Ok(());
        }
        let generation = self.view.listed()?.generation.saturating_add(1);
        let objects: Result<Vec<_>, _> = keys
            .iter()
            .map(|key| self.encoded(key, generation).map(|content| ObjectChange::of(key, content)))
            .collect();
        let (events, notes) = (std::mem::take(&mut self.events), std::mem::take(&mut self.notes));
        let change = Change { objects: objects?, events, notes };
        let store = self.view.store;
        let entries_changed = self.entries_changed;
        let index = self.index_mut()?;
        index.generation = generation;
        store.commit(&change, index, entries_changed)
    }

    fn encoded(&self, key: &Key, generation: u64) -> Result<Option<Vec<u8>>, StoreError> {
        match key {
            Key::System => encode(generation, &*self.view.system()?).map(Some),
            Key::Labels => encode(generation, &*self.view.labels()?).map(Some),
            Key::Pools => encode(generation, &*self.view.pools()?).map(Some),
            Key::Qube(name) => self.view.qube(name)?.map(|qube| encode(generation, &*qube)).transpose(),
        }
    }
}

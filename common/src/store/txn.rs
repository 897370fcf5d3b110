//! A write transaction: edits and events that take effect together or not at all.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::rc::Rc;

use serde_json::Value as Json;

use super::index::Entry;
use super::journal::{Change, ObjectChange, RUNS};
use super::object::encode_stamped;
use super::{Index, Key, Note, Stamp, StoreError, View, decode, history, note};
use crate::clock;
use crate::event::Event;
use crate::failure::Failure;
use crate::hypervisor::Run;
use crate::model::{Class, Labels, Pools, Qube, System};
use crate::names::QubeName;

/// Changes being made under the exclusive lock. Dropped without [`Txn::commit`], nothing has happened.
pub struct Txn<'s> {
    view: View<'s>,
    /// What has changed, and whether that is part of the history.
    edited: BTreeMap<Key, bool>,
    /// Who makes the change: a qube, and its method.
    author: (String, &'static str),
    events: Vec<Event>,
    entries_changed: bool,
    notes: String,
    /// What a change that is only looked at would do outside of the store.
    foreseen: Option<Vec<String>>,
}

impl<'s> Deref for Txn<'s> {
    type Target = View<'s>;

    fn deref(&self) -> &View<'s> {
        &self.view
    }
}

impl<'s> Txn<'s> {
    pub(super) fn new(view: View<'s>) -> Self {
        let (edited, events, notes) = (BTreeMap::new(), Vec::new(), String::new());
        let author = (QubeName::dom0().to_string(), "");
        Self { view, edited, author, events, entries_changed: false, notes, foreseen: None }
    }

    /// Tells who makes the change; where nobody does, it is dom0 itself.
    pub fn by(&mut self, caller: &QubeName, method: &'static str) {
        self.author = (caller.to_string(), method);
    }

    /// Makes it a change that is only looked at.
    pub(crate) fn only_look(&mut self) {
        self.foreseen = Some(Vec::new());
    }

    /// Does something outside of the store that the change needs. Where that is only looked at, it is told in these words
    /// in its stead.
    ///
    /// # Errors
    /// Those of `act`.
    pub fn in_earnest(
        &mut self,
        words: &str,
        act: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        match &mut self.foreseen {
            Some(foreseen) => foreseen.push(words.to_owned()),
            None => act()?,
        }
        Ok(())
    }

    /// What it would do outside of the store.
    pub fn foreseen(&self) -> &[String] {
        self.foreseen.as_deref().unwrap_or_default()
    }

    /// Notes that an object has changed.
    fn mark(&mut self, key: Key, is_history: bool) {
        *self.edited.entry(key).or_default() |= is_history;
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
        let before = self.view.qube(&qube.name)?;
        let is_configured = before.is_none_or(|before| !before.is_configured_as(&qube));
        self.mark(Key::Qube(qube.name.clone()), is_configured && qube.class != Class::DispVM);
        let changed = self.index_mut()?.put(Entry::of(&qube));
        self.entries_changed |= changed;
        self.view.qubes.borrow_mut().insert(qube.name.clone(), Some(qube));
        Ok(())
    }

    /// Removes a qube.
    ///
    /// # Errors
    /// As [`View::listed`].
    pub fn remove_qube(&mut self, name: &QubeName) -> Result<(), StoreError> {
        let is_kept = self.view.qube(name)?.is_some_and(|qube| qube.class != Class::DispVM);
        self.mark(Key::Qube(name.clone()), is_kept);
        let removed = self.index_mut()?.remove(name.as_str());
        self.entries_changed |= removed;
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
        let is_configured = self.view.system().map_or(true, |before| before.properties != system.properties);
        self.view.system = Rc::new(system).into();
        self.mark(Key::System, is_configured);
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
        self.mark(Key::Labels, true);
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
        self.mark(Key::Pools, true);
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
            let after = content(&file, self.encoded(key, 0, &Stamp::default())?)?;
            Ok((file, before, after))
        };
        self.edited.keys().map(edit).collect()
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
        self.commit_objects(&BTreeMap::new())
    }

    fn commit_objects(&mut self, keys: &BTreeMap<Key, bool>) -> Result<(), StoreError> {
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
        let objects: Result<Vec<_>, _> =
            keys.iter().map(|(key, is_history)| self.object(key, *is_history, generation)).collect();
        let (events, notes) = (std::mem::take(&mut self.events), std::mem::take(&mut self.notes));
        let change = Change { objects: objects?, events, notes };
        let store = self.view.store;
        let entries_changed = self.entries_changed;
        let index = self.index_mut()?;
        index.generation = generation;
        store.commit(&change, index, entries_changed)
    }

    /// An object's new state. One that is part of the history has its author, and the old one is kept.
    fn object(&self, key: &Key, is_history: bool, generation: u64) -> Result<ObjectChange, StoreError> {
        let file = key.file();
        let before = self.view.store.read_object(&file)?.map(|bytes| history::stamp_of(&bytes));
        let kept = before.as_ref().filter(|_| is_history).map(|stamp| history::place(&file, stamp.before));
        let stamp = if is_history { self.stamp(before, generation) } else { before.unwrap_or_default() };
        Ok(ObjectChange::of(file, self.encoded(key, generation, &stamp)?, kept))
    }

    fn stamp(&self, before: Option<Stamp>, generation: u64) -> Stamp {
        let (caller, method) = (self.author.0.clone(), self.author.1.to_owned());
        let before = before.map_or(0, |stamp| stamp.before.saturating_add(1));
        Stamp { change: generation, before, time: clock::seconds_now(), caller, method }
    }

    fn encoded(&self, key: &Key, generation: u64, stamp: &Stamp) -> Result<Option<Vec<u8>>, StoreError> {
        match key {
            Key::System => encode_stamped(generation, stamp, &*self.view.system()?).map(Some),
            Key::Labels => encode_stamped(generation, stamp, &*self.view.labels()?).map(Some),
            Key::Pools => encode_stamped(generation, stamp, &*self.view.pools()?).map(Some),
            Key::Qube(name) => {
                self.view.qube(name)?.map(|qube| encode_stamped(generation, stamp, &*qube)).transpose()
            }
        }
    }
}

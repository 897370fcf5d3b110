//! Reading the state: objects are loaded when first asked for and then kept.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use super::{Guard, Index, Key, Store, StoreError};
use crate::model::{Labels, Pools, Qube, System};
use crate::names::{QubeName, QubeUuid};

/// The state as one call sees it. Inside a transaction it shows the changes made so far.
pub struct View<'s> {
    pub(super) store: &'s Store,
    guard: Option<Guard>,
    pub(super) qubes: RefCell<BTreeMap<QubeName, Option<Rc<Qube>>>>,
    pub(super) system: OnceCell<Rc<System>>,
    pub(super) labels: OnceCell<Rc<Labels>>,
    pub(super) pools: OnceCell<Rc<Pools>>,
    pub(super) index: OnceCell<Rc<Index>>,
}

impl<'s> View<'s> {
    pub(super) fn new(store: &'s Store, guard: Option<Guard>) -> Self {
        Self {
            store,
            guard,
            qubes: RefCell::default(),
            system: OnceCell::new(),
            labels: OnceCell::new(),
            pools: OnceCell::new(),
            index: OnceCell::new(),
        }
    }

    /// Whether the view is of one instant: the lock is held.
    pub fn is_locked(&self) -> bool {
        self.guard.is_some()
    }

    /// Whether a qube exists.
    ///
    /// # Errors
    /// What the file system says.
    pub fn exists(&self, name: &QubeName) -> Result<bool, StoreError> {
        if let Some(known) = self.qubes.borrow().get(name) {
            return Ok(known.is_some());
        }
        let path = self.store.state.join(Key::Qube(name.clone()).file());
        self.store.vfs().exists(&path).map_err(StoreError::io("looking for a qube"))
    }

    /// The qube of that name.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] and [`StoreError::Newer`] for its object, or what the file system says.
    pub fn qube(&self, name: &QubeName) -> Result<Option<Rc<Qube>>, StoreError> {
        if let Some(known) = self.qubes.borrow().get(name) {
            return Ok(known.clone());
        }
        let loaded = self.store.load_qube(name)?.map(|(_, qube)| Rc::new(qube));
        self.qubes.borrow_mut().insert(name.clone(), loaded.clone());
        Ok(loaded)
    }

    /// The qube a stored text names, if it names one.
    ///
    /// # Errors
    /// As [`View::qube`].
    pub fn qube_named(&self, text: &str) -> Result<Option<Rc<Qube>>, StoreError> {
        QubeName::parse(text).map_or(Ok(None), |name| self.qube(&name))
    }

    /// The name that goes with a UUID.
    ///
    /// # Errors
    /// As [`View::index`].
    pub fn name_of_uuid(&self, uuid: &QubeUuid) -> Result<Option<QubeName>, StoreError> {
        let text = uuid.to_string();
        let index = self.listed()?;
        let entry = index.entries().iter().find(|entry| entry.uuid() == text);
        Ok(entry.and_then(|entry| QubeName::parse(entry.name()).ok()))
    }

    /// Names of all qubes that can be read, in the order of lists.
    ///
    /// # Errors
    /// As [`View::listed`].
    pub fn names(&self) -> Result<Vec<QubeName>, StoreError> {
        Ok(self.listed()?.entries().iter().filter_map(|entry| QubeName::parse(entry.name()).ok()).collect())
    }

    /// Global state.
    ///
    /// # Errors
    /// As [`View::qube`].
    pub fn system(&self) -> Result<Rc<System>, StoreError> {
        self.cached(&self.system, &Key::System)
    }

    /// All labels.
    ///
    /// # Errors
    /// As [`View::qube`].
    pub fn labels(&self) -> Result<Rc<Labels>, StoreError> {
        self.cached(&self.labels, &Key::Labels)
    }

    /// All pools.
    ///
    /// # Errors
    /// As [`View::qube`].
    pub fn pools(&self) -> Result<Rc<Pools>, StoreError> {
        self.cached(&self.pools, &Key::Pools)
    }

    /// The index of all qubes, for decisions: none if some qube cannot be read.
    ///
    /// # Errors
    /// [`StoreError::Incomplete`], or what the file system says.
    pub fn index(&self) -> Result<Rc<Index>, StoreError> {
        let index = self.listed()?;
        match &index.left_out {
            Some(file) => Err(StoreError::Incomplete(file.clone())),
            None => Ok(index),
        }
    }

    /// Generation of the newest committed change.
    ///
    /// # Errors
    /// As [`View::listed`].
    pub fn generation(&self) -> Result<u64, StoreError> {
        match self.store.indexed_generation()? {
            Some(generation) => Ok(generation),
            None => Ok(self.listed()?.generation),
        }
    }

    /// The index of all qubes that can be read, for showing. Only a locked view has one that is sure to be current.
    ///
    /// # Errors
    /// What the file system says.
    pub fn listed(&self) -> Result<Rc<Index>, StoreError> {
        if let Some(index) = self.index.get() {
            return Ok(Rc::clone(index));
        }
        let index = if self.is_locked() { self.store.load_index()? } else { self.store.glance_index()? };
        let index = Rc::new(index);
        Ok(Rc::clone(self.index.get_or_init(|| index)))
    }

    fn cached<T: serde::de::DeserializeOwned>(
        &self,
        cell: &OnceCell<Rc<T>>,
        key: &Key,
    ) -> Result<Rc<T>, StoreError> {
        if let Some(object) = cell.get() {
            return Ok(Rc::clone(object));
        }
        let (_, object) = self.store.load::<T>(&key.file())?.ok_or(StoreError::Missing)?;
        let object = Rc::new(object);
        Ok(Rc::clone(cell.get_or_init(|| object)))
    }
}

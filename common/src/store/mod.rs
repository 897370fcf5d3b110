//! The state store: one JSON file per object, all-or-nothing changes, an event log and an index.
//!
//! Layout, commit protocol and recovery are told in `docs/architecture.md`.

mod alarm;
mod check;
mod events;
mod follow;
mod history;
mod index;
mod journal;
mod lock;
mod note;
mod object;
mod problem;
mod txn;
mod vfs;
mod view;

pub use alarm::Alarm;
pub use events::LoggedEvent;
pub use follow::{Follower, Lost};
pub use history::{KEPT, Stamp, Version};
pub use index::{Entry, Index, SYSTEM_INFO};
pub use lock::{Guard, LifecycleGuard, LiveFile, is_locked_by_another, lock_directory, read_live};
pub(crate) use lock::{lifecycle as lock_file, lifecycle_if_free as lock_file_if_free};
pub use note::Note;
pub use object::{FORMAT, decode, encode};
pub use problem::{Problem, Remedy};
pub use txn::Txn;
pub use vfs::{DIRECTORY_MODE, Disk, Next, Vfs};
pub use view::View;

use std::cell::Cell;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use crate::failure::{Exception, Failure};
use crate::log;
use crate::names::{PoolName, QubeName};
use crate::root::Root;
use crate::storage;

/// What one file of the store holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// Global properties.
    System,
    /// All labels.
    Labels,
    /// All pools.
    Pools,
    /// One qube.
    Qube(QubeName),
}

impl Key {
    /// The file, relative to the state directory.
    pub fn file(&self) -> String {
        match self {
            Self::System => "system.json".to_owned(),
            Self::Labels => "labels.json".to_owned(),
            Self::Pools => "pools.json".to_owned(),
            Self::Qube(name) => format!("qubes/{name}.json"),
        }
    }

    /// The key a file belongs to.
    pub fn of_file(file: &str) -> Option<Self> {
        match file {
            "system.json" => Some(Self::System),
            "labels.json" => Some(Self::Labels),
            "pools.json" => Some(Self::Pools),
            _ => {
                let name = file.strip_prefix("qubes/")?.strip_suffix(".json")?;
                QubeName::parse(name).ok().map(Self::Qube)
            }
        }
    }
}

/// Why the store could not serve.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The system refused a file operation.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, for the log.
        what: String,
        /// The cause.
        source: io::Error,
    },
    /// An object's checksum or text is wrong.
    #[error("stored object {0} is damaged")]
    Damaged(String),
    /// An object was written by a newer version of this software.
    #[error("stored object {0} is from a newer version")]
    Newer(String),
    /// Another call held the lock for too long.
    #[error("the store is busy")]
    Busy,
    /// The kernel gives this user no more means to listen.
    #[error("too many event listeners: fs.inotify.max_user_instances limits them")]
    Listeners,
    /// A decision over all qubes cannot be made.
    #[error("stored object {0} cannot be read; see qubes-admin check")]
    Incomplete(String),
    /// The kernel gives this user no more inotify watches, of which each listener needs one.
    #[error("too many event listeners: fs.inotify.max_user_watches limits them")]
    Watches,
    /// There is no store here.
    #[error("there is no store; use qubes-admin init or qubes-admin import")]
    Missing,
}

impl StoreError {
    /// Names what was being done when the system refused.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        log::line(&error.to_string());
        let text = match error {
            StoreError::Io { source, .. } => format!("The state store cannot be used: {}", io_text(&source)),
            other => format!("The state store cannot be used: {other}"),
        };
        Self::new(Exception::QubesException, text)
    }
}

/// The system's own words for an error, without its number.
fn io_text(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => nix::errno::Errno::from_raw(number).desc().to_owned(),
        None => error.kind().to_string(),
    }
}

/// The store at one root.
pub struct Store {
    /// Where the volumes lie, for what a killed call left in them.
    root: Option<Root>,
    vfs: Box<dyn Vfs>,
    state: PathBuf,
    run: PathBuf,
    /// The segment of the event log that this process wrote to last.
    newest: Cell<Option<events::Segment>>,
}

impl Store {
    /// The store below `root`, on the real file system.
    pub fn at(root: &Root) -> Self {
        let store = Self::on(Box::new(Disk::shared_by_group()), root.state(), root.run());
        Self { root: Some(root.clone()), ..store }
    }

    /// A store in two directories of any file layer: `state` survives power loss, `run` does not.
    pub fn on(vfs: Box<dyn Vfs>, state: PathBuf, run: PathBuf) -> Self {
        Self { root: None, vfs, state, run, newest: Cell::new(None) }
    }

    /// Makes the directories of an empty store. Existing ones stay.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn prepare(&self) -> Result<(), StoreError> {
        for directory in self.directories() {
            self.vfs.make_directory(&directory).map_err(StoreError::io("making the store's directories"))?;
        }
        Ok(())
    }

    /// All directories of the store, parents first.
    pub fn directories(&self) -> [PathBuf; 14] {
        let (state, run) = (&self.state, &self.run);
        let [qubes, journal, unfinished] = ["qubes", "journal", "unfinished"].map(|name| state.join(name));
        let (tokens, imports) = (storage::TOKENS, storage::import::FOLDER);
        let [halfway, attached, exposed] = note::Note::FOLDERS.map(|name| run.join(name));
        let folders = [events::FOLDER, "locks", "domains", "watchers", tokens, imports];
        let [events, locks, domains, watchers, tokens, imports] = folders.map(|name| run.join(name));
        let (state, run) = (state.clone(), run.clone());
        [
            state, qubes, journal, unfinished, run, events, locks, domains, watchers, tokens, imports,
            halfway, attached, exposed,
        ]
    }

    /// A consistent view of everything, under a lock. Finishes what a killed call left behind.
    ///
    /// # Errors
    /// [`StoreError::Busy`] after the deadline, [`StoreError::Missing`], or what the file system says.
    pub fn read(&self) -> Result<View<'_>, StoreError> {
        let guard = lock::shared(&self.state)?;
        if !self.has_unfinished_change()? {
            return Ok(View::new(self, Some(guard)));
        }
        drop(guard);
        let guard = lock::exclusive(&self.state)?;
        if self.has_unfinished_change()? {
            let unpublished = self.settle()?;
            // Events that cannot be published yet, on a full disk, keep nobody from reading.
            self.finish(&unpublished).unwrap_or_else(journal::log_unfinished);
        }
        Ok(View::new(self, Some(guard)))
    }

    /// A view for calls that read one object: no lock. A committed change that waits is applied first.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub fn read_one(&self) -> Result<View<'_>, StoreError> {
        let record = self.state.join(journal::COMMIT);
        if self.vfs.exists(&record).map_err(StoreError::io("looking for unfinished changes"))? {
            // Not kept: whoever goes on to change something would wait for itself.
            drop(self.read()?);
        }
        Ok(View::new(self, None))
    }

    /// A view without any lock, of what is there now: for those who follow for long and must hold nobody up.
    pub fn glance(&self) -> View<'_> {
        View::new(self, None)
    }

    /// Generation of the newest change, where that can be told without a lock: nothing is being changed or left unfinished,
    /// and there is an index.
    ///
    /// # Errors
    /// What the file system says.
    pub fn generation_at_rest(&self) -> Result<Option<u64>, StoreError> {
        // In this order: whatever has dropped its record by now is in the index.
        if self.has_unfinished_change()? { Ok(None) } else { self.indexed_generation() }
    }

    /// A write transaction, under the exclusive lock.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub fn write(&self) -> Result<Txn<'_>, StoreError> {
        let guard = lock::exclusive(&self.state)?;
        self.prepare_run_time()?;
        self.recover()?;
        Ok(Txn::new(View::new(self, Some(guard))))
    }

    /// Waits for the lifecycle lock of one qube: start, stop, creation, removal, import. Always taken before
    /// the store's lock, never after it. Ends what was killed in the middle of an import.
    ///
    /// # Errors
    /// [`StoreError::Busy`] after the deadline, or what the file system says.
    pub fn lock_lifecycle(&self, name: &QubeName) -> Result<LifecycleGuard, StoreError> {
        self.prepare_run_time()?;
        let guard = lock::lifecycle(&self.lifecycle(name))?;
        if let Some(root) = &self.root {
            storage::import::settle_without_drivers(self, root, name, guard.as_fd());
        }
        Ok(guard)
    }

    /// Waits for the lock of a volume that no qube has. Its name has what no qube's may have.
    ///
    /// # Errors
    /// As [`Store::lock_lifecycle`].
    pub fn lock_unowned(&self, pool: &PoolName, vid: &str) -> Result<LifecycleGuard, StoreError> {
        self.prepare_run_time()?;
        lock::lifecycle(&self.run.join("locks").join(format!("{pool}:{}", vid.replace('/', ":"))))
    }

    /// The same lock as of [`Store::lock_lifecycle`], if nobody holds it now; ends nothing.
    ///
    /// # Errors
    /// What the file system says.
    pub fn try_lock_lifecycle(&self, name: &QubeName) -> Result<Option<LifecycleGuard>, StoreError> {
        lock::lifecycle_if_free(&self.lifecycle(name))
    }

    fn lifecycle(&self, name: &QubeName) -> PathBuf {
        self.run.join("locks").join(name.as_str())
    }

    /// Waits for the turn to see to the disposables that are made in advance on a template. Taken before any lifecycle
    /// lock.
    ///
    /// # Errors
    /// As [`Store::lock_lifecycle`].
    pub fn lock_preloading(&self, template: &QubeName) -> Result<LifecycleGuard, StoreError> {
        self.prepare_run_time()?;
        // No qube has such a name.
        lock::lifecycle(&self.run.join("locks").join(format!("+{template}")))
    }

    /// Waits for the turn to attach what is plugged into a port. Taken after the lifecycle lock of the qube that gets it.
    ///
    /// # Errors
    /// As [`Store::lock_lifecycle`].
    pub fn lock_device(&self, backend: &QubeName, port: &str) -> Result<LifecycleGuard, StoreError> {
        self.prepare_run_time()?;
        // No qube and no pool has such a name.
        let name = format!("{backend}+device+{}", port.replace('/', ":"));
        lock::lifecycle(&self.run.join("locks").join(name))
    }

    /// Waits for the turn to have a rule in a file of policy for a moment. Taken after that of the device that it is for.
    ///
    /// # Errors
    /// As [`Store::lock_lifecycle`].
    pub fn lock_rules(&self, file: &str) -> Result<LifecycleGuard, StoreError> {
        self.prepare_run_time()?;
        // No qube, no pool and no template has such a name.
        lock::lifecycle(&self.run.join("locks").join(format!("+rules+{file}")))
    }

    /// Takes the place of the one process that tells of a running qube's devices, if nobody has it.
    ///
    /// # Errors
    /// As [`Store::lock_lifecycle`].
    pub fn try_lock_devices(&self, name: &QubeName) -> Result<Option<LifecycleGuard>, StoreError> {
        self.prepare_run_time()?;
        // No qube and no pool has such a name.
        lock::lifecycle_if_free(&self.run.join("locks").join(format!("{name}+devices")))
    }

    /// Takes the place of the one process that waits for a qube's firewall rules to end; rings where another has it.
    ///
    /// # Errors
    /// What the file system says.
    pub fn expiry_alarm(&self, name: &QubeName) -> Result<Option<Alarm>, StoreError> {
        self.prepare_run_time()?;
        // No qube and no pool has such a name.
        Alarm::take(&self.run.join("locks").join(format!("{name}+expiry")))
    }

    /// Whether some call is at work on a qube right now.
    pub fn is_busy(&self, name: &QubeName) -> bool {
        is_locked_by_another(&self.lifecycle(name))
    }

    /// Makes the directories below `/run` where a boot emptied it.
    fn prepare_run_time(&self) -> Result<(), StoreError> {
        if self.newest.get().is_some() {
            return Ok(());
        }
        let there = self.vfs.exists(&self.run.join(events::FOLDER));
        if there.map_err(StoreError::io("looking for the event log"))? { Ok(()) } else { self.prepare() }
    }

    /// The state directory.
    pub fn state_directory(&self) -> &Path {
        &self.state
    }

    /// The run-time directory.
    pub fn run_directory(&self) -> &Path {
        &self.run
    }

    pub(crate) fn vfs(&self) -> &dyn Vfs {
        self.vfs.as_ref()
    }
}

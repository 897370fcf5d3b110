//! The qube whose run is watched: where its watcher tells of it and listens, and what is done when it is over.

use std::path::PathBuf;
use std::time::Duration;

use common::files;
use common::hypervisor::{self, Domain, PowerState};
use common::log;
use common::names::{QubeName, QubeUuid};
use common::root::Root;
use common::run;
use common::store::{LifecycleGuard, Store};

use crate::control::{Done, Refused};
use crate::published::Published;

/// The program that does what follows from a run's end.
const FINISHER: &str = "qubes-run";
/// How long it may take, volumes of slow pools and the wait for the lifecycle lock included.
const DEADLINE: Duration = Duration::from_secs(600);

/// One qube below one root.
pub struct Place<'a> {
    root: &'a Root,
    store: Store,
    name: &'a QubeName,
}

impl<'a> Place<'a> {
    /// A qube.
    pub fn of(root: &'a Root, name: &'a QubeName) -> Self {
        Self { root, store: Store::at(root), name }
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.root.run().join("domains").join(self.name.as_str())
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.root.run().join("watchers").join(self.name.as_str())
    }

    pub(crate) fn lock(&self) -> Done<LifecycleGuard> {
        self.store.lock_lifecycle(self.name).map_err(|error| Refused(error.to_string()))
    }

    /// The run that a killed watcher left.
    pub(crate) fn left(&self) -> Done<Option<Domain>> {
        let run = hypervisor::Published::at(self.root).watched_run(self.name);
        let run = run.map_err(|error| Refused(error.to_string()))?;
        Ok(run.filter(|(_, is_watched)| !is_watched).map(|(run, _)| run))
    }

    /// The qube's UUID; nothing if the qube is gone.
    pub(crate) fn uuid(&self) -> Done<Option<QubeUuid>> {
        let uuid = self
            .store
            .read()
            .and_then(|view| view.qube(self.name).map(|qube| qube.map(|qube| qube.uuid.clone())));
        uuid.map_err(|error| Refused(error.to_string()))
    }

    /// Has the end of a run handled that a killed watcher left and whose domain is gone.
    pub(crate) fn clear(&self, held: LifecycleGuard, left: Domain, reason: Option<&str>) -> Done {
        let mut gone = Domain { state: PowerState::Halted, ..left };
        gone.run.failed = gone.run.failed.or_else(|| reason.map(str::to_owned));
        let published = Published::new(&self.state(), gone).map_err(|error| Refused(error.to_string()))?;
        drop(held);
        let _ = files::remove(&self.socket());
        self.finish(published.domain());
        Ok(())
    }

    /// Has done what follows from a run's end, under the qube's lifecycle lock, by a program that is there for that alone:
    /// a watcher stays small. What fails is left to the next call about the qube.
    pub(crate) fn finish(&self, ended: &Domain) {
        let begun = ended.run.begun_us.to_string();
        let finished = run::of_ours(self.root, FINISHER, &["end", self.name.as_str(), &begun], DEADLINE);
        let failed = |text: String| log::line(&format!("the end of {} is not handled: {text}", self.name));
        match finished {
            Ok(finished) if finished.is_success() => {}
            Ok(finished) => failed(finished.errors()),
            Err(error) => failed(error.to_string()),
        }
    }
}

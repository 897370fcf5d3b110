//! What attaching or detaching a device takes, once everything is checked.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::capture::Finished;
use common::failure::{Exception, Failure};
use common::hypervisor::{HotDevice, Request};
use common::names::QubeName;
use common::qubesdb::{Database, Entry};
use common::root::Root;
use common::store::{LifecycleGuard, Store};
use common::{files, log};

use super::attach::Frontend;
use crate::companion::service;
use crate::lifecycle;

/// How long a service that attaches a device may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// An attachment that can be made.
pub(super) struct Plan {
    /// How it is made.
    pub(super) work: Work,
    /// The options as they are then.
    pub(super) options: Vec<(String, String)>,
}

/// The one thing that has to be done.
pub(super) enum Work {
    /// Something that the watcher of the qube's domain does, once a service is through with its part, if there is one.
    Watcher(Option<Service>, Box<Request>),
    /// A service that runs in a qube.
    Service(Service),
    /// An entry in a qube's QubesDB.
    Entry(QubeName, Entry),
    /// Nothing is left to do.
    Nothing,
}

/// A service with what it is told.
pub(super) struct Service {
    /// Where it runs, as root: a qube, or its helper domain.
    pub(super) qube: String,
    /// Its name with its argument.
    pub(super) name: String,
    /// Its input.
    pub(super) input: String,
    /// A rule of policy that holds while it runs: file and line.
    pub(super) rule: Option<(PathBuf, String)>,
    /// What its failure means.
    pub(super) failed: Box<dyn Fn(&Finished) -> Failure>,
}

impl Work {
    /// The device that the watcher gives or takes.
    pub(super) fn hot(&self) -> Option<&HotDevice> {
        match self {
            Self::Watcher(_, request) => match &**request {
                Request::Attach(device) | Request::Detach(device) => Some(device),
                _ => None,
            },
            _ => None,
        }
    }

    /// The rule of policy that holds meanwhile.
    pub(super) fn rule(&self) -> Option<&(PathBuf, String)> {
        match self {
            Self::Service(service) => service.rule.as_ref(),
            _ => None,
        }
    }

    /// Does it.
    pub(super) fn perform(&self, frontend: &Frontend<'_>) -> Result<(), Failure> {
        let root = frontend.context.root;
        match self {
            Self::Watcher(service, request) => {
                service.as_ref().map_or(Ok(()), |service| service.run(frontend.store, root))?;
                lifecycle::ask_held(root, frontend.name, request)
            }
            Self::Service(service) => service.run(frontend.store, root),
            Self::Entry(qube, entry) => write(root, qube, entry),
            Self::Nothing => Ok(()),
        }
    }
}

impl Service {
    fn run(&self, store: &Store, root: &Root) -> Result<(), Failure> {
        let rule = self.rule.as_ref().map(|(file, line)| Rule::add(store, root, file, line));
        let _rule = rule.transpose()?;
        let finished = service::run_in(root, &self.qube, "root", &self.name, &self.input, DEADLINE);
        let finished = finished.map_err(|error| failed(format!("{}: {error}", self.name)))?;
        if finished.is_success() { Ok(()) } else { Err((self.failed)(&finished)) }
    }
}

fn failed(text: String) -> Failure {
    Failure::new(Exception::QubesException, text)
}

fn of_policy(error: io::Error) -> Failure {
    failed(format!("a rule of policy: {error}"))
}

/// A line in front of a file of policy, until it is dropped. Others have to wait for the file until then: each would put back
/// what it found.
pub(super) struct Rule<'a> {
    file: PathBuf,
    line: &'a str,
    _turn: LifecycleGuard,
}

impl<'a> Rule<'a> {
    fn add(store: &Store, root: &Root, file: &Path, line: &'a str) -> Result<Self, Failure> {
        let rule = Self::taken(store, root, file, line)?;
        let others = rule.others(&rule.content().map_err(of_policy)?);
        rule.write(&[line.as_bytes(), b"\n", &others].concat()).map_err(of_policy)?;
        Ok(rule)
    }

    fn taken(store: &Store, root: &Root, file: &Path, line: &'a str) -> Result<Self, Failure> {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        Ok(Self { file: root.path(&file.to_string_lossy()), line, _turn: store.lock_rules(&name)? })
    }

    /// Takes away what a call that was killed has left.
    ///
    /// # Errors
    /// `QubesException` if the rule still holds.
    pub(super) fn withdraw(store: &Store, root: &Root, file: &Path, line: &'a str) -> Result<(), Failure> {
        Self::taken(store, root, file, line)?.remove().map_err(of_policy)
    }

    fn remove(&self) -> io::Result<()> {
        let content = self.content()?;
        let others = self.others(&content);
        match others.len() {
            length if length == content.len() => Ok(()),
            0 => files::remove(&self.file),
            _ => self.write(&others),
        }
    }

    fn content(&self) -> io::Result<Vec<u8>> {
        Ok(files::read_if_present(&self.file)?.unwrap_or_default())
    }

    /// All lines but this, also where a call that was killed has left it.
    fn others(&self, content: &[u8]) -> Vec<u8> {
        let is_other = |line: &&[u8]| line.strip_suffix(b"\n").unwrap_or(line) != self.line.as_bytes();
        content.split_inclusive(|byte| *byte == b'\n').filter(is_other).collect::<Vec<_>>().concat()
    }

    fn write(&self, content: &[u8]) -> io::Result<()> {
        files::replace(&self.file, content, 0o664)
    }
}

impl Drop for Rule<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            log::line(&format!("{} still allows what was to be for a moment: {error}", self.file.display()));
        }
    }
}

fn write(root: &Root, qube: &QubeName, entry: &Entry) -> Result<(), Failure> {
    let unreachable = || failed(format!("QubesDB of {qube} cannot be reached"));
    let mut database = Database::of(root, qube).ok().flatten().ok_or_else(unreachable)?;
    database.put(std::slice::from_ref(entry)).map_err(|error| failed(error.to_string()))
}

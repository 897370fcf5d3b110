//! What attaching or detaching a device takes, once everything is checked.

use std::path::PathBuf;
use std::time::Duration;

use common::capture::Finished;
use common::failure::{Exception, Failure};
use common::files;
use common::hypervisor::Request;
use common::names::QubeName;
use common::qubesdb::{Database, Entry};
use common::root::Root;

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
    /// Something that the watcher of the qube's domain does.
    Watcher(Box<Request>),
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
    /// Does it.
    pub(super) fn perform(&self, frontend: &Frontend<'_>) -> Result<(), Failure> {
        let root = frontend.context.root;
        match self {
            Self::Watcher(request) => lifecycle::ask_held(root, frontend.name, request),
            Self::Service(service) => service.run(root),
            Self::Entry(qube, entry) => write(root, qube, entry),
            Self::Nothing => Ok(()),
        }
    }
}

impl Service {
    fn run(&self, root: &Root) -> Result<(), Failure> {
        let rule = self.rule.as_ref().map(|(file, line)| Rule::add(root.path(&file.to_string_lossy()), line));
        let _rule = rule.transpose()?;
        let finished = service::run_in(root, &self.qube, "root", &self.name, &self.input, DEADLINE);
        let finished = finished.map_err(|error| failed(format!("{}: {error}", self.name)))?;
        if finished.is_success() { Ok(()) } else { Err((self.failed)(&finished)) }
    }
}

fn failed(text: String) -> Failure {
    Failure::new(Exception::QubesException, text)
}

/// A line in front of a file of policy, until it is dropped.
struct Rule {
    file: PathBuf,
    /// What the file held before; none if it was not there.
    before: Option<Vec<u8>>,
}

impl Rule {
    fn add(file: PathBuf, line: &str) -> Result<Self, Failure> {
        let denied = |error: std::io::Error| failed(format!("a rule of policy: {error}"));
        let before = files::read_if_present(&file).map_err(denied)?;
        let mut content = format!("{line}\n").into_bytes();
        content.extend_from_slice(before.as_deref().unwrap_or_default());
        files::replace(&file, &content, 0o664).map_err(denied)?;
        Ok(Self { file, before })
    }
}

impl Drop for Rule {
    fn drop(&mut self) {
        let _ = match &self.before {
            Some(before) => files::replace(&self.file, before, 0o664),
            None => files::remove(&self.file),
        };
    }
}

fn write(root: &Root, qube: &QubeName, entry: &Entry) -> Result<(), Failure> {
    let unreachable = || failed(format!("QubesDB of {qube} cannot be reached"));
    let mut database = Database::of(root, qube).ok().flatten().ok_or_else(unreachable)?;
    database.put(std::slice::from_ref(entry)).map_err(|error| failed(error.to_string()))
}

//! A backup's run as plain data, handed by the call to the program that makes it: all that follows from the state of qubes at the
//! moment of the call, which that program then need not know how to work out.

use std::os::fd::{AsFd, AsRawFd};

use common::call::{World, no_such_domain};
use common::failure::Failure;
use common::hypervisor::Connection;
use common::model::Class;
use common::names::{BackupProfile, QubeName};
use common::root::Root;
use common::run::{self, Stream};
use common::store::View;
use common::work::Work;
use common::{files, reply};
use serde::{Deserialize, Serialize};

use super::chosen::Chosen;
use super::content::Contents;
use super::profile::{self, refused};
use super::program::PROGRAM;
use super::{execute, marked};
use crate::companion::service;
use crate::property::{Case, Context};

/// Its log.
const LOG: &str = "backup";

/// A qube in which a service is run, and as whom.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Server {
    pub(super) qube: QubeName,
    pub(super) user: String,
}

/// Where the passphrase comes from.
#[derive(Serialize, Deserialize)]
pub(super) enum Secret {
    Said(String),
    Asked(Server),
}

/// What is known of each qube beside its pieces.
#[derive(Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) name: QubeName,
    pub(super) size: u64,
}

/// What a run does.
#[derive(Serialize, Deserialize)]
pub(super) struct Job {
    /// The profile.
    pub(super) id: String,
    /// Who asks for it.
    pub(super) caller: QubeName,
    /// Where it goes: a qube, or nothing for a file of dom0.
    pub(super) server: Option<Server>,
    pub(super) path: String,
    pub(super) compressed: bool,
    pub(super) filter: String,
    /// Pieces of the qubes, and as many of these.
    pub(super) contents: Contents,
    pub(super) parts: Vec<Part>,
    /// The file that says what the others are.
    pub(super) xml: String,
    /// Who is told when they were backed up.
    pub(super) stamped: Vec<QubeName>,
}

/// A run that can begin.
pub(super) struct Ordered {
    pub(super) job: Job,
    secret: Secret,
}

impl Ordered {
    /// What a profile asks for.
    ///
    /// # Errors
    /// What is wrong with it, and for a qube that cannot be talked with.
    pub(super) fn of(
        world: &World<'_>,
        caller: &QubeName,
        id: &BackupProfile,
        chosen: &Chosen,
    ) -> Result<Self, Failure> {
        let (profile, view, context) = (&chosen.profile, world.store().read()?, Context::of(world));
        let compression = profile.compression()?;
        let server = |name: &QubeName| server(&view, context, name);
        let secret = match profile.secret(&view)? {
            profile::Secret::Said(text) => Secret::Said(text),
            profile::Secret::Asked(name) => Secret::Asked(server(&name)?),
        };
        let destination = &profile.destination;
        let job = Job {
            id: id.as_str().to_owned(),
            caller: caller.clone(),
            server: if destination.is_dom0() { None } else { Some(server(destination)?) },
            path: profile.path.clone(),
            compressed: compression.is_on,
            filter: compression.filter,
            contents: Contents::default(),
            parts: Vec::new(),
            xml: String::new(),
            stamped: execute::told(chosen),
        };
        Ok(Self { job, secret })
    }

    /// Has it made, and awaits its end.
    ///
    /// # Errors
    /// The run's.
    pub(super) fn made(mut self, world: &World<'_>, chosen: Chosen, work: &Work) -> Result<(), Failure> {
        let (root, job) = (world.root(), &mut self.job);
        let sizes = chosen.contents.sizes(root)?;
        job.xml = marked::text(&world.store().read()?, root, &chosen.qubes, &sizes)?;
        let part =
            |(qube, size): (&std::rc::Rc<common::model::Qube>, u64)| Part { name: qube.name.clone(), size };
        job.parts = chosen.qubes.iter().zip(sizes).map(part).collect();
        job.contents = chosen.contents;
        let broken = |error: std::io::Error| refused(format!("Running the backup: {error}"));
        reply::content(&self.run(root, work).map_err(broken)?.unwrap_or_default()).map(drop).map_err(
            |failure| match failure {
                Failure::Dropped(_) => refused("The backup's run ended early"),
                told => told,
            },
        )
    }

    /// Runs the program; gives its answer if it lives to give one.
    fn run(&self, root: &Root, work: &Work) -> std::io::Result<Option<Vec<u8>>> {
        let (ours, theirs) = Connection::pair()?;
        let told = files::in_memory(&serde_json::to_vec(&self.job)?)?;
        let log = run::log_file(root, LOG).ok();
        let errors = log.as_ref().map_or(Stream::Nothing, |log| Stream::Given(log.as_raw_fd()));
        let given = |open: &dyn AsFd| Stream::Given(open.as_fd().as_raw_fd());
        let process = run::ours_apart(root, PROGRAM, &["run"], [given(work), given(&theirs), errors])?;
        drop(theirs);
        ours.send_with(&self.secret, told.as_fd())?;
        let answer = ours.receive()?;
        process.wait()?;
        Ok(answer)
    }
}

/// A qube whose services can be run.
fn server(view: &View<'_>, context: Context<'_>, name: &QubeName) -> Result<Server, Failure> {
    let qube = view.qube(name)?.ok_or_else(|| no_such_domain(name.as_str()))?;
    let case = Case { view, context, qube: Some(&qube) };
    if qube.class == Class::AdminVM {
        return Ok(Server { qube: name.clone(), user: String::new() });
    }
    service::check(&context, &qube)?;
    let user = case.value("default_user")?.map(|user| user.to_text()).unwrap_or_default();
    Ok(Server { qube: name.clone(), user })
}

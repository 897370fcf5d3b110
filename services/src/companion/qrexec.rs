//! The qrexec daemon of a running qube, and of its helper domain (spec 40 §3.5).

use std::time::Duration;

use common::failure::{Exception, Failure};
use common::hypervisor::{Domid, Stubdom, agent_socket};
use common::model::Qube;
use common::names::QubeName;
use common::root::Root;
use common::{files, log, peer, run};

use super::{START_DEADLINE, entries};
use crate::property::Case;

/// The daemon's program.
pub const DAEMON: &str = "/usr/sbin/qrexec-daemon";
/// What it ends with when the agent did not connect in time.
const NO_AGENT: i32 = 3;

/// Whether a qube is of use only once its agent is connected: where there is qrexec, and the qube says that it has an agent.
///
/// # Errors
/// What the store says.
pub fn is_needed(case: &Case<'_>) -> Result<bool, Failure> {
    Ok(files::exists(&case.context.root.path(DAEMON)) && case.has_feature("qrexec")?)
}

/// What a daemon is started with.
pub struct Agent {
    qube: QubeName,
    is_quiet: bool,
    uuid: String,
    domid: Domid,
    name: String,
    user: String,
    /// Seconds that the agent is waited for; none does not wait.
    patience: Option<u64>,
}

impl Agent {
    /// The agent of a qube's domain.
    ///
    /// # Errors
    /// What the store says.
    pub fn of_qube(case: &Case<'_>, qube: &Qube, domid: Domid) -> Result<Self, Failure> {
        let awaits = case.has_feature("qrexec")?;
        Ok(Self {
            qube: qube.name.clone(),
            is_quiet: !case.is_on("debug")?,
            uuid: qube.uuid.to_string(),
            domid,
            name: qube.name.to_string(),
            user: entries::default_user(case)?.unwrap_or_default(),
            patience: if awaits { Some(case.number("qrexec_timeout")?) } else { None },
        })
    }

    /// The same in the domain that emulates its devices.
    #[must_use]
    pub fn in_stubdom(self, stubdom: &Stubdom) -> Self {
        let name = socket_name(&self.qube, true);
        let (uuid, domid) = (stubdom.uuid.clone(), stubdom.domid);
        Self { uuid, domid, name, user: "root".to_owned(), ..self }
    }

    /// Starts its daemon, where there is one, and awaits the agent if it is to be awaited.
    ///
    /// # Errors
    /// `QubesVMError` if it does not start, or the agent does not connect.
    pub fn start(&self, root: &Root) -> Result<(), Failure> {
        if !files::exists(&root.path(DAEMON)) {
            return Ok(());
        }
        let domid = self.domid.0.to_string();
        let quiet = self.is_quiet.then_some("-q");
        let rest = ["-u", &self.uuid, "--", &domid, &self.name, &self.user];
        let arguments: Vec<&str> = quiet.into_iter().chain(rest).collect();
        let outcome = run::as_user(root, DAEMON, &arguments, &[self.variable()], self.deadline());
        let said = match outcome {
            Ok(outcome) if outcome.is_success() => return Ok(()),
            Ok(outcome) if outcome.number() == Some(NO_AGENT) => return Err(self.no_agent()),
            Ok(outcome) => outcome.errors(),
            Err(error) => error.to_string(),
        };
        Err(Failure::new(Exception::QubesVMError, format!("qrexec-daemon startup failed: {said}")))
    }

    fn variable(&self) -> (&'static str, String) {
        match self.patience {
            Some(seconds) => ("QREXEC_STARTUP_TIMEOUT", seconds.to_string()),
            None => ("QREXEC_STARTUP_NOWAIT", "1".to_owned()),
        }
    }

    fn deadline(&self) -> Duration {
        START_DEADLINE.saturating_add(Duration::from_secs(self.patience.unwrap_or_default()))
    }

    fn no_agent(&self) -> Failure {
        let (seconds, qube) = (self.patience.unwrap_or_default(), &self.qube);
        let text = format!(
            "Cannot connect to qrexec agent for {seconds} seconds, see /var/log/xen/console/guest-{qube}.log for \
             details"
        );
        Failure::new(Exception::QubesVMError, text)
    }
}

/// What a qube, or the domain that emulates its devices, is called by qrexec.
fn socket_name(qube: &QubeName, is_stubdom: bool) -> String {
    if is_stubdom { format!("{qube}-dm") } else { qube.to_string() }
}

/// Whether services of a qube can be run.
pub fn is_connected(root: &Root, qube: &QubeName) -> bool {
    files::exists(&agent_socket(root, qube.as_str()))
}

/// Ends the daemons of a qube whose domain is gone, and clears away what killed ones left.
pub fn stop(root: &Root, qube: &QubeName) {
    for is_stubdom in [false, true] {
        let socket = agent_socket(root, &socket_name(qube, is_stubdom));
        if let Err(error) = peer::end(&socket).and_then(|()| files::remove(&socket)) {
            log::line(&format!("ending {}: {error}", socket.display()));
        }
    }
}

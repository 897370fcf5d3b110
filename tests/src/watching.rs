//! Watchers of domains, started as a start does, and what they publish.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::hypervisor::{Connection, Domain, DomainConfig, Hypervisor, Published, Reply, Request};
use common::names::QubeName;
use common::store::is_locked_by_another;

use crate::{Fixture, executables};

/// How long a test waits for what has to come. Far more than it ever takes.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// The watcher of one domain, and our end of its first conversation.
pub struct Watching {
    pub process: Child,
    pub connection: Connection,
    state: PathBuf,
}

/// A plain configuration of `test-vm1`, whose kernel gets these words.
pub fn plain(cmdline: &str) -> Box<DomainConfig> {
    let text = serde_json::json!({
        "name": "test-vm1", "uuid": "00000000-0000-4000-8000-000000000002", "virt_mode": "pvh",
        "memory_kib": 409_600, "max_memory_kib": 819_200, "vcpus": 3, "cmdline": cmdline, "clock": {"utc": 0},
    });
    Box::new(serde_json::from_value(text).unwrap())
}

impl Watching {
    /// Starts a watcher of `test-vm1` that begins a run, and gives its answer to what it is asked then.
    pub fn begin(fixture: &Fixture, variables: &[(&str, &str)], request: &Request) -> (Self, Option<Reply>) {
        let (watching, reply) = Self::started(fixture, variables, &Request::Begin);
        assert_eq!(reply, Some(Reply::Done));
        let reply = watching.connection.ask(request).unwrap();
        (watching, reply)
    }

    /// Starts a watcher of `test-vm1` in place of one that was killed, and gives its answer.
    pub fn settle(fixture: &Fixture) -> (Self, Option<Reply>) {
        Self::started(fixture, &[], &Request::Settle(None))
    }

    /// Starts a watcher of `test-vm1` and gives its first answer.
    pub fn started(
        fixture: &Fixture,
        variables: &[(&str, &str)],
        request: &Request,
    ) -> (Self, Option<Reply>) {
        let (ours, theirs) = Connection::pair().unwrap();
        Self::launched(fixture, variables, ours, theirs.into(), request)
    }

    /// The same over a conversation of which these are the ends.
    pub fn launched(
        fixture: &Fixture,
        variables: &[(&str, &str)],
        ours: Connection,
        theirs: OwnedFd,
        request: &Request,
    ) -> (Self, Option<Reply>) {
        let mut command = Command::new(executables::executable("qubes-domain"));
        command.arg("test-vm1").env_clear().env("QUBES_ADMIN_ROOT", fixture.path("/"));
        command.envs(variables.iter().copied()).stdin(Stdio::from(theirs));
        let process = command.spawn().unwrap();
        drop(command);
        let reply = ours.ask(request).unwrap();
        let state = fixture.path("/run/qubes/admin/domains/test-vm1");
        (Self { process, connection: ours, state }, reply)
    }

    /// Starts one that makes a domain and keeps it.
    pub fn running(fixture: &Fixture, cmdline: &str) -> Self {
        let (watching, reply) = Self::begin(fixture, &[], &Request::Create(plain(cmdline)));
        assert!(matches!(reply, Some(Reply::Domain(_))), "{reply:?}");
        for request in [Request::Unpause, Request::Keep] {
            assert_eq!(watching.connection.ask(&request).unwrap(), Some(Reply::Done));
        }
        watching
    }

    /// Another conversation with the same watcher.
    pub fn another(fixture: &Fixture) -> Connection {
        Connection::to(&fixture.path("/run/qubes/admin/watchers/test-vm1")).unwrap()
    }

    /// Whether the watcher holds its domain's file.
    pub fn is_watched(&self) -> bool {
        is_locked_by_another(&self.state)
    }

    /// Leaves the watcher as a start does that is killed, and gives its exit status.
    pub fn abandoned(self) -> Option<i32> {
        let Self { mut process, connection, .. } = self;
        drop(connection);
        process.wait().unwrap().code()
    }

    /// Waits until the watcher is done and gives its exit status.
    pub fn ended(mut self) -> Option<i32> {
        assert!(self.connection.is_heard_within(DEADLINE).unwrap(), "the watcher goes on");
        self.process.wait().unwrap().code()
    }
}

/// What is published of `test-vm1`.
pub fn published(fixture: &Fixture) -> Option<Domain> {
    Published::at(&fixture.root()).domain(&QubeName::parse("test-vm1").unwrap())
}

/// Waits until what is published is as wanted.
pub fn until(fixture: &Fixture, wanted: impl Fn(Option<&Domain>) -> bool) {
    let begun = Instant::now();
    loop {
        let domain = published(fixture);
        if wanted(domain.as_ref()) {
            return;
        }
        assert!(begun.elapsed() < DEADLINE, "{domain:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

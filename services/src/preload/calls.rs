//! Calls on runs, made by the executable that serves them, so that ours stays small.

use std::time::Duration;

use common::failure::{Exception, Failure};
use common::names::QubeName;
use common::root::Root;
use common::{reply, run};

/// How long one may take: a start waits for the guest's agent.
const DEADLINE: Duration = Duration::from_secs(1200);

pub(super) fn start(root: &Root, name: &QubeName) -> Result<(), Failure> {
    call(root, name, "admin-vm-start", "admin.vm.Start")
}

pub(super) fn kill(root: &Root, name: &QubeName) -> Result<(), Failure> {
    call(root, name, "admin-vm-lifecycle", "admin.vm.Kill")
}

fn call(root: &Root, name: &QubeName, family: &str, method: &str) -> Result<(), Failure> {
    let request = format!("{method}+ dom0 name {name}\0");
    let done = run::own_call(root, family, method, &request, DEADLINE)
        .map_err(|error| Failure::new(Exception::QubesException, format!("{method}: {error}")))?;
    reply::content(done.output()).map(drop)
}

//! Calls on qubes, made by the executables that serve them, so that ours stays small.

use std::time::Duration;

use common::failure::{Exception, Failure};
use common::names::QubeName;
use common::root::Root;
use common::{reply, run};

/// Makes a disposable for a template's list.
pub const MAKE: &str = "internal.MakeDisposable";
/// How long one may take: a start waits for the guest's agent.
const DEADLINE: Duration = Duration::from_secs(1200);

/// Makes a disposable of a template for its list, and gives its name.
pub(super) fn make(root: &Root, template: &QubeName) -> Result<QubeName, Failure> {
    let name = String::from_utf8(call(root, template, "admin-vm-template", MAKE)?);
    let name = name.ok().and_then(|name| QubeName::parse(&name).ok());
    name.ok_or_else(|| Failure::dropped(format!("{MAKE} gave no name")))
}

pub(super) fn start(root: &Root, name: &QubeName) -> Result<(), Failure> {
    call(root, name, "admin-vm-start", "admin.vm.Start").map(drop)
}

pub(super) fn kill(root: &Root, name: &QubeName) -> Result<(), Failure> {
    call(root, name, "admin-vm-lifecycle", "admin.vm.Kill").map(drop)
}

fn call(root: &Root, name: &QubeName, family: &str, method: &str) -> Result<Vec<u8>, Failure> {
    let request = format!("{method}+ dom0 name {name}\0");
    let done = run::own_call(root, family, method, &request, DEADLINE)
        .map_err(|error| Failure::new(Exception::QubesException, format!("{method}: {error}")))?;
    reply::content(done.output()).map(<[u8]>::to_vec)
}

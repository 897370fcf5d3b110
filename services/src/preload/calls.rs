//! Calls on qubes, made by the executables that serve them, so that ours stays small.

use std::time::Duration;

use common::failure::{Exception, Failure};
use common::names::{QubeName, QubeUuid};
use common::root::Root;
use common::{reply, run};

/// Makes a disposable for a template's list.
pub const MAKE: &str = "internal.MakeDisposable";
/// Hands out one that was made in advance.
pub(super) const HAND_OUT: &str = "internal.HandOutDisposable";
/// How long one may take: a start waits for the guest's agent.
const DEADLINE: Duration = Duration::from_secs(1200);

/// Makes a disposable of a template for its list, and gives its name.
pub(super) fn make(root: &Root, template: &QubeName) -> Result<QubeName, Failure> {
    let name = call(root, template, "admin-vm-template", MAKE, "")?;
    QubeName::parse(&name).map_err(|_| Failure::dropped(format!("{MAKE} gave no name")))
}

/// Hands out a disposable of a template's list to a caller; nothing where there is none that is good.
///
/// # Errors
/// Those of taking it.
pub fn hand_out(
    root: &Root,
    template: &QubeName,
    caller: &QubeName,
) -> Result<Option<(QubeName, QubeUuid)>, Failure> {
    let told = call(root, template, "admin-vm-preload", HAND_OUT, caller.as_str())?;
    let Some((name, uuid)) = told.split_once(' ') else { return Ok(None) };
    let told = QubeName::parse(name).ok().zip(QubeUuid::parse(uuid).ok());
    told.map(Some).ok_or_else(|| Failure::dropped(format!("{HAND_OUT} gave no name")))
}

pub(super) fn start(root: &Root, name: &QubeName) -> Result<(), Failure> {
    call(root, name, "admin-vm-start", "admin.vm.Start", "").map(drop)
}

pub(super) fn kill(root: &Root, name: &QubeName) -> Result<(), Failure> {
    call(root, name, "admin-vm-lifecycle", "admin.vm.Kill", "").map(drop)
}

fn call(root: &Root, name: &QubeName, family: &str, method: &str, payload: &str) -> Result<String, Failure> {
    let request = format!("{method}+ dom0 name {name}\0{payload}");
    let done = run::own_call(root, family, method, &request, DEADLINE)
        .map_err(|error| Failure::new(Exception::QubesException, format!("{method}: {error}")))?;
    reply::content(done.output()).map(|content| String::from_utf8_lossy(content).into_owned())
}

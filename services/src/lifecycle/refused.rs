//! What calls on runs are refused with (spec 40 §1).

use common::failure::{Exception, Failure};
use common::model::Class;
use common::names::QubeName;
use common::quote::quote;

#[track_caller]
fn about(name: &QubeName, exception: Exception, text: &str) -> Failure {
    Failure::new(exception, format!("{text}: {}", quote(name.as_str())))
}

/// The qube has no domain, where it shall end.
#[track_caller]
pub(super) fn powered_off(name: &QubeName) -> Failure {
    about(name, Exception::QubesVMNotStartedError, "Domain is powered off")
}

/// The qube has no domain, or one that is paused.
#[track_caller]
pub(super) fn not_running(name: &QubeName) -> Failure {
    let text = "Domain not running (either powered off or paused)";
    about(name, Exception::QubesVMNotRunningError, text)
}

/// The qube is not paused.
#[track_caller]
pub(super) fn not_paused(name: &QubeName) -> Failure {
    about(name, Exception::QubesVMNotPausedError, "Domain is not paused")
}

/// The qube does not end.
#[track_caller]
pub(super) fn does_not_end(name: &QubeName) -> Failure {
    about(name, Exception::QubesVMShutdownTimeoutError, "Domain shutdown timed out")
}

/// The hypervisor or its watcher did not do what was asked.
#[track_caller]
pub(super) fn by_hypervisor(text: impl std::fmt::Display) -> Failure {
    Failure::new(Exception::QubesException, text.to_string())
}

/// dom0 and qubes elsewhere have no runs of their own here.
#[track_caller]
pub(super) fn unless_local(class: Class, exception: Exception, verb: &str) -> Result<(), Failure> {
    let whom = match class {
        Class::AdminVM => "Dom0 fake domain!",
        Class::RemoteVM => "a RemoteVM.",
        _ => return Ok(()),
    };
    Err(Failure::new(exception, format!("Cannot {verb} {whom}")))
}

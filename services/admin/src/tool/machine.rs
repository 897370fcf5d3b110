//! `qubes-admin suspend-all`, `resume-all` and `look-for-devices`: what the machine itself has to say to its qubes.

use std::time::Duration;

use common::root::Root;
use common::{reply, run};
use services::{device, sleep};

use super::out::Stop;

/// All waits within the calls have deadlines of their own.
const DEADLINE: Duration = Duration::from_secs(600);

/// Sends all qubes to sleep.
pub(super) fn suspend_all(root: &Root) -> Result<(), Stop> {
    call(root, sleep::FAMILY.name, "internal.SuspendPre")
}

/// Wakes those that did not sleep before.
pub(super) fn resume_all(root: &Root) -> Result<(), Stop> {
    call(root, sleep::FAMILY.name, "internal.SuspendPost")
}

/// Tells of dom0's block devices that came or went, and hands out new ones.
pub(super) fn look_for_devices(root: &Root) -> Result<(), Stop> {
    call(root, device::AUTO.name, "internal.LookForDevices")
}

/// Makes a call that is nobody's but ours, and answers nothing.
fn call(root: &Root, family: &str, method: &str) -> Result<(), Stop> {
    let request = format!("{method}+ dom0 name dom0\0");
    let answer = run::own_call(root, family, method, &request, DEADLINE);
    let answer = answer.map_err(|error| format!("{method}: {error}"))?;
    Ok(reply::content(answer.output()).map(drop).map_err(|failure| failure.into_text().into_owned())?)
}

//! The kind of system in a qube, and what Windows needs (spec 10 §8.9).

use common::failure::{Exception, Failure};
use common::log;
use common::model::Value;

use super::guest::Guest;
use crate::property;

/// Features that Windows gets where nobody has set them.
const DEFAULTS: [(&str, &str); 4] =
    [("stubdom-qrexec", "1"), ("audio-model", "ich6"), ("timezone", "localtime"), ("no-monitor-layout", "1")];
/// How long its agent may take until it connects, seconds.
const QREXEC_TIMEOUT: i64 = 6000;

pub(super) fn follow(guest: &mut Guest<'_, '_>) -> Result<(), Failure> {
    let Some(os @ ("Windows" | "Linux")) = guest.said.value("os") else { return Ok(()) };
    guest.set("os", os)?;
    if os != "Windows" || guest.said.value("qrexec") != Some("1") {
        return Ok(());
    }
    guest.set("rpc-clipboard", "1")?;
    switch_balancing_off(guest)?;
    property::set(guest.txn, &guest.context, guest.name, "qrexec_timeout", Value::Int(QREXEC_TIMEOUT))?;
    for (feature, value) in DEFAULTS {
        if !guest.has(feature)? {
            guest.set(feature, value)?;
        }
    }
    Ok(())
}

/// A qube that runs keeps the memory that it was started with, which is no reason to hear nothing else from it.
fn switch_balancing_off(guest: &mut Guest<'_, '_>) -> Result<(), Failure> {
    match property::set(guest.txn, &guest.context, guest.name, "maxmem", Value::Int(0)) {
        Err(Failure::Exception { exception: Exception::QubesVMNotHaltedError, .. }) => {
            log::line(&format!("maxmem of {} has to be set to 0 while it is halted", guest.name));
            Ok(())
        }
        outcome => outcome,
    }
}

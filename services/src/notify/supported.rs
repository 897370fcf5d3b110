//! Services, features and calls that a qube supports: what it says of each kind takes the place of what it said before.

use std::collections::BTreeSet;

use common::failure::Failure;
use common::model::Qube;

use super::guest::Guest;

/// Following this service, the qube's kernel gets the switch of that name.
const APPARMOR_SERVICE: &str = "supported-service.apparmor";
const APPARMOR: &str = "apparmor";

pub(super) fn services(guest: &mut Guest<'_, '_>) -> Result<(), Failure> {
    replace(guest, "supported-service.")
}

pub(super) fn features(guest: &mut Guest<'_, '_>) -> Result<(), Failure> {
    replace(guest, "supported-feature.")
}

pub(super) fn rpcs(guest: &mut Guest<'_, '_>) -> Result<(), Failure> {
    replace(guest, "supported-rpc.")
}

/// A qube that says nothing of a kind keeps what it has.
fn replace(guest: &mut Guest<'_, '_>, prefix: &str) -> Result<(), Failure> {
    let is_said = |(name, value): &(&str, &str)| name.starts_with(prefix) && *value == "1";
    let said: BTreeSet<String> =
        guest.said.features().filter(is_said).map(|(name, _)| name.to_owned()).collect();
    if said.is_empty() {
        return Ok(());
    }
    let before = true_features(&*guest.qube()?, prefix);
    for name in said.difference(&before) {
        switch_on(guest, name)?;
    }
    for name in before.difference(&said) {
        switch_off(guest, name)?;
    }
    Ok(())
}

fn true_features(qube: &Qube, prefix: &str) -> BTreeSet<String> {
    let is_true = |name: &str, value: &str| name.starts_with(prefix) && !value.is_empty();
    let found = qube.features.iter().filter(|(name, value)| is_true(name.as_str(), value.as_str()));
    found.map(|(name, _)| name.to_string()).collect()
}

fn switch_on(guest: &mut Guest<'_, '_>, name: &str) -> Result<(), Failure> {
    guest.set(name, "1")?;
    if name == APPARMOR_SERVICE && guest.qube()?.feature(APPARMOR).is_none() {
        guest.set(APPARMOR, "1")?;
    }
    Ok(())
}

fn switch_off(guest: &mut Guest<'_, '_>, name: &str) -> Result<(), Failure> {
    guest.unset(name)?;
    if name == APPARMOR_SERVICE && guest.qube()?.feature(APPARMOR) == Some("1") {
        guest.unset(APPARMOR)?;
    }
    Ok(())
}

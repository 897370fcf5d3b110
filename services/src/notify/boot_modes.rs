//! The boot modes of a qube, and which of them it wishes to be used (spec 10 §8.2).

use std::collections::BTreeSet;

use common::failure::Failure;
use common::model::Class;

use super::guest::Guest;

const KERNELOPTS: &str = "boot-mode.kernelopts.";
const NAME: &str = "boot-mode.name.";
const DEFAULT_USER: &str = "boot-mode.default-user.";
/// The mode without options of its own.
const DEFAULT: &str = "default";
/// The most entries of a qube's modes.
const MOST: usize = 64;

/// A feature that names a mode, and whether a qube of a class may say it.
type Choice = (&'static str, fn(Class) -> bool);

/// Which mode is used where.
const CHOICES: [Choice; 3] = [
    ("boot-mode.active", |_| true),
    ("boot-mode.appvm-default", |class| matches!(class, Class::TemplateVM)),
    ("boot-mode.standalone-default", |_| true),
];

pub(super) fn follow(guest: &mut Guest<'_, '_>) -> Result<(), Failure> {
    let modes = offered(guest);
    if are_sound(&modes) {
        replace(guest, &modes)?;
    }
    let class = guest.qube()?.class;
    for (choice, _) in CHOICES.iter().filter(|(_, may_be_said)| may_be_said(class)) {
        let Some(mode) = guest.said.value(choice) else { continue };
        if mode == DEFAULT || guest.qube()?.feature(&format!("{KERNELOPTS}{mode}")).is_some() {
            guest.set(choice, mode)?;
        }
    }
    Ok(())
}

/// The mode that an entry of a kind is about.
fn mode_of<'n>(kind: &str, name: &'n str) -> Option<&'n str> {
    name.strip_prefix(kind).filter(|mode| !mode.is_empty() && !mode.contains('.'))
}

/// The entries about modes that are said to have options, and the name of the default one.
fn offered<'a>(guest: &Guest<'a, '_>) -> Vec<(&'a str, &'a str)> {
    let said = guest.said;
    let has_options = |name: &str| mode_of(KERNELOPTS, name).is_some_and(|mode| mode != DEFAULT);
    let known: BTreeSet<&str> = said
        .features()
        .filter(|(name, _)| has_options(name))
        .filter_map(|(name, _)| mode_of(KERNELOPTS, name))
        .collect();
    let is_about = |kind: &str, name: &str| mode_of(kind, name).is_some_and(|mode| known.contains(mode));
    let is_offered = |name: &str| {
        [KERNELOPTS, NAME, DEFAULT_USER].into_iter().any(|kind| is_about(kind, name))
            || mode_of(NAME, name) == Some(DEFAULT)
    };
    said.features().filter(|(name, _)| is_offered(name)).collect()
}

/// Whether there are modes, not too many, which people can tell apart.
fn are_sound(modes: &[(&str, &str)]) -> bool {
    let differ = |kind: &str| {
        let values = || modes.iter().filter(|(name, _)| name.starts_with(kind)).map(|(_, value)| value);
        values().collect::<BTreeSet<_>>().len() == values().count()
    };
    (1..=MOST).contains(&modes.len()) && differ(NAME) && differ(DEFAULT_USER)
}

fn replace(guest: &mut Guest<'_, '_>, modes: &[(&str, &str)]) -> Result<(), Failure> {
    let is_mode =
        |name: &str| [KERNELOPTS, NAME, DEFAULT_USER].iter().any(|kind| mode_of(kind, name).is_some());
    let is_gone = |name: &str| is_mode(name) && modes.iter().all(|(kept, _)| *kept != name);
    let qube = guest.qube()?;
    let gone: BTreeSet<&str> =
        qube.features.iter().map(|(name, _)| name.as_str()).filter(|name| is_gone(name)).collect();
    for (name, value) in modes {
        guest.set(name, value)?;
    }
    for name in gone {
        guest.unset(name)?;
    }
    Ok(())
}

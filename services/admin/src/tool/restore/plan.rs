//! What becomes of each qube of a backup: restored under which name and with what, or left out, and why.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::hypervisor::Published;
use common::model::{Class, Qube, Value};
use common::names::QubeName;
use common::root::Root;
use common::store::View;
use services::property::{self, Access, Kind};

use super::home;
use super::host::Host;
use crate::tool::out::Stop;
use crate::xml::{BackedUp, Contents};

/// References that point nowhere get none in their place: what the system has by default may lead elsewhere, such as to a
/// network that the qube was never to have.
const RATHER_NONE: [&str; 2] = [NETVM, "default_dispvm"];
const NETVM: &str = "netvm";

/// What was asked for.
pub(super) struct Wishes<'a> {
    /// Names in the backup; all where there are none.
    pub(super) chosen: &'a [String],
    /// Names in the backup, and those to have instead.
    pub(super) renamed: BTreeMap<&'a str, QubeName>,
    /// Whether qubes are restored that miss their template or netvm.
    pub(super) ignore_missing: bool,
    /// Where dom0's files go.
    pub(super) home: Option<&'a Path>,
}

/// What becomes of a qube.
pub(super) enum Fate {
    /// It is restored.
    Restored(Restored),
    /// The files of dom0 are, into this directory.
    Home(PathBuf),
    /// It is left out.
    Skipped(String),
}

/// How a qube is restored.
#[derive(Clone)]
pub(super) struct Restored {
    pub(super) name: QubeName,
    pub(super) template: Option<String>,
    /// Properties that name qubes, as they are here.
    pub(super) references: Vec<(String, Value)>,
    /// What is other than it was.
    pub(super) remarks: Vec<String>,
}

/// A qube of the backup and what becomes of it.
pub(super) struct Planned<'c> {
    pub(super) backed_up: &'c BackedUp,
    pub(super) fate: Fate,
}

/// Plans for all qubes of a backup.
///
/// # Errors
/// If a wish is about a qube that the backup does not have; what the store says.
pub(super) fn plan<'c>(
    contents: &'c Contents,
    wishes: &Wishes<'_>,
    view: &View<'_>,
    root: &Root,
) -> Result<Vec<Planned<'c>>, Stop> {
    let asked = wishes.chosen.iter().map(String::as_str).chain(wishes.renamed.keys().copied());
    for name in asked {
        if !contents.qubes.iter().any(|qube| qube.name == name) {
            return Err(format!("the backup has no {name}").into());
        }
    }
    let hypervisor = Published::at(root);
    let host = Host { view, hypervisor: &hypervisor, root };
    let mut plan = Plan { contents, host, wishes, names: BTreeMap::new(), planned: Vec::new() };
    for backed_up in &contents.qubes {
        plan.choose(backed_up)?;
    }
    // Leaving one out may leave others without what they need.
    while plan.leave_out()? {}
    plan.refer()?;
    Ok(plan.planned)
}

struct Plan<'c, 'w> {
    contents: &'c Contents,
    host: Host<'w>,
    wishes: &'w Wishes<'w>,
    /// Names of what is restored: in the backup, and here.
    names: BTreeMap<String, QubeName>,
    planned: Vec<Planned<'c>>,
}

impl<'c> Plan<'c, '_> {
    fn choose(&mut self, backed_up: &'c BackedUp) -> Result<(), Stop> {
        let fate = self.fate(backed_up)?;
        if let Fate::Restored(restored) = &fate {
            self.names.insert(backed_up.name.clone(), restored.name.clone());
        }
        self.planned.push(Planned { backed_up, fate });
        Ok(())
    }

    /// What can be said by looking at one qube alone.
    fn fate(&self, backed_up: &BackedUp) -> Result<Fate, Stop> {
        let chosen = self.wishes.chosen;
        if !chosen.is_empty() && !chosen.contains(&backed_up.name) {
            return Ok(Fate::Skipped("not chosen".to_owned()));
        }
        let qube = match &backed_up.qube {
            Ok(qube) if qube.class == Class::AdminVM => {
                return match home::place(self.wishes.home, self.host.root) {
                    Ok(path) => Ok(Fate::Home(path)),
                    Err(why) if self.wishes.home.is_some() => Err(why.into()),
                    Err(why) => Ok(Fate::Skipped(format!("{why}; --dom0-home says where its files go"))),
                };
            }
            Ok(qube) => qube,
            Err(why) => return Ok(Fate::Skipped(why.clone())),
        };
        let name = self.wishes.renamed.get(backed_up.name.as_str()).unwrap_or(&qube.name).clone();
        if let Some(taken) = self.host.qube(name.as_str())? {
            return Ok(Fate::Skipped(taken_by(&taken, &backed_up.name)));
        }
        if self.names.values().any(|other| *other == name) {
            return Ok(Fate::Skipped(format!("another one gets the name {name}")));
        }
        let remarks = backed_up.faults.iter().map(|fault| format!("left out: {fault}")).collect();
        Ok(Fate::Restored(Restored { name, template: None, references: Vec::new(), remarks }))
    }

    /// Leaves out what misses what it needs; tells whether there was any.
    fn leave_out(&mut self) -> Result<bool, Stop> {
        let mut left_out = Vec::new();
        for (place, planned) in self.planned.iter().enumerate() {
            if let (Fate::Restored(_), Ok(qube)) = (&planned.fate, &planned.backed_up.qube)
                && let Some(why) = self.missing(qube)?
            {
                left_out.push((place, why));
            }
        }
        let any = !left_out.is_empty();
        for (place, why) in left_out {
            if let Some(planned) = self.planned.get_mut(place) {
                self.names.remove(&planned.backed_up.name);
                planned.fate = Fate::Skipped(why);
            }
        }
        Ok(any)
    }

    /// What a qube needs that neither is here nor is restored.
    fn missing(&self, qube: &Qube) -> Result<Option<String>, Stop> {
        let hint = "; --ignore-missing restores it without";
        if qube.class.has_template() && self.template(qube)?.is_none() {
            let template = reference(qube, "template").unwrap_or_default();
            let hint = if self.wishes.ignore_missing { ", and there is no default" } else { hint };
            return Ok(Some(format!("its template {template} is missing{hint}")));
        }
        match reference(qube, NETVM) {
            Some(netvm) if !self.wishes.ignore_missing && self.here(netvm)?.is_none() => {
                Ok(Some(format!("its netvm {netvm} is missing{hint}")))
            }
            _ => Ok(None),
        }
    }

    /// The template that a qube gets.
    fn template(&self, qube: &Qube) -> Result<Option<String>, Stop> {
        let wanted = reference(qube, "template").unwrap_or_default();
        if let Some(name) = self.here(wanted)? {
            return Ok(Some(name));
        }
        let default = if qube.class == Class::DispVM { "default_dispvm" } else { "default_template" };
        if self.wishes.ignore_missing { self.host.default(default) } else { Ok(None) }
    }

    /// The name under which a qube of the backup is here: as one that is restored, or as one that was here before.
    fn here(&self, name: &str) -> Result<Option<String>, Stop> {
        if let Some(name) = self.names.get(name) {
            return Ok(Some(name.as_str().to_owned()));
        }
        Ok(self.host.qube(name)?.map(|_| name.to_owned()))
    }

    /// Finds what each qube refers to, once it is known which are there.
    fn refer(&mut self) -> Result<(), Stop> {
        let mut found = Vec::new();
        for (place, planned) in self.planned.iter().enumerate() {
            if let (Fate::Restored(restored), Ok(qube)) = (&planned.fate, &planned.backed_up.qube) {
                found.push((place, self.referring(restored, qube)?));
            }
        }
        for (place, restored) in found {
            if let Some(planned) = self.planned.get_mut(place) {
                planned.fate = Fate::Restored(restored);
            }
        }
        Ok(())
    }

    fn referring(&self, restored: &Restored, qube: &Qube) -> Result<Restored, Stop> {
        let mut restored = restored.clone();
        if qube.class.has_template() {
            restored.template = self.template(qube)?;
            let old = reference(qube, "template").unwrap_or_default();
            if let Some(new) =
                restored.template.clone().filter(|_| self.here(old).is_ok_and(|it| it.is_none()))
            {
                restored.remarks.push(format!("its template {old} is missing: it gets {new}"));
            }
        }
        if is_reference(qube.class, NETVM) && !qube.properties.contains_key(NETVM) {
            restored.remarks.extend(self.other_default()?);
        }
        for (property, value) in &qube.properties {
            if property == "template" || !is_reference(qube.class, property) {
                continue;
            }
            let value = match value.as_text() {
                None => value.clone(),
                Some(old) => match self.here(old)? {
                    Some(new) => Value::Text(new),
                    None => {
                        let is_none = RATHER_NONE.contains(&property.as_str());
                        let instead = if is_none { "it gets none" } else { "it gets the usual one" };
                        restored.remarks.push(format!("its {property} {old} is missing: {instead}"));
                        if !is_none {
                            continue;
                        }
                        Value::None
                    }
                },
            };
            restored.references.push((property.clone(), value));
        }
        Ok(restored)
    }

    /// What is to be said of a qube that has the default netvm, where that is another one here.
    fn other_default(&self) -> Result<Option<String>, Stop> {
        let (old, new) = (self.contents.default_netvm.as_deref(), self.host.default("default_netvm")?);
        let is_same = match old {
            Some(old) => new.is_some() && self.here(old)? == new,
            None => new.is_none(),
        };
        let said = |name: Option<&str>| name.unwrap_or("none").to_owned();
        let remark =
            || format!("it has the default netvm, which was {} and is {}", said(old), said(new.as_deref()));
        Ok((!is_same).then(remark))
    }
}

/// Whether a property names a qube, and can be set.
pub(super) fn is_reference(class: Class, property: &str) -> bool {
    let row = property::row(class, property);
    row.is_some_and(|row| matches!(row.kind, Kind::Qube { .. }) && row.access_in(Some(class)) == Access::Free)
}

/// Whether a reference that cannot be had has to be none.
pub(super) fn is_rather_none(property: &str) -> bool {
    RATHER_NONE.contains(&property)
}

fn reference<'q>(qube: &'q Qube, property: &str) -> Option<&'q str> {
    qube.properties.get(property).and_then(Value::as_text)
}

fn taken_by(qube: &Qube, name: &str) -> String {
    if super::is_left_over(qube) {
        return format!(
            "the name is that of a qube whose restore was broken off; {}",
            super::remedy(&qube.name)
        );
    }
    format!("the name {} is taken; --rename {name}=OTHER gives it another", qube.name)
}

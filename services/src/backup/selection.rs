//! Which qubes a backup has, by name with dom0 last, and which it has not (spec 40 §12, §13).

use std::collections::BTreeSet;
use std::rc::Rc;

use common::call::no_such_domain;
use common::failure::Failure;
use common::model::{Class, Qube};
use common::names::QubeName;
use common::store::{Entry, View};

use super::profile::{Item, Profile};
use crate::property::{Case, Context};

/// The qubes of a backup, and the names of all others.
pub(super) struct Selection {
    pub(super) included: Vec<Rc<Qube>>,
    pub(super) left_out: Vec<QubeName>,
}

impl Selection {
    /// What a profile selects.
    ///
    /// # Errors
    /// What the store says, and for a qube by name that is not there.
    pub(super) fn of(view: &View<'_>, context: Context<'_>, profile: &Profile) -> Result<Self, Failure> {
        let mut included = match &profile.include {
            Some(items) => meant(view, items)?,
            None => usual(view, context)?,
        };
        for name in meant(view, &profile.exclude)? {
            included.remove(&name);
        }
        let mut left_out = view.names()?;
        left_out.retain(|name| !included.contains(name));
        left_out.sort();
        let load = |name: &QubeName| view.qube(name)?.ok_or_else(|| no_such_domain(name.as_str()));
        let mut included = included.iter().map(load).collect::<Result<Vec<_>, Failure>>()?;
        included.sort_by_key(|qube| qube.class == Class::AdminVM);
        Ok(Self { included, left_out })
    }
}

/// The qubes that a list names.
fn meant(view: &View<'_>, items: &[Item]) -> Result<BTreeSet<QubeName>, Failure> {
    let index = view.index()?;
    let mut meant = BTreeSet::new();
    for item in items {
        let matches = |entry: &&Entry| match item {
            Item::Named(name) => entry.name() == name.as_str(),
            Item::Tagged(tag) => entry.tags().any(|known| known == tag),
            Item::OfClass(class) => entry.class().as_str() == class,
        };
        let before = meant.len();
        let found = index.entries().iter().filter(matches);
        meant.extend(found.filter_map(|entry| QubeName::parse(entry.name()).ok()));
        if let Item::Named(name) = item
            && meant.len() == before
            && !meant.contains(name)
        {
            return Err(no_such_domain(name.as_str()));
        }
    }
    Ok(meant)
}

/// The qubes that are backed up where nobody says which.
fn usual(view: &View<'_>, context: Context<'_>) -> Result<BTreeSet<QubeName>, Failure> {
    view.index()?;
    let mut usual = BTreeSet::new();
    for name in view.names()? {
        let qube = view.qube(&name)?;
        if (Case { view, context, qube: qube.as_deref() }).is_on("include_in_backups")? {
            usual.insert(name);
        }
    }
    Ok(usual)
}

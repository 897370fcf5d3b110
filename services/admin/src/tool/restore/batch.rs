//! What is being restored: all qubes of one run, and how far each is.

use std::collections::BTreeSet;

use common::model::{Class, Labels, Qube};
use common::names::{QubeName, Rule, VolumeName};
use common::root::Root;

use super::home::Home;
use super::plan::{Fate, Planned, Restored};
use crate::tool::out::{self, Stop};
use crate::xml::{BackedUp, Contents};

/// All qubes of one run, templates before what is based on them.
pub(super) struct Batch<'c> {
    pub(super) root: &'c Root,
    pub(super) labels: &'c Labels,
    pub(super) qubes: Vec<Item<'c>>,
    pub(super) home: Option<Home<'c>>,
    /// What is not as it was written among that which is not restored, where that is looked at.
    pub(super) damages: Vec<String>,
    /// Whether everything is only read and proven.
    pub(super) is_trial: bool,
}

/// A qube that is being restored.
pub(super) struct Item<'c> {
    pub(super) backed_up: &'c BackedUp,
    pub(super) stored: &'c Qube,
    pub(super) restored: &'c Restored,
    /// Volumes that are not there yet.
    pub(super) awaited: BTreeSet<VolumeName>,
    /// Whether anything of it was found, and whether others came after it.
    pub(super) is_found: bool,
    pub(super) is_passed: bool,
    pub(super) firewall: Option<Vec<Rule>>,
    pub(super) notes: Option<String>,
    /// Whether the qube exists.
    pub(super) is_made: bool,
    pub(super) failure: Option<String>,
    /// What of it could not be had.
    pub(super) warnings: Vec<String>,
}

impl<'c> Batch<'c> {
    pub(super) fn new(
        root: &'c Root,
        contents: &'c Contents,
        planned: &'c [Planned<'c>],
        is_trial: bool,
    ) -> Self {
        let home = planned.iter().find_map(|planned| match &planned.fate {
            Fate::Home(path) => Some(Home { backed_up: planned.backed_up, path, outcome: None }),
            _ => None,
        });
        let mut qubes: Vec<Item<'c>> = planned.iter().filter_map(Item::of).collect();
        qubes.sort_by_key(|item| rank(item.stored.class));
        Self { root, labels: &contents.labels, qubes, home, damages: Vec::new(), is_trial }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.qubes.is_empty() && self.home.is_none()
    }

    /// Whether a qube of this name was to be restored, and was not.
    pub(super) fn has_failed(&self, name: &str) -> bool {
        self.qubes.iter().any(|item| item.name().as_str() == name && item.failure.is_some())
    }

    /// Tells how it went.
    pub(super) fn tell(&self) -> Result<(), Stop> {
        let success = if self.is_trial { "would be restored" } else { "restored" };
        for item in &self.qubes {
            item.tell(success)?;
        }
        let mut failed = self.qubes.iter().filter(|item| item.failure.is_some()).count();
        if let Some(home) = &self.home
            && !home.tell(success)?
        {
            failed = failed.saturating_add(1);
        }
        self.damages.iter().for_each(|damage| out::error(damage));
        if failed == 0 {
            return if self.damages.is_empty() {
                Ok(())
            } else {
                Err("the backup is damaged".to_owned().into())
            };
        }
        let all = self.qubes.len().saturating_add(usize::from(self.home.is_some()));
        Err(format!("{failed} of {all} qubes could not be restored").into())
    }
}

impl<'c> Item<'c> {
    fn of(planned: &'c Planned<'c>) -> Option<Self> {
        let (Fate::Restored(restored), Ok(stored)) = (&planned.fate, &planned.backed_up.qube) else {
            return None;
        };
        Some(Self {
            backed_up: planned.backed_up,
            stored,
            restored,
            awaited: planned.backed_up.volumes.iter().cloned().collect(),
            is_found: false,
            is_passed: false,
            firewall: stored.firewall.clone(),
            notes: None,
            is_made: false,
            failure: None,
            warnings: Vec::new(),
        })
    }

    /// Its name here.
    pub(super) fn name(&self) -> &'c QubeName {
        &self.restored.name
    }

    /// Gives it up, for the first reason there was.
    pub(super) fn fail(&mut self, why: String) {
        self.failure.get_or_insert(why);
    }

    /// Notes what cannot be had of it.
    pub(super) fn warn(&mut self, what: &str, done: Result<(), String>) {
        if let Err(why) = done {
            self.warnings.push(format!("{what}: {why}"));
        }
    }

    fn tell(&self, success: &str) -> Result<(), Stop> {
        let name = self.name();
        if let Some(why) = &self.failure {
            out::error(&format!("{name} could not be restored: {why}"));
            return Ok(());
        }
        self.warnings.iter().for_each(|warning| out::error(&format!("{name}: {warning}")));
        out::line(&format!("{name}: {success}"))
    }
}

const fn rank(class: Class) -> u8 {
    match class {
        Class::DispVM => 2,
        Class::AppVM => 1,
        _ => 0,
    }
}

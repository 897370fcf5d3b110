//! Which qubes a caller sees in lists: dom0 all, any other those that policy plainly allows it to list and that are there for
//! it by the administrator's constraints.

use std::collections::BTreeSet;

use common::failure::Failure;
use common::names::QubeName;
use common::policy::{IndexedSystem, Policy};
use common::store::{Entry, View};

use crate::constraints::Constraints;
use crate::property::Context;

/// The qubes one caller sees.
pub enum Visible {
    /// Every one.
    All,
    /// Those of these names.
    Some(BTreeSet<String>),
}

impl Visible {
    /// Asks policy and constraints about each qube. Where policy cannot be read, nothing is visible.
    ///
    /// # Errors
    /// What the store says.
    pub fn to(
        caller: &QubeName,
        method: &str,
        context: &Context<'_>,
        view: &View<'_>,
    ) -> Result<Self, Failure> {
        if caller.is_dom0() {
            return Ok(Self::All);
        }
        let Some(policy) = Policy::load_or_log(context.root) else { return Ok(Self::Some(BTreeSet::new())) };
        let system = IndexedSystem::of(view, context.hypervisor)?;
        let allowed = |entry: &&Entry| {
            policy.is_plainly_allowed(&system, "admin.vm.List", "+", caller.as_str(), entry.name())
        };
        let (index, constraints) = (view.listed()?, Constraints::load(context.root));
        let Some(seer) = index.entry(caller.as_str()) else { return Ok(Self::Some(BTreeSet::new())) };
        let shown = |entry: &&Entry| allowed(entry) && constraints.shows(seer, method, entry);
        let mut visible = BTreeSet::new();
        visible.extend(index.entries().iter().filter(shown).map(|entry| entry.name().to_owned()));
        Ok(Self::Some(visible))
    }

    /// Whether the caller sees the qube of that name.
    pub fn shows(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Some(names) => names.contains(name),
        }
    }
}

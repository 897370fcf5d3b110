//! Stage 2: the built-in rules (spec 10 §8.1), then the administrator's constraints.

use std::path::Path;

use crate::call::{Parties, Row, Values};
use crate::constraint;
use crate::failure::Refusal;
use crate::model::OWN_FEATURES;
use crate::quota::Quota;
use crate::root::Root;
use crate::store::Txn;

/// What a rule sees: sanitised values only.
pub struct Facts<'a> {
    /// The call.
    pub row: &'a Row,
    /// Who and whom.
    pub parties: &'a Parties,
    /// Argument and extra values.
    pub values: &'a Values,
}

/// One built-in rule: the calls it guards and the arguments it refuses.
struct Rule {
    calls: &'static [&'static str],
    refuses: fn(&Facts<'_>) -> bool,
    text: &'static str,
}

const RULES: [Rule; 2] = [
    Rule {
        calls: &["admin.vm.feature.Set", "admin.vm.feature.Remove"],
        refuses: |facts| OWN_FEATURES.contains(&facts.values.argument.as_str()),
        text: "changing this feature is prohibited by qubes.ext.admin.AdminExtension",
    },
    Rule {
        calls: &["admin.vm.tag.Set", "admin.vm.tag.Remove"],
        refuses: |facts| facts.values.argument.starts_with("created-by-") && !facts.parties.caller.is_dom0(),
        text: "changing this tag is prohibited by qubes.ext.admin.AdminExtension",
    },
];

/// Who decides in stage 2.
pub trait Judge {
    /// Grants a call, and what it may use up.
    ///
    /// # Errors
    /// `PermissionDenied`.
    fn judge(&self, facts: &Facts<'_>) -> Result<Quota, Refusal>;

    /// Who looks at the change that a call is about to make, where the call is made for that alone.
    fn trial(&self) -> Option<&dyn Trial> {
        None
    }
}

/// Looks at changes in the place of making them. Nobody hears of what was only looked at.
pub trait Trial {
    /// Sees a change of the store.
    fn see(&self, change: &Txn<'_>);

    /// Sees a file that would be replaced, made or removed.
    fn see_file(&self, path: &Path, before: Option<&[u8]>, after: Option<&[u8]>);
}

/// The rules and constraints of a root.
pub struct Rules<'a>(pub &'a Root);

impl Judge for Rules<'_> {
    fn judge(&self, facts: &Facts<'_>) -> Result<Quota, Refusal> {
        check(facts)?;
        if facts.parties.is_constrained { constraint::verdict(self.0, facts) } else { Ok(Quota::default()) }
    }
}

/// Checks a call against every built-in rule.
///
/// # Errors
/// `PermissionDenied` with the first refusing rule's text.
pub fn check(facts: &Facts<'_>) -> Result<(), Refusal> {
    let refusing = |rule: &&Rule| rule.calls.contains(&facts.row.name) && (rule.refuses)(facts);
    RULES.iter().find(refusing).map_or(Ok(()), |rule| Err(Refusal::denied(rule.text)))
}

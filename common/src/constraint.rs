//! What the administrator's constraints say of a call (docs/constraints.md): asked of the program that reads them, so that
//! calls stay small (ADR 14).

use std::time::Duration;

use crate::failure::Refusal;
use crate::files;
use crate::log;
use crate::names::QubeName;
use crate::permission::Facts;
use crate::quota::Quota;
use crate::root::Root;
use crate::run;

/// Where the constraints lie.
pub const FOLDER: &str = "/etc/qubes/admin-constraints.d";
/// The program that reads them.
pub const PROGRAM: &str = "qubes-constraints";
/// How long it may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// What a caller is told; the log has which constraint it was.
const DENIED: &str = "denied by the administrator's constraints";

/// Whether a file of that name holds constraints.
pub fn counts(name: &[u8]) -> bool {
    name.ends_with(b".toml") && !name.starts_with(b".")
}

/// Whether there are any. A folder that cannot be read may have some.
pub fn are_there(root: &Root) -> bool {
    let names = files::entries(&root.path(FOLDER));
    names.map_or(true, |names| names.iter().any(|name| counts(name.as_encoded_bytes())))
}

/// What is known of a caller before anything of its request is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// No constraint is about it.
    Free,
    /// Some are.
    Constrained,
    /// Some are, and for this call its destination is not there.
    Unseen,
}

/// How a caller stands to a destination. dom0 is free: whoever is there may write the store.
pub fn standing(root: &Root, caller: &QubeName, method: &str, destination: &QubeName) -> Standing {
    if caller.is_dom0() || !are_there(root) {
        return Standing::Free;
    }
    match ask(root, "standing", &[caller.as_str(), method, destination.as_str()].join("\0")).as_str() {
        "free" => Standing::Free,
        "constrained" => Standing::Constrained,
        // dom0 is there for everybody; the verdict denies.
        _ if destination.is_dom0() => Standing::Constrained,
        // Unseen, or the program fails, and then what is there must not be told from what is not.
        _ => Standing::Unseen,
    }
}

/// What a constrained caller's call may use up.
///
/// # Errors
/// `PermissionDenied` where a constraint denies the call, or none can be asked.
pub fn verdict(root: &Root, facts: &Facts<'_>) -> Result<Quota, Refusal> {
    let (row, parties, values) = (facts.row, facts.parties, facts.values);
    let scope = if row.is_global() { "global" } else { "local" };
    let (caller, destination) = (parties.caller.as_str(), parties.destination.as_str());
    let mut told = [caller, row.name, destination, scope, values.argument.as_str()].join("\0");
    for (name, value) in &values.values {
        told = [told.as_str(), name, value].join("\0");
    }
    // With one in a value the program would take words for others.
    let is_clear = told.bytes().filter(|byte| *byte == 0).count()
        == values.values.len().saturating_mul(2).saturating_add(4);
    let answer = if is_clear { ask(root, "verdict", &told) } else { String::new() };
    let granted = answer.strip_prefix("granted ").and_then(Quota::parse);
    granted.ok_or_else(|| {
        log::line(&[row.name, " by ", caller, " on ", destination, ": ", &answer].concat());
        Refusal::denied(DENIED)
    })
}

/// Those of a policy's words for qubes that name none which is not there for a caller's call. Where the program fails, there
/// are none.
pub fn seen(root: &Root, caller: &QubeName, method: &str, words: &[&str]) -> Vec<String> {
    let told = [&[caller.as_str(), method], words].concat().join("\0");
    match answer(root, "seen", &told) {
        Ok(seen) => seen.split('\0').map(str::to_owned).collect(),
        Err(said) => {
            log::line(&said);
            Vec::new()
        }
    }
}

/// The program's answer; what it says of itself where it fails.
fn ask(root: &Root, what: &str, told: &str) -> String {
    answer(root, what, told).unwrap_or_else(|said| said)
}

fn answer(root: &Root, what: &str, told: &str) -> Result<String, String> {
    match run::of_ours_told(root, PROGRAM, &[what], told, DEADLINE) {
        Ok(finished) if finished.is_success() => Ok(String::from_utf8_lossy(finished.output()).into_owned()),
        Ok(finished) => Err(finished.errors()),
        Err(error) => Err(error.to_string()),
    }
}

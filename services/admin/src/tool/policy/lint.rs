//! `qubes-admin policy lint`.

use std::collections::BTreeSet;

use clap::Args;
use common::files;
use common::hypervisor::Published;
use common::policy::{self, DIRECTORIES, DIRECTORY, IndexedSystem, Policy, SystemInfo};
use common::root::Root;
use common::store::Store;

use super::super::out::{self, Stop};
use super::super::rows;
use super::files::Proposed;

/// What is looked at.
#[derive(Args)]
pub(super) struct Lint {
    #[command(flatten)]
    proposed: Proposed,
    /// Do not look which qubes there are.
    #[arg(long)]
    without_qubes: bool,
}

/// Prints one line for each thing to look at again.
pub(super) fn run(lint: &Lint, root: &Root) -> Result<(), Stop> {
    let policy = lint.proposed.load(root)?;
    let (store, hypervisor) = (Store::at(root), Published::at(root));
    let system =
        if lint.without_qubes { None } else { Some(IndexedSystem::of(&store.read()?, &hypervisor)?) };
    let system = system.as_ref().map(|system| system as &dyn SystemInfo);
    let mut warnings: Vec<String> = policy::lint(&policy, system).iter().map(ToString::to_string).collect();
    warnings.extend(unknown_calls(&policy));
    warnings.extend(unread_files(root)?);
    warnings.extend(never_included(root, &policy)?);
    warnings.iter().try_for_each(|warning| out::line(warning))?;
    match warnings.len() {
        0 => out::line("nothing to warn of"),
        1 => Err("1 warning".to_owned().into()),
        count => Err(format!("{count} warnings").into()),
    }
}

/// Calls of the Admin API that nothing serves.
fn unknown_calls(policy: &Policy) -> Vec<String> {
    let known: BTreeSet<&str> = rows().map(|row| row.name).collect();
    let is_unknown = |service: &&str| service.starts_with("admin.") && !known.contains(*service);
    let warning = |rule: &policy::Rule| {
        let service = rule.service().filter(is_unknown)?;
        Some(format!("{}: warning: there is no call {service}", rule.origin()))
    };
    policy.rules().iter().filter_map(warning).collect()
}

/// Files of the policy's directories that are not read: of another name, or hidden by one in `/run`.
fn unread_files(root: &Root) -> Result<Vec<String>, Stop> {
    let mut warnings = Vec::new();
    let mut before: BTreeSet<String> = BTreeSet::new();
    for directory in DIRECTORIES {
        for name in names(root, directory)? {
            let reason = match name.as_str() {
                _ if !name.ends_with(".policy") => "not read, as its name does not end in .policy",
                _ if before.contains(&name) => "not read: one in /run has the same name",
                _ => continue,
            };
            if name != "README" {
                warnings.push(format!("{directory}/{name}: warning: {reason}"));
            }
        }
        before.extend(names(root, directory)?);
    }
    Ok(warnings)
}

/// Files to include that nothing includes, or that have no rules.
fn never_included(root: &Root, policy: &Policy) -> Result<Vec<String>, Stop> {
    let include = format!("{DIRECTORY}/include");
    let mut warnings = Vec::new();
    for name in names(root, &include)? {
        let file = format!("{include}/{name}");
        let is_read = policy.files().any(|read| read == file);
        if !is_read {
            warnings.push(format!("{file}: warning: nothing includes this file"));
        }
    }
    Ok(warnings)
}

/// The files of a directory. Hidden ones are nobody's policy, as those are that a change has for a moment.
fn names(root: &Root, directory: &str) -> Result<Vec<String>, Stop> {
    let path = root.path(directory);
    let names = files::list(&path).map_err(|error| super::files::unreadable(&path, &error))?;
    Ok(names.into_iter().filter(|name| !name.starts_with('.') && path.join(name).is_file()).collect())
}

//! `qubes-admin policy`: what policy decides and by which rule, and what in it means nothing.

mod declared;
mod files;
mod lint;
mod table;
mod test;

use clap::{Args, Subcommand};
use common::root::Root;

use super::out::Stop;
pub use table::Table;

/// What to do with the policy.
#[derive(Args)]
pub(super) struct Policy {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check decisions against a table of expectations.
    ///
    /// A line of the table is SERVICE ARGUMENT SOURCE TARGET DECISION, where ARGUMENT begins with a plus sign and
    /// DECISION is allow, ask or deny; then target=, candidates=, default_target=, relay=, service= or
    /// rule=FILE:LINE may follow, and via= for calls that a relay makes in the name of SOURCE. rule=- means that no rule
    /// matched. Qubes are those of the store, unless the table declares its own: !qube NAME CLASS, then tags=, uuid=,
    /// dispvm=, guivm=, relay=, transport=, and the words base, running and internal.
    Test(test::Test),
    /// Warn of what the engine takes silently although it means nothing.
    ///
    /// Names that no qube has, rules that are never reached, words without a meaning, files that are not read. The exit
    /// status is 1 where there is something to warn of.
    Lint(lint::Lint),
}

/// Runs the command.
pub(super) fn run(policy: &Policy, root: &Root) -> Result<(), Stop> {
    match &policy.command {
        Command::Test(test) => test::run(test, root),
        Command::Lint(lint) => lint::run(lint, root),
    }
}

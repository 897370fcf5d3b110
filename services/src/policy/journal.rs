//! `/var/log/qubes/policy-admin.log`: who asked for what of the policy's files, and how it ended.

use std::io::Write;

use common::call::{Call, Content, Granted, World};
use common::clock;
use common::failure::Failure;
use common::log;
use common::run;

/// Notes the outcome of a call and hands it on. What cannot be noted keeps no call from its answer.
pub(super) fn noted<C: Call>(
    world: &World<'_>,
    granted: &Granted<C>,
    argument: &str,
    outcome: Result<Content, Failure>,
) -> Result<Content, Failure> {
    let ended = match &outcome {
        Ok(_) => "done".to_owned(),
        Err(failure) => failure.clone().into_text().replace('\n', " "),
    };
    let line = format!("{} {}+{argument} {}: {ended}\n", clock::local_now(), C::ROW.name, granted.caller());
    let written = world.in_earnest(|| {
        run::log_file(world.root(), "policy-admin").and_then(|mut file| file.write_all(line.as_bytes()))
    });
    if let Err(error) = written {
        log::line(&format!("policy-admin.log: {error}"));
    }
    outcome
}

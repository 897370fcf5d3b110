//! The same done to many qubes at once.

use std::time::{Duration, Instant};

use common::call::{Call, Granted, World, no_such_domain};
use common::event::Event;
use common::failure::{Exception, Failure};
use common::names::QubeName;
use common::root::Root;
use common::run::{self, Process};
use common::{log, reply};

use crate::companion::{qrexec, service};
use crate::lifecycle;
use crate::property::{Case, Context};

/// How long all guests together may take for a service.
const SERVICE_DEADLINE: Duration = Duration::from_secs(60);
/// How long all calls of a kind may take: a guest has a minute for each.
const CALL_DEADLINE: Duration = Duration::from_secs(120);
/// How many processes there are at once.
const AT_ONCE: usize = 64;

/// Runs a service in all those qubes that have qrexec. That it fails, or takes too long, keeps nobody from going on.
pub(super) fn tell<C: Call>(
    granted: &Granted<C>,
    world: &mut World<'_>,
    names: &[QubeName],
    service: &str,
) -> Result<(), Failure> {
    let told: Vec<&QubeName> = names.iter().filter(|name| can_be_told(world, name, service)).collect();
    if told.is_empty() {
        return Ok(());
    }
    world.change(granted, |txn| {
        for name in &told {
            txn.event(Event::on(name, "domain-cmd-pre-run").with("start_guid", "False"));
        }
        Ok(())
    })?;
    let root = world.root();
    let begin = |name: &QubeName| service::begin(root, name, "root", service);
    for (name, ended) in together(&told, begin, SERVICE_DEADLINE) {
        let said = match ended {
            Ok(outcome) if outcome.is_success() => continue,
            Ok(outcome) => outcome.status(),
            Err(error) => error.to_string(),
        };
        log::line(&format!("{service} in {name}: {said}"));
    }
    Ok(())
}

/// Whether a guest has qrexec and is connected.
fn can_be_told(world: &World<'_>, name: &QubeName, service: &str) -> bool {
    let check = || {
        let (view, context) = (world.store().read()?, Context::of(world));
        let qube = view.qube(name)?.ok_or_else(|| no_such_domain(name.as_str()))?;
        let is_needed = qrexec::is_needed(&Case { view: &view, context, qube: Some(&qube) })?;
        if is_needed { service::check(&context, &qube).map(|()| true) } else { Ok(false) }
    };
    check().unwrap_or_else(|failure: Failure| {
        log::line(&format!("{service} in {name}: {}", failure.into_text()));
        false
    })
}

/// Makes a call of ours on each qube: on which it failed, and how.
pub(super) fn call(root: &Root, names: &[QubeName], method: &str) -> Vec<(QubeName, Failure)> {
    let names: Vec<&QubeName> = names.iter().collect();
    let begin = |name: &QubeName| {
        let request = format!("{method}+ dom0 name {name}\0");
        run::begin_own_call(root, lifecycle::FAMILY.name, method, &request)
    };
    let mut failed = Vec::new();
    for (name, ended) in together(&names, begin, CALL_DEADLINE) {
        let outcome = ended
            .map_err(|error| Failure::new(Exception::QubesException, format!("{method} of {name}: {error}")))
            .and_then(|done| reply::content(done.output()).map(drop));
        failed.extend(outcome.err().map(|failure| (name.clone(), failure)));
    }
    failed
}

type Ended<'n> = (&'n QubeName, std::io::Result<common::capture::Finished>);

/// Begins a program for each qube, then awaits their ends.
fn together<'n>(
    names: &[&'n QubeName],
    begin: impl Fn(&QubeName) -> std::io::Result<Process>,
    deadline: Duration,
) -> Vec<Ended<'n>> {
    let mut ended = Vec::new();
    let begun_at = Instant::now();
    for names in names.chunks(AT_ONCE) {
        let begun: Vec<_> = names.iter().map(|name| (*name, begin(name))).collect();
        for (name, process) in begun {
            let left = deadline.saturating_sub(begun_at.elapsed());
            ended.push((name, process.and_then(|process| run::finish(process, left))));
        }
    }
    ended
}

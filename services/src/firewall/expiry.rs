//! Rules that end: a process of its own for each qube that has some sees to it that the netvm hears of it in time. Killed,
//! it costs lateness only: nothing that ended is told to anyone from then on, and the next change or start makes up for it.

use std::time::{Duration, Instant, SystemTime};

use common::call::{Call, Content, Destination, Granted, Presence, Received, Row, Values, World};
use common::failure::{Failure, Refusal};
use common::model::Qube;
use common::names::{Ascii, Rule};
use common::root::Root;
use common::{log, run};

use super::{FAMILY, holding, store};
use crate::companion::live;
use crate::property::Context;

const NAME: &str = "internal.ExpireFirewall";

/// How often the clock is looked at: it may be set, and waits stand still while the machine sleeps.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// `internal.ExpireFirewall`: takes out rules that hold no more, for as many seconds as there are some that will end.
pub(super) struct Expire;

impl Call for Expire {
    const ROW: Row = Row::write(
        NAME,
        "Takes out firewall rules as they end, until none is left that does, at most for so many seconds.",
    )
    .on(Destination::Qube)
    .argument(Presence::Required)
    .internal();
    type Input = Duration;

    fn sanitise(received: &Received) -> Result<Duration, Refusal> {
        let text = received.argument.sanitise::<Ascii>()?;
        let seconds = text.as_str().parse::<u32>().map_err(|_| Refusal::protocol("Invalid time"))?;
        Ok(Duration::from_secs(seconds.into()))
    }

    fn facts(time: &Duration) -> Values {
        Values::argument(time.as_secs().to_string())
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let began = Instant::now();
        while let Some(alarm) = world.store().expiry_alarm(granted.destination())? {
            while let Some(wait) = next_end(&granted, world) {
                let left = granted.input().saturating_sub(began.elapsed());
                if left.is_zero() {
                    return Ok(Content::new());
                }
                let waited = alarm.wait(wait.min(left).min(LONGEST_WAIT));
                waited.map_err(|error| Failure::dropped(format!("waiting for rules to end: {error}")))?;
            }
            if !alarm.give_up() {
                break;
            }
        }
        Ok(Content::new())
    }
}

/// Takes out what has ended; how long the next rule will last. What fails now is tried again.
fn next_end(granted: &Granted<Expire>, world: &mut World<'_>) -> Option<Duration> {
    match expire(granted, world) {
        Ok(next) => next.map(|end| end.duration_since(SystemTime::now()).unwrap_or_default()),
        Err(failure) => {
            log::line(&format!("rules of {} do not end: {}", granted.destination(), failure.into_text()));
            Some(LONGEST_WAIT)
        }
    }
}

fn expire(granted: &Granted<Expire>, world: &mut World<'_>) -> Result<Option<SystemTime>, Failure> {
    let name = granted.destination();
    let Some(mut qube) = world.store().read_one()?.qube(name)? else { return Ok(None) };
    if holding(qube.rules()).len() < qube.rules().len() {
        let stored = world.change(granted, |txn| {
            let Some(qube) = txn.qube(name)? else { return Ok(None) };
            // Somebody else may have been faster.
            if holding(qube.rules()).len() < qube.rules().len() {
                store(txn, name, qube.rules())?;
            }
            Ok(txn.qube(name)?)
        })?;
        let Some(stored) = stored else { return Ok(None) };
        live::tell_firewall(world.store(), Context::of(world), name);
        qube = stored;
    }
    Ok(qube.rules().iter().filter_map(Rule::ends).min())
}

/// Sees to it that the rules of a qube end in time, whoever else does.
pub fn arm(root: &Root, qube: &Qube) {
    if !qube.rules().iter().any(|rule| rule.ends().is_some()) {
        return;
    }
    let request = format!("{NAME}+{} dom0 name {}\0", u32::MAX, qube.name);
    if let Err(error) = run::in_background(root, FAMILY.name, NAME, request.as_bytes()) {
        log::line(&format!("rules of {} that end are not watched: {error}", qube.name));
    }
}

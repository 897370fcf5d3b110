//! What goes on after a call has answered: a process of its own that takes the locks as any call does. Killed at any
//! moment it costs lateness only, as the next one begins by looking at what is there.

use std::time::Duration;

use common::call::{Call, Content, Family, Granted, Presence, Received, Row, Values, World, entry};
use common::failure::{Exception, Failure, Refusal};
use common::names::{Ascii, QubeName};
use common::root::Root;
use common::{log, reply, run};

use super::hand_out::HandOut;
use super::keep_up;
use crate::property::Context;

/// How long a call waits for it: as many starts as there are disposables to be made.
const DEADLINE: Duration = Duration::from_secs(3600);

const NAME: &str = "internal.PreloadDisposables";

/// The family of the process.
pub const FAMILY: Family =
    Family { name: "admin-vm-preload", calls: &[entry::<Refill>(), entry::<HandOut>()] };

/// `internal.PreloadDisposables`: [`keep_up`] after so many milliseconds.
struct Refill;

impl Call for Refill {
    const ROW: Row = Row::write(
        NAME,
        "Makes and removes a template's disposables made in advance, after so many milliseconds.",
    )
    .argument(Presence::Required)
    .internal();
    type Input = Duration;

    fn sanitise(received: &Received) -> Result<Duration, Refusal> {
        let text = received.argument.sanitise::<Ascii>()?;
        let delay = text.as_str().parse::<u32>().map_err(|_| Refusal::protocol("Invalid delay"))?;
        Ok(Duration::from_millis(delay.into()))
    }

    fn facts(delay: &Duration) -> Values {
        Values::argument(delay.as_millis().to_string())
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        std::thread::sleep(*granted.input());
        keep_up(world.store(), &Context::of(world), granted.destination())?;
        Ok(Content::new())
    }
}

/// Starts the process for a template, whose work begins after a delay. What fails is logged: the next start makes up for
/// it.
pub fn start(root: &Root, template: &QubeName, delay: Duration) {
    if let Err(error) = run::in_background(root, FAMILY.name, NAME, request(template, delay).as_bytes()) {
        log::line(&format!("no disposables of {template} are made in advance: {error}"));
    }
}

/// Has the process do its work now, and waits for it.
///
/// # Errors
/// As [`keep_up`].
pub fn run_now(root: &Root, template: &QubeName) -> Result<(), Failure> {
    let request = request(template, Duration::ZERO);
    let done = run::own_call(root, FAMILY.name, NAME, &request, DEADLINE)
        .map_err(|error| Failure::new(Exception::QubesException, format!("{NAME}: {error}")))?;
    reply::content(done.output()).map(drop)
}

fn request(template: &QubeName, delay: Duration) -> String {
    format!("{NAME}+{} dom0 name {template}\0", delay.as_millis())
}

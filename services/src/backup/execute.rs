//! `admin.backup.Execute` (spec 40 §14). The run itself is a program of its own, which goes on if this one is ended.

use common::call::{Call, Content, Destination, Granted, Presence, Received, Row, Values, World};
use common::clock;
use common::failure::{Failure, Refusal};
use common::model::Class;
use common::names::{BackupProfile, QubeName};

use super::chosen::Chosen;
use super::job::Ordered;
use super::{place, stamped};
use crate::input;

pub(super) struct Execute;

impl Call for Execute {
    const ROW: Row =
        Row::write("admin.backup.Execute", "Makes the backup that a profile describes, and awaits its end.")
            .global()
            .on(Destination::Dom0)
            .argument(Presence::Required);
    type Input = BackupProfile;

    fn sanitise(received: &Received) -> Result<BackupProfile, Refusal> {
        input::argument(received)
    }

    fn facts(profile: &BackupProfile) -> Values {
        Values::argument(profile.as_str())
    }

    /// The store is not locked from the time on when the run begins.
    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let id = granted.input();
        place::check(world.store(), id)?;
        let chosen = Chosen::now(world, id)?;
        let ordered = Ordered::of(world, granted.caller(), id, &chosen)?;
        chosen.check_snapshots(world)?;
        let (look, stamp) = (|_: &World<'_>| Ok(words(&chosen)), clock::seconds_now());
        world.foresee(&granted, look, |txn| stamped::stamp(txn, &ordered.job.stamped, stamp))?;
        let work = place::begin(world.store(), id)?;
        chosen.announce(world)?;
        let outcome = ordered.made(world, chosen, &work);
        // Whoever hears of the end may begin anew at once.
        drop(work);
        outcome.map(|()| Content::new())
    }
}

/// What is about to be done.
fn words(chosen: &Chosen) -> String {
    let names: Vec<&str> = chosen.qubes.iter().map(|qube| qube.name.as_str()).collect();
    let (path, destination) = (&chosen.profile.path, &chosen.profile.destination);
    format!("a backup of {} is written to {path} in {destination}", names.join(", "))
}

/// The qubes that are told when they were backed up.
pub(super) fn told(chosen: &Chosen) -> Vec<QubeName> {
    let told =
        chosen.qubes.iter().filter(|qube| stamped::is_told_of(qube.class) && qube.class != Class::RemoteVM);
    told.map(|qube| qube.name.clone()).collect()
}

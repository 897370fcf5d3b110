//! `admin.backup.Cancel` (spec 40 §14).

use common::call::{Call, Content, Destination, Granted, Presence, Received, Row, Values, World};
use common::failure::{Failure, Refusal};
use common::names::BackupProfile;

use super::place;
use super::profile::refused;
use crate::input;

pub(super) struct Cancel;

fn not_running() -> Failure {
    refused("Backup operation not running")
}

impl Call for Cancel {
    const ROW: Row =
        Row::write("admin.backup.Cancel", "Has the backup of a profile given up that is being made.")
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

    /// Does not wait: whoever made the call that makes the backup is told when it is over.
    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let id = granted.input();
        let look = |world: &World<'_>| {
            let words = || format!("the backup of profile {id} is given up");
            if place::goes_on(world.store(), id) { Ok(words()) } else { Err(not_running()) }
        };
        world.foresee(&granted, look, |_| Ok(()))?;
        if place::stop(world.store(), id)? { Ok(Content::new()) } else { Err(not_running()) }
    }
}

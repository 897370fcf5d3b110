//! `admin.backup.Info` (spec 40 §13).

use common::call::{Call, Content, Destination, Granted, Presence, Received, Row, Values, World};
use common::failure::{Failure, Refusal};
use common::names::BackupProfile;

use super::chosen::Chosen;
use super::summary;
use crate::input;

pub(super) struct Info;

impl Call for Info {
    const ROW: Row =
        Row::read_one("admin.backup.Info", "What a backup profile selects, as a table for people.")
            .on(Destination::Dom0)
            .argument(Presence::Required);
    type Input = BackupProfile;

    fn sanitise(received: &Received) -> Result<BackupProfile, Refusal> {
        input::argument(received)
    }

    fn facts(profile: &BackupProfile) -> Values {
        Values::argument(profile.as_str())
    }

    /// The store is not locked while volumes are looked at.
    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let chosen = Chosen::now(world, granted.input())?;
        chosen.announce(world)?;
        let sizes = chosen.contents.sizes(world.root())?;
        Ok(summary::table(&chosen.lines(world, sizes), &chosen.left_out).into_bytes())
    }
}

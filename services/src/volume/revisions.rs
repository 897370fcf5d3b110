//! `admin.vm.volume.Snapshot` and `.Revert` (spec 20 §4.4, §4.5).

use common::call::{Call, Content, Granted, Presence, Received, Row, Values, World};
use common::failure::{Exception, Failure, Refusal};
use common::names::{Ascii, RevisionId};

use super::Asked;
use super::target::Target;
use crate::input;
use crate::property::Context;

pub(super) struct Snapshot;

impl Call for Snapshot {
    const ROW: Row = Row::write(
        "admin.vm.volume.Snapshot",
        "Keeps the volume's state as an old state and answers its identifier.",
    )
    .argument(Presence::Required);
    type Input = Ascii;

    fn sanitise(received: &Received) -> Result<Ascii, Refusal> {
        input::argument(received)
    }

    fn facts(volume: &Ascii) -> Values {
        Values::argument(volume.as_str())
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let (_lifecycle, target) = Target::locked(&granted, world, granted.input())?;
        let volume = &target.volume;
        let refused = |text: String| Err(Failure::new(Exception::StoragePoolException, text));
        if !volume.save_on_stop {
            return refused(format!("Cannot snapshot: {} is not save_on_stop", volume.vid));
        }
        target.check_halted(&Context::of(world))?;
        if target.driver.is_dirty(volume)? {
            let text = format!("Volume {} is not cleanly stopped", volume.vid);
            return Err(Failure::new(Exception::QubesVMNotHaltedError, text));
        } else if volume.revisions_to_keep <= 0 {
            return refused(format!("Cannot snapshot: {} keeps no revisions", volume.vid));
        }
        let (vid, kept) = (&volume.vid, volume.revisions_to_keep);
        world.foretell(
            &granted,
            format_args!(
                "the state of volume {vid} is kept as an old one, of which there are {kept} at most"
            ),
        )?;
        Ok(target.driver.snapshot(volume)?.into_bytes())
    }
}

pub(super) struct Revert;

impl Call for Revert {
    const ROW: Row = Row::write("admin.vm.volume.Revert", "Takes a volume back to an old state.")
        .argument(Presence::Required)
        .payload(Presence::Required);
    type Input = Asked<RevisionId>;

    fn sanitise(received: &Received) -> Result<Self::Input, Refusal> {
        let mut asked = Asked::of(received)?;
        if received.payload.sanitise::<Ascii>().is_err() {
            asked.payload = Err(Failure::dropped("non-ASCII bytes in the name of a revision"));
        }
        Ok(asked)
    }

    fn facts(input: &Self::Input) -> Values {
        input.facts("revision", |revision| revision.as_str().to_owned())
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let (_lifecycle, target) = Target::locked(&granted, world, &granted.input().volume)?;
        let revision = granted.input().payload()?.as_str();
        let known = target.driver.revisions(&target.volume)?;
        if !known.iter().any(|known| known.id == revision) {
            let text = "Specified revision not found in qube volume.";
            return Err(Failure::new(Exception::QubesException, text));
        }
        // How large it was then is not known.
        granted.check_growth(0, u64::MAX)?;
        world
            .foretell(&granted, format_args!("volume {} gets its old state {revision}", target.volume.vid))?;
        target.driver.revert(&target.volume, revision)?;
        Ok(Content::new())
    }
}

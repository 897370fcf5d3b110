//! `admin.vm.volume.Resize` (spec 20 §4.6).

use std::time::Duration;

use common::call::{Call, Content, Granted, Presence, Received, Row, Values, World};
use common::failure::{Exception, Failure, Refusal};
use common::log;
use common::names::VolumeSize;

use super::Asked;
use super::target::Target;
use crate::companion::service;
use crate::property::Context;

/// How long a qube may take to make its file system fit.
const DEADLINE: Duration = Duration::from_secs(60);

pub(super) struct Resize;

impl Call for Resize {
    const ROW: Row = Row::write(
        "admin.vm.volume.Resize",
        "Gives a volume another size, in bytes; a running qube then makes its file system fit.",
    )
    .argument(Presence::Required)
    .payload(Presence::Required);
    type Input = Asked<VolumeSize>;

    fn sanitise(received: &Received) -> Result<Self::Input, Refusal> {
        Asked::of(received)
    }

    fn facts(input: &Self::Input) -> Values {
        input.facts("size", |size| size.0.to_string())
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let (_lifecycle, target) = Target::locked(&granted, world, &granted.input().volume)?;
        let size = granted.input().payload()?.0;
        world.foresee(
            &granted,
            |_| {
                Ok(format!(
                    "volume {} gets {size} bytes, from {}",
                    target.volume.vid,
                    target.driver.size(&target.volume)?
                ))
            },
            |txn| target.edit(txn, |volume| volume.size = size),
        )?;
        resize(&granted, world, &target, size)?;
        let told = if target.is_running(&Context::of(world)) { tell(&target, world) } else { Ok(()) };
        let recorded = world.change(&granted, |txn| target.edit(txn, |volume| volume.size = size));
        if let Err(failure) = recorded {
            if target.driver.size(&target.volume)? != size {
                return Err(failure);
            }
            // The volume has its new size, and what is there tells it.
            log::line(&format!("the size of {} is not recorded: {}", target.volume.vid, failure.into_text()));
        }
        told.map(|()| Content::new())
    }
}

/// Under a quota the size is in the store before there is that much, so that no two calls use up the same rest.
fn resize(
    granted: &Granted<Resize>,
    world: &mut World<'_>,
    target: &Target,
    size: u64,
) -> Result<(), Failure> {
    let is_counted = granted.quota().is_limited();
    if is_counted {
        world.change(granted, |txn| target.edit(txn, |volume| volume.size = volume.size.max(size)))?;
    }
    let resized = target.driver.resize(&target.volume, size);
    if is_counted && resized.is_err() {
        let old = target.volume.size;
        // Where this fails too, too much is counted until the next resize.
        let _ = world.change(granted, |txn| target.edit(txn, |volume| volume.size = old));
    }
    Ok(resized?)
}

/// Has the qube make its file system fit, through its own service.
fn tell(target: &Target, world: &World<'_>) -> Result<(), Failure> {
    let (qube, volume) = (&target.qube.name, target.volume.name.as_str());
    let outcome = service::run(world.root(), qube, "root", "qubes.ResizeDisk", volume, DEADLINE);
    let said = match outcome {
        Ok(outcome) if outcome.is_success() => return Ok(()),
        Ok(outcome) => outcome.readable_errors(),
        Err(error) => error.to_string(),
    };
    let said = said.replace('%', "");
    let text = format!(
        "Online resize of volume {} failed (you need to resize filesystem manually): {said}",
        target.volume.vid
    );
    Err(Failure::new(Exception::StoragePoolException, text))
}

//! `admin.vm.volume.Clear`: new content for a volume, of zeros (spec 20 §4.7).

use std::path::PathBuf;

use common::call::{Call, Content, Granted, Presence, Received, Row, Values, World};
use common::event::Event;
use common::failure::{Failure, Refusal};
use common::log;
use common::names::Ascii;

use super::target::Target;
use crate::input;

/// The beginning of an import: room for the new content, and its event.
fn begin<C: Call>(
    granted: &Granted<C>,
    world: &mut World<'_>,
    target: &Target,
    size: u64,
) -> Result<PathBuf, Failure> {
    let path = target.driver.import_begin(&target.volume, size)?;
    let begun = event(target, "domain-volume-import-begin").with("size", size.to_string());
    if let Err(failure) = world.announce(granted, begun) {
        abort(target);
        return Err(failure);
    }
    Ok(path)
}

/// The end of an import: the new content takes the place of the old, or is forgotten, and the event says which.
fn end<C: Call>(
    granted: &Granted<C>,
    world: &mut World<'_>,
    target: &Target,
    is_complete: bool,
) -> Result<(), Failure> {
    let (driver, volume) = (&target.driver, &target.volume);
    let ended = if is_complete { driver.import_end(volume) } else { driver.import_abort(volume) };
    let is_imported = is_complete && ended.is_ok();
    if is_complete && !is_imported {
        abort(target);
    }
    let size = driver.size(volume);
    let recorded = world.change(granted, |txn| {
        if let (true, Ok(size)) = (is_imported, size) {
            target.edit(txn, |volume| volume.size = size)?;
        }
        let success = common::storage::options::text_of(is_imported);
        txn.event(event(target, "domain-volume-import-end").with("success", success));
        Ok(())
    });
    if let (true, Err(failure)) = (is_imported, &recorded) {
        // The volume holds its new content: that is what was asked for, and what its size is read from.
        log::line(&format!("an import into {} is not recorded: {}", volume.vid, failure.clone().into_text()));
        return Ok(());
    }
    ended?;
    recorded
}

/// Forgets an import. What stays of it is cleared by the next one.
fn abort(target: &Target) {
    if let Err(error) = target.driver.import_abort(&target.volume) {
        log::line(&format!("an import into {} is not forgotten: {error}", target.volume.vid));
    }
}

fn event(target: &Target, name: &str) -> Event {
    Event::on(&target.qube.name, name).with("volume", target.volume.name.as_str())
}

pub(super) struct Clear;

impl Call for Clear {
    const ROW: Row = Row::write("admin.vm.volume.Clear", "Empties a volume that is kept; its size stays.")
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
        let size = target.driver.size(&target.volume)?;
        begin(&granted, world, &target, size)?;
        end(&granted, world, &target, true)?;
        Ok(Content::new())
    }
}

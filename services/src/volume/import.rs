//! New content for a volume: `admin.vm.volume.Clear`, `.Import`, `.ImportWithSize`, and the halves of an import that
//! another program fills, `internal.vm.volume.ImportBegin` and `ImportEnd` (spec 20 §4.7, §5).

use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use common::call::{Call, Content, Granted, Presence, Received, Reply, Row, Values, World};
use common::event::Event;
use common::failure::{Exception, Failure, Refusal};
use common::model::{Import, Volume};
use common::names::{Ascii, DataSize, ImportOutcome, QubeName};
use common::opened::{self, Purpose};
use common::storage::{StorageError, import};
use common::store::LifecycleGuard;
use common::untrusted::Untrusted;
use common::{log, upload};

use super::Asked;
use super::target::Target;
use crate::input;
use crate::property::Context;

/// The beginning of an import: room for the new content, and its event. `kind` says who fills it.
fn begin<C: Call>(
    granted: &Granted<C>,
    world: &mut World<'_>,
    target: &Target,
    size: u64,
    kind: Import,
) -> Result<PathBuf, Failure> {
    let (qube, volume) = (&target.qube.name, &target.volume);
    target.driver.check_import(volume)?;
    world.change(granted, |txn| Ok(import::begin(txn, qube, volume, Import::Preparing)?))?;
    let begun = make_room(granted, world, target, size, kind);
    if begun.is_err() {
        let is_forgotten = log_unforgotten(target, target.driver.import_abort(volume));
        // Where this fails too, whoever takes the lifecycle lock next finds the mark.
        let _ = world.change(granted, |txn| Ok(import::cancel(txn, qube, volume, is_forgotten)?));
    }
    begun
}

/// Tells what an import would do that begins now.
fn foresee<C: Call>(
    granted: &Granted<C>,
    world: &mut World<'_>,
    target: &Target,
    size: u64,
    what: &str,
) -> Result<(), Failure> {
    let (qube, volume) = (&target.qube.name, &target.volume);
    let look = |_: &World<'_>| {
        target.driver.check_import(volume)?;
        Ok(format!("volume {} gets {size} bytes {what}", volume.vid))
    };
    world.foresee(granted, look, |txn| {
        txn.event(begun(qube, volume, size));
        Ok(import::end(txn, qube, volume, Some(size))?)
    })
}

/// The event of an import that begins.
fn begun(qube: &QubeName, volume: &Volume, size: u64) -> Event {
    import::event(qube, volume, "domain-volume-import-begin").with("size", size.to_string())
}

fn make_room<C: Call>(
    granted: &Granted<C>,
    world: &mut World<'_>,
    target: &Target,
    size: u64,
    kind: Import,
) -> Result<PathBuf, Failure> {
    let (qube, volume) = (&target.qube.name, &target.volume);
    let path = target.driver.import_begin(volume, size)?;
    if kind == Import::Elsewhere && shown(world, &path).contains(' ') {
        return Err(Refusal::protocol("Path contains whitespace").into());
    }
    if kind == Import::Streaming {
        import::take_note(world.store(), qube);
    }
    world.change(granted, |txn| {
        import::mark(txn, qube, volume, Some(kind.clone()))?;
        txn.event(begun(qube, volume, size));
        Ok(())
    })?;
    Ok(path)
}

/// A path as another program knows it.
fn shown(world: &World<'_>, path: &Path) -> String {
    world.root().without(path).display().to_string()
}

/// The end of an import: the new content takes the place of the old, or is forgotten, and the event says which.
fn end<C: Call>(
    granted: &Granted<C>,
    world: &mut World<'_>,
    target: &Target,
    is_complete: bool,
) -> Result<(), Failure> {
    let (driver, qube, volume) = (&target.driver, &target.qube.name, &target.volume);
    let has_room = || driver.has_import(volume).unwrap_or(true);
    let had_room = is_complete && has_room();
    let ended = match is_complete {
        true => complete(granted, world, target),
        false => driver.import_abort(volume).map_err(Failure::from),
    };
    let mut is_forgotten = !is_complete && ended.is_ok();
    // An error may come after the instant at which the content became the volume's.
    let is_imported = is_complete && (ended.is_ok() || (had_room && !has_room()));
    if is_complete && !is_imported {
        // The room goes after the mark: an import with that mark and no room counts as complete.
        if mark(granted, world, target, Import::Streaming).is_err() {
            return ended;
        }
        is_forgotten = log_unforgotten(target, driver.import_abort(volume));
    } else if is_imported && ended.is_err() {
        // What this leaves undone is done by the next change.
        let _ = driver.tidy(volume);
    }
    let size = is_imported.then(|| driver.size(volume)).transpose().map_err(Failure::from);
    let recorded = size.and_then(|imported| {
        world.change(granted, |txn| match is_imported || is_forgotten {
            true => Ok(import::end(txn, qube, volume, imported)?),
            false => Ok(import::abandon(txn, qube, volume)?),
        })
    });
    if recorded.is_ok() {
        import::drop_note(world.store(), qube);
    }
    if let (true, Err(failure)) = (is_imported, &recorded) {
        // The volume holds its new content, which is what was asked for; the mark lets the rest be done.
        log::line(&format!("an import into {} is not recorded: {}", volume.vid, failure.clone().into_text()));
        return ended;
    }
    ended.and(recorded)
}

/// Makes the imported content the volume's.
fn complete<C: Call>(granted: &Granted<C>, world: &mut World<'_>, target: &Target) -> Result<(), Failure> {
    mark(granted, world, target, Import::Ending)?;
    Ok(target.driver.import_end(&target.volume)?)
}

pub(super) fn mark<C: Call>(
    granted: &Granted<C>,
    world: &mut World<'_>,
    target: &Target,
    import: Import,
) -> Result<(), Failure> {
    let (qube, volume) = (&target.qube.name, &target.volume);
    world.change(granted, |txn| Ok(import::mark(txn, qube, volume, Some(import))?))
}

/// Whether nothing is left of an import or a clone that was to be forgotten; logs what keeps it there.
pub(super) fn log_unforgotten(target: &Target, aborted: Result<(), StorageError>) -> bool {
    if let Err(error) = &aborted {
        log::line(&format!("an import into {} is not forgotten: {error}", target.volume.vid));
    }
    aborted.is_ok()
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
        foresee(&granted, world, &target, size, "that are all zero")?;
        begin(&granted, world, &target, size, Import::Streaming)?;
        end(&granted, world, &target, true)?;
        Ok(Content::new())
    }
}

/// The volume of an import, which the program that does one is told of in words of its own.
fn locked<C: Call>(
    granted: &Granted<C>,
    world: &World<'_>,
    volume: &Ascii,
) -> Result<(Option<LifecycleGuard>, Target), Failure> {
    Target::locked(granted, world, volume).map_err(|failure| match failure {
        Failure::Exception { exception: Exception::PermissionDenied, .. } => {
            Refusal::protocol(format!("Argument not in {} volumes", granted.destination())).into()
        }
        other => other,
    })
}

/// What a failed import is answered with.
pub(super) fn failed(reason: &str) -> Failure {
    Failure::new(Exception::QubesException, format!("Data import failed: {reason}"))
}

/// How an import learns how many bytes come.
pub(super) trait Announced {
    /// The call.
    const ROW: Row;
}

/// The call that takes a volume's new content from its payload.
pub(super) struct Upload<T>(PhantomData<T>);

/// As many bytes as the volume has.
pub(super) struct OwnSize;
/// As many bytes as the first line says.
pub(super) struct FirstLine;

impl Announced for OwnSize {
    const ROW: Row = Row::write(
        "admin.vm.volume.Import",
        "Replaces a halted qube's volume by the payload, which has exactly the volume's size.",
    )
    .argument(Presence::Required)
    .payload(Presence::Stream);
}

impl Announced for FirstLine {
    const ROW: Row = Row::write(
        "admin.vm.volume.ImportWithSize",
        "The same with another size: a line with the number of bytes comes first.",
    )
    .argument(Presence::Required)
    .payload(Presence::SizedStream);
}

/// The announced size; none stands for the volume's own.
fn announced(text: &Untrusted) -> Result<Option<DataSize>, Failure> {
    if text.is_empty() { Ok(None) } else { Ok(Some(text.sanitise()?)) }
}

/// A volume, the size announced for it or what is wrong with that, and the bytes still to come.
pub(super) struct Incoming {
    asked: Asked<Option<DataSize>>,
    upload: upload::Upload,
}

impl<T: Announced> Call for Upload<T> {
    const ROW: Row = T::ROW;
    type Input = Incoming;

    fn sanitise(received: &Received) -> Result<Incoming, Refusal> {
        let payload = announced(&received.payload);
        let asked = Asked { volume: input::argument(received)?, payload };
        Ok(Incoming { asked, upload: received.upload() })
    }

    fn facts(input: &Incoming) -> Values {
        Values::argument(input.asked.volume.as_str())
    }

    /// The lifecycle lock is held as long as bytes come; the store's is not.
    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Reply, Failure> {
        let asked = &granted.input().asked;
        let (_lifecycle, target) = locked(&granted, world, &asked.volume)?;
        let (size, path) = begin_halted(&granted, world, &target, asked, Import::Streaming)?;
        let filled = fill(&granted.input().upload, &path, size);
        let ended = end(&granted, world, &target, filled.is_ok());
        let outcome = filled.map_err(|reason| failed(&reason)).and(ended);
        Ok(Reply::Ended(outcome.map(|()| Content::new())))
    }
}

/// Moves the payload into the room made for it; the error is the reason for the client.
pub(super) fn fill(upload: &upload::Upload, path: &Path, size: u64) -> Result<(), String> {
    let file = opened::open(path, Purpose::Writing).map_err(|_| "error copying data".to_owned())?;
    upload.pour(&file, size).map_err(|short| {
        log::line(&format!("import: {short:?}"));
        short.to_string()
    })
}

/// Begins an import into the volume of a halted qube: how many bytes are awaited, and where.
fn begin_halted<C: Call>(
    granted: &Granted<C>,
    world: &mut World<'_>,
    target: &Target,
    asked: &Asked<Option<DataSize>>,
    kind: Import,
) -> Result<(u64, PathBuf), Failure> {
    target.check_halted(&Context::of(world))?;
    let size = match asked.payload()? {
        Some(size) => size.0,
        None => target.driver.size(&target.volume)?,
    };
    target.check_growth(granted, || Ok(size))?;
    foresee(granted, world, target, size, "of the payload")?;
    Ok((size, begin(granted, world, target, size, kind)?))
}

pub(super) struct ImportBegin;

impl Call for ImportBegin {
    const ROW: Row = Row::write(
        "internal.vm.volume.ImportBegin",
        "Begins an import that another program fills: answers `size path`.",
    )
    .internal()
    .argument(Presence::Required)
    .payload(Presence::Optional);
    type Input = Asked<Option<DataSize>>;

    fn sanitise(received: &Received) -> Result<Self::Input, Refusal> {
        Ok(Asked { volume: input::argument(received)?, payload: announced(&received.payload) })
    }

    fn facts(input: &Self::Input) -> Values {
        Values::argument(input.volume.as_str())
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let asked = granted.input();
        let (_lifecycle, target) = locked(&granted, world, &asked.volume)?;
        let (size, path) = begin_halted(&granted, world, &target, asked, Import::Elsewhere)?;
        Ok(format!("{size} {}", shown(world, &path)).into_bytes())
    }
}

pub(super) struct ImportEnd;

impl Call for ImportEnd {
    const ROW: Row = Row::write(
        "internal.vm.volume.ImportEnd",
        "Ends an import that another program filled: payload `ok`, or `fail` and a line with the reason.",
    )
    .internal()
    .argument(Presence::Required)
    .payload(Presence::Required);
    type Input = Asked<ImportOutcome>;

    fn sanitise(received: &Received) -> Result<Self::Input, Refusal> {
        Asked::of(received)
    }

    fn facts(input: &Self::Input) -> Values {
        Values::argument(input.volume.as_str())
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let asked = granted.input();
        let (_lifecycle, target) = locked(&granted, world, &asked.volume)?;
        let outcome = match asked.payload()? {
            // A domain may have begun to use the volume meanwhile.
            ImportOutcome::Complete => target.check_halted(&Context::of(world)),
            ImportOutcome::Failed(reason) => Err(failed(reason)),
        };
        end(&granted, world, &target, outcome.is_ok())?;
        outcome.map(|()| Content::new())
    }
}

//! `admin.vm.notes.*`: free text kept in the qube's home directory (spec 10 §5.3).

use std::io;
use std::path::PathBuf;

use common::call::{
    Call, Content, Destination, Family, Granted, Presence, Received, Row, Values, World, entry,
    no_such_domain,
};
use common::failure::{Exception, Failure, Refusal};
use common::files;
use common::model::Qube;
use common::names::{NOTES_MAX, Notes};
use common::root::Root;

/// The family.
pub const FAMILY: Family = Family { name: "admin-vm-notes", calls: &[entry::<Get>(), entry::<Set>()] };

const FILE_MODE: u32 = 0o660;
const HOME_MODE: u32 = 0o775;

/// Where a qube's notes are; those of remote qubes are nowhere.
pub fn path(root: &Root, qube: &Qube) -> Option<PathBuf> {
    qube.home().map(|home| root.lib().join(home).join("notes.txt"))
}

/// The file the notes are in.
fn file<C: Call>(granted: &Granted<C>, world: &World<'_>) -> Result<PathBuf, Failure> {
    let name = granted.destination();
    let qube = world.view().qube(name)?.ok_or_else(|| no_such_domain(name.as_str()))?;
    let none = || Failure::new(Exception::QubesException, "Remote qubes have no notes");
    path(world.root(), &qube).ok_or_else(none)
}

fn trouble(doing: &str, error: &io::Error) -> Failure {
    Failure::new(Exception::QubesException, format!("Failed to {doing} notes file: {error}"))
}

struct Get;

impl Call for Get {
    const ROW: Row = Row::read_one("admin.vm.notes.Get", "The qube's notes, UTF-8.").on(Destination::Qube);
    common::no_input!();

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let bytes =
            files::read_if_present(&file(&granted, world)?).map_err(|error| trouble("read", &error))?;
        let text = String::from_utf8(bytes.unwrap_or_default());
        let text = text.map_err(|_| trouble("read", &io::ErrorKind::InvalidData.into()))?;
        Ok(text.replace("\r\n", "\n").replace('\r', "\n").into_bytes())
    }
}

struct Set;

impl Call for Set {
    const ROW: Row = Row::write("admin.vm.notes.Set", "Replaces the qube's notes; at most 256,000 bytes.")
        .on(Destination::Qube)
        .payload(Presence::Optional);
    type Input = String;

    /// The published order has permission before the checks of the text. They tell nothing but what the caller
    /// sent, so here they come first, as all sanitising does.
    fn sanitise(received: &Received) -> Result<String, Refusal> {
        let length = received.payload.len();
        if length > NOTES_MAX {
            let text = format!("Maximum note size is {NOTES_MAX} bytes ({length} bytes received)");
            return Err(Refusal::protocol(text));
        }
        let notes: Notes = received.payload.sanitise()?;
        let unable = |problem| Refusal::protocol(format!("Unable to sanitise qube notes: {problem}"));
        notes.text().map(str::to_owned).map_err(unable)
    }

    fn facts(_: &String) -> Values {
        Values::default()
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let path = file(&granted, world)?;
        let _lifecycle = world.in_earnest(|| world.store().lock_lifecycle(granted.destination()))?;
        // It may have been removed while we waited; the call's own view would not know.
        if !world.store().read_one()?.exists(granted.destination())? {
            return Err(no_such_domain(granted.destination().as_str()));
        }
        let home = path.parent().unwrap_or(&path);
        let unable = |error| trouble("write", &error);
        world.in_earnest(|| files::make_directories(home, HOME_MODE)).map_err(unable)?;
        let written = world.change_file(&granted, &path, Some(granted.input().as_bytes()), FILE_MODE)?;
        written.map(|()| Content::new()).map_err(unable)
    }
}

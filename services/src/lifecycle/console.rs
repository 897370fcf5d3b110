//! `admin.vm.Console` (spec 30 §16): tells the terminal of a qube's console, or under qrexec joins the caller with it.

use common::call::{Call, Granted, Presence, Received, Reply, Row, Values, World};
use common::failure::{Exception, Failure, Refusal};
use common::hypervisor::{self, Request};
use common::model::Class;
use common::names::QubeName;
use common::terminal::Terminal;

use super::lock::{find, insist};
use super::{foresee, refused};

pub(super) struct Console;

impl Call for Console {
    const ROW: Row =
        Row::write("admin.vm.Console", "The terminal of a qube's console; under qrexec, the console itself.")
            .payload(Presence::Conversation);
    /// Whether the caller is to be joined with it.
    type Input = bool;

    fn sanitise(received: &Received) -> Result<bool, Refusal> {
        Ok(received.is_streamed)
    }

    fn facts(_: &bool) -> Values {
        Values::default()
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<impl Into<Reply>, Failure> {
        foresee_console(&granted, world)?;
        let path = path(&granted, world)?;
        if !*granted.input() {
            return Ok(Reply::Content(path.into_bytes()));
        }
        let name = granted.destination();
        let lock = world.root().path(&format!("/run/qubes/{name}.terminal.lock"));
        let terminal = Terminal::open(path.as_ref()).map_err(|error| unreachable(name, &error))?;
        Ok(Reply::Stream(Box::new(move || terminal.join_alone(&lock))))
    }
}

fn foresee_console(granted: &Granted<Console>, world: &mut World<'_>) -> Result<(), Failure> {
    if !has_domain(granted) {
        return Ok(());
    }
    let what = "is joined with the caller by its console";
    foresee(granted, world, what, |_| true, refused::not_running)
}

/// Whether it is a qube of a kind that has domains here.
fn has_domain(granted: &Granted<Console>) -> bool {
    !matches!(granted.parties().class, Class::AdminVM | Class::RemoteVM)
}

/// The path of a qube's terminal; none for those that are no domains here.
fn path(granted: &Granted<Console>, world: &World<'_>) -> Result<String, Failure> {
    let name = granted.destination();
    if !has_domain(granted) {
        return Ok(String::new());
    }
    let (store, root) = (world.store(), world.root());
    let domain = find(store, root, name)?.ok_or_else(|| refused::not_running(name))?;
    match insist(store, root, name, &domain.run, &mut None, &Request::Console)? {
        Some(hypervisor::Reply::Console(path)) => Ok(path.to_string_lossy().into_owned()),
        Some(hypervisor::Reply::Refused(text)) => Err(refused::by_hypervisor(text)),
        Some(_) | None => Err(refused::not_running(name)),
    }
}

fn unreachable(name: &QubeName, error: &std::io::Error) -> Failure {
    Failure::new(
        Exception::QubesException,
        format!("The console of {name} cannot be opened: {}", error.kind()),
    )
}

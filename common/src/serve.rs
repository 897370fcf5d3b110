//! The way of every call: receive, resolve, check what all calls share, run the three stages, answer once.

use std::ffi::{OsString, c_int};
use std::io::Write;

use crate::audit::{self, Witness};
use crate::call::{
    Destination, Entry, Family, Parties, Presence, Received, Reply, Row, World, no_such_domain,
    no_such_method,
};
use crate::constraint::{self, Standing};
use crate::failure::{Exception, Failure};
use crate::hypervisor::Published;
use crate::log;
use crate::names::{Ascii, QubeName, QubeUuid};
use crate::permission::Judge;
use crate::quote::quote;
use crate::reply;
use crate::request::{self, Request};
use crate::root::Root;
use crate::standard;
use crate::store::{Store, View};
use crate::untrusted::Untrusted;
use crate::{call::Access, files};

/// Serves the one request this process was started for and gives the exit status. That is 0 also for an exception:
/// clients look at the answer only then. An upload or a conversation that never began ends with 1 (spec 20 §5.1, 30 §16), and
/// so does what a qube tells in vain, whose caller gets nothing else (spec 30 §17).
pub fn serve(family: &Family, arguments: &[OsString]) -> c_int {
    log::catch_panics();
    let root = Root::from_environment();
    let request = received(family, arguments, &root);
    let outcome = request.and_then(|request| handle(family, &request, &root));
    let is_silent = request::is_told_by_status(family, arguments);
    let has_failed = outcome.is_err() && (is_silent || request::is_streamed(family, arguments));
    let told = answer(outcome, &root).filter(|answer| !is_silent || matches!(answer, Answer::Stream(_)));
    tell(told).unwrap_or_else(|| c_int::from(has_failed))
}

/// The request this process was started for; one that cannot be read is logged.
pub(crate) fn received(family: &Family, arguments: &[OsString], root: &Root) -> Result<Request, Failure> {
    let unreadable =
        |failure: &Failure| audit::unreadable(root, request::row_of(family, arguments).as_ref(), failure);
    request::receive(family, arguments).inspect_err(unreadable)
}

/// Sends what there is to send; gives the exit status of a stream.
fn tell(answer: Option<Answer>) -> Option<c_int> {
    match answer? {
        Answer::Message(bytes) => send(&bytes),
        Answer::Stream(serve) => return Some(serve()),
    }
    None
}

/// No call at all.
const NOTHING: Family = Family { name: "", calls: &[] };

/// Serves the one request that comes by standard input, which may be for any call of these families whose name begins
/// like this; gives the exit status.
pub fn serve_any(families: &[&Family], prefix: &str, root: &Root) -> c_int {
    log::catch_panics();
    let received = request::receive_any().inspect_err(|failure| audit::unreadable(root, None, failure));
    let outcome = received.and_then(|(method, request)| {
        let serves =
            |family: &&&Family| method.starts_with(prefix.as_bytes()) && family.find(&method).is_some();
        handle(families.iter().find(serves).unwrap_or(&&NOTHING), &request, root)
    });
    tell(answer(outcome, root)).unwrap_or_default()
}

/// Writes a whole message. An error is met by trying once more, so that one that passes loses no answer. A caller that
/// went away changes nothing: what was done is done.
pub(crate) fn send(mut bytes: &[u8]) {
    let mut has_failed = false;
    while !bytes.is_empty() {
        match standard::output().write(bytes) {
            Ok(written) if written > 0 => bytes = bytes.get(written..).unwrap_or_default(),
            _ if !has_failed => has_failed = true,
            _ => return,
        }
    }
}

/// What goes back to the caller.
pub enum Answer {
    /// One message.
    Message(Vec<u8>),
    /// A stream to standard output, which calling this sends; gives the exit status.
    Stream(Box<dyn FnOnce() -> c_int>),
}

/// The answer to a request, or nothing where the specification hides the failure.
pub fn respond(family: &Family, request: &Request, root: &Root) -> Option<Answer> {
    answer(handle(family, request, root), root)
}

/// The answer, or nothing where the specification hides the failure.
fn answer(outcome: Result<Reply, Failure>, root: &Root) -> Option<Answer> {
    match outcome {
        Ok(Reply::Content(content)) => Some(Answer::Message(reply::ok(&content))),
        Ok(Reply::Stream(send)) => Some(Answer::Stream(send)),
        Ok(Reply::Ended(outcome)) => answer(outcome.map(Reply::Content), root),
        Err(Failure::Exception { exception, message, raised }) => {
            let traceback = if is_debugging(root) { format!("raised at {raised}\n") } else { String::new() };
            Some(Answer::Message(reply::exception(exception, &traceback, &message)))
        }
        Err(Failure::Dropped(reason)) => {
            log::line(&reason);
            None
        }
    }
}

/// The debug switch: the file `/etc/qubes/admin-debug` exists. Tracebacks name places in our code, never input.
fn is_debugging(root: &Root) -> bool {
    files::open(&root.path("/etc/qubes/admin-debug")).is_ok()
}

/// Makes a call that the root's own rules may grant, and logs it.
pub(crate) fn handle(family: &Family, request: &Request, root: &Root) -> Result<Reply, Failure> {
    let witness = Witness::of(root);
    let outcome = judged(family, request, root, &witness);
    witness.tell(known(family, request).map(|entry| &entry.row), request, &outcome);
    outcome
}

/// Makes a call that another than the root's own rules may grant.
///
/// # Errors
/// The call's.
pub fn judged(family: &Family, request: &Request, root: &Root, judge: &dyn Judge) -> Result<Reply, Failure> {
    let store = Store::at(root);
    let access = known(family, request).map_or(Access::ReadOne, |entry| entry.row.access);
    let view = match access {
        Access::Read => store.read()?,
        Access::ReadOne | Access::Write => store.read_one()?,
    };
    let caller = resolve(&request.source, &view, &store)?;
    let destination = resolve(&request.destination, &view, &store)?;
    let method = request.method.sanitise::<Ascii>().map_err(|_| hidden_bytes());
    let is_constrained = match constraint::standing(root, &caller, method?.as_str(), &destination) {
        Standing::Unseen => return Err(absent(&request.destination)),
        standing => standing == Standing::Constrained,
    };
    let argument = ascii(&request.argument)?;
    let entry = match known(family, request) {
        Some(entry) => entry,
        None => return Err(unknown(&request.method)),
    };
    let class = view.qube(&destination)?.ok_or_else(|| no_such_domain(destination.as_str()))?.class;
    let received = Received {
        row: &entry.row,
        parties: Parties { caller, destination, class, is_constrained },
        argument,
        payload: Untrusted::copy_of(&request.payload),
        is_streamed: request.is_streamed,
    };
    check_shape(&entry.row, &received)?;
    let hypervisor = Published::at(root);
    (entry.run)(&received, &mut World::new(root, &store, view, &hypervisor, judge))
}

/// The call that a request is for, if its payload comes the way the call takes it.
fn known(family: &Family, request: &Request) -> Option<&'static Entry> {
    let entry = family.find(request.method.sanitise::<Ascii>().ok()?.as_str().as_bytes());
    entry.filter(|entry| entry.row.payload.may_be_asked(request.is_streamed))
}

fn unknown(method: &Untrusted) -> Failure {
    method.sanitise::<Ascii>().map_or_else(|_| hidden_bytes(), |method| no_such_method(method.as_str()))
}

fn hidden_bytes() -> Failure {
    Failure::dropped("non-ASCII bytes in the request")
}

/// The argument, if it is ASCII; anything else is hidden from the client.
fn ascii(argument: &Untrusted) -> Result<Untrusted, Failure> {
    argument.sanitise::<Ascii>().map_err(|_| hidden_bytes())?;
    Ok(Untrusted::copy_of(argument))
}

/// What whoever names a qube is told that is not there, or not for them.
fn absent(party: &Untrusted) -> Failure {
    party.sanitise::<Ascii>().map_or_else(|_| hidden_bytes(), |text| no_such_domain(text.as_str()))
}

/// Finds a qube by name or `uuid:…` (spec 10 §1.2).
fn resolve(party: &Untrusted, view: &View<'_>, store: &Store) -> Result<QubeName, Failure> {
    let text = party.sanitise::<Ascii>().map_err(|_| hidden_bytes())?;
    let name = match text.as_str().strip_prefix("uuid:") {
        Some(uuid) => by_uuid(uuid, view, store)?,
        None => Some(QubeName::parse(text.as_str())?),
    };
    match name {
        Some(name) if view.exists(&name)? => Ok(name),
        _ => Err(no_such_domain(text.as_str())),
    }
}

fn by_uuid(text: &str, view: &View<'_>, store: &Store) -> Result<Option<QubeName>, Failure> {
    let invalid = |_| {
        let message = format!("VM UUID is not valid: {}", quote(text));
        Failure::new(Exception::QubesVMInvalidUUIDError, message)
    };
    let uuid = QubeUuid::parse(text).map_err(invalid)?;
    if uuid == QubeUuid::dom0() {
        return Ok(Some(QubeName::dom0()));
    }
    let found =
        if view.is_locked() { view.name_of_uuid(&uuid)? } else { store.read()?.name_of_uuid(&uuid)? };
    Ok(found)
}

/// The checks all calls share, in the order of spec 10 §1.3.
fn check_shape(row: &Row, received: &Received) -> Result<(), Failure> {
    let is_dom0 = received.parties.destination.is_dom0();
    let payload = (row.payload, received.payload.is_empty());
    let argument = (row.argument, received.argument.is_empty());
    let text = match (payload, argument, row.destination, is_dom0) {
        ((Presence::Required, true), ..) => "expected payload",
        ((Presence::No | Presence::Conversation, false), ..) => "unexpected payload",
        (_, (Presence::Required, true), ..) => "expected an argument",
        (_, (Presence::No, false), ..) => "unexpected argument",
        (_, _, Destination::Dom0, false) => "expected destination to be AdminVM",
        (_, _, Destination::Qube, true) => "expected destination to not be AdminVM",
        _ => return Ok(()),
    };
    Err(Failure::new(Exception::ProtocolError, text))
}

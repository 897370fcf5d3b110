//! `qubes-admin call`: one call typed by hand, answered by the installed executable.

use std::io::{self, BufRead, BufReader, IsTerminal};

use clap::Args;
use common::call::Presence;
use common::root::Root;
use common::run::{Process, Stream};

use super::content::{self, Shape};
use super::dry_run;
use super::event::Event;
use super::explain::Explain;
use super::out::{self, Stop};
use super::reply::{self, Message};
use super::service::Service;
use super::{complete, rows};

/// A call as typed.
#[derive(Args)]
pub(super) struct Call {
    /// The calling qube.
    #[arg(long = "as", value_name = "QUBE", default_value = "dom0", add = complete::qubes())]
    caller: String,
    /// Print structured content as JSON.
    #[arg(long)]
    json: bool,
    /// Tell who decides on the call and what it would change, without making it.
    #[arg(long)]
    dry_run: bool,
    /// The destination.
    #[arg(value_name = "DEST", add = complete::qubes())]
    destination: String,
    /// The method, and its argument after a plus sign.
    #[arg(value_name = "METHOD[+ARG]", add = complete::methods())]
    method: String,
}

/// Makes the call. The payload is standard input, unless that is a terminal or the call takes none.
pub(super) fn run(call: &Call, root: &Root) -> Result<(), Stop> {
    let service = Service::find(root, &call.caller, &call.destination, &call.method)?;
    if call.dry_run {
        return dry_run::run(&explained(call)?, root);
    }
    let form = Form::of(service.method(), call.json)?;
    let mut child = start(&service)?;
    let answered = child.output().map_or(Ok(()), |reply| print_reply(BufReader::new(reply), &form));
    if matches!(answered, Err(Stop::Unread)) {
        // A stream would not end by itself.
        let _ = child.kill();
    }
    let _ = child.wait();
    answered
}

/// The same call with its payload, which is text.
fn explained(call: &Call) -> Result<Explain, Stop> {
    let read = match input(call.method.split('+').next().unwrap_or_default()) {
        // Of an upload only what announces it is looked at, by the call itself but for its size.
        (Some(Presence::SizedStream), true) => io::stdin().lines().next().unwrap_or(Ok(String::new())),
        (Some(Presence::Stream), _) | (_, false) => Ok(String::new()),
        (_, true) => io::read_to_string(io::stdin()),
    };
    let value = read.map_err(|error| format!("the payload: {error}"))?;
    let Call { caller, method, destination, .. } = call;
    Ok(Explain { caller: caller.clone(), method: method.clone(), destination: destination.clone(), value })
}

/// How a method takes its payload, and whether standard input is one.
fn input(method: &str) -> (Option<Presence>, bool) {
    let presence = rows().find(|row| row.name == method).map(|row| row.payload);
    (presence, presence != Some(Presence::No) && !io::stdin().is_terminal())
}

fn start(service: &Service<'_>) -> Result<Process, Stop> {
    let (presence, has_input) = input(service.method());
    if presence.is_some_and(Presence::is_stream) {
        return service.start_streamed(if has_input { Stream::Ours } else { Stream::Nothing });
    }
    service.start(has_input.then(io::stdin), None)
}

/// How content is printed.
enum Form {
    Raw,
    Json(Shape),
    People(Option<Shape>),
}

impl Form {
    /// Refuses JSON before the call is made where the content has no structure.
    fn of(method: &str, json: bool) -> Result<Self, String> {
        match (json, content::shape(method)) {
            (true, Some(shape)) => Ok(Self::Json(shape)),
            (true, None) => Err(format!("the content of {method} has no structure: leave out --json")),
            (false, shape) if io::stdout().is_terminal() => Ok(Self::People(shape)),
            (false, _) => Ok(Self::Raw),
        }
    }

    fn print(&self, bytes: &[u8]) -> Result<(), Stop> {
        let text = || String::from_utf8_lossy(bytes).into_owned();
        match self {
            Self::Raw => out::bytes(bytes),
            Self::Json(shape) => out::json(&shape(&text()).to_json()),
            Self::People(Some(shape)) => shape(&text()).print(),
            Self::People(None) => text().lines().try_for_each(out::line),
        }
    }

    fn print_event(&self, event: &Event) -> Result<(), Stop> {
        match self {
            Self::Raw => out::bytes(&event.bytes()),
            Self::Json(_) => out::json(&event.to_json()),
            Self::People(_) => out::line(&event.to_text()),
        }
    }
}

/// Prints the one content of a reply, or its events as they come.
fn print_reply(mut reply: impl BufRead, form: &Form) -> Result<(), Stop> {
    let mut answered = false;
    while let Some(message) = Message::read(&mut reply)? {
        match message {
            Message::Content(content) => return form.print(&content),
            Message::Event(event) => form.print_event(&event)?,
        }
        answered = true;
    }
    if answered { Ok(()) } else { Err(reply::dropped()) }
}

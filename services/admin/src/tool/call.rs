//! `qubes-admin call`: one call typed by hand, answered by the installed executable.

use std::io::{self, BufRead, BufReader, IsTerminal};

use clap::Args;
use common::call::{Presence, Row};
use common::root::Root;
use common::run;

use super::content::{self, Shape};
use super::event::{Event, field, unreadable};
use super::out::{self, Stop};
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
    /// The destination.
    #[arg(value_name = "DEST", add = complete::qubes())]
    destination: String,
    /// The method, and its argument after a plus sign.
    #[arg(value_name = "METHOD[+ARG]", add = complete::methods())]
    method: String,
}

/// Makes the call. The payload is standard input, unless that is a terminal or the call takes none.
pub(super) fn run(call: &Call, root: &Root) -> Result<(), Stop> {
    let (method, argument) = call.method.split_once('+').unwrap_or((&call.method, ""));
    let service = root.path("/etc/qubes-rpc").join(method);
    if method.contains('/') || !service.is_file() {
        return Err(format!("no such method: {method}").into());
    }
    if let Some(spaced) = [method, argument, &call.caller].iter().find(|word| word.contains(' ')) {
        return Err(format!("a space cannot be sent in this place: '{spaced}'").into());
    }
    let form = Form::of(method, call.json)?;
    let header = format!("{method}+{argument} {} name {}\0", call.caller, call.destination);
    let payload = takes_payload(method).then(io::stdin);
    let mut child = run::service(&service, root, header.into_bytes(), payload)
        .map_err(|error| format!("{}: {error}", service.display()))?;
    let answered = child.output().map_or(Ok(()), |reply| print_reply(BufReader::new(reply), &form));
    if matches!(answered, Err(Stop::Unread)) {
        // A stream would not end by itself.
        let _ = child.kill();
    }
    let _ = child.wait();
    answered
}

fn takes_payload(method: &str) -> bool {
    let mut rows = rows();
    let none = rows.any(|row: &Row| row.name == method && row.payload == Presence::No);
    !none && !io::stdin().is_terminal()
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
    loop {
        match field(&mut reply)?.as_deref() {
            Some("0") => {
                let mut content = Vec::new();
                reply.read_to_end(&mut content).map_err(unreadable)?;
                return form.print(&content);
            }
            Some("1") => form.print_event(&Event::read(&mut reply)?)?,
            Some("2") => return Err(refusal(&mut reply)?.into()),
            Some(_) => return Err("the answer is none of the protocol".to_owned().into()),
            None if answered => return Ok(()),
            None => {
                return Err("the call was dropped without an answer; the log tells why".to_owned().into());
            }
        }
        answered = true;
    }
}

/// What an exception says: its class and its text.
pub(super) fn refusal(reply: &mut impl BufRead) -> Result<String, Stop> {
    let class = field(reply)?.unwrap_or_default();
    let _traceback = field(reply)?;
    let text = field(reply)?.unwrap_or_default();
    // Clients put the other classes' texts through `%` formatting, so that it came doubled.
    let is_plain = matches!(class.as_str(), "PermissionDenied" | "ProtocolError");
    let text = if is_plain { text } else { text.replace("%%", "%") };
    Ok(format!("{class}: {text}"))
}

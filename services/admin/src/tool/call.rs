//! `qubes-admin call`: one call typed by hand, answered by the installed executable.

use std::io::{self, IsTerminal, Read};

use clap::Args;
use common::root::Root;
use common::run;

use super::{content, out};

/// A call as typed.
#[derive(Args)]
pub(super) struct Call {
    /// The calling qube.
    #[arg(long = "as", value_name = "QUBE", default_value = "dom0")]
    caller: String,
    /// Print structured content as JSON.
    #[arg(long)]
    json: bool,
    /// The destination.
    destination: String,
    /// The method, and its argument after a plus sign.
    method: String,
}

/// Makes the call; the payload is standard input unless that is a terminal.
pub(super) fn run(call: &Call, root: &Root) -> Result<(), String> {
    let (method, argument) = call.method.split_once('+').unwrap_or((&call.method, ""));
    let service = root.path("/etc/qubes-rpc").join(method);
    if method.contains('/') || !service.exists() {
        return Err(format!("no such method: {method}"));
    }
    let mut request = format!("{method}+{argument} {} name {}\0", call.caller, call.destination).into_bytes();
    if !io::stdin().is_terminal() {
        io::stdin().lock().read_to_end(&mut request).map_err(|error| error.to_string())?;
    }
    let reply = run::service(&service, root, &request).map_err(|error| format!("{method}: {error}"))?;
    match reply.strip_prefix(b"0\0") {
        Some(content) => print(method, content, call.json),
        None => Err(refusal(&reply)),
    }
}

fn print(method: &str, content: &[u8], json: bool) -> Result<(), String> {
    let text = String::from_utf8_lossy(content);
    if json {
        let structure = content::structure(method, &text);
        out::line(&structure.ok_or_else(|| format!("the content of {method} has no structure"))?.to_string());
    } else if io::stdout().is_terminal() {
        content::print_for_people(method, &text);
    } else {
        out::bytes(content);
    }
    Ok(())
}

/// What an exception says, or what an answer without bytes means.
fn refusal(reply: &[u8]) -> String {
    if reply.is_empty() {
        return "the call was dropped without an answer; the log tells why".to_owned();
    }
    let mut fields = reply.split(|byte| *byte == 0).skip(1);
    let (class, _traceback, text) = (fields.next(), fields.next(), fields.next());
    let readable = |field: Option<&[u8]>| String::from_utf8_lossy(field.unwrap_or_default()).into_owned();
    format!("{}: {}", readable(class), readable(text).replace("%%", "%"))
}

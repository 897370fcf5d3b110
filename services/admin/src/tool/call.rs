//! `qubes-admin call`: one call typed by hand, answered by the installed executable.

use std::io::{self, IsTerminal, Read};

use clap::Args;
use common::root::Root;
use common::run;

use super::out;

/// A call as typed.
#[derive(Args)]
pub(super) struct Call {
    /// The calling qube.
    #[arg(long = "as", value_name = "QUBE", default_value = "dom0")]
    caller: String,
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
    print(&reply)
}

fn print(reply: &[u8]) -> Result<(), String> {
    if let Some(content) = reply.strip_prefix(b"0\0") {
        out::bytes(content);
        if io::stdout().is_terminal() && !content.is_empty() && !content.ends_with(b"\n") {
            out::bytes(b"\n");
        }
        return Ok(());
    }
    if reply.is_empty() {
        return Err("the call was dropped without an answer; the log tells why".to_owned());
    }
    let mut fields = reply.split(|byte| *byte == 0).skip(1);
    let (class, _traceback, text) = (fields.next(), fields.next(), fields.next());
    let readable = |field: Option<&[u8]>| String::from_utf8_lossy(field.unwrap_or_default()).into_owned();
    Err(format!("{}: {}", readable(class), readable(text).replace("%%", "%")))
}

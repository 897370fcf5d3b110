//! The audit log: one line for each call that writes, and for each that is refused, whatever it asked for.
//!
//! A line goes to the journal, or where there is none, or where [`TO_FILE`] exists, to [`FILE`]; where neither takes it, to
//! standard error. It is written before the caller gets an answer. It holds names of rows and what sanitising accepted,
//! nothing else of a request.

use std::cell::RefCell;
use std::io::{self, Write};
use std::os::fd::AsRawFd;

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, sendto, socket};

use crate::call::{Access, Reply, Row};
use crate::clock;
use crate::failure::{Exception, Failure, Refusal};
use crate::files;
use crate::log;
use crate::names::{Ascii, QubeName};
use crate::permission::{self, Facts, Judge, Rules};
use crate::quota::Quota;
use crate::request::Request;
use crate::root::Root;
use crate::untrusted::Untrusted;

/// The log where there is no journal.
pub const FILE: &str = "/var/log/qubes/admin-audit.log";
/// Where this exists, lines go to the file even if there is a journal.
pub const TO_FILE: &str = "/etc/qubes/admin-audit-to-file";
/// Where the journal takes lines.
pub const JOURNAL: &str = "/run/systemd/journal/socket";
/// Marks our lines in the journal.
pub const MESSAGE_ID: &str = "5d0f9b0c1f0f4b6f8a3f4d1c7e2a9b36";
/// What stands before the name of a field in the journal.
pub const PREFIX: &str = "QUBES_ADMIN_";
/// Who calls what on whom with which argument, how it ended, and who refused it.
pub const FIELDS: [&str; 6] = ["caller", "method", "destination", "argument", "outcome", "refused_by"];

/// Mode of the file: calls run as members of the group `qubes`.
const MODE: u32 = 0o660;
/// Most characters of an argument.
const ARGUMENT_MAX: usize = 256;

/// What is known of a call, in the order of [`FIELDS`].
type Line = [String; FIELDS.len()];

/// Stands before the judge and notes what is to be told of the call.
pub(crate) struct Witness<'a> {
    rules: Rules<'a>,
    /// Caller, destination and argument, once they are sanitised.
    known: RefCell<Option<[String; 3]>>,
    /// The layer that refused.
    refused_by: RefCell<&'static str>,
}

impl Judge for Witness<'_> {
    fn judge(&self, facts: &Facts<'_>) -> Result<Quota, Refusal> {
        // The first is what was asked for; others may be made on behalf of it.
        self.known.borrow_mut().get_or_insert_with(|| {
            let (parties, argument) = (facts.parties, printable(&facts.values.argument));
            [parties.caller.to_string(), parties.destination.to_string(), argument]
        });
        let verdict = self.rules.judge(facts);
        if verdict.is_err() {
            let is_built_in = permission::check(facts).is_err();
            self.refused_by.replace(if is_built_in { "rules" } else { "constraints" });
        }
        verdict
    }
}

impl<'a> Witness<'a> {
    pub(crate) fn of(root: &'a Root) -> Self {
        Self { rules: Rules(root), known: RefCell::default(), refused_by: RefCell::default() }
    }

    /// Logs how the call ended, if that is of interest.
    pub(crate) fn tell(self, row: Option<&Row>, request: &Request, outcome: &Result<Reply, Failure>) {
        let known = self.known.into_inner();
        let outcome = class(outcome);
        let refused_by = match self.refused_by.into_inner() {
            "" if known.is_none() && outcome != OK => "request",
            "" if outcome == Exception::PermissionDenied.class() => "action",
            layer => layer,
        };
        let writes = row.is_some_and(|row| row.access == Access::Write && !row.is_internal());
        if writes || !refused_by.is_empty() {
            let unknown = || [name(&request.source), name(&request.destination), String::new()];
            let [caller, destination, argument] = known.unwrap_or_else(unknown);
            let method = row.map_or("", |row| row.name).to_owned();
            let (outcome, refused_by) = (outcome.to_owned(), refused_by.to_owned());
            write(self.rules.0, &[caller, method, destination, argument, outcome, refused_by]);
        }
    }
}

/// Logs that a request could not even be read.
pub(crate) fn unreadable(root: &Root, row: Option<&Row>, failure: &Failure) {
    let [caller, destination, argument] = Default::default();
    let method = row.map_or("", |row| row.name).to_owned();
    let outcome = class_of(failure).to_owned();
    write(root, &[caller, method, destination, argument, outcome, "request".to_owned()]);
}

const OK: &str = "ok";

fn class(outcome: &Result<Reply, Failure>) -> &'static str {
    match outcome {
        Ok(Reply::Content(_) | Reply::Stream(_) | Reply::Ended(Ok(_))) => OK,
        Ok(Reply::Ended(Err(failure))) | Err(failure) => class_of(failure),
    }
}

fn class_of(failure: &Failure) -> &'static str {
    match failure {
        Failure::Exception { exception, .. } => exception.class(),
        Failure::Dropped(_) => "dropped",
    }
}

/// A party that is spelt as names of qubes are.
fn name(party: &Untrusted) -> String {
    let text = party.sanitise::<Ascii>().ok();
    let name = text.and_then(|text| QubeName::parse(text.as_str()).ok());
    name.map(|name| name.to_string()).unwrap_or_default()
}

/// As much of a sanitised argument as a line has room for. One that has more than printable characters names nothing that
/// there is.
fn printable(argument: &str) -> String {
    let is_printable = argument.bytes().all(|byte| byte.is_ascii_graphic());
    if is_printable { argument.chars().take(ARGUMENT_MAX).collect() } else { "?".to_owned() }
}

/// A log that takes no more, on a full disk for example, ends no call.
fn write(root: &Root, line: &Line) {
    let to_file = files::exists(&root.path(TO_FILE));
    let written = if to_file { to_the_file(root, line) } else { to_the_journal(root, line) };
    let written = written.or_else(|error| if to_file { Err(error) } else { to_the_file(root, line) });
    if let Err(error) = written {
        log::line(&format!("audit: {}: {error}", in_words(line)));
    }
}

fn to_the_journal(root: &Root, line: &Line) -> io::Result<()> {
    let mut entry = format!(
        "MESSAGE={}\nMESSAGE_ID={MESSAGE_ID}\nPRIORITY=5\nSYSLOG_IDENTIFIER=qubes-admin\n",
        in_words(line)
    );
    for (field, value) in FIELDS.iter().zip(line) {
        entry.push_str(&[PREFIX, &field.to_ascii_uppercase(), "=", value, "\n"].concat());
    }
    let socket = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let (journal, entry) = (UnixAddr::new(&root.path(JOURNAL))?, entry.as_bytes());
    // One that stands still keeps no call waiting.
    Ok(sendto(socket.as_raw_fd(), entry, &journal, MsgFlags::MSG_DONTWAIT).map(drop)?)
}

/// Adds the line by one write, as one object of JSON.
fn to_the_file(root: &Root, line: &Line) -> io::Result<()> {
    let mut object = format!("{{\"time\":{}", clock::seconds_now());
    for (field, value) in FIELDS.iter().zip(line) {
        object.push_str(&format!(",\"{field}\":{}", serde_json::to_string(value)?));
    }
    object.push_str("}\n");
    files::open_log(&root.path(FILE), MODE)?.write_all(object.as_bytes())
}

/// The line for people.
pub fn in_words([caller, method, destination, argument, outcome, refused_by]: &Line) -> String {
    let plus = if argument.is_empty() { "" } else { "+" };
    let by = if refused_by.is_empty() { "" } else { ", refused by " };
    [caller, " calls ", method, plus, argument, " on ", destination, ": ", outcome, by, refused_by].concat()
}

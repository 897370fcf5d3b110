//! `qubes-admin events`: changes as they happen, printed or shown on the desktop.

use std::io::BufReader;
use std::path::PathBuf;

use clap::Args;
use common::root::Root;
use common::run;

use super::complete;
use super::event::Event;
use super::out::{self, Stop};
use super::reply::Message;
use super::service::Service;

const METHOD: &str = "admin.Events";
const NOTIFIER: &str = "/usr/bin/notify-send";

/// Which events, and how they are told.
#[derive(Args)]
pub(super) struct Events {
    /// Show what this qube may see.
    #[arg(long = "as", value_name = "QUBE", default_value = "dom0", add = complete::qubes())]
    caller: String,
    /// Print each event as one line of JSON.
    #[arg(long)]
    json: bool,
    /// Show each event as a desktop notification too.
    #[arg(long)]
    notify: bool,
    /// Only events of this name; * stands for any text, as in 'domain-*'.
    #[arg(value_name = "PATTERN", default_value = "*")]
    pattern: String,
}

/// Follows the events until whoever reads them goes away.
pub(super) fn run(events: &Events, root: &Root) -> Result<(), Stop> {
    let notifier = events.notify.then(|| notifier(root)).transpose()?;
    let service = Service::find(root, &events.caller, "dom0", METHOD)?;
    let mut child = service.start(None::<std::io::Empty>, None)?;
    let told = child.output().map_or(Ok(()), |reply| {
        let mut reply = BufReader::new(reply);
        while let Some(Message::Event(event)) = Message::read(&mut reply)? {
            if matches(&events.pattern, event.name()) {
                events.tell(&event, notifier.as_deref())?;
            }
        }
        Err("the stream ended; the log tells why".to_owned().into())
    });
    let _ = child.kill();
    let _ = child.wait();
    told
}

/// The program that shows notifications.
fn notifier(root: &Root) -> Result<PathBuf, Stop> {
    let program = root.path(NOTIFIER);
    if program.is_file() {
        Ok(program)
    } else {
        Err(format!("{} is not installed", program.display()).into())
    }
}

impl Events {
    fn tell(&self, event: &Event, notifier: Option<&std::path::Path>) -> Result<(), Stop> {
        if let Some(notifier) = notifier {
            let title = event.subject().unwrap_or("Qubes");
            let body = out::readable(&event.to_text());
            if let Err(error) = run::notification(notifier, title, &body) {
                out::error(&format!("{}: {error}", notifier.display()));
            }
        }
        if self.json { out::json(&event.to_json()) } else { out::line(&event.to_text()) }
    }
}

/// Whether a whole name is like a pattern in which `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((before, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(name) = name.strip_prefix(before) else { return false };
    let mut tails = name.char_indices().map(|(at, _)| name.split_at(at).1).chain([""]);
    tails.any(|tail| matches(rest, tail))
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_stands_for_any_text_and_everything_else_for_itself() {
        for (pattern, name) in
            [("*", ""), ("*", "a"), ("a*", "a"), ("*:label", "property-set:label"), ("a*b*c", "axbbxc")]
        {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("", "a"), ("a", "ab"), ("*b", "abc"), ("a*b*c", "acb"), ("a.c", "abc")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }
}

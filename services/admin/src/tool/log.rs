//! `qubes-admin log`: which calls changed something or were refused, from the journal and from the file.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use clap::Args;
use common::audit::{FIELDS, FILE, MESSAGE_ID, PREFIX};
use common::root::Root;
use common::{clock, files, run};
use serde_json::{Map, Value};

use super::out::{self, Stop};
use super::{complete, table};

const JOURNALCTL: &str = "/usr/bin/journalctl";
/// How often a file is looked at that is followed.
const PAUSE: Duration = Duration::from_millis(200);

/// Which lines, and how they are told.
#[derive(Args)]
pub(super) struct Log {
    /// Only lines since then: so long ago, as 90s, 15m, 8h or 7d, or seconds since 1970 after an @.
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<u64>,
    /// Only calls of this qube.
    #[arg(long, value_name = "QUBE", add = complete::qubes())]
    caller: Option<String>,
    /// Only calls on this qube.
    #[arg(long, value_name = "QUBE", add = complete::qubes())]
    qube: Option<String>,
    /// Only calls that were refused.
    #[arg(long)]
    refused: bool,
    /// Go on with new lines as they come.
    #[arg(long)]
    follow: bool,
    /// Print each line as one line of JSON.
    #[arg(long)]
    json: bool,
}

/// One line of the log.
pub(super) struct Line {
    pub(super) time: u64,
    values: [String; FIELDS.len()],
}

/// Prints the lines that are asked for, those of the file and those of the journal in the order of their times.
pub(super) fn run(log: &Log, root: &Root) -> Result<(), Stop> {
    let (seen, mut lines) = kept(root)?;
    lines.extend(journal(root, log)?);
    lines.sort_by_key(|line| line.time);
    lines.retain(|line| log.asks_for(line));
    match log.json {
        true => lines.iter().try_for_each(|line| out::json(&line.to_json()))?,
        false => table::print(&lines.iter().map(Line::row).collect::<Vec<_>>())?,
    }
    if log.follow { log.follow(root, seen) } else { Ok(()) }
}

/// The moment that a time on the command line means.
fn since(text: &str) -> Result<u64, String> {
    if let Some(seconds) = text.strip_prefix('@') {
        return seconds.parse().map_err(|_| "no number of seconds".to_owned());
    }
    let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];
    let ago = units.iter().find_map(|(unit, seconds)| {
        text.strip_suffix(unit).and_then(|number| number.parse::<u64>().ok()?.checked_mul(*seconds))
    });
    let ago = ago.ok_or_else(|| "neither like 90s, 15m, 8h or 7d nor like @1767225600".to_owned())?;
    Ok(clock::seconds_now().saturating_sub(ago))
}

/// Where the file ends, and its lines, after those of the file that was before it.
fn kept(root: &Root) -> Result<(u64, Vec<Line>), Stop> {
    let file = root.path(FILE);
    let mut lines = Vec::new();
    let mut end = 0;
    for path in [PathBuf::from(format!("{}.1", file.display())), file] {
        let content = files::read_if_present(&path).map_err(|error| unread(&path, &error))?;
        let content = content.unwrap_or_default();
        end = u64::try_from(content.len()).unwrap_or_default();
        lines.extend(content.split(|byte| *byte == b'\n').filter_map(of_file));
    }
    Ok((end, lines))
}

fn unread(path: &Path, error: &io::Error) -> Stop {
    format!("{}: {error}", path.display()).into()
}

fn of_file(line: &[u8]) -> Option<Line> {
    let object: Map<String, Value> = serde_json::from_slice(line).ok()?;
    Some(Line { time: object.get("time")?.as_u64()?, values: FIELDS.map(|field| text(&object, field)) })
}

fn of_journal(line: &[u8]) -> Option<Line> {
    let object: Map<String, Value> = serde_json::from_slice(line).ok()?;
    let microseconds: u64 = object.get("__REALTIME_TIMESTAMP")?.as_str()?.parse().ok()?;
    let value = |field: &str| text(&object, &format!("{PREFIX}{}", field.to_ascii_uppercase()));
    Some(Line { time: microseconds.checked_div(1_000_000)?, values: FIELDS.map(value) })
}

fn text(object: &Map<String, Value>, field: &str) -> String {
    object.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// The journal's own program, where there is one, and what it is to print.
fn journalctl(root: &Root, log: &Log, follow: bool) -> Result<Option<run::Process>, Stop> {
    let program = root.path(JOURNALCTL);
    if !program.is_file() {
        return Ok(None);
    }
    let mark = format!("MESSAGE_ID={MESSAGE_ID}");
    let since = log.since.map(|since| format!("--since=@{since}"));
    let which = if follow { ["--follow", "--lines=0"].as_slice() } else { &[] };
    let usual = ["--quiet", "--no-pager", "--output=json", &mark];
    let arguments: Vec<&str> =
        usual.into_iter().chain(since.as_deref()).chain(which.iter().copied()).collect();
    run::telling(&program, &arguments).map(Some).map_err(|error| unread(&program, &error))
}

fn journal(root: &Root, log: &Log) -> Result<Vec<Line>, Stop> {
    let Some(mut process) = journalctl(root, log, false)? else { return Ok(Vec::new()) };
    let output = process.output().map_or_else(Vec::new, |output| {
        BufReader::new(output)
            .split(b'\n')
            .map_while(Result::ok)
            .filter_map(|line| of_journal(&line))
            .collect()
    });
    let _ = process.wait();
    Ok(output)
}

impl Log {
    fn asks_for(&self, line: &Line) -> bool {
        let [caller, _, destination, .., refused_by] = &line.values;
        self.since.is_none_or(|since| line.time >= since)
            && self.caller.as_ref().is_none_or(|asked| asked == caller)
            && self.qube.as_ref().is_none_or(|asked| asked == destination)
            && !(self.refused && refused_by.is_empty())
    }

    fn tell(&self, line: Option<Line>) -> Result<(), Stop> {
        match line.filter(|line| self.asks_for(line)) {
            Some(line) if self.json => out::json(&line.to_json()),
            Some(line) => out::line(&line.row().join("  ")),
            None => Ok(()),
        }
    }

    /// Prints what comes from now on: from the file in a thread, as both may get lines.
    fn follow(&self, root: &Root, seen: u64) -> Result<(), Stop> {
        let path = root.path(FILE);
        let journal = journalctl(root, self, true)?.and_then(|mut process| process.output());
        let is_unread = AtomicBool::new(false);
        thread::scope(|scope| {
            if let Some(output) = journal {
                scope.spawn(|| {
                    let mut lines = BufReader::new(output).split(b'\n').map_while(Result::ok);
                    let told = lines.try_for_each(|line| self.tell(of_journal(&line)));
                    is_unread.store(told.is_err(), Ordering::Relaxed);
                });
            }
            self.follow_file(&path, seen, &is_unread)
        })
    }

    /// Looks again and again, also for the file that takes the place of one that was put aside.
    fn follow_file(&self, path: &Path, mut seen: u64, is_unread: &AtomicBool) -> Result<(), Stop> {
        let mut open: Option<BufReader<File>> = None;
        while !is_unread.load(Ordering::Relaxed) {
            if open.as_ref().is_none_or(|file| !files::is_at(file.get_ref(), path)) {
                open.iter_mut().try_for_each(|file| self.rest(file))?;
                open = files::open(path).ok().map(BufReader::new);
                open.iter_mut().try_for_each(|file| file.seek(SeekFrom::Start(seen)).map(drop)).ok();
                seen = 0;
            }
            open.iter_mut().try_for_each(|file| self.rest(file))?;
            thread::sleep(PAUSE);
        }
        Err(Stop::Unread)
    }

    /// Each line is written at once, so that none is seen in part.
    fn rest(&self, file: &mut BufReader<File>) -> Result<(), Stop> {
        let mut line = Vec::new();
        while file.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            self.tell(of_file(&line))?;
            line.clear();
        }
        Ok(())
    }
}

impl Line {
    fn row(&self) -> Vec<String> {
        let [caller, method, destination, argument, outcome, refused_by] = &self.values;
        let plus = if argument.is_empty() { "" } else { "+" };
        let by = if refused_by.is_empty() { String::new() } else { format!(" by {refused_by}") };
        let called = [method, plus, argument].concat();
        vec![
            clock::local(self.time),
            or_dash(caller),
            or_dash(destination),
            or_dash(&called),
            outcome.clone() + &by,
        ]
    }

    fn to_json(&self) -> Value {
        let values = FIELDS.iter().zip(&self.values);
        let values = values.map(|(field, value)| ((*field).to_owned(), Value::from(value.as_str())));
        [("time".to_owned(), Value::from(self.time))].into_iter().chain(values).collect::<Map<_, _>>().into()
    }
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::since;

    #[test]
    fn times_are_so_long_ago_or_seconds() {
        assert_eq!(since("@17"), Ok(17));
        assert!(since("2d").unwrap() < since("47h").unwrap());
        for text in ["", "yesterday", "5", "-1h", "@x", "99999999999999999999d"] {
            assert!(since(text).is_err(), "{text}");
        }
    }
}

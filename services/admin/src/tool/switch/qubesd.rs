//! qubesd, asked before it ends: it alone knows which qubes run.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use common::root::Root;
use common::{peer, reply};

use super::super::out::Stop;

const SOCKET: &str = "/run/qubesd.sock";
const DEADLINE: Duration = Duration::from_secs(30);

/// Domains that are not ours to watch must not run on under us.
pub(super) fn refuse_running(root: &Root) -> Result<(), Stop> {
    let silent = |why: String| Stop::from(format!("qubesd does not tell which qubes run ({why}); start it"));
    let answer = listed(root).map_err(|error| silent(error.to_string()))?;
    let answer = answer.ok_or_else(|| silent(format!("no {SOCKET}")))?;
    let content = reply::content(&answer).map_err(|failure| silent(failure.into_text().into_owned()))?;
    refuse_listed(content)
}

/// The same after a kill, when it may be stopped already, or have been started by a boot.
pub(super) fn refuse_running_if_it_answers(root: &Root) -> Result<(), Stop> {
    let answer = listed(root).ok().flatten().unwrap_or_default();
    reply::content(&answer).map_or(Ok(()), refuse_listed)
}

fn refuse_listed(content: &[u8]) -> Result<(), Stop> {
    let text = String::from_utf8_lossy(content);
    let running: Vec<&str> = text.lines().filter_map(running).collect();
    refuse(&running)
}

pub(super) fn refuse(running: &[&str]) -> Result<(), Stop> {
    if running.is_empty() {
        return Ok(());
    }
    Err(format!("shut down first: {}", running.join(" ")).into())
}

/// The qube of a line of the list, if it has a domain that can end.
fn running(line: &str) -> Option<&str> {
    let mut words = line.split(' ');
    let name = words.next()?;
    let has = |word: &str| line.split(' ').any(|other| other == word);
    let is_at_rest = has("class=AdminVM") || has("class=RemoteVM") || has("state=Halted");
    (!is_at_rest).then_some(name)
}

fn listed(root: &Root) -> io::Result<Option<Vec<u8>>> {
    let Some(mut connection) = peer::reach(&root.path(SOCKET), DEADLINE)? else { return Ok(None) };
    connection.write_all(b"admin.vm.List+ dom0 name dom0\0")?;
    connection.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer)?;
    Ok(Some(answer))
}

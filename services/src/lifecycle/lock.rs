//! A qube's lifecycle lock, given only where no run of it is left half-way, and the way to its watcher.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::failure::Failure;
use common::hypervisor::{Connection, Domain, Hypervisor, PowerState, Published, Reply, Request, Run};
use common::names::QubeName;
use common::root::Root;
use common::store::{LifecycleGuard, Store, StoreError};

use super::program::settle;
use super::refused;

/// How long an end may take that a watcher is handling.
const DEADLINE: Duration = Duration::from_secs(120);
/// How long it may take to reach the watcher of a domain, or the one that takes its place.
const REACH_DEADLINE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(2);
/// How often it is tried to clear a run away whose watcher was killed.
const ATTEMPTS: usize = 3;

/// Waits for a qube's lifecycle lock: creation, start, end, removal, import. What a run left whose watcher was killed is
/// cleared away before; a domain that goes on has a watcher then. Taken before the store's lock.
///
/// # Errors
/// `QubesException` after the deadline, or where something cannot be cleared away or nobody can tell of a run.
pub fn lock(store: &Store, root: &Root, name: &QubeName) -> Result<LifecycleGuard, Failure> {
    lock_after(store, root, name, None)
}

/// The same after a start that failed for a reason which its watcher may not have heard.
pub(super) fn lock_after(
    store: &Store,
    root: &Root,
    name: &QubeName,
    reason: Option<&str>,
) -> Result<LifecycleGuard, Failure> {
    let published = Published::at(root);
    let begun = Instant::now();
    let mut attempts = 0..ATTEMPTS;
    while begun.elapsed() < DEADLINE {
        let held = store.lock_lifecycle(name)?;
        let Some((known, is_watched)) = published.watched_run(name)? else { return Ok(held) };
        match (is_watched, is_ending(&known)) {
            (true, false) => return Ok(held),
            (true, true) => {
                drop(held);
                std::thread::sleep(PAUSE);
            }
            (false, _) if attempts.next().is_some() => {
                drop(held);
                settle(root, name, reason).map_err(refused::by_hypervisor)?;
            }
            (false, _) => {
                return Err(refused::by_hypervisor(format!("The last run of {name} is not cleared away")));
            }
        }
    }
    Err(StoreError::Busy.into())
}

/// Whether a run whose lifecycle lock is free is about to be cleared away.
fn is_ending(known: &Domain) -> bool {
    known.state == PowerState::Halted || known.run.is_starting
}

/// Whether a qube's run is complete and watched, which is told without its lock.
pub(super) fn is_running(root: &Root, name: &QubeName) -> Result<bool, Failure> {
    let run = Published::at(root).watched_run(name)?;
    Ok(run.is_some_and(|(known, is_watched)| is_watched && !is_ending(&known)))
}

/// A qube's domain, if it has one. It has a watcher unless that is killed just now.
pub(super) fn find(store: &Store, root: &Root, name: &QubeName) -> Result<Option<Domain>, Failure> {
    let published = Published::at(root);
    match published.watched_domain(name)? {
        Some((_, false)) => {
            drop(lock(store, root, name)?);
            Ok(published.known_domain(name)?)
        }
        watched => Ok(watched.map(|(domain, _)| domain)),
    }
}

fn socket(root: &Root, name: &QubeName) -> PathBuf {
    root.run().join("watchers").join(name.as_str())
}

/// A qube's domain and its watcher; nothing if it has no domain.
pub(super) fn reach(
    store: &Store,
    root: &Root,
    name: &QubeName,
) -> Result<Option<(Domain, Connection)>, Failure> {
    let published = Published::at(root);
    let socket = socket(root, name);
    let begun = Instant::now();
    while begun.elapsed() < REACH_DEADLINE {
        let Some(domain) = published.known_domain(name)? else { return Ok(None) };
        if let Ok(watcher) = Connection::to(&socket) {
            return Ok(Some((domain, watcher)));
        }
        drop(lock(store, root, name)?);
        // One that is being killed may hold its file for a moment longer than its socket.
        std::thread::sleep(PAUSE);
    }
    Err(StoreError::Busy.into())
}

/// Asks for something that a run's watcher may do twice: where it is killed before it answers, the one that takes its
/// place is asked again, unless the domain is as wanted by then. No answer if the run is over. A watcher that is not
/// reached yet is reached now.
pub(super) fn insist(
    store: &Store,
    root: &Root,
    name: &QubeName,
    run: &Run,
    watcher: &mut Option<Connection>,
    request: &Request,
) -> Result<Option<Reply>, Failure> {
    let begun = Instant::now();
    while begun.elapsed() < REACH_DEADLINE {
        if let Some(known) = watcher.take().or_else(|| Connection::to(&socket(root, name)).ok())
            && let Some(reply) = known.ask(request).map_err(refused::by_hypervisor)?
        {
            *watcher = (!request.is_of_the_moment()).then_some(known);
            return Ok(Some(reply));
        }
        drop(lock(store, root, name)?);
        match reach(store, root, name)? {
            Some((domain, next)) if domain.run.begun_us == run.begun_us => {
                if request.is_met_by(domain.state) {
                    return Ok(Some(Reply::Done));
                }
                *watcher = Some(next);
            }
            _ => return Ok(None),
        }
    }
    Err(StoreError::Busy.into())
}

/// Waits until a run is over and all is done that follows; tells whether it was within the deadline.
pub(super) fn await_end(
    store: &Store,
    root: &Root,
    name: &QubeName,
    run: &Run,
    mut watcher: Connection,
    deadline: Duration,
) -> Result<bool, Failure> {
    let begun = Instant::now();
    let published = Published::at(root);
    while watcher.is_heard_within(deadline.saturating_sub(begun.elapsed())).map_err(refused::by_hypervisor)? {
        if published.run(name)?.is_none_or(|known| known.run.begun_us != run.begun_us) {
            return Ok(true);
        }
        // Killed, or at the end of its means: whoever takes its place is waited for in its stead.
        drop(lock(store, root, name)?);
        if let Some((_, next)) = reach(store, root, name)? {
            watcher = next;
        }
    }
    Ok(false)
}

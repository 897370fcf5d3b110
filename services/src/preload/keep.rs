//! Bringing a template's disposables in step with what is wished for: unfit ones go, missing ones are made.

use std::rc::Rc;
use std::time::Duration;

use common::call::no_such_domain;
use common::failure::{Exception, Failure};
use common::hypervisor::PowerState;
use common::model::{Class, Qube, Value};
use common::names::QubeName;
use common::root::Root;
use common::storage::unfinished;
use common::store::{Store, View};
use common::{files, log};

use super::outdated::Compared;
use super::{
    COMPLETED, IN_PROGRESS, THRESHOLD, calls, change, has_room, is_waiting, listed, maximum,
    require_services, unlist,
};
use crate::companion::{qrexec, service};
use crate::property::{Case, Context};
use crate::{feature, lifecycle, sleep, vm};

/// Bytes that the memory daemon could give to new domains, if there is one.
const FREE_MEMORY: &str = "/run/qubes/qmemman-avail-mem";

/// Does all there is to do for a template, one process at a time. Others wait and find little left.
///
/// # Errors
/// What the first disposable that could not be made failed with; nothing is left of it.
pub(super) fn keep_up(store: &Store, context: &Context<'_>, template: &QubeName) -> Result<(), Failure> {
    let _turn = store.lock_preloading(template)?;
    for name in unfit(store, context, template)? {
        remove(store, context, &name)?;
    }
    while has_need(store, context, template)? {
        make(store, context, template)?;
    }
    Ok(())
}

/// The disposables made in advance that are of no use: half-made ones, as nobody else is at work here, those that were
/// taken by a call that was killed, ended, outdated and supernumerary ones.
fn unfit(store: &Store, context: &Context<'_>, template: &QubeName) -> Result<Vec<QubeName>, Failure> {
    let view = store.read()?;
    let Some(template) = view.qube(template)? else { return Ok(Vec::new()) };
    let most = maximum(&view, &template)?;
    let waiting = waiting(&view, &template)?;
    let case = Case { view: &view, context: *context, qube: None };
    let compare = |qube: Rc<Qube>| Compared::new(&case, &qube, &template).map(|compared| (qube, compared));
    let compared: Vec<(Rc<Qube>, Compared)> = waiting.into_iter().map(compare).collect::<Result<_, _>>()?;
    let is_listed = |qube: &Qube| listed(&template).any(|name| name == qube.name.as_str());
    drop(view);
    let is_fit = |qube: &Qube, compared: &Compared| {
        is_listed(qube) && is_ready(context, qube) && !compared.is_outdated(context.root)
    };
    let (mut kept, mut unfit) = (0, Vec::new());
    for (qube, compared) in &compared {
        if kept < most && is_fit(qube, compared) {
            kept = kept.saturating_add(1);
        } else {
            unfit.push(qube.name.clone());
        }
    }
    Ok(unfit)
}

/// The disposables of a template that were made in advance and are not handed out, as they stand in its list, then those
/// that were just taken.
fn waiting(view: &View<'_>, template: &Qube) -> Result<Vec<Rc<Qube>>, Failure> {
    let index = view.index()?;
    let based = index.entries().iter().filter(|entry| {
        entry.class() == Class::DispVM && entry.reference("template") == Some(template.name.as_str())
    });
    let mut waiting = Vec::new();
    for entry in based {
        waiting.extend(view.qube_named(entry.name())?.filter(|qube| is_waiting(template, qube)));
    }
    let names: Vec<&str> = listed(template).collect();
    let place = |qube: &Rc<Qube>| names.iter().position(|name| *name == qube.name.as_str());
    waiting.sort_by_key(|qube| place(qube).unwrap_or(usize::MAX));
    Ok(waiting)
}

/// Whether it is complete and its domain is there.
pub(super) fn is_ready(context: &Context<'_>, qube: &Qube) -> bool {
    let state = context.hypervisor.domain(&qube.name).map(|domain| domain.state);
    qube.feature(COMPLETED).is_some() && matches!(state, Some(PowerState::Paused | PowerState::Running))
}

/// Removes one with its domain, unless it is being handed out. Off the list first, so that nobody takes it meanwhile.
///
/// # Errors
/// What the store says; those of killing it.
pub fn remove(store: &Store, context: &Context<'_>, name: &QubeName) -> Result<(), Failure> {
    if store.is_busy(name) {
        return Ok(());
    }
    let held = lifecycle::lock(store, context.root, name)?;
    let runs = context.hypervisor.known_domain(name)?.is_some();
    let goes = change(store, &mut |txn| {
        let Some(qube) = txn.qube(name)?.filter(|qube| qube.feature(IN_PROGRESS).is_some()) else {
            return Ok(false);
        };
        unlist(txn, &qube)?;
        if !runs {
            vm::discard(txn, store, context, name)?;
        }
        Ok(true)
    })?;
    if goes && !runs {
        let _ = unfinished::settle(store, context.root, name);
    }
    drop(held);
    if goes && runs { calls::kill(context.root, name) } else { Ok(()) }
}

/// Removes all of them, of whatever template. What cannot be removed now is logged.
pub fn put_all_away(store: &Store, context: &Context<'_>) {
    let removed = all_waiting(store).map(|names| {
        for name in names {
            if let Err(failure) = remove(store, context, &name) {
                log::line(&format!("{name} is not put away: {}", failure.into_text()));
            }
        }
    });
    if let Err(failure) = removed {
        log::line(&format!("no disposables are put away: {}", failure.into_text()));
    }
}

fn all_waiting(store: &Store) -> Result<Vec<QubeName>, Failure> {
    let view = store.read()?;
    let mut names = Vec::new();
    for entry in view.index()?.entries().iter().filter(|entry| entry.class() == Class::DispVM) {
        let template = entry.reference("template").map_or(Ok(None), |name| view.qube_named(name))?;
        let pair = template.zip(view.qube_named(entry.name())?);
        names.extend(pair.filter(|(of, qube)| is_waiting(of, qube)).map(|(_, qube)| qube.name.clone()));
    }
    Ok(names)
}

/// Whether another one is to be made, and there is memory for it. None is while the machine sleeps, or is about to.
fn has_need(store: &Store, context: &Context<'_>, template: &QubeName) -> Result<bool, Failure> {
    if sleep::is_near(context.root) {
        return Ok(false);
    }
    let view = store.read()?;
    let Some(template) = view.qube(template)? else { return Ok(false) };
    let case = Case { view: &view, context: *context, qube: Some(&template) };
    if !case.is_on("template_for_dispvms")? || !has_room(&view, &template)? {
        return Ok(false);
    }
    require_services(&case)?;
    let Some(free) = free_memory(context.root) else { return Ok(true) };
    let dom0 = view.qube(&QubeName::dom0())?;
    let threshold = dom0.as_ref().and_then(|dom0| dom0.feature(THRESHOLD)?.parse::<u64>().ok());
    Ok(free >= case.number("memory")?.saturating_add(threshold.unwrap_or_default()))
}

/// What is free, MiB, where somebody knows.
fn free_memory(root: &Root) -> Option<u64> {
    let bytes = files::read_if_present(&root.path(FREE_MEMORY)).ok().flatten()?;
    let bytes: u64 = String::from_utf8(bytes).ok()?.trim().parse().ok()?;
    Some(bytes >> 20)
}

/// Makes one: created and listed in one change, started, awaited, paused, and marked as complete. What fails on the way
/// is removed at once; what is killed, by the next who looks.
fn make(store: &Store, context: &Context<'_>, template: &QubeName) -> Result<(), Failure> {
    let name = calls::make(context.root, template)?;
    let made = calls::start(context.root, &name)
        .and_then(|()| await_services(store, context, &name))
        .and_then(|()| complete(store, context, &name));
    if made.is_err() {
        // The failed start has removed it already, or the next one who looks does.
        let _ = remove(store, context, &name);
    }
    made
}

/// Waits until the guest says that it is all up, where there is a way to ask it.
fn await_services(store: &Store, context: &Context<'_>, name: &QubeName) -> Result<(), Failure> {
    if !qrexec::is_connected(context.root, name) {
        return Ok(());
    }
    let (services, patience) = {
        let view = store.read()?;
        let qube = view.qube(name)?.ok_or_else(|| no_such_domain(name.as_str()))?;
        let case = Case { view: &view, context: *context, qube: Some(&qube) };
        (services(&case)?, Duration::from_secs(case.number("qrexec_timeout")?))
    };
    for service in services {
        let done = service::run(context.root, name, "root", service, "", patience);
        if !done.is_ok_and(|done| done.is_success()) {
            let text = format!("Error on call to '{service}' during preload startup");
            return Err(Failure::new(Exception::QubesException, text));
        }
    }
    Ok(())
}

/// A session is there to be awaited only where it needs no window on any screen.
fn services(case: &Case<'_>) -> Result<&'static [&'static str], Failure> {
    let has_guivm = matches!(case.value("guivm")?, Some(Value::Text(_)));
    let has_session =
        has_guivm && case.has_feature("gui")? && case.has_feature("supported-feature.late-gui-daemon")?;
    Ok(if has_session { &super::SERVICES } else { super::SERVICES.get(..1).unwrap_or_default() })
}

fn complete(store: &Store, context: &Context<'_>, name: &QubeName) -> Result<(), Failure> {
    let _lifecycle = lifecycle::lock(store, context.root, name)?;
    lifecycle::pause_run(store, context.root, name)?;
    let completed = change(store, &mut |txn| {
        feature::store(txn, name, COMPLETED, "1")?;
        feature::store(txn, name, IN_PROGRESS, "").map(|()| true)
    });
    completed.map(drop)
}

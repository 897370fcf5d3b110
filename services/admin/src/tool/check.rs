//! `qubes-admin check`: every object, checksum, reference and the index, and what lies beside the store.

use common::files;
use common::hypervisor::Published;
use common::names::QubeName;
use common::root::Root;
use common::storage::{self, import, unfinished};
use common::store::{Problem, Remedy, Store, View};
use services::constraints::Constraints;
use services::feature;

use super::out::{self, Stop};
use super::rows;

/// Prints what is wrong and what to do about it; an error if anything is.
pub(super) fn run(root: &Root, repair: bool) -> Result<(), Stop> {
    let store = Store::at(root);
    if repair {
        store.repair()?;
        unfinished::settle_abandoned(&store, root)?;
        abandoned(&store)?.iter().try_for_each(|name| store.lock_lifecycle(name).map(drop))?;
        storage::stop_halted(root, &store, &Published::at(root))?;
    }
    let unfinished = unfinished::abandoned(&store)?;
    let mut problems = store.check()?;
    let abandoned = abandoned(&store)?;
    let problem = |name| Problem::new(format!("making or removing {name} was not finished"), Remedy::Settle);
    problems.extend(unfinished.iter().map(problem));
    let problem = |name| Problem::new(format!("an import into {name} was not finished"), Remedy::Settle);
    problems.extend(abandoned.iter().map(problem));
    problems.extend(services_of_dom0(root, &store, repair)?);
    problems.extend(orphans(root, &store)?);
    problems.extend(constraints(root));
    for problem in &problems {
        out::line(&format!("{}; {}", problem.text, problem.remedy.advice()))?;
    }
    match problems.len() {
        0 => out::line("everything is as it should be"),
        1 => Err("1 problem".to_owned().into()),
        count => Err(format!("{count} problems").into()),
    }
}

/// Qubes with an import that was killed. A qube that cannot be read is a problem of its own.
fn abandoned(store: &Store) -> Result<Vec<QubeName>, Stop> {
    let view = store.read()?;
    let has_abandoned = |name: &QubeName| {
        let qube = view.qube(name).ok().flatten();
        qube.is_some_and(|qube| import::has_abandoned(&qube)) && !store.is_busy(name)
    };
    Ok(view.names()?.into_iter().filter(has_abandoned).collect())
}

/// Files of dom0's services that are not as its features say, after they were made so where that was asked for.
fn services_of_dom0(root: &Root, store: &Store, repair: bool) -> Result<Vec<Problem>, Stop> {
    // A dom0 that cannot be read is a problem of its own.
    let Ok(Some(dom0)) = store.read()?.qube(&QubeName::dom0()) else { return Ok(Vec::new()) };
    if repair {
        feature::restore_services(root, &dom0).map_err(|error| format!("services of dom0: {error}"))?;
    }
    let problem = |service| {
        Problem::new(format!("the file of dom0's service {service} is not as its feature"), Remedy::Settle)
    };
    Ok(feature::astray_services(root, &dom0).into_iter().map(problem).collect())
}

/// What is wrong with the administrator's constraints.
fn constraints(root: &Root) -> Vec<Problem> {
    let methods: Vec<&str> = rows().map(|row| row.name).collect();
    let problems = Constraints::load(root).problems(&methods).into_iter();
    problems.map(|it| Problem::new(format!("{}: {}", it.place, it.text), Remedy::Mend)).collect()
}

/// Home directories that belong to no qube and to none being made or removed.
fn orphans(root: &Root, store: &Store) -> Result<Vec<Problem>, Stop> {
    let known = unfinished::all(store)?;
    let view = store.read()?;
    let mut problems = Vec::new();
    for folder in ["appvms", "vm-templates"] {
        let names =
            files::list(&root.lib().join(folder)).map_err(|error| format!("listing {folder}: {error}"))?;
        for name in names.iter().filter(|name| known.iter().all(|known| known.as_str() != *name)) {
            let home = format!("{folder}/{name}");
            if !is_home(&view, name, &home) {
                problems
                    .push(Problem::new(format!("the directory {home} belongs to no qube"), Remedy::Remove));
            }
        }
    }
    Ok(problems)
}

/// Whether a directory is the home of the qube it is named after. That of a damaged object may be.
fn is_home(view: &View<'_>, name: &str, home: &str) -> bool {
    let Ok(name) = QubeName::parse(name) else { return false };
    match view.qube(&name) {
        Ok(qube) => qube.is_some_and(|qube| qube.home().as_deref() == Some(home)),
        Err(_) => true,
    }
}

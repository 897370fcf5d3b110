//! `qubes-admin check`: every object, checksum, reference and the index.

use common::files;
use common::names::QubeName;
use common::root::Root;
use common::storage::unfinished;
use common::store::Store;

use super::{out, told};

/// Prints what is wrong; an error if anything is.
pub(super) fn run(root: &Root, repair: bool) -> Result<(), String> {
    let store = Store::at(root);
    if repair {
        store.repair().map_err(|error| error.to_string())?;
    }
    let unfinished = unfinished(root, &store, repair)?;
    let mut problems = store.check().map_err(|error| error.to_string())?;
    problems.extend(unfinished.iter().map(|name| format!("making or removing {name} was not finished")));
    problems.extend(orphans(root, &store)?);
    for problem in &problems {
        out::line(problem);
    }
    match problems.len() {
        0 => {
            out::line("everything is as it should be");
            Ok(())
        }
        count => Err(format!("{count} problems")),
    }
}

/// Qubes whose creation or removal was killed between the store and the disk, after what can be finished was.
fn unfinished(root: &Root, store: &Store, repair: bool) -> Result<Vec<QubeName>, String> {
    let mut left = Vec::new();
    for name in unfinished::all(store).map_err(|error| error.to_string())? {
        if store.is_busy(&name) {
            continue;
        }
        if repair {
            let _lifecycle = store.lock_lifecycle(&name).map_err(|error| error.to_string())?;
            unfinished::settle(store, root, &name).map_err(told)?;
        } else {
            left.push(name);
        }
    }
    Ok(left)
}

/// Home directories that belong to no qube and to none being made or removed.
fn orphans(root: &Root, store: &Store) -> Result<Vec<String>, String> {
    let known = unfinished::all(store).map_err(|error| error.to_string())?;
    let view = store.read().map_err(|error| error.to_string())?;
    let mut homes = Vec::new();
    for name in view.names().map_err(|error| error.to_string())? {
        // A damaged object is reported already.
        homes.extend(view.qube(&name).ok().flatten().and_then(|qube| qube.home()));
    }
    let mut problems = Vec::new();
    for folder in ["appvms", "vm-templates"] {
        let names = files::list(&root.lib().join(folder)).map_err(|error| error.to_string())?;
        for name in names.iter().filter(|name| known.iter().all(|known| known.as_str() != *name)) {
            let home = format!("{folder}/{name}");
            if !homes.contains(&home) {
                problems.push(format!("the directory {home} belongs to no qube"));
            }
        }
    }
    Ok(problems)
}

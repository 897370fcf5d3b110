//! `qubes-admin check`: every object, checksum, reference and the index.

use common::files;
use common::root::Root;
use common::store::Store;

use super::out;

/// Prints what is wrong; an error if anything is.
pub(super) fn run(root: &Root, repair: bool) -> Result<(), String> {
    let store = Store::at(root);
    if repair {
        store.repair().map_err(|error| error.to_string())?;
    }
    let mut problems = store.check().map_err(|error| error.to_string())?;
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

/// Home directories that belong to no qube: what a killed creation or removal leaves behind.
fn orphans(root: &Root, store: &Store) -> Result<Vec<String>, String> {
    let view = store.read().map_err(|error| error.to_string())?;
    let mut homes = Vec::new();
    for name in view.names().map_err(|error| error.to_string())? {
        // A damaged object is reported already.
        homes.extend(view.qube(&name).ok().flatten().and_then(|qube| qube.home()));
    }
    let mut problems = Vec::new();
    for folder in ["appvms", "vm-templates"] {
        for name in files::list(&root.lib().join(folder)).map_err(|error| error.to_string())? {
            let home = format!("{folder}/{name}");
            if !homes.contains(&home) {
                problems.push(format!("the directory {home} belongs to no qube"));
            }
        }
    }
    Ok(problems)
}

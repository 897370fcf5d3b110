//! What was made in advance is looked at again when a change may have made it outdated (spec 40 §5).

use common::failure::Failure;
use common::log;
use common::model::Class;
use common::names::QubeName;
use common::root::Root;
use common::store::{Store, View};

use super::{fill_gap, is_for, listed};

/// Has the lists looked at that depend on a qube which was changed, after the delay that each has set. What cannot be read
/// now is left to the next who looks.
pub fn refresh(store: &Store, root: &Root, changed: &QubeName) {
    match store.read_one().map_err(Failure::from).and_then(|view| with_lists(&view, changed)) {
        Ok(templates) => templates.iter().for_each(|template| fill_gap(store, root, template)),
        Err(failure) => log::line(&format!("{changed} has changed: {}", failure.into_text())),
    }
}

/// Of a qube and those based on it, those that have anything in their lists.
fn with_lists(view: &View<'_>, changed: &QubeName) -> Result<Vec<QubeName>, Failure> {
    let Some(qube) = view.qube(changed)? else { return Ok(Vec::new()) };
    if qube.class != Class::TemplateVM {
        return Ok(listed(&qube).next().map(|_| changed.clone()).into_iter().collect());
    }
    let index = view.index()?;
    let is_based = |name: Option<&str>| name == Some(changed.as_str());
    let based = index.entries().iter().filter(|e| is_for(e.class()) && is_based(e.reference("template")));
    let mut found = Vec::new();
    for entry in based {
        let qube = view.qube_named(entry.name())?.filter(|qube| listed(qube).next().is_some());
        found.extend(qube.map(|qube| qube.name.clone()));
    }
    Ok(found)
}

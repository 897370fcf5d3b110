//! `qubes.xml` as it lies in a backup: it says which qubes that has, and where (spec 40 §16.3).

use std::collections::BTreeMap;
use std::rc::Rc;

use common::failure::Failure;
use common::model::{Class, Qube};
use common::names::{FeatureName, FeatureValue};
use common::root::Root;
use common::store::View;

use super::content;
use super::dom0::Home;
use crate::xml;

const PRELOADED: &str = "preload-dispvm";
/// Is a wish; all others of that beginning tell of disposables that are not in the backup.
const WISHED: &str = "preload-dispvm-max";

/// The whole store as a file's text, with what tells of the qubes that the backup has, each with the space that it takes.
///
/// # Errors
/// What the store says, and for dom0 if nobody's home is found.
pub(super) fn text(
    view: &View<'_>,
    root: &Root,
    qubes: &[Rc<Qube>],
    sizes: &[u64],
) -> Result<String, Failure> {
    let mut included = BTreeMap::new();
    for (qube, size) in qubes.iter().zip(sizes) {
        included.insert(&qube.name, (place(root, qube)?, size.to_string()));
    }
    xml::export_with(view, root, &|qube| {
        let mut qube = qube.clone();
        let Some((place, size)) = included.get(&qube.name) else {
            put(&mut qube, "backup-content", "");
            return qube;
        };
        let is_left = |name: &str| !name.starts_with(PRELOADED) || name == WISHED;
        qube.features.retain(|(name, _)| is_left(name.as_str()));
        put(&mut qube, "backup-content", "1");
        put(&mut qube, "backup-path", place);
        put(&mut qube, "backup-size", size);
        qube
    })
}

fn place(root: &Root, qube: &Qube) -> Result<String, Failure> {
    Ok(match qube.class {
        Class::AdminVM => Home::of(root)?.piece().name,
        _ => content::folder(qube),
    })
}

/// Gives a qube a feature, in the place of any other value.
fn put(qube: &mut Qube, name: &str, value: &str) {
    let (Ok(name), Ok(value)) = (FeatureName::parse(name), FeatureValue::parse(value)) else { return };
    match qube.features.iter_mut().find(|(known, _)| *known == name) {
        Some((_, known)) => *known = value,
        None => qube.features.push((name, value)),
    }
}

//! Which disposables made in advance are no longer what their template would make now.

use std::rc::Rc;

use common::failure::Failure;
use common::model::{Pools, Qube, Volume};
use common::root::Root;

use crate::property::{self, Case};
use crate::volume;

/// Properties that differ by nature: who it is, where it is, and how its run goes.
const OWN: [&str; 26] = [
    "autostart",
    "backup_timestamp",
    "default_dispvm",
    "dispid",
    "gateway",
    "gateway6",
    "icon",
    "include_in_backups",
    "installed_by_rpm",
    "ip",
    "ip6",
    "klass",
    "name",
    "qid",
    "start_time",
    "stubdom_uuid",
    "stubdom_xid",
    "template",
    "template_for_dispvms",
    "updateable",
    "uuid",
    "visible_gateway",
    "visible_gateway6",
    "visible_ip",
    "visible_ip6",
    "xid",
];

/// A disposable as it is stored, looked at beside its template of now.
pub(super) struct Compared {
    /// With its volumes as they are named on disk.
    qube: Qube,
    pools: Rc<Pools>,
    differs: Option<&'static str>,
}

impl Compared {
    /// Compares what is stored.
    ///
    /// # Errors
    /// What the store says.
    pub(super) fn new(case: &Case<'_>, disposable: &Qube, template: &Qube) -> Result<Self, Failure> {
        let (qube, pools) = volume::with_volumes_named(case.view, &case.context, disposable)?;
        Ok(Self { qube, pools, differs: differing_part(case, disposable, template)? })
    }

    /// Whether the template would make another one now. Asks the drivers of its volumes, so no lock may be held.
    pub(super) fn is_outdated(&self, root: &Root) -> bool {
        let is_outdated = |found: &Volume| volume::is_outdated(root, &self.pools, found);
        self.differs.is_some() || self.qube.volumes.iter().any(is_outdated)
    }
}

fn differing_part(
    case: &Case<'_>,
    disposable: &Qube,
    template: &Qube,
) -> Result<Option<&'static str>, Failure> {
    const PRIVATE: &str = "private";
    let size = |qube: &Qube| {
        qube.volumes.iter().find(|volume| volume.name.as_str() == PRIVATE).map(|volume| volume.size)
    };
    if size(disposable) != size(template) {
        return Ok(Some(PRIVATE));
    }
    let (own, theirs) = (case.at(disposable), case.at(template));
    for row in property::rows_of(disposable.class).filter(|row| !OWN.contains(&row.name)) {
        let is_shared = property::row(template.class, row.name).is_some();
        if is_shared && own.value(row.name)? != theirs.value(row.name)? {
            return Ok(Some(row.name));
        }
    }
    Ok(None)
}

//! What a profile chooses, as the state is at one moment.

use std::rc::Rc;

use common::call::World;
use common::event::Event;
use common::failure::{Exception, Failure};
use common::hypervisor::PowerState;
use common::model::{Class, Qube};
use common::names::{BackupProfile, QubeName};
use common::store::View;

use super::content::{self, Contents};
use super::dom0::Home;
use super::profile::Profile;
use super::selection::Selection;
use super::summary::{FAILS, Line, RUNS};
use crate::lifecycle;
use crate::power::States;
use crate::property::{Case, Context};

/// The qubes that a profile chooses.
pub(super) struct Chosen {
    pub(super) profile: Profile,
    pub(super) qubes: Vec<Rc<Qube>>,
    pub(super) left_out: Vec<QubeName>,
    pub(super) contents: Contents,
    kinds: Vec<&'static str>,
}

impl Chosen {
    /// What a profile chooses now.
    ///
    /// # Errors
    /// What is wrong with the profile, and what the store says.
    pub(super) fn now(world: &World<'_>, id: &BackupProfile) -> Result<Self, Failure> {
        let (root, view) = (world.root(), world.store().read()?);
        let profile = Profile::read(root, &view, id)?;
        let Selection { included: qubes, left_out } = Selection::of(&view, Context::of(world), &profile)?;
        if qubes.iter().any(|qube| qube.class == Class::AdminVM) {
            Home::of(root)?.check(root, &profile)?;
        }
        let pieces = qubes.iter().map(|qube| content::pieces(root, qube)).collect::<Result<_, _>>()?;
        let contents = Contents { pools: (*view.pools()?).clone(), qubes: pieces };
        let kind = |qube: &Rc<Qube>| kind(&view, Context::of(world), qube);
        let kinds = qubes.iter().map(kind).collect::<Result<_, _>>()?;
        Ok(Self { profile, qubes, left_out, contents, kinds })
    }

    /// Asks for further files of each qube, as listeners see it.
    ///
    /// # Errors
    /// What the store says.
    pub(super) fn announce(&self, world: &World<'_>) -> Result<(), Failure> {
        let others = self.qubes.iter().filter(|qube| qube.class != Class::AdminVM);
        lifecycle::announce(world.store(), others.map(|qube| Event::on(&qube.name, "backup-get-files")))
    }

    /// Refuses what has no state from before a start.
    ///
    /// # Errors
    /// `QubesVMNotHaltedError`.
    pub(super) fn check_snapshots(&self, world: &World<'_>) -> Result<(), Failure> {
        let states = States::of(world.hypervisor());
        let is_running = |qube: &&Rc<Qube>| {
            qube.class.is_qubes_vm() && states.state(qube.class, qube.name.as_str()) != PowerState::Halted
        };
        let mut running = self.qubes.iter().filter(is_running);
        running.find(|qube| has_snapshots_disabled(qube)).map_or(Ok(()), |qube| Err(no_snapshots(&qube.name)))
    }

    /// The lines of its table.
    pub(super) fn lines(&self, world: &World<'_>, sizes: Vec<u64>) -> Vec<Line> {
        let states = States::of(world.hypervisor());
        let line = |((qube, kind), size): ((&Rc<Qube>, &&'static str), u64)| Line {
            name: qube.name.clone(),
            kind,
            size,
            remark: remark(&states, qube),
        };
        self.qubes.iter().zip(&self.kinds).zip(sizes).map(line).collect()
    }
}

fn kind(view: &View<'_>, context: Context<'_>, qube: &Qube) -> Result<&'static str, Failure> {
    Ok(match qube.class {
        Class::AdminVM => "User home",
        Class::TemplateVM => "Template VM",
        _ if (Case { view, context, qube: Some(qube) }).is_on("updateable")? => "VM + Sys",
        _ => "VM",
    })
}

fn remark(states: &States, qube: &Qube) -> &'static str {
    if !qube.class.is_qubes_vm() || states.state(qube.class, qube.name.as_str()) == PowerState::Halted {
        ""
    } else if has_snapshots_disabled(qube) {
        FAILS
    } else {
        RUNS
    }
}

/// A running qube's volume cannot be read as it was before the start.
pub(super) fn no_snapshots(qube: &QubeName) -> Failure {
    let text = format!("VM {qube} is running and private volume snapshots are disabled");
    Failure::new(Exception::QubesVMNotHaltedError, text)
}

/// Whether some volume of a qube has no state but the one that its domain changes.
pub(super) fn has_snapshots_disabled(qube: &Qube) -> bool {
    qube.volumes.iter().any(common::model::Volume::has_snapshots_disabled)
}

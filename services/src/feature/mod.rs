//! `admin.vm.feature.*`: names with text values, kept with a qube (spec 10 §5.1).

mod change;
mod checks;
mod dom0;

pub use change::{delete, store};
pub use dom0::{astray_services, follow_service, restore_services};

use std::rc::Rc;

use common::call::{
    Call, Content, Family, Granted, Presence, Received, Row, Values, World, entry, no_such_domain,
};
use common::failure::{Exception, Failure, Refusal};
use common::model::{Class, Qube, Value};
use common::names::{Ascii, FeatureName, QubeName};

use crate::listing::{self, Item};
use crate::{input, property};

/// The family.
pub const FAMILY: Family = Family {
    name: "admin-vm-feature",
    calls: &[
        entry::<List>(),
        entry::<Get>(),
        entry::<CheckWithTemplate>(),
        entry::<CheckWithNetvm>(),
        entry::<CheckWithAdminVM>(),
        entry::<CheckWithTemplateAndAdminVM>(),
        entry::<change::Set>(),
        entry::<change::Remove>(),
    ],
};

/// `Feature not set for domain …`, naming the asked qube.
fn not_set(qube: &QubeName, feature: &FeatureName) -> Failure {
    Failure::new(
        Exception::QubesFeatureNotFoundError,
        format!("Feature not set for domain {qube}: {feature}"),
    )
}

/// The destination's object.
fn destination<C: Call>(granted: &Granted<C>, world: &World<'_>) -> Result<Rc<Qube>, Failure> {
    let name = granted.destination();
    world.view().qube(name)?.ok_or_else(|| no_such_domain(name.as_str()))
}

struct List;

impl Call for List {
    const ROW: Row = Row::read_one("admin.vm.feature.List", "Names of the qube's features, one per line.")
        .argument(Presence::Optional);
    type Input = Option<Ascii>;

    fn sanitise(received: &Received) -> Result<Self::Input, Refusal> {
        input::optional_argument(received)
    }

    fn facts(input: &Self::Input) -> Values {
        Values::argument(input.as_ref().map(Ascii::as_str).unwrap_or_default())
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let qube = destination(&granted, world)?;
        let items = qube.features.iter().map(|(name, _)| Item::plain(name.as_str()));
        listing::print(items, granted.input().as_ref(), &format!("{} features", qube.name))
    }
}

/// Where to look for a feature after the qube itself, in order.
type Walk = fn(&World<'_>, &Qube) -> Result<Option<Rc<Qube>>, Failure>;

/// The first value along the walks, each followed to its end; a present empty value stops the search.
fn search(
    world: &World<'_>,
    qube: &Rc<Qube>,
    feature: &FeatureName,
    walks: &[Walk],
) -> Result<Option<String>, Failure> {
    let value = |qube: &Qube| qube.feature(feature.as_str()).map(str::to_owned);
    if let found @ Some(_) = value(qube) {
        return Ok(found);
    }
    for walk in walks {
        let mut visited = vec![qube.name.clone()];
        let mut here = Rc::clone(qube);
        while let Some(next) = walk(world, &here)? {
            if visited.contains(&next.name) {
                break;
            }
            if let found @ Some(_) = value(&next) {
                return Ok(found);
            }
            visited.push(next.name.clone());
            here = next;
        }
    }
    Ok(None)
}

fn template(world: &World<'_>, qube: &Qube) -> Result<Option<Rc<Qube>>, Failure> {
    match qube.properties.get("template").and_then(Value::as_text) {
        Some(name) if qube.class.has_template() => Ok(world.view().qube_named(name)?),
        _ => Ok(None),
    }
}

fn netvm(world: &World<'_>, qube: &Qube) -> Result<Option<Rc<Qube>>, Failure> {
    if !qube.class.is_qubes_vm() {
        return Ok(None);
    }
    let value = property::effective(world.view(), world.hypervisor(), world.root(), qube, "netvm")?;
    match value.as_ref().and_then(Value::as_text) {
        Some(name) => Ok(world.view().qube_named(name)?),
        None => Ok(None),
    }
}

fn adminvm(world: &World<'_>, qube: &Qube) -> Result<Option<Rc<Qube>>, Failure> {
    if qube.class == Class::AdminVM { Ok(None) } else { Ok(world.view().qube(&QubeName::dom0())?) }
}

/// Declares a call that looks a feature up along some walks.
macro_rules! lookup {
    ($call:ident, $row:expr, $walks:expr) => {
        struct $call;

        impl Call for $call {
            const ROW: Row = $row.argument(Presence::Required);
            type Input = FeatureName;

            fn sanitise(received: &Received) -> Result<Self::Input, Refusal> {
                input::argument(received)
            }

            fn facts(input: &Self::Input) -> Values {
                Values::argument(input.as_str())
            }

            fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
                let qube = destination(&granted, world)?;
                let found = search(world, &qube, granted.input(), $walks)?;
                found.map(String::into_bytes).ok_or_else(|| not_set(&qube.name, granted.input()))
            }
        }
    };
}

lookup!(Get, Row::read_one("admin.vm.feature.Get", "Value of a feature."), &[]);
lookup!(
    CheckWithTemplate,
    Row::read(
        "admin.vm.feature.CheckWithTemplate",
        "Value of a feature, looked for on the qube and its templates."
    ),
    &[template]
);
lookup!(
    CheckWithNetvm,
    Row::read(
        "admin.vm.feature.CheckWithNetvm",
        "Value of a feature, looked for on the qube and its chain of netvms."
    ),
    &[netvm]
);
lookup!(
    CheckWithAdminVM,
    Row::read("admin.vm.feature.CheckWithAdminVM", "Value of a feature, looked for on the qube and dom0."),
    &[adminvm]
);
lookup!(
    CheckWithTemplateAndAdminVM,
    Row::read(
        "admin.vm.feature.CheckWithTemplateAndAdminVM",
        "Value of a feature, looked for on the qube, its templates and dom0."
    ),
    &[template, adminvm]
);

//! `admin.vm.tag.*`: a set of names kept with a qube (spec 10 §5.2).

use std::rc::Rc;

use common::call::{
    Call, Content, Family, Granted, Presence, Received, Row, Values, World, entry, no_such_domain,
};
use common::event::Event;
use common::failure::{Exception, Failure, Refusal};
use common::model::Qube;
use common::names::{Ascii, QubeName, TagName};
use common::store::Txn;

use crate::listing::{self, Item};
use crate::property::Context;
use crate::{creator, input};

/// The family.
pub const FAMILY: Family = Family {
    name: "admin-vm-tag",
    calls: &[entry::<List>(), entry::<Get>(), entry::<Set>(), entry::<Remove>()],
};

/// What a qube has while it is being restored from a backup. It cannot start meanwhile.
pub const RESTORING: &str = "backup-restore-in-progress";

/// Adds a tag and fires its event; does nothing if the tag is there.
///
/// # Errors
/// What the store says.
pub fn add(txn: &mut Txn<'_>, qube: &QubeName, tag: &TagName) -> Result<bool, Failure> {
    let mut added = false;
    txn.edit_qube(qube, |qube| added = qube.tags.insert(tag.clone()))?;
    if added {
        txn.event(event("domain-tag-add", qube, tag));
    }
    Ok(added)
}

/// Removes a tag and fires its event; does nothing if the tag is not there.
///
/// # Errors
/// What the store says.
pub fn delete(txn: &mut Txn<'_>, qube: &QubeName, tag: &TagName) -> Result<bool, Failure> {
    let mut removed = false;
    txn.edit_qube(qube, |qube| removed = qube.tags.remove(tag))?;
    if removed {
        txn.event(event("domain-tag-delete", qube, tag));
    }
    Ok(removed)
}

fn event(name: &str, qube: &QubeName, tag: &TagName) -> Event {
    Event::on(qube, format!("{name}:{tag}")).with("tag", tag.as_str())
}

fn destination<C: Call>(granted: &Granted<C>, world: &World<'_>) -> Result<Rc<Qube>, Failure> {
    let name = granted.destination();
    world.view().qube(name)?.ok_or_else(|| no_such_domain(name.as_str()))
}

struct List;

impl Call for List {
    const ROW: Row = Row::read_one("admin.vm.tag.List", "The qube's tags, sorted, one per line.")
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
        let items = qube.tags.iter().map(|tag| Item::plain(tag.as_str()));
        listing::print(items, granted.input().as_ref(), &format!("{} tags", qube.name))
    }
}

/// What the three calls with a tag as argument share: they differ in their row and in what they do.
macro_rules! with_tag {
    ($call:ident, $row:expr, $act:expr) => {
        struct $call;

        impl Call for $call {
            const ROW: Row = $row.argument(Presence::Required);
            type Input = TagName;

            fn sanitise(received: &Received) -> Result<Self::Input, Refusal> {
                input::argument(received)
            }

            fn facts(input: &Self::Input) -> Values {
                Values::argument(input.as_str())
            }

            fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
                let act: fn(Granted<Self>, &mut World<'_>) -> Result<Content, Failure> = $act;
                act(granted, world)
            }
        }
    };
}

with_tag!(Get, Row::read_one("admin.vm.tag.Get", "1 if the qube has the tag, else 0."), |granted, world| {
    let has = destination(&granted, world)?.tags.contains(granted.input());
    Ok(if has { b"1".to_vec() } else { b"0".to_vec() })
});

with_tag!(Set, Row::write("admin.vm.tag.Set", "Adds a tag."), |granted, world| {
    let (qube, tag) = (granted.destination(), granted.input());
    let context = Context::of(world);
    world.change(&granted, |txn| {
        creator::require_known(txn, qube, tag)?;
        if add(txn, qube, tag)? {
            creator::follow_tag(txn, &context, qube, tag)?;
        }
        Ok(Content::new())
    })
});

with_tag!(Remove, Row::write("admin.vm.tag.Remove", "Removes a tag."), |granted, world| {
    let (qube, tag) = (granted.destination(), granted.input());
    world.change(&granted, |txn| match delete(txn, qube, tag)? {
        true => Ok(Content::new()),
        false => Err(not_set(qube, tag)),
    })
});

fn not_set(qube: &QubeName, tag: &TagName) -> Failure {
    Failure::new(Exception::QubesTagNotFoundError, format!("Tag not set for domain {qube}: {tag}"))
}

//! Making a disposable for its template's list, for the process that keeps these up: it stays small without what makes qubes.

use common::call::{Call, Content, Granted, Row, World, no_such_domain};
use common::failure::Failure;
use common::names::QubeName;

use super::disposable::{reserve, wish};
use super::make::{Purpose, make};
use crate::preload::MAKE;
use crate::property::Context;

/// `internal.MakeDisposable`: one for the list of the template, told by its name.
pub(super) struct MakeDisposable;

impl Call for MakeDisposable {
    const ROW: Row = Row::write(MAKE, "Makes a disposable in advance of being asked for one.").internal();
    common::no_input!();

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let (store, template) = (world.store(), granted.destination());
        let template = store.read()?.qube(template)?.ok_or_else(|| no_such_domain(template.as_str()))?;
        let (number, name, _lifecycle) = reserve(store, world.root())?;
        let wish = wish(name, &template, Purpose::LaterUse(number))?;
        let context = Context::of(world);
        make(store, &context, &QubeName::dom0(), &wish, &mut |change| {
            world.change(&granted, |txn| change(txn))
        })??;
        Ok(wish.name.as_str().into())
    }
}

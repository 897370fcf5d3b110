//! `admin.vm.Create.<class>` and `admin.vm.CreateInPool.<class>` (spec 10 §2.4).

use common::call::{
    Call, Content, Destination, Entry, Granted, Presence, Received, Row, Values, World, entry,
};
use common::failure::{Failure, Refusal};
use common::model::Class;
use common::names::Ascii;

use super::make::{Wish, foresee, make};
use super::options::{self, Options};
use crate::input;
use crate::property::Context;

/// All these calls, which differ in their names alone.
pub(super) struct Create;

/// The call that makes qubes of one class.
pub(super) const fn create(name: &'static str) -> Entry {
    entry::<Create>().named(name, Create::ROW.help)
}

/// The same in given pools.
pub(super) const fn create_in_pool(name: &'static str) -> Entry {
    entry::<Create>().named(name, "Makes a qube in given pools: as Create, and pool=… or pool:VOLUME=….")
}

impl Call for Create {
    const ROW: Row =
        Row::write("admin.vm.Create", "Makes a qube: argument template, payload name=… label=….")
            .global()
            .on(Destination::Dom0)
            .argument(Presence::Optional)
            .payload(Presence::Optional);
    type Input = Wish;

    fn sanitise(received: &Received) -> Result<Wish, Refusal> {
        let (method, class) = received.row.name.rsplit_once('.').unwrap_or_default();
        let class = Class::parse(class).ok_or_else(|| Refusal::protocol("Invalid class"))?;
        let template = input::optional_argument(received)?;
        if template.is_some() && !class.has_template() {
            return Err(Refusal::protocol(format!("{} cannot be based on template", class.as_str())));
        }
        let options = options::parse(&received.payload, method.ends_with("InPool"), template.is_some())?;
        let Options { name, label, pool, pools } = options;
        Ok(Wish { template, pool, pools, ..Wish::plain(class, name, Some(label)) })
    }

    fn facts(wish: &Wish) -> Values {
        let template = wish.template.as_ref().map(Ascii::as_str).unwrap_or_default();
        let label = wish.label.as_ref().map(|label| label.0.as_str()).unwrap_or_default();
        let pools = wish.pools.iter().map(|(volume, pool)| format!("{volume}={pool}")).collect::<Vec<_>>();
        Values::argument(template)
            .with("name", wish.name.as_str())
            .with("label", label)
            .with("pool", wish.pool.as_deref().unwrap_or_default())
            .with("pools", pools.join(" "))
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let (store, context, wish) = (world.store(), Context::of(world), granted.input());
        foresee(&granted, world, wish)?;
        let _lifecycle = store.lock_lifecycle(&wish.name)?;
        let caller = granted.caller();
        make(store, &context, caller, wish, &mut |change| world.change(&granted, change))??;
        Ok(Content::new())
    }
}

//! `admin.vm.Create.<class>` and `admin.vm.CreateInPool.<class>` (spec 10 §2.4).

use common::call::{Call, Content, Destination, Granted, Presence, Received, Row, Values, World};
use common::failure::{Failure, Refusal};
use common::model::Class;
use common::names::Ascii;

use super::make::{Wish, make};
use super::options::{self, Options};
use crate::input;
use crate::property::Context;

/// `admin.vm.Create.<class>`.
pub(super) struct Create<const CLASS: u8>;
/// `admin.vm.CreateInPool.<class>`.
pub(super) struct CreateInPool<const CLASS: u8>;

/// The class a call's number stands for.
const fn class_of(number: u8) -> Class {
    match number {
        0 => Class::AdminVM,
        1 => Class::AppVM,
        2 => Class::DispVM,
        3 => Class::RemoteVM,
        4 => Class::StandaloneVM,
        _ => Class::TemplateVM,
    }
}

/// The two names of a class's calls.
const fn methods(class: Class) -> (&'static str, &'static str) {
    match class {
        Class::AdminVM => ("admin.vm.Create.AdminVM", "admin.vm.CreateInPool.AdminVM"),
        Class::AppVM => ("admin.vm.Create.AppVM", "admin.vm.CreateInPool.AppVM"),
        Class::DispVM => ("admin.vm.Create.DispVM", "admin.vm.CreateInPool.DispVM"),
        Class::RemoteVM => ("admin.vm.Create.RemoteVM", "admin.vm.CreateInPool.RemoteVM"),
        Class::StandaloneVM => ("admin.vm.Create.StandaloneVM", "admin.vm.CreateInPool.StandaloneVM"),
        Class::TemplateVM => ("admin.vm.Create.TemplateVM", "admin.vm.CreateInPool.TemplateVM"),
    }
}

const fn row(name: &'static str, help: &'static str) -> Row {
    Row::write(name, help)
        .global()
        .on(Destination::Dom0)
        .argument(Presence::Optional)
        .payload(Presence::Optional)
}

impl<const CLASS: u8> Call for Create<CLASS> {
    const ROW: Row =
        row(methods(class_of(CLASS)).0, "Makes a qube: argument template, payload name=… label=….");
    type Input = Wish;

    fn sanitise(received: &Received) -> Result<Wish, Refusal> {
        sanitise(received, class_of(CLASS), false)
    }

    fn facts(wish: &Wish) -> Values {
        facts(wish)
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        act(granted, world)
    }
}

impl<const CLASS: u8> Call for CreateInPool<CLASS> {
    const ROW: Row = row(
        methods(class_of(CLASS)).1,
        "Makes a qube in given pools: as Create, and pool=… or pool:VOLUME=….",
    );
    type Input = Wish;

    fn sanitise(received: &Received) -> Result<Wish, Refusal> {
        sanitise(received, class_of(CLASS), true)
    }

    fn facts(wish: &Wish) -> Values {
        facts(wish)
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        act(granted, world)
    }
}

fn sanitise(received: &Received, class: Class, allow_pool: bool) -> Result<Wish, Refusal> {
    let template = input::optional_argument(received)?;
    if template.is_some() && !class.has_template() {
        return Err(Refusal::protocol(format!("{} cannot be based on template", class.as_str())));
    }
    let options = options::parse(&received.payload, allow_pool, template.is_some())?;
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

fn act<C: Call<Input = Wish>>(granted: Granted<C>, world: &mut World<'_>) -> Result<Content, Failure> {
    let (store, context, wish) = (world.store(), Context::of(world), granted.input());
    let _lifecycle = store.lock_lifecycle(&wish.name)?;
    make(store, &context, granted.caller(), wish, &mut |change| world.change(&granted, change))??;
    Ok(Content::new())
}

//! `admin.vm.Create.<class>` and `admin.vm.CreateInPool.<class>` (spec 10 §2.4).

use common::call::{Call, Content, Destination, Granted, Presence, Received, Row, Values, World};
use common::failure::{Failure, Refusal};
use common::model::Class;
use common::names::{Ascii, QubeName};
use common::storage::unfinished;
use common::store::{Store, Txn};

use super::options::{self, Options};
use super::plan::Plan;
use crate::input;
use crate::property::Context;

/// `admin.vm.Create.<class>`.
pub(super) struct Create<const CLASS: u8>;
/// `admin.vm.CreateInPool.<class>`.
pub(super) struct CreateInPool<const CLASS: u8>;

/// What a creating call was asked for.
pub(super) struct Request {
    pub(super) class: Class,
    pub(super) template: Option<Ascii>,
    pub(super) options: Options,
}

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
    type Input = Request;

    fn sanitise(received: &Received) -> Result<Request, Refusal> {
        sanitise(received, class_of(CLASS), false)
    }

    fn facts(input: &Request) -> Values {
        facts(input)
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
    type Input = Request;

    fn sanitise(received: &Received) -> Result<Request, Refusal> {
        sanitise(received, class_of(CLASS), true)
    }

    fn facts(input: &Request) -> Values {
        facts(input)
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        act(granted, world)
    }
}

fn sanitise(received: &Received, class: Class, allow_pool: bool) -> Result<Request, Refusal> {
    let template = input::optional_argument(received)?;
    if template.is_some() && !class.has_template() {
        return Err(Refusal::protocol(format!("{} cannot be based on template", class.as_str())));
    }
    let options = options::parse(&received.payload, allow_pool, template.is_some())?;
    Ok(Request { class, template, options })
}

fn facts(input: &Request) -> Values {
    let template = input.template.as_ref().map(Ascii::as_str).unwrap_or_default();
    let options = &input.options;
    let pools = options.pools.iter().map(|(volume, pool)| format!("{volume}={pool}")).collect::<Vec<_>>();
    Values::argument(template)
        .with("name", options.name.as_str())
        .with("label", options.label.0.as_str())
        .with("pool", options.pool.as_deref().unwrap_or_default())
        .with("pools", pools.join(" "))
}

fn act<C: Call<Input = Request>>(granted: Granted<C>, world: &mut World<'_>) -> Result<Content, Failure> {
    let (store, context) = (world.store(), Context::of(world));
    make(store, &context, granted.caller(), granted.input(), &mut |change| world.change(&granted, change))
}

/// Something done inside a transaction.
type Change<'a> = &'a mut dyn FnMut(&mut Txn<'_>) -> Result<(), Failure>;

/// Files first, outside the store's lock; then the qube appears in one change, or the files go again. What cannot be
/// cleared away then is logged, and left to the next call of that name. One function for all the classes' calls.
fn make(
    store: &Store,
    context: &Context<'_>,
    caller: &QubeName,
    request: &Request,
    change: &mut dyn FnMut(Change<'_>) -> Result<(), Failure>,
) -> Result<Content, Failure> {
    let name = &request.options.name;
    let _lifecycle = store.lock_lifecycle(name)?;
    unfinished::settle(store, context.root, name)?;
    let draft = Plan::make(&store.read()?, context, request)?;
    let made = draft.make_files(store, context);
    let done = change(&mut |txn| match &made {
        Ok(()) => draft.confirmed(txn, context, request)?.insert(txn, context, caller),
        Err(failure) => draft.announce_failure(txn, context, caller).and(Err(failure.clone())),
    });
    let _ = unfinished::settle(store, context.root, name);
    done.map(|()| Content::new())
}

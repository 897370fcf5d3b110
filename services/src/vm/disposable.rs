//! `admin.vm.CreateDisposable`: a disposable qube for whoever asks (spec 10 §2.6).

use std::rc::Rc;

use common::call::{Call, Content, Granted, Presence, Received, Row, Values, World};
use common::failure::{Exception, Failure, Refusal};
use common::model::{Class, Qube, Value};
use common::names::{Ascii, QubeName, QubeUuid};
use common::root::Root;
use common::storage::unfinished;
use common::store::{LifecycleGuard, Store, View};

use super::make::{Purpose, Wish, foresee, make};
use super::plan::{self, is_template_of_disposables};
use crate::property::{self, Context};
use crate::{lifecycle, preload};

pub(super) struct CreateDisposable;

/// What is asked for.
pub(super) enum Wanted {
    /// A disposable, told by its name.
    Name,
    /// A disposable, told by its UUID.
    Uuid,
    /// That disposables be made in advance.
    Preload,
}

impl Call for CreateDisposable {
    const ROW: Row = Row::write(
        "admin.vm.CreateDisposable",
        "Makes a disposable on a template, for dom0 the caller's default; payload `uuid` asks for its UUID.",
    )
    .global()
    .argument(Presence::Optional)
    .payload(Presence::Optional);
    type Input = Wanted;

    fn sanitise(received: &Received) -> Result<Wanted, Refusal> {
        let text = |bytes: &common::untrusted::Untrusted| bytes.sanitise::<Ascii>();
        let argument = text(&received.argument)?;
        if !matches!(argument.as_str(), "" | "preload") {
            return Err(Refusal::denied("Argument not in \"'', 'preload'\""));
        }
        match text(&received.payload).as_ref().map(Ascii::as_str) {
            Ok("" | "uuid") if argument.as_str() == "preload" => Ok(Wanted::Preload),
            Ok("") => Ok(Wanted::Name),
            Ok("uuid") => Ok(Wanted::Uuid),
            _ => Err(Refusal::protocol("Invalid payload, expected empty string or 'uuid'")),
        }
    }

    fn facts(wanted: &Wanted) -> Values {
        Values::argument(if matches!(wanted, Wanted::Preload) { "preload" } else { "" })
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let context = Context::of(world);
        let template = template(&world.store().read()?, &context, &granted)?;
        if matches!(granted.input(), Wanted::Preload) {
            return make_in_advance_now(&granted, world, template).map(|()| Content::new());
        }
        let template = template.filter(|template| is_template_of_disposables(template));
        let template = template.ok_or_else(no_template)?;
        let Some(taken) = world.in_earnest(|| hand_out(&granted, world, &template))? else {
            return foresee_one(&granted, world, &template).map(|()| Content::new());
        };
        let (name, uuid) = taken.map_or_else(|| make_now(&granted, world, &template), Ok)?;
        Ok(match granted.input() {
            Wanted::Uuid => format!("uuid:{uuid}").into_bytes(),
            _ => name.as_str().into(),
        })
    }
}

/// The first that was made in advance, if there is any. A caller with a quota gets a new one, which is counted where it is
/// made.
fn listed<'t>(granted: &Granted<CreateDisposable>, template: &'t Qube) -> Option<&'t str> {
    preload::listed(template).next().filter(|_| !granted.quota().is_limited())
}

/// Tells what the caller would get. Another number may be drawn by then.
fn foresee_one(
    granted: &Granted<CreateDisposable>,
    world: &mut World<'_>,
    template: &Qube,
) -> Result<(), Failure> {
    if let Some(name) = listed(granted, template) {
        return world.foretell(granted, format_args!("{name} is handed out, which was made in advance"));
    }
    let number = plan::free_dispid(&world.store().read()?)?;
    let name = QubeName::parse(&format!("disp{number}"))?;
    foresee(granted, world, &wish(name, template, Purpose::Use(number))?)
}

/// One that was made in advance, if there is any that is good. The next is made without us.
fn hand_out(
    granted: &Granted<CreateDisposable>,
    world: &World<'_>,
    template: &Qube,
) -> Result<Option<(QubeName, QubeUuid)>, Failure> {
    if listed(granted, template).is_none() {
        return Ok(None);
    }
    let taken = preload::hand_out(world.root(), &template.name, granted.caller());
    preload::fill_gap(world.store(), world.root(), &template.name);
    taken
}

/// A new one. Where others shall be made in advance and are not, that begins, too.
fn make_now(
    granted: &Granted<CreateDisposable>,
    world: &mut World<'_>,
    template: &Qube,
) -> Result<(QubeName, QubeUuid), Failure> {
    let (store, context) = (world.store(), Context::of(world));
    let (number, name, _lifecycle) = reserve(store, context.root)?;
    let has_gap = preload::has_room(&store.read()?, template)?;
    let gap = has_gap.then(|| preload::start_event(&template.name, "there is a gap"));
    let wish = wish(name, template, Purpose::Use(number))?;
    let uuid = make(store, &context, granted.caller(), &wish, &mut |change| {
        world.change(granted, |txn| {
            gap.iter().for_each(|event| txn.event(event.clone()));
            change(txn)
        })
    })??;
    if has_gap {
        preload::fill_gap(store, context.root, &template.name);
    }
    Ok((wish.name, uuid))
}

/// Fills the template's list, and answers once that is done.
fn make_in_advance_now(
    granted: &Granted<CreateDisposable>,
    world: &mut World<'_>,
    template: Option<Rc<Qube>>,
) -> Result<(), Failure> {
    let text = "There is no default template of disposables";
    let template = template.ok_or_else(|| Failure::new(Exception::QubesException, text))?;
    world.foretell(
        granted,
        format_args!("disposables of {} are made until there are enough", template.name),
    )?;
    world.announce(granted, preload::start_event(&template.name, "autostart was requested"))?;
    if preload::is_for(template.class) {
        preload::run_now(world.root(), &template.name)?;
    }
    Ok(())
}

fn no_template() -> Failure {
    let text = "Refusing to create disposable out of app qube which has template_for_dispvms=False";
    Failure::new(Exception::QubesException, text)
}

/// The destination; for dom0 what the caller has as `default_dispvm`, which may be nothing.
fn template(
    view: &View<'_>,
    context: &Context<'_>,
    granted: &Granted<CreateDisposable>,
) -> Result<Option<Rc<Qube>>, Failure> {
    let name = granted.destination();
    if !name.is_dom0() {
        return Ok(view.qube(name)?);
    }
    let Some(caller) = view.qube(granted.caller())? else { return Ok(None) };
    let default = property::effective(view, context.hypervisor, context.root, &caller, "default_dispvm")?;
    Ok(default.as_ref().and_then(Value::as_text).map_or(Ok(None), |name| view.qube_named(name))?)
}

/// Draws a number that nobody has, and holds the name made from it. Whoever draws the same one waits here, then sees
/// that it is taken.
pub(super) fn reserve(store: &Store, root: &Root) -> Result<(u16, QubeName, LifecycleGuard), Failure> {
    // The next disposable has another name, so nobody comes by to clear away what a killed call left of the last.
    let _ = unfinished::settle_abandoned(store, root);
    loop {
        let number = plan::free_dispid(&store.read()?)?;
        let name = QubeName::parse(&format!("disp{number}"))?;
        let lifecycle = lifecycle::lock(store, root, &name)?;
        if !plan::taken_dispids(&store.read()?)?.contains(&number) {
            return Ok((number, name, lifecycle));
        }
    }
}

/// A disposable that a template is to be made into.
pub(super) fn wish(name: QubeName, template: &Qube, purpose: Purpose) -> Result<Wish, Failure> {
    let template = Some(Ascii::parse(template.name.as_str())?);
    Ok(Wish { template, purpose, ..Wish::plain(Class::DispVM, name, None) })
}

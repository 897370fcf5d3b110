//! `admin.vm.CreateDisposable`: a disposable qube for whoever asks (spec 10 §2.6).

use std::rc::Rc;

use common::call::{Call, Content, Granted, Presence, Received, Row, Values, World, no_such_domain};
use common::failure::{Exception, Failure, Refusal};
use common::model::{Qube, Value};
use common::names::{Ascii, QubeName, QubeUuid};
use common::store::View;

use super::plan::is_template_of_disposables;
use crate::preload;
use crate::property::{self, Context};

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
        let taken = hand_out(&granted, world, &template);
        let (name, uuid) = taken?.map_or_else(|| make_now(&granted, world, &template), Ok)?;
        Ok(match granted.input() {
            Wanted::Uuid => format!("uuid:{uuid}").into_bytes(),
            _ => name.as_str().into(),
        })
    }
}

/// One that was made in advance, if there is any. The next is made without us. A caller with a quota gets a new one, which
/// is counted where it is made.
fn hand_out(
    granted: &Granted<CreateDisposable>,
    world: &World<'_>,
    template: &Qube,
) -> Result<Option<(QubeName, QubeUuid)>, Failure> {
    if granted.quota().is_limited() || preload::listed(template).next().is_none() {
        return Ok(None);
    }
    let (store, context) = (world.store(), Context::of(world));
    let taken = preload::take(store, &context, &template.name, granted.caller());
    preload::fill_gap(store, context.root, &template.name);
    Ok(taken?.map(|taken| (taken.name, taken.uuid)))
}

/// A new one, by the executable that makes qubes.
fn make_now(
    granted: &Granted<CreateDisposable>,
    world: &World<'_>,
    template: &Qube,
) -> Result<(QubeName, QubeUuid), Failure> {
    let name = preload::make_for(world.root(), &template.name, granted.caller(), granted.quota())?;
    let made = world.store().read_one()?.qube(&name)?.ok_or_else(|| no_such_domain(name.as_str()))?;
    Ok((name, made.uuid.clone()))
}

/// Fills the template's list, and answers once that is done.
fn make_in_advance_now(
    granted: &Granted<CreateDisposable>,
    world: &mut World<'_>,
    template: Option<Rc<Qube>>,
) -> Result<(), Failure> {
    let text = "There is no default template of disposables";
    let template = template.ok_or_else(|| Failure::new(Exception::QubesException, text))?;
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

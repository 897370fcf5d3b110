//! `admin.vm.CreateDisposable`: a disposable qube for whoever asks (spec 10 §2.6).

use std::rc::Rc;

use common::call::{Call, Content, Granted, Presence, Received, Row, Values, World};
use common::failure::{Exception, Failure, Refusal};
use common::model::{Class, Qube, Value};
use common::names::{Ascii, QubeName};
use common::storage::unfinished;
use common::store::{LifecycleGuard, Store, View};

use super::make::{Wish, make};
use super::plan::{self, is_template_of_disposables};
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
        let (store, context) = (world.store(), Context::of(world));
        let template = template(&store.read()?, &context, &granted)?;
        if matches!(granted.input(), Wanted::Preload) {
            let text = "Disposables are not made in advance by this version";
            return Err(Failure::new(Exception::QubesNotImplementedError, text));
        }
        let template = template.filter(|template| is_template_of_disposables(template));
        let template = template.ok_or_else(no_template)?;
        // The next disposable has another name, so nobody comes by to clear away what a killed call left of the last.
        let _ = unfinished::settle_abandoned(store, context.root);
        let (wish, _lifecycle) = reserve(store, &template)?;
        let caller = granted.caller();
        let uuid = make(store, &context, caller, &wish, &mut |change| world.change(&granted, change))?;
        Ok(match granted.input() {
            Wanted::Uuid => format!("uuid:{uuid}").into_bytes(),
            _ => wish.name.as_str().into(),
        })
    }
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
fn reserve(store: &Store, template: &Qube) -> Result<(Wish, LifecycleGuard), Failure> {
    loop {
        let dispid = plan::free_dispid(&store.read()?)?;
        let name = QubeName::parse(&format!("disp{dispid}"))?;
        let lifecycle = store.lock_lifecycle(&name)?;
        if !plan::taken_dispids(&store.read()?)?.contains(&dispid) {
            return Ok((wish(name, template, dispid)?, lifecycle));
        }
    }
}

fn wish(name: QubeName, template: &Qube, dispid: u16) -> Result<Wish, Failure> {
    Ok(Wish {
        class: Class::DispVM,
        name,
        label: None,
        template: Some(Ascii::parse(template.name.as_str())?),
        pool: None,
        pools: Vec::new(),
        dispid: Some(dispid),
    })
}

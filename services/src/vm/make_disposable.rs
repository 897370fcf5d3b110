//! Making a disposable, for those who hand one out and for the process that keeps some in advance: both stay small without
//! what makes qubes.

use common::call::{Call, Content, Granted, Presence, Received, Row, Values, World, no_such_domain};
use common::failure::{Failure, Refusal};
use common::model::{Class, Qube};
use common::names::{Ascii, QubeName};
use common::quota::Quota;
use common::root::Root;
use common::storage::unfinished;
use common::store::{LifecycleGuard, Store};

use super::make::{Purpose, Wish, make};
use super::plan;
use crate::preload::MAKE;
use crate::property::Context;
use crate::{lifecycle, preload};

/// `internal.MakeDisposable`: one of the template, told by its name; for a caller's use, whose name and quota the payload
/// tells, or else for the template's list.
pub(super) struct MakeDisposable;

/// Who shall have it, and what they may use up.
pub(super) struct User {
    name: QubeName,
    quota: Quota,
}

impl Call for MakeDisposable {
    const ROW: Row =
        Row::write(MAKE, "Makes a disposable for a caller, or in advance of being asked for one.")
            .payload(Presence::Optional)
            .internal();
    type Input = Option<User>;

    fn sanitise(received: &Received) -> Result<Option<User>, Refusal> {
        let text: Ascii = received.payload.sanitise()?;
        let Some((name, quota)) = text.as_str().split_once(' ') else { return Ok(None) };
        let quota = Quota::parse(quota).ok_or_else(|| Refusal::protocol("Invalid quota"))?;
        Ok(Some(User { name: QubeName::parse(name)?, quota }))
    }

    fn facts(user: &Option<User>) -> Values {
        Values::default().with("user", user.as_ref().map(|user| user.name.as_str()).unwrap_or_default())
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let template = world.store().read()?.qube(granted.destination())?;
        let template = template.ok_or_else(|| no_such_domain(granted.destination().as_str()))?;
        let name = match granted.input() {
            Some(user) => for_use(&granted, world, &template, user),
            None => for_later_use(&granted, world, &template),
        }?;
        Ok(name.as_str().into())
    }
}

/// One that is used at once. Where others shall be made in advance and are not, that begins, too.
fn for_use(
    granted: &Granted<MakeDisposable>,
    world: &mut World<'_>,
    template: &Qube,
    user: &User,
) -> Result<QubeName, Failure> {
    let (store, context) = (world.store(), Context::of(world));
    let (number, name, _lifecycle) = reserve(store, context.root)?;
    let has_gap = preload::has_room(&store.read()?, template)?;
    let gap = has_gap.then(|| preload::start_event(&template.name, "there is a gap"));
    let wish = wish(name, template, Purpose::Use(number))?;
    make(store, &context, &user.name, &wish, &mut |change| {
        world.change(granted, |txn| {
            gap.iter().for_each(|event| txn.event(event.clone()));
            change(txn)?;
            user.quota.check(&user.name, txn, store)
        })
    })??;
    if has_gap {
        preload::fill_gap(store, context.root, &template.name);
    }
    Ok(wish.name)
}

fn for_later_use(
    granted: &Granted<MakeDisposable>,
    world: &mut World<'_>,
    template: &Qube,
) -> Result<QubeName, Failure> {
    let (store, context) = (world.store(), Context::of(world));
    let (number, name, _lifecycle) = reserve(store, context.root)?;
    let wish = wish(name, template, Purpose::LaterUse(number))?;
    make(store, &context, granted.caller(), &wish, &mut |change| world.change(granted, change))??;
    Ok(wish.name)
}

/// Draws a number that nobody has, and holds the name made from it. Whoever draws the same one waits here, then sees
/// that it is taken.
fn reserve(store: &Store, root: &Root) -> Result<(u16, QubeName, LifecycleGuard), Failure> {
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
fn wish(name: QubeName, template: &Qube, purpose: Purpose) -> Result<Wish, Failure> {
    let template = Some(Ascii::parse(template.name.as_str())?);
    Ok(Wish { template, purpose, ..Wish::plain(Class::DispVM, name, None) })
}

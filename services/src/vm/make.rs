//! Making a qube, for every call that does: what is asked for, and the way from there into the store.

use common::call::{Call, Granted, World};
use common::failure::Failure;
use common::model::Class;
use common::names::{Ascii, NewLabelName, QubeName, QubeUuid, VolumeName};
use common::storage::unfinished;
use common::store::{Store, Txn};
use common::upload::Upload;

use super::plan::Plan;
use crate::property::Context;

/// What a new qube shall be, before anything is looked up.
pub(super) struct Wish {
    pub(super) class: Class,
    pub(super) name: QubeName,
    /// Where none is given, the template's.
    pub(super) label: Option<NewLabelName>,
    pub(super) template: Option<Ascii>,
    /// Pool for every volume that is read-write and no snapshot.
    pub(super) pool: Option<String>,
    /// Pools of single volumes, in the order given.
    pub(super) pools: Vec<(VolumeName, String)>,
    pub(super) purpose: Purpose,
    /// What the root volume is filled with, whose size becomes that of the volume.
    pub(super) image: Option<Upload>,
}

impl Wish {
    /// A qube with nothing but a class, a name and a label.
    pub(super) fn plain(class: Class, name: QubeName, label: Option<NewLabelName>) -> Self {
        let (template, pool, pools) = (None, None, Vec::new());
        Self { class, name, label, template, pool, pools, purpose: Purpose::Named, image: None }
    }
}

/// What a qube is made for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Whatever its name says.
    Named,
    /// A disposable's use by its caller. Its name is this number, and it is removed when it stops.
    Use(u16),
    /// A disposable's use by somebody later on.
    LaterUse(u16),
}

impl Purpose {
    /// The number that was drawn for it.
    pub(super) const fn dispid(self) -> Option<u16> {
        match self {
            Self::Named => None,
            Self::Use(dispid) | Self::LaterUse(dispid) => Some(dispid),
        }
    }
}

/// Something done inside a transaction.
type Change<'a> = &'a mut dyn FnMut(&mut Txn<'_>) -> Result<(), Failure>;

/// Tells what making a qube would do.
pub(super) fn foresee<C: Call>(
    granted: &Granted<C>,
    world: &mut World<'_>,
    wish: &Wish,
) -> Result<(), Failure> {
    let context = Context::of(world);
    let look = |world: &World<'_>| {
        Plan::make(&world.store().read()?, &context, wish)?.check_files(context.root)?;
        Ok(format!("the volumes of {} are made", wish.name))
    };
    let caller = granted.caller();
    world.foresee(granted, look, |txn| Plan::make(txn, &context, wish)?.insert(txn, &context, caller))
}

/// Makes the qube, whose lifecycle lock is held. Files first, outside the store's lock; then the qube appears in one
/// change, or the files go again. What cannot be cleared away then is logged, and left to the next call of that name.
/// One function for all calls, which hand in their own transaction. Gives the new qube's UUID; the inner error is one of
/// a qube whose making had begun.
pub(super) fn make(
    store: &Store,
    context: &Context<'_>,
    caller: &QubeName,
    wish: &Wish,
    change: &mut dyn FnMut(Change<'_>) -> Result<(), Failure>,
) -> Result<Result<QubeUuid, Failure>, Failure> {
    unfinished::settle(store, context.root, &wish.name)?;
    let mut draft = Plan::make(&store.read()?, context, wish)?;
    let made = draft.make_files(store, context, wish);
    let done = change(&mut |txn| match &made {
        Ok(()) => draft.confirmed(txn, context, wish)?.insert(txn, context, caller),
        Err(failure) => draft.announce_failure(txn, context, caller).and(Err(failure.clone())),
    });
    // Tried twice, so that an error that passes leaves nothing to others.
    let settle = || unfinished::settle(store, context.root, &wish.name);
    let _ = settle().or_else(|_| settle());
    Ok(done.map(|()| draft.uuid()))
}

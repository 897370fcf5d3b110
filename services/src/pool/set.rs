//! `admin.pool.Set.revisions_to_keep` and `admin.pool.Set.ephemeral_volatile` (spec 20 §2.7, §2.8).

use std::marker::PhantomData;

use common::call::{Call, Content, Destination, Granted, Presence, Received, Row, Values, World};
use common::failure::{Exception, Failure, Refusal};
use common::model::Pool;
use common::names::{Ascii, RevisionsToKeep, Switch};
use common::storage::options::{self, Driver, EPHEMERAL_VOLATILE, REVISIONS_TO_KEEP};
use common::store::Txn;
use common::untrusted::Sanitise;

use super::find;
use crate::input;

/// The call that sets what `T` is the value of.
pub(super) struct Set<T>(PhantomData<T>);

/// The value of a setting of every pool.
pub(super) trait Setting: Sanitise {
    /// The call.
    const ROW: Row;
    /// The setting.
    const KEY: &'static str;

    /// Refuses what no pool takes, before permission.
    fn check(self) -> Result<Self, Refusal> {
        Ok(self)
    }

    /// The value as it is stored and shown.
    fn text(&self) -> String;

    /// Whether a driver without the setting takes the value all the same.
    fn is_fine_without(&self) -> Result<(), Failure>;
}

const fn row(name: &'static str, help: &'static str) -> Row {
    Row::write(name, help)
        .global()
        .on(Destination::Dom0)
        .argument(Presence::Required)
        .payload(Presence::Required)
}

impl Setting for RevisionsToKeep {
    const ROW: Row =
        row("admin.pool.Set.revisions_to_keep", "Sets how many old states new volumes of a pool keep.");
    const KEY: &'static str = REVISIONS_TO_KEEP;

    fn check(self) -> Result<Self, Refusal> {
        if self.0 < -1 { Err(Refusal::protocol("Value can't be lower than -1")) } else { Ok(self) }
    }

    fn text(&self) -> String {
        self.0.to_string()
    }

    fn is_fine_without(&self) -> Result<(), Failure> {
        let text = "LinuxKernel supports only revisions_to_keep=0";
        if self.0 == 0 { Ok(()) } else { Err(Failure::new(Exception::QubesValueError, text)) }
    }
}

impl Setting for Switch {
    const ROW: Row =
        row("admin.pool.Set.ephemeral_volatile", "Sets whether volatile volumes of a pool are encrypted.");
    const KEY: &'static str = EPHEMERAL_VOLATILE;

    fn text(&self) -> String {
        options::text_of(self.0)
    }

    fn is_fine_without(&self) -> Result<(), Failure> {
        Ok(())
    }
}

/// A pool's name, and the value or what is wrong with it: that is told only of a pool that exists.
type Change<T> = (Ascii, Result<T, Refusal>);

impl<T: Setting> Call for Set<T> {
    const ROW: Row = T::ROW;
    type Input = Change<T>;

    fn sanitise(received: &Received) -> Result<Change<T>, Refusal> {
        let value = received.payload.sanitise::<T>().map_err(Refusal::from).and_then(T::check);
        Ok((input::argument(received)?, value))
    }

    fn facts((pool, value): &Change<T>) -> Values {
        let value = value.as_ref().map(T::text).unwrap_or_default();
        Values::argument(pool.as_str()).with("newvalue", value)
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let (pool, value) = granted.input();
        world.change(&granted, |txn| {
            find(&*txn.pools()?, pool)?;
            set(txn, pool.as_str(), value.as_ref().map_err(Clone::clone)?)
        })
    }
}

fn set<T: Setting>(txn: &mut Txn<'_>, name: &str, value: &T) -> Result<Content, Failure> {
    let pools = txn.pools()?;
    let driver = pools.find(name).and_then(|pool| options::find(&pool.driver));
    let Some(text) = driver.map_or(Ok(None), |driver| stored(driver, value))? else {
        return Ok(Content::new());
    };
    let is_it = |pool: &&mut Pool| pool.name.as_str() == name;
    txn.edit_pools(|pools| {
        pools.pools.iter_mut().filter(is_it).for_each(|pool| pool.set(T::KEY, text.clone()))
    })?;
    Ok(Content::new())
}

/// What a driver's pool stores of a value, if anything.
fn stored<T: Setting>(driver: &Driver, value: &T) -> Result<Option<String>, Failure> {
    match driver.option(T::KEY) {
        Some(option) => option.checked(&value.text()).map(Some),
        // Its back end has such settings, in a file that no call writes.
        None if driver.name == "callback" => {
            let text = "What volumes of a callback pool keep is set in its configuration file";
            Err(Failure::new(Exception::QubesException, text))
        }
        None => value.is_fine_without().map(|()| None),
    }
}

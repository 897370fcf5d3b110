//! `admin.pool.Add` (spec 20 §2.5).

use common::call::{Call, Content, Destination, Granted, Presence, Received, Row, Values, World};
use common::event::Event;
use common::failure::{Exception, Failure, Refusal};
use common::model::Pool;
use common::names::{Ascii, PoolName};
use common::storage;
use common::storage::options::{self as drivers, SETUP_CHECK};
use common::store::{Txn, View};

use super::options::{self, Request};
use super::pool_in_use;
use crate::input;

pub(super) struct Add;

impl Call for Add {
    const ROW: Row = Row::write(
        "admin.pool.Add",
        "Makes a pool of the given driver: payload lines option=value, and name=….",
    )
    .global()
    .on(Destination::Dom0)
    .argument(Presence::Required)
    .payload(Presence::Required);
    type Input = Request;

    fn sanitise(received: &Received) -> Result<Request, Refusal> {
        let driver = input::argument::<Ascii>(received)?;
        let unknown = || Refusal::denied("Argument not in 'available drivers'");
        options::parse(drivers::find(driver.as_str()).ok_or_else(unknown)?, &received.payload)
    }

    fn facts(request: &Request) -> Values {
        let options = request.options.iter().map(|(key, value)| format!("{key}={value}"));
        Values::argument(request.driver.name)
            .with("name", request.name.as_ref().map(PoolName::as_str).unwrap_or_default())
            .with("pool_config", options.collect::<Vec<_>>().join("\n"))
    }

    /// The driver works outside the store's lock; then the pool appears in one change.
    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let request = granted.input();
        check_complete(request)?;
        let name = request.name.as_ref().ok_or_else(|| Failure::dropped("a pool without a name"))?;
        check_free(world.view(), name)?;
        let settings = request.driver.settings(&request.options)?;
        let pool = Pool { name: name.clone(), driver: request.driver.name.to_owned(), settings };
        let driver = storage::driver(world.root(), &pool)?;
        let words = |_: &World<'_>| Ok(format!("driver {} makes the pool ready", pool.driver));
        world.foresee(&granted, words, |txn| insert(txn, pool.clone()))?;
        driver.set_up(&pool)?;
        world.change(&granted, |txn| insert(txn, pool))?;
        Ok(Content::new())
    }
}

/// Row 8.
fn check_complete(request: &Request) -> Result<(), Failure> {
    let missing = request.driver.missing(&request.options);
    if missing.is_empty() {
        return Ok(());
    }
    let text = format!("missing required driver options: {}", missing.join(" "));
    Err(Failure::new(Exception::QubesException, text))
}

/// Row 10.
fn check_free(view: &View<'_>, name: &PoolName) -> Result<(), Failure> {
    match view.pools()?.find(name.as_str()) {
        Some(_) => Err(pool_in_use(name.as_str())),
        None => Ok(()),
    }
}

/// Adds the pool with those of its settings that are stored.
fn insert(txn: &mut Txn<'_>, mut pool: Pool) -> Result<(), Failure> {
    check_free(txn, &pool.name)?;
    pool.settings.retain(|(key, _)| key != SETUP_CHECK);
    txn.event(Event::system("pool-add").with("pool", pool.name.as_str()));
    Ok(txn.edit_pools(|pools| pools.pools.push(pool))?)
}

//! `admin.pool.*`: storage pools and their drivers (spec 20 §2).

mod add;
mod info;
pub mod options;
mod remove;
mod set;

use common::call::{
    Call, Content, Destination, Family, Granted, Presence, Received, Row, Values, World, entry,
};
use common::failure::{Exception, Failure, Refusal};
use common::model::{Pool, Pools};
use common::names::{Ascii, RevisionsToKeep, Switch};
use common::quote::quote;
use common::storage::options::DRIVERS;

use crate::input;
use crate::listing::{self, Item};

/// The family.
pub const FAMILY: Family = Family {
    name: "admin-pool",
    calls: &[
        entry::<List>(),
        entry::<ListDrivers>(),
        entry::<info::Info>(),
        entry::<info::UsageDetails>(),
        entry::<add::Add>(),
        entry::<remove::Remove>(),
        entry::<set::Set<RevisionsToKeep>>(),
        entry::<set::Set<Switch>>(),
    ],
};

/// The pool a call asks for; `Argument not in 'pools'` if there is none.
pub(crate) fn find<'p>(pools: &'p Pools, name: &Ascii) -> Result<&'p Pool, Failure> {
    let unknown = || Refusal::denied("Argument not in 'pools'").into();
    pools.find(name.as_str()).ok_or_else(unknown)
}

/// `Storage pool is in use: …`.
fn in_use(what: &str) -> Failure {
    Failure::new(Exception::QubesPoolInUseError, format!("Storage pool is in use: {what}"))
}

/// The same for a pool as such.
fn pool_in_use(name: &str) -> Failure {
    in_use(&quote(name))
}

struct List;

impl Call for List {
    const ROW: Row = Row::read("admin.pool.List", "Names of all pools, one per line.")
        .global()
        .on(Destination::Dom0)
        .argument(Presence::Optional);
    type Input = Option<Ascii>;

    fn sanitise(received: &Received) -> Result<Self::Input, Refusal> {
        input::optional_argument(received)
    }

    fn facts(input: &Self::Input) -> Values {
        Values::argument(input.as_ref().map(Ascii::as_str).unwrap_or_default())
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let pools = world.view().pools()?;
        let items = pools.pools.iter().map(|pool| Item::plain(pool.name.as_str()));
        listing::print(items, granted.input().as_ref(), "pools")
    }
}

struct ListDrivers;

impl Call for ListDrivers {
    const ROW: Row = Row::read_one(
        "admin.pool.ListDrivers",
        "All storage drivers, one per line, each with the options of its pools.",
    )
    .global()
    .on(Destination::Dom0);
    common::no_input!();

    fn act(_: Granted<Self>, _: &mut World<'_>) -> Result<Content, Failure> {
        let mut content = String::new();
        for driver in &DRIVERS {
            content.push_str(driver.name);
            for option in driver.options {
                content.push(' ');
                content.push_str(option.name);
            }
            content.push('\n');
        }
        Ok(content.into_bytes())
    }
}

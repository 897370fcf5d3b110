//! `admin.pool.Info` and `admin.pool.UsageDetails` (spec 20 §2.3, §2.4). The store is not locked meanwhile: a driver may
//! have to run a program.

use common::call::{Call, Content, Destination, Granted, Presence, Received, Row, Values, World};
use common::failure::{Failure, Refusal};
use common::log;
use common::model::{Pool, Pools};
use common::names::Ascii;
use common::root::Root;
use common::storage::{self, Capacity};

use super::find;
use crate::{input, listing};

const fn row(name: &'static str, help: &'static str) -> Row {
    Row::read_one(name, help).global().on(Destination::Dom0).argument(Presence::Required)
}

/// Declares a call that tells something about a pool, as lines `key=value`.
macro_rules! about {
    ($call:ident, $name:literal, $help:literal, $tell:path) => {
        pub(super) struct $call;

        impl Call for $call {
            const ROW: Row = row($name, $help);
            type Input = Ascii;

            fn sanitise(received: &Received) -> Result<Self::Input, Refusal> {
                input::argument(received)
            }

            fn facts(input: &Self::Input) -> Values {
                Values::argument(input.as_str()).with("pool", input.as_str())
            }

            fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
                let pools = world.view().pools()?;
                let pool = find(&pools, granted.input())?;
                Ok(listing::pairs(&$tell(world.root(), &pools, pool)?))
            }
        }
    };
}

about!(Info, "admin.pool.Info", "Settings, size and usage of a pool, lines key=value.", info);
about!(
    UsageDetails,
    "admin.pool.UsageDetails",
    "Sizes and usages of a pool, lines key=value.",
    usage_details
);

type Lines = Vec<(&'static str, String)>;

/// The settings, whatever becomes of the pool's driver.
fn info<'a>(root: &Root, pools: &'a Pools, pool: &'a Pool) -> Result<Vec<(&'a str, String)>, Failure> {
    let mut settings: Vec<(&str, String)> =
        pool.settings.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
    settings.push(("driver", pool.driver.clone()));
    settings.push(("name", pool.name.as_str().to_owned()));
    settings.sort_unstable();
    let Capacity { size, usage, .. } = capacity(root, pool).unwrap_or_else(|failure| {
        log::line(&format!("the size of pool {} is unknown: {}", pool.name, failure.into_text()));
        Capacity::default()
    });
    settings.extend(size.map(|size| ("size", size.to_string())));
    settings.extend(usage.map(|usage| ("usage", usage.to_string())));
    let holder = storage::included_in(root, pools, pool);
    settings.extend(holder.map(|holder| ("included_in", holder.name.as_str().to_owned())));
    Ok(settings)
}

fn capacity(root: &Root, pool: &Pool) -> Result<Capacity, Failure> {
    Ok(storage::driver(root, pool)?.capacity()?)
}

fn usage_details(root: &Root, _: &Pools, pool: &Pool) -> Result<Lines, Failure> {
    let Capacity { size, usage, metadata } = capacity(root, pool)?;
    let mut lines = Lines::new();
    lines.extend(size.map(|size| ("data_size", size.to_string())));
    lines.extend(usage.map(|usage| ("data_usage", usage.to_string())));
    if let Some((size, usage)) = metadata {
        lines.push(("metadata_size", size.to_string()));
        lines.push(("metadata_usage", usage.map_or_else(|| "None".to_owned(), |usage| usage.to_string())));
    }
    Ok(lines)
}

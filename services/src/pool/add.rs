//! `admin.pool.Add` (spec 20 §2.5).

use common::call::{Call, Content, Destination, Granted, Presence, Received, Row, Values, World};
use common::event::Event;
use common::failure::{Exception, Failure, Refusal};
use common::model::Pool;
use common::names::{Ascii, PoolName};
use common::root::Root;
use common::storage;
use common::storage::options::{self, Driver, SETUP_CHECK};
use common::store::View;
use common::untrusted::Untrusted;

use super::pool_in_use;
use crate::input;

/// What ends a line, besides CR LF.
const LINE_ENDS: [char; 7] = ['\n', '\r', '\x0b', '\x0c', '\x1c', '\x1d', '\x1e'];

pub(super) struct Add;

/// What a pool was asked for.
pub(super) struct Request {
    driver: &'static Driver,
    /// None if an empty name was given, which is refused without a word.
    name: Option<PoolName>,
    /// Options as given, without the name.
    options: Vec<(String, String)>,
}

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
        request(options::find(driver.as_str()).ok_or_else(unknown)?, &received.payload)
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
        let pool = set_up(world.root(), request, name)?;
        world.change(&granted, |txn| {
            check_free(txn, name)?;
            txn.edit_pools(|pools| pools.pools.push(pool))?;
            txn.event(Event::system("pool-add").with("pool", name.as_str()));
            Ok(Content::new())
        })
    }
}

/// Rows 2 to 7: lines of options, all of them the driver's, with a name.
fn request(driver: &'static Driver, payload: &Untrusted) -> Result<Request, Refusal> {
    let text = payload.sanitise::<Ascii>();
    let text = text.map_err(|_| Refusal::protocol("Pool parameters contains non-ASCII characters"))?;
    let mut options = options_of(text.as_str())?;
    let name = options.iter().position(|(key, _)| key == "name");
    let name = name.ok_or_else(|| Refusal::protocol("Pool configuration must contain key: name"))?;
    let (_, name) = options.remove(name);
    let name = if name.is_empty() { None } else { Some(PoolName::parse(&name)?) };
    if options.iter().any(|(key, _)| driver.option(key).is_none()) {
        return Err(Refusal::protocol("Unexpected driver options found"));
    }
    Ok(Request { driver, name, options })
}

/// Rows 3 and 4.
fn options_of(text: &str) -> Result<Vec<(String, String)>, Refusal> {
    let text = text.replace("\r\n", "\n");
    let lines = text.strip_suffix(LINE_ENDS).unwrap_or(&text).split(LINE_ENDS);
    let pair = |line: &str| line.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
    let options: Option<Vec<_>> = lines.map(pair).collect();
    let options = options.ok_or_else(|| Refusal::protocol("Options must be separated by equal sign"))?;
    let is_repeated = |(at, (key, _)): (usize, &(String, String))| {
        options.iter().take(at).any(|(earlier, _)| earlier == key)
    };
    match options.iter().enumerate().any(is_repeated) {
        true => Err(Refusal::protocol("Options must be unique")),
        false => Ok(options),
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

/// The pool with what it stores, once its driver has made it ready.
fn set_up(root: &Root, request: &Request, name: &PoolName) -> Result<Pool, Failure> {
    let settings = request.driver.settings(&request.options)?;
    let mut pool = Pool { name: name.clone(), driver: request.driver.name.to_owned(), settings };
    storage::driver(root, &pool)?.set_up(&pool)?;
    pool.settings.retain(|(key, _)| key != SETUP_CHECK);
    Ok(pool)
}

//! What `admin.pool.Add` is asked for (spec 20 §2.5, rows 2 to 7): lines of options, all of them the driver's, with a name.

use common::failure::Refusal;
use common::names::{Ascii, PoolName};
use common::storage::options::Driver;
use common::untrusted::Untrusted;

/// What ends a line, besides CR LF.
const LINE_ENDS: [char; 7] = ['\n', '\r', '\x0b', '\x0c', '\x1c', '\x1d', '\x1e'];

/// What a pool was asked for.
#[derive(Debug)]
pub struct Request {
    /// Its driver.
    pub driver: &'static Driver,
    /// None if an empty name was given, which is refused without a word.
    pub name: Option<PoolName>,
    /// Options as given, without the name.
    pub options: Vec<(String, String)>,
}

/// Reads a payload for a pool of a driver.
///
/// # Errors
/// The words of the table's first row that is broken.
pub fn parse(driver: &'static Driver, payload: &Untrusted) -> Result<Request, Refusal> {
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

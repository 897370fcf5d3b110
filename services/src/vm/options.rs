//! The payload of the creating calls: words `key=value` (spec 10 §2.4, rows 3 to 16).

use common::failure::Refusal;
use common::names::{Ascii, NewLabelName, QubeName, VolumeName};
use common::untrusted::Untrusted;

/// Volumes a pool may be named for.
const VOLUMES: [&str; 4] = ["root", "private", "volatile", "kernel"];

/// What a new qube shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Its name.
    pub name: QubeName,
    /// Its label.
    pub label: NewLabelName,
    /// Pool for every volume that is read-write and no snapshot.
    pub pool: Option<String>,
    /// Pools of single volumes, in the order given.
    pub pools: Vec<(VolumeName, String)>,
}

/// What was read so far.
#[derive(Default)]
struct Draft {
    name: Option<QubeName>,
    label: Option<NewLabelName>,
    pool: Option<String>,
    pools: Vec<(VolumeName, String)>,
}

/// Parses the payload. `allow_pool` is set in `CreateInPool`, `has_template` where a template was given.
///
/// # Errors
/// The first violated row's text.
pub fn parse(payload: &Untrusted, allow_pool: bool, has_template: bool) -> Result<Options, Refusal> {
    let text = payload.sanitise::<Ascii>();
    let text = text.map_err(|_| Refusal::protocol("Parameters contains non-ASCII characters"))?;
    let mut draft = Draft::default();
    for word in text.as_str().split(' ') {
        let (key, value) =
            word.split_once('=').ok_or_else(|| Refusal::protocol("Options must be key=value"))?;
        match key {
            "name" => put(&mut draft.name, QubeName::parse, value)?,
            "label" => put(&mut draft.label, NewLabelName::parse, value)?,
            "template" if has_template => return Err(not_unique()),
            _ if key != "pool" && !key.starts_with("pool:") => {
                return Err(Refusal::protocol("Options does not match: name, label, pool, pool:"));
            }
            _ if !allow_pool => {
                return Err(Refusal::protocol("Pool option specified but 'allow_pool' is False"));
            }
            _ => draft.put_pool(key, value)?,
        }
    }
    draft.finish()
}

fn not_unique() -> Refusal {
    Refusal::protocol("Options must be unique")
}

fn put<T>(
    place: &mut Option<T>,
    parse: fn(&str) -> Result<T, common::untrusted::Broken>,
    value: &str,
) -> Result<(), Refusal> {
    if place.is_some() {
        return Err(not_unique());
    }
    *place = Some(parse(value)?);
    Ok(())
}

impl Draft {
    fn put_pool(&mut self, key: &str, value: &str) -> Result<(), Refusal> {
        let Some(volume) = key.strip_prefix("pool:") else {
            let again = self.pool.replace(value.to_owned());
            return again.map_or(Ok(()), |_| Err(Refusal::protocol("Option 'pool' must be unique")));
        };
        if !VOLUMES.contains(&volume) {
            return Err(Refusal::protocol("Volume must be one of: root, private, volatile, kernel"));
        }
        if self.pools.iter().any(|(known, _)| known.as_str() == volume) {
            return Err(Refusal::protocol(format!("Option 'pool:{volume}' must be unique")));
        }
        self.pools.push((VolumeName::parse(volume)?, value.to_owned()));
        Ok(())
    }

    fn finish(self) -> Result<Options, Refusal> {
        let missing = |key| Refusal::protocol(format!("Creation requested without key: {key}"));
        let name = self.name.ok_or_else(|| missing("name"))?;
        let label = self.label.ok_or_else(|| missing("label"))?;
        if self.pool.is_some() && !self.pools.is_empty() {
            return Err(Refusal::protocol("Conflicting options specified: 'pool=', 'pool:volume='"));
        }
        Ok(Options { name, label, pool: self.pool, pools: self.pools })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(payload: &str, allow_pool: bool) -> Refusal {
        parse(&Untrusted::new(payload.as_bytes().to_vec()), allow_pool, true).err().unwrap()
    }

    #[test]
    fn the_rows_of_the_table() {
        let protocol = |text: &'static str| Refusal::protocol(text);
        let same = |left: Refusal, right: Refusal| {
            assert_eq!(
                format!("{left:?}").split("raised").next(),
                format!("{right:?}").split("raised").next()
            )
        };
        same(refused("name=a\u{e9}", false), protocol("Parameters contains non-ASCII characters"));
        same(refused("", false), protocol("Options must be key=value"));
        same(refused("name=a  label=red", false), protocol("Options must be key=value"));
        same(refused("name=a name=b", false), protocol("Options must be unique"));
        same(refused("template=a", false), protocol("Options must be unique"));
        same(refused("name=a pool=x", false), protocol("Pool option specified but 'allow_pool' is False"));
        same(refused("pool=x pool=y", true), protocol("Option 'pool' must be unique"));
        same(refused("pool:x=y", true), protocol("Volume must be one of: root, private, volatile, kernel"));
        same(refused("pool:root=y pool:root=z", true), protocol("Option 'pool:root' must be unique"));
        same(refused("x=y", true), protocol("Options does not match: name, label, pool, pool:"));
        same(refused("label=red", true), protocol("Creation requested without key: name"));
        same(refused("name=a", true), protocol("Creation requested without key: label"));
        same(
            refused("name=a label=red pool=x pool:root=y", true),
            protocol("Conflicting options specified: 'pool=', 'pool:volume='"),
        );
    }
}

//! What payloads become: property values of every kind, and the options of creating calls.

use std::sync::LazyLock;

use common::model::{Class, Value};
use common::untrusted::Untrusted;
use services::property::{self, Kind};
use services::vm::options::{self, Options};

pub(super) fn check(bytes: &[u8]) {
    let payload = || Untrusted::new(bytes.to_vec());
    for kind in KINDS.iter().copied() {
        if let Ok(value) = property::parse(kind, &payload()) {
            check_value(kind, &value);
        }
        if let Some(value) =
            std::str::from_utf8(bytes).ok().and_then(|text| property::parse_stored(kind, text).ok())
        {
            assert_eq!(property::parse_stored(kind, &value.to_text()), Ok(value), "{kind:?}");
        }
    }
    for (allow_pool, has_template) in [(false, false), (false, true), (true, false), (true, true)] {
        if let Ok(options) = options::parse(&payload(), allow_pool, has_template) {
            let printed = Untrusted::new(print(&options).into_bytes());
            assert_eq!(options::parse(&printed, allow_pool, has_template), Ok(options));
        }
    }
}

/// Each type that some property has.
static KINDS: LazyLock<Vec<Kind>> = LazyLock::new(|| {
    let rows = Class::ALL.into_iter().flat_map(property::rows_of).chain(property::global_rows());
    let mut kinds = Vec::new();
    for row in rows {
        if !kinds.contains(&row.kind) {
            kinds.push(row.kind);
        }
    }
    kinds
});

/// A value's text, its JSON and its form in `qubes.xml` lead back to it.
fn check_value(kind: Kind, value: &Value) {
    let text = value.to_text();
    assert_eq!(property::parse(kind, &Untrusted::new(text.clone().into_bytes())), Ok(value.clone()));
    assert_eq!(property::parse_stored(kind, &text).as_ref(), Ok(value), "{kind:?}");
    let json = serde_json::to_string(value).unwrap();
    assert_eq!(&serde_json::from_str::<Value>(&json).unwrap(), value);
}

fn print(options: &Options) -> String {
    let mut words = vec![format!("name={}", options.name), format!("label={}", options.label.0)];
    words.extend(options.pool.iter().map(|pool| format!("pool={pool}")));
    words.extend(options.pools.iter().map(|(volume, pool)| format!("pool:{volume}={pool}")));
    words.join(" ")
}

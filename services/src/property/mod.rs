//! `admin.property.*` and `admin.vm.property.*`: one row per property, one sequence per change (spec 10 §3).

mod attachment;
mod calls;
mod change;
mod check;
mod fanout;
mod globals;
mod helper;
mod network;
mod parse;
mod parts;
mod qubes;
mod row;
mod values;
mod veto;

pub use attachment::DEFERRED as DEFERRED_NETVM;
pub use calls::{GLOBAL, VM};
pub use change::{check_stored, reset, set};
pub use check::clients;
pub use parse::parse;
pub use parts::names_a_qube;
pub use row::{Access, Case, Check, Context, Default, Fits, Kind, Row};

use std::net::{Ipv4Addr, Ipv6Addr};

use common::failure::Failure;
use common::hypervisor::Hypervisor;
use common::model::{Class, Qube, Value};
use common::names::Switch;
use common::root::Root;
use common::store::View;

/// The global properties in the order of lists.
pub fn global_rows() -> &'static [Row] {
    &parts::GLOBAL
}

/// The properties of a class in the order of lists.
pub fn rows_of(class: Class) -> impl Iterator<Item = &'static Row> {
    parts::EARLY.iter().chain(&parts::LATE).filter(move |row| (row.has)(class))
}

/// The row of a global property.
pub fn global_row(name: &str) -> Option<&'static Row> {
    parts::GLOBAL.iter().find(|row| row.name == name)
}

/// The row of a class's property.
pub fn row(class: Class, name: &str) -> Option<&'static Row> {
    rows_of(class).find(|row| row.name == name)
}

/// Whether a class has a property that can be set at any time.
pub fn is_settable(class: Class, name: &str) -> bool {
    row(class, name).is_some_and(|row| row.access_in(Some(class)) == Access::Free)
}

/// Reads a property's stored text, as in `qubes.xml`. Names of qubes are not resolved; see [`check_stored`].
///
/// # Errors
/// What is wrong with the text.
pub fn parse_stored(kind: Kind, text: &str) -> Result<Value, &'static str> {
    let canonical = |text: String| Value::Text(text);
    match kind {
        Kind::Int => parse::integer(text).map(Value::Int).ok_or("not a whole number"),
        Kind::Bool => Switch::parse(text).map(|switch| Value::Bool(switch.0)).ok_or("not a switch"),
        Kind::Ip4 => {
            text.parse::<Ipv4Addr>().map(|ip| canonical(ip.to_string())).map_err(|_| "not an IPv4 address")
        }
        Kind::Ip6 => {
            text.parse::<Ipv6Addr>().map(|ip| canonical(ip.to_string())).map_err(|_| "not an IPv6 address")
        }
        Kind::Qube { .. } if text.is_empty() => Ok(Value::None),
        Kind::Text | Kind::Label | Kind::Pool | Kind::Uuid | Kind::Qube { .. } => {
            Ok(canonical(text.to_owned()))
        }
    }
}

/// The pool of volumes of that name which are told none.
///
/// # Errors
/// What the store says.
pub fn default_pool(view: &View<'_>, context: &Context<'_>, volume: &str) -> Result<Option<String>, Failure> {
    let property = format!("default_pool_{volume}");
    let value = effective_global(view, context.hypervisor, context.root, &property)?;
    Ok(value.map(|value| value.to_text()))
}

/// A property's explicit value. Name, number and UUID of every qube but dom0 count as explicit.
fn explicit(case: &Case<'_>, row: &Row) -> Result<Option<Value>, Failure> {
    match case.qube {
        None => Ok(case.view.system()?.properties.get(row.name).cloned()),
        Some(qube) if matches!(row.name, "name" | "qid" | "uuid") => {
            if qube.class == Class::AdminVM {
                Ok(None)
            } else {
                (row.default)(case)
            }
        }
        Some(qube) => Ok(qube.properties.get(row.name).cloned()),
    }
}

/// The value of a row in a case: nothing if it has none at all.
fn value_of(case: &Case<'_>, row: &Row) -> Result<Option<Value>, Failure> {
    match explicit(case, row)? {
        found @ Some(_) => Ok(found),
        None => (row.default)(case),
    }
}

fn effective_in(case: &Case<'_>, property: &str) -> Result<Option<Value>, Failure> {
    let class = case.qube.map(|qube| qube.class);
    match class.and_then(|class| row(class, property)) {
        Some(row) => value_of(case, row),
        None => Ok(None),
    }
}

/// The text of a qube's property as if it were not set.
///
/// # Errors
/// What the store says.
pub fn default_text(case: &Case<'_>, property: &str) -> Result<String, Failure> {
    let class = case.qube.map(|qube| qube.class);
    let value = class.and_then(|class| row(class, property)).map_or(Ok(None), |row| (row.default)(case))?;
    Ok(value.map(|value| value.to_text()).unwrap_or_default())
}

fn global_in(case: &Case<'_>, property: &str) -> Result<Option<Value>, Failure> {
    global_row(property).map_or(Ok(None), |row| value_of(case, row))
}

/// The effective value of a qube's property; nothing if it has none at all.
///
/// # Errors
/// What the store says.
pub fn effective(
    view: &View<'_>,
    hypervisor: &dyn Hypervisor,
    root: &Root,
    qube: &Qube,
    property: &str,
) -> Result<Option<Value>, Failure> {
    effective_in(&Case { view, context: Context { hypervisor, root }, qube: Some(qube) }, property)
}

/// The effective value of a global property; nothing if it has none at all.
///
/// # Errors
/// What the store says.
pub fn effective_global(
    view: &View<'_>,
    hypervisor: &dyn Hypervisor,
    root: &Root,
    property: &str,
) -> Result<Option<Value>, Failure> {
    global_in(&Case { view, context: Context { hypervisor, root }, qube: None }, property)
}

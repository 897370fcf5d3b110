//! Computed values of the network (spec 10 §3.5, note 2).

use common::failure::Failure;
use common::model::{Class, Qube, Value};

use super::row::Case;
use super::values::global;

type Found = Result<Option<Value>, Failure>;

fn text(value: impl Into<String>) -> Found {
    Ok(Some(Value::Text(value.into())))
}

const NONE: Found = Ok(Some(Value::None));

pub(super) fn netvm(case: &Case<'_>) -> Found {
    match case.qube {
        Some(qube) if qube.class == Class::TemplateVM => NONE,
        _ => global(case, "default_netvm"),
    }
}

fn is_networked(case: &Case<'_>) -> Result<bool, Failure> {
    Ok(case.named_by("netvm")?.is_some() || case.is_on("provides_network")?)
}

pub(super) fn dns(case: &Case<'_>) -> Found {
    if is_networked(case)? { text("10.139.1.1 10.139.1.2") } else { NONE }
}

/// The number an address is made of, and whether it is a disposable's.
fn address_number(qube: &Qube) -> (bool, u32) {
    let dispid =
        qube.properties.get("dispid").and_then(Value::as_int).filter(|_| qube.class == Class::DispVM);
    match dispid {
        Some(dispid) => (true, u32::try_from(dispid).unwrap_or_default()),
        None => (false, u32::from(qube.qid)),
    }
}

pub(super) fn ip(case: &Case<'_>) -> Found {
    match case.qube {
        Some(qube) if is_networked(case)? => text(address(qube)),
        _ => NONE,
    }
}

fn address(qube: &Qube) -> String {
    let (disposable, number) = address_number(qube);
    let prefix = if disposable { "10.138" } else { "10.137" };
    if number < 255 {
        return format!("{prefix}.0.{number}");
    }
    let before = number.saturating_sub(1);
    let (high, low) =
        (before.checked_div(254).unwrap_or_default(), before.checked_rem(254).unwrap_or_default());
    format!("{prefix}.{high}.{}", low.saturating_add(1))
}

pub(super) fn ip6(case: &Case<'_>) -> Found {
    match case.qube {
        Some(qube) if is_networked(case)? && has_ipv6(case)? => {
            let (disposable, number) = address_number(qube);
            let group = if disposable { "a8a" } else { "a89" };
            text(format!("fd09:24ef:4179::{group}:{number:x}"))
        }
        _ => NONE,
    }
}

fn has_ipv6(case: &Case<'_>) -> Result<bool, Failure> {
    case.has_feature_on_netvms("ipv6")
}

/// A feature's text if it is not empty.
fn fake(case: &Case<'_>, feature: &str) -> Result<Option<Value>, Failure> {
    Ok(case.feature(feature)?.filter(|value| !value.is_empty()).map(Value::Text))
}

pub(super) fn visible_ip(case: &Case<'_>) -> Found {
    fake(case, "net.fake-ip")?.map_or_else(|| case.value("ip"), |value| Ok(Some(value)))
}

pub(super) fn visible_ip6(case: &Case<'_>) -> Found {
    case.value("ip6")
}

pub(super) fn gateway(case: &Case<'_>) -> Found {
    if case.is_on("provides_network")? { case.value("visible_ip") } else { NONE }
}

pub(super) fn gateway6(case: &Case<'_>) -> Found {
    if case.is_on("provides_network")? && has_ipv6(case)? { case.value("visible_ip6") } else { NONE }
}

pub(super) fn visible_gateway(case: &Case<'_>) -> Found {
    match (fake(case, "net.fake-gateway")?, case.named_by("netvm")?) {
        (Some(value), _) => Ok(Some(value)),
        (None, Some(netvm)) => case.at(&netvm).value("gateway"),
        (None, None) => NONE,
    }
}

pub(super) fn visible_gateway6(case: &Case<'_>) -> Found {
    match case.named_by("netvm")? {
        Some(netvm) if has_ipv6(case)? => case.at(&netvm).value("gateway6"),
        _ => NONE,
    }
}

pub(super) fn visible_netmask(case: &Case<'_>) -> Found {
    match (fake(case, "net.fake-netmask")?, case.named_by("netvm")?) {
        (Some(value), _) => Ok(Some(value)),
        (None, Some(netvm)) if is_networked(&case.at(&netvm))? => text("255.255.255.255"),
        _ => NONE,
    }
}

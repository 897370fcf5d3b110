//! Checks of new values that come before any event (spec 10 §3.3 step 3 and the tables).

use std::rc::Rc;

use common::failure::{Exception, Failure};
use common::model::{Class, Qube, Value, parse_index};
use common::quote::quote;

use super::row::Case;

type Checked = Result<Value, Failure>;

/// `QubesPropertyValueError`.
pub(super) fn bad(text: impl Into<String>) -> Failure {
    Failure::new(Exception::QubesPropertyValueError, text.into())
}

fn bad_value(text: impl Into<String>) -> Failure {
    Failure::new(Exception::QubesValueError, text.into())
}

fn only(text: &str, extra: &[u8]) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || extra.contains(&byte))
}

/// A number above zero.
pub(super) fn positive(property: &str, value: Value) -> Checked {
    match value.as_int() {
        Some(number) if number <= 0 => Err(bad(format!("{property} must be positive"))),
        _ => Ok(value),
    }
}

pub(super) fn maxmem(_: &Case<'_>, value: Value) -> Checked {
    match value.as_int() {
        Some(number) if number < 0 => Err(bad("maxmem must be positive or zero")),
        _ => Ok(value),
    }
}

pub(super) fn default_user(_: &Case<'_>, value: Value) -> Checked {
    const TEXT: &str = "Username can contain only those characters: \
        abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+,.";
    if only(&value.to_text(), b"_-+,.") { Ok(value) } else { Err(bad(TEXT)) }
}

/// Length of one interface code: a letter for the bus and six digits.
const INTERFACE: usize = 7;

/// Interface codes without separators: made unique, sorted, then each checked.
pub(super) fn devices_denied(_: &Case<'_>, value: Value) -> Checked {
    let text = value.to_text();
    if !text.len().is_multiple_of(INTERFACE) {
        let length = text.len();
        let shown = quote(&text);
        return Err(bad_value(format!(
            "Invalid length of interfaces={shown} (is {length}, expected multiple of 7)"
        )));
    }
    let bytes: Vec<char> = text.chars().collect();
    let mut codes = std::collections::BTreeSet::<String>::new();
    codes.extend(bytes.chunks(INTERFACE).map(|code| code.iter().collect::<String>()));
    if codes.iter().all(|code| is_interface(code)) {
        return Ok(Value::Text(codes.into_iter().collect()));
    }
    Err(bad(
        "Interface code list should be in the form chhhhhhchhhhhh...,where c is one of \"b\", \"u\", \"m\", \
        \"p\", \"*\" and h is a hexdigit or \"*\".",
    ))
}

fn is_interface(code: &str) -> bool {
    code.starts_with(['b', 'u', 'm', 'p', '*'])
        && code.bytes().skip(1).all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'*'))
}

pub(super) fn keyboard_layout(_: &Case<'_>, value: Value) -> Checked {
    let text = value.to_text();
    let parts: Vec<&str> = text.split('+').collect();
    let [layout, variant, options] = parts.as_slice() else {
        return Err(bad("invalid number of keyboard layout parameters"));
    };
    if layout.is_empty() || !layout.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        Err(bad("Invalid keyboard layout provided"))
    } else if !only(variant, b"-_") {
        Err(bad("Invalid layout variant provided"))
    } else if !only(options, b"-_:,") {
        Err(bad("Invalid layout options provided"))
    } else {
        Ok(value)
    }
}

pub(super) fn mac(_: &Case<'_>, value: Value) -> Checked {
    let text = value.to_text().to_ascii_lowercase();
    let octets: Vec<&str> = text.split(':').collect();
    let is_octet = |octet: &&str| octet.len() == 2 && octet.bytes().all(|byte| byte.is_ascii_hexdigit());
    if octets.len() == 6 && octets.iter().all(is_octet) {
        Ok(Value::Text(text))
    } else {
        Err(bad("Invalid MAC address value"))
    }
}

pub(super) fn virt_mode(case: &Case<'_>, value: Value) -> Checked {
    let mode = value.to_text().to_ascii_lowercase();
    if !matches!(mode.as_str(), "hvm" | "pv" | "pvh") {
        Err(bad("Invalid virtualization mode, supported values: hvm, pv, pvh"))
    } else if mode == "pvh" && case.has_pci() {
        Err(bad("pvh mode can't be set if pci devices are assigned"))
    } else {
        Ok(Value::Text(mode))
    }
}

pub(super) fn kernel(_: &Case<'_>, value: Value) -> Checked {
    if value.to_text().contains('/') { Err(bad("Kernel name cannot contain '/'")) } else { Ok(value) }
}

pub(super) fn kernelopts(_: &Case<'_>, value: Value) -> Checked {
    if value.to_text().len() > 512 {
        Err(bad("Kernelopts value too long (512 chars max)"))
    } else {
        Ok(value)
    }
}

/// A label by name, index or `label-<index>`; becomes its name.
pub(super) fn label(case: &Case<'_>, value: Value) -> Checked {
    let text = value.to_text();
    let labels = case.view.labels()?;
    let number = text.strip_prefix("label-");
    let index = number.and_then(parse_index);
    match index.and_then(|index| labels.at(index)).or_else(|| labels.find(&text)) {
        Some(label) => Ok(Value::Text(label.name.as_str().to_owned())),
        None => {
            let read = index.map(|index| index.to_string());
            Err(crate::label::not_found(&read.unwrap_or_else(|| number.unwrap_or(&text).to_owned())))
        }
    }
}

/// Whether a new value names a qube that may not serve as template of disposables.
fn unfit_for_disposables(case: &Case<'_>, value: &Value) -> Result<Option<String>, Failure> {
    let Value::Text(name) = value else { return Ok(None) };
    let Some(target) = case.view.qube_named(name)? else { return Ok(None) };
    let fits = target.properties.get("template_for_dispvms").is_some_and(Value::is_true);
    Ok((!fits).then(|| quote(name)))
}

pub(super) fn disposable_template(case: &Case<'_>, property: &str, value: Value) -> Checked {
    let (Some(qube), Some(target)) = (case.qube, unfit_for_disposables(case, &value)?) else {
        return Ok(value);
    };
    let holder = quote(qube.name.as_str());
    Err(bad(format!(
        "Cannot set invalid property to qube {holder}, {property} {target} has template_for_dispvms set to False"
    )))
}

fn of_system(case: &Case<'_>, property: &str, value: Value) -> Checked {
    match unfit_for_disposables(case, &value)? {
        None => Ok(value),
        Some(target) => Err(bad(format!(
            "Cannot set invalid property to system, {property} {target} has template_for_dispvms set to False"
        ))),
    }
}

pub(super) fn disposable_template_of_system(case: &Case<'_>, value: Value) -> Checked {
    of_system(case, "default_dispvm", value)
}

pub(super) fn disposable_template_of_system_for_management(case: &Case<'_>, value: Value) -> Checked {
    of_system(case, "management_dispvm", value)
}

/// A disposable's template must be able to serve; an AppVM's is a TemplateVM by its kind.
pub(super) fn template(case: &Case<'_>, value: Value) -> Checked {
    let is_disposable = case.qube.is_some_and(|qube| qube.class == Class::DispVM);
    match unfit_for_disposables(case, &value)? {
        Some(_) if is_disposable => Err(bad("template for disposable must have template_for_dispvms=True")),
        _ => Ok(value),
    }
}

/// A network qube that provides network and is not connected to the holder itself.
pub(super) fn netvm(case: &Case<'_>, value: Value) -> Checked {
    if let (Some(qube), Value::Text(name)) = (case.qube, &value)
        && let Some(target) = case.view.qube_named(name)?
    {
        if !case.at(&target).is_on("provides_network")? {
            return Err(bad_value(format!("The {name} qube does not provide network")));
        }
        if path(case, target)?.iter().any(|reached| reached.name == qube.name) {
            return Err(bad_value("Loops in network are unsupported"));
        }
    }
    Ok(value)
}

/// A qube and all it is connected to along netvms, nearest first.
fn path(case: &Case<'_>, from: Rc<Qube>) -> Result<Vec<Rc<Qube>>, Failure> {
    let mut path: Vec<Rc<Qube>> = Vec::new();
    let mut here = Some(from);
    while let Some(qube) = here.filter(|qube| path.iter().all(|known| known.name != qube.name)) {
        here = case.at(&qube).named_by("netvm")?;
        path.push(qube);
    }
    Ok(path)
}

/// The new default must not reach itself through a qube that follows the default; the first in lists is named.
pub(super) fn default_netvm(case: &Case<'_>, value: Value) -> Checked {
    let Value::Text(name) = &value else { return Ok(value) };
    let Some(target) = case.view.qube_named(name)? else { return Ok(value) };
    let path = path(case, target)?;
    let followers =
        path.iter().filter(|qube| qube.class.is_qubes_vm() && !qube.properties.contains_key("netvm"));
    match followers.map(|qube| &qube.name).min() {
        Some(looped) => Err(bad(format!("Network loop on '{looped}'"))),
        None => Ok(value),
    }
}

/// Nobody may be left connected to a qube that no longer provides network.
pub(super) fn provides_network(case: &Case<'_>, value: Value) -> Checked {
    let Some(qube) = case.qube.filter(|_| !value.is_true()) else { return Ok(value) };
    for name in clients(case, qube)? {
        if name != qube.name.as_str() {
            let text = "The qube is still used by other qubes, change theirs 'netvm' first";
            return Err(bad_value(text));
        }
    }
    Ok(value)
}

/// Names of the qubes whose netvm is `netvm`, in the order of lists.
///
/// # Errors
/// What the store says.
pub fn clients(case: &Case<'_>, netvm: &Qube) -> Result<Vec<String>, Failure> {
    let default = super::global_in(&case.system(), "default_netvm")?.map(|value| value.to_text());
    let is_default = default.as_deref() == Some(netvm.name.as_str());
    let index = case.view.index()?;
    let uses = |entry: &&common::store::Entry| match entry.reference("netvm") {
        Some(explicit) => explicit == netvm.name.as_str(),
        None => is_default && entry.class().is_qubes_vm() && entry.class() != Class::TemplateVM,
    };
    Ok(index.entries().iter().filter(uses).map(|entry| entry.name().to_owned()).collect())
}

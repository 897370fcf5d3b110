//! What may not be set: the checks of features whose names mean something (spec 10 §8.2, §8.5 to §8.7, B4, B12).

use std::net::Ipv4Addr;
use std::rc::Rc;

use common::failure::{Exception, Failure};
use common::model::{Class, Qube, Value};
use common::names::QubeName;
use common::quote::quote;
use common::store::Txn;

use crate::preload;

/// One feature about to be set.
struct Proposal<'a> {
    /// All of the feature's name, or what follows the row's prefix.
    key: &'a str,
    feature: &'a str,
    value: &'a str,
    old: Option<&'a str>,
    qube: Rc<Qube>,
}

/// A check: the feature it is for (a trailing dot makes it a prefix), the classes, and what it refuses.
struct Check {
    feature: &'static str,
    applies: fn(Class) -> bool,
    refusal: fn(&Txn<'_>, &Proposal<'_>) -> Result<Option<String>, Failure>,
}

const CHECKS: [Check; 9] = [
    Check { feature: "service.", applies: Class::is_local, refusal: |_, it| Ok(service(it.key)) },
    Check { feature: "vm-config.", applies: Class::is_local, refusal: |_, it| Ok(vm_config(it.key)) },
    Check {
        feature: "custom-persist.",
        applies: Class::is_local,
        refusal: |_, it| Ok(custom_persist(it.key, it.value)),
    },
    Check { feature: "net.fake-ip", applies: Class::is_qubes_vm, refusal: |_, it| Ok(address(it)) },
    Check { feature: "net.fake-gateway", applies: Class::is_qubes_vm, refusal: |_, it| Ok(address(it)) },
    Check { feature: "net.fake-netmask", applies: Class::is_qubes_vm, refusal: |_, it| Ok(netmask(it)) },
    Check { feature: "preload-dispvm-max", applies: may_preload, refusal: preload_max },
    Check { feature: "preload-dispvm-delay", applies: may_preload, refusal: |_, it| Ok(preload_delay(it)) },
    Check {
        feature: "preload-dispvm-threshold",
        applies: |class| matches!(class, Class::AdminVM),
        refusal: |_, it| Ok(digits(it.feature, it.value)),
    },
];

/// Checks a feature about to be set.
///
/// # Errors
/// `QubesValueError` with the text of the first check that refuses.
pub(super) fn check(
    txn: &Txn<'_>,
    qube: &QubeName,
    feature: &str,
    value: &str,
    old: Option<&str>,
) -> Result<(), Failure> {
    let Some(qube) = txn.qube(qube)? else { return Ok(()) };
    for check in CHECKS.iter().filter(|check| (check.applies)(qube.class)) {
        let Some(key) = feature.strip_prefix(check.feature) else { continue };
        if !check.feature.ends_with('.') && !key.is_empty() {
            continue;
        }
        let proposal = Proposal { key, feature, value, old, qube: Rc::clone(&qube) };
        if let Some(text) = (check.refusal)(txn, &proposal)? {
            return Err(Failure::new(Exception::QubesValueError, text));
        }
    }
    Ok(())
}

fn service(name: &str) -> Option<String> {
    let text = if name.is_empty() {
        "Service name cannot be empty"
    } else if name.contains('/') {
        "Service name cannot contain a slash"
    } else if matches!(name, "." | "..") {
        "Service name cannot be \".\" or \"..\""
    } else if name.len() > 48 && !name.starts_with("app-dispvm.") {
        "Service name must not exceed 48 bytes"
    } else {
        return None;
    };
    Some(text.to_owned())
}

fn vm_config(key: &str) -> Option<String> {
    let text = if key.len() > 52 {
        "VM config name must not exceed 46 bytes"
    } else if key.is_empty() {
        "Empty config name not allowed"
    } else if !key.starts_with(|first: char| first.is_ascii_alphabetic()) {
        "Config name must start with an ASCII letter"
    } else {
        return None;
    };
    Some(text.to_owned())
}

fn custom_persist(key: &str, value: &str) -> Option<String> {
    if key.is_empty() {
        return Some("custom-persist key cannot be empty".to_owned());
    }
    if key.len() > 54 {
        return Some(format!("custom-persist key is too long (max 54), ignoring: {key}"));
    }
    if value.starts_with('/') { None } else { persisted_resource(value) }
}

/// `kind:owner:group:mode:/path`.
fn persisted_resource(value: &str) -> Option<String> {
    let parts: Vec<&str> = value.split(':').collect();
    match parts.as_slice() {
        [kind, _, _, mode, path, ..] if path.starts_with('/') => {
            if !matches!(*kind, "file" | "dir") {
                Some(format!("invalid resource type option '{kind}' in value '{value}'"))
            } else if u32::from_str_radix(mode, 8).is_ok_and(|mode| mode <= 0o7777) {
                None
            } else {
                Some(format!("invalid mode option '{mode}' in value '{value}'"))
            }
        }
        _ => Some(format!("invalid value format: '{value}'")),
    }
}

fn invalid(it: &Proposal<'_>) -> Option<String> {
    Some(format!("Invalid value for {}: {}", it.feature, quote(it.value)))
}

fn address(it: &Proposal<'_>) -> Option<String> {
    if it.value.is_empty() || it.value.parse::<Ipv4Addr>().is_ok() { None } else { invalid(it) }
}

fn netmask(it: &Proposal<'_>) -> Option<String> {
    let is_prefix = !it.value.starts_with('+') && it.value.parse::<u8>().is_ok_and(|bits| bits <= 24);
    if is_prefix { None } else { address(it) }
}

const fn may_preload(class: Class) -> bool {
    matches!(class, Class::AdminVM | Class::AppVM | Class::StandaloneVM)
}

fn digits(feature: &str, value: &str) -> Option<String> {
    let fine = value.bytes().all(|byte| byte.is_ascii_digit());
    (!fine).then(|| format!("Invalid {feature} value: not a digit"))
}

fn preload_delay(it: &Proposal<'_>) -> Option<String> {
    let changed = it.old != Some(it.value);
    (changed && !is_number(it.value.trim()))
        .then(|| "Invalid preload-dispvm-delay value: not an integer or float".to_owned())
}

/// An integer or float, perhaps with single `_` between digits.
fn is_number(text: &str) -> bool {
    let is_digit = |character: char| character.is_ascii_digit();
    let pieces: Vec<&str> = text.split('_').collect();
    let joined = |pair: &[&str]| matches!(pair, [left, right] if left.ends_with(is_digit) && right.starts_with(is_digit));
    pieces.windows(2).all(joined) && pieces.concat().parse::<f64>().is_ok()
}

/// On dom0 the value counts for the global `default_dispvm`, whose rules then hold; digits are asked for always.
fn preload_max(txn: &Txn<'_>, it: &Proposal<'_>) -> Result<Option<String>, Failure> {
    if it.qube.class != Class::AdminVM {
        return preload_max_of(txn, &it.qube, it);
    }
    let system = txn.system()?;
    let default = system.properties.get("default_dispvm").and_then(Value::as_text);
    let template = default.map_or(Ok(None), |name| txn.qube_named(name))?;
    match template {
        Some(template) if it.old != Some(it.value) => preload_max_of(txn, &template, it),
        _ => Ok(digits(it.feature, it.value)),
    }
}

fn preload_max_of(txn: &Txn<'_>, template: &Qube, it: &Proposal<'_>) -> Result<Option<String>, Failure> {
    if !has_feature(txn, template, "qrexec")? {
        return Ok(Some("Qube does not support qrexec".to_owned()));
    }
    let missing = preload::missing_services(|feature| has_feature(txn, template, feature))?;
    if missing.is_empty() {
        return Ok(digits(it.feature, it.value));
    }
    Ok(Some(format!("Qube does not support the RPC(s) '{}'", missing.join(", "))))
}

/// Whether a feature is there and not empty, on the qube or the nearest of its templates that has it.
fn has_feature(txn: &Txn<'_>, qube: &Qube, feature: &str) -> Result<bool, Failure> {
    let mut here = Some(Rc::new(qube.clone()));
    for _ in 0..3 {
        let Some(qube) = here else { break };
        if let Some(value) = qube.feature(feature) {
            return Ok(!value.is_empty());
        }
        let template = qube.properties.get("template").and_then(Value::as_text);
        here = template.map_or(Ok(None), |name| txn.qube_named(name))?;
    }
    Ok(false)
}

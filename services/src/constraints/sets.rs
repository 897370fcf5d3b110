//! What calls set, by the keys that constraints have for it: one row a key.

use super::Ask;
use crate::policy::REGISTERED;
use crate::property::names_a_qube;

/// What stands for a value that the call leaves to the system: a reset, a removal, or none given.
pub(super) const DEFAULT: &str = "@default";

/// Something a call sets: its name, where the key has names, and the value.
type Set<'a> = (&'a str, &'a str);

/// A key of constraints on values.
pub(super) struct Kind {
    pub(super) key: &'static str,
    /// Whether the key goes on with a name, or how names begin.
    pub(super) is_named: bool,
    /// Whether there is something of that name; nothing of another can be set.
    pub(super) exists: fn(&str) -> bool,
    /// What a call sets.
    pub(super) of: for<'a> fn(&Ask<'a>) -> Vec<Set<'a>>,
}

const fn any(_: &str) -> bool {
    true
}

/// All of them.
pub(super) static KINDS: [Kind; 7] = [
    Kind { key: "property", is_named: true, exists: |name| names_a_qube(name).is_some(), of: properties },
    Kind { key: "feature", is_named: true, exists: any, of: features },
    Kind { key: "device", is_named: true, exists: any, of: devices },
    Kind { key: "tag", is_named: false, exists: any, of: tags },
    Kind {
        key: "class",
        is_named: false,
        exists: any,
        of: |ask| class(ask).map(|class| ("", class)).into_iter().collect(),
    },
    Kind { key: "pool", is_named: false, exists: any, of: pools },
    POLICY,
];

/// Policy files, and those to include.
pub(super) const POLICY: Kind = Kind {
    key: "policy",
    is_named: true,
    exists: |name| matches!(name, "file" | "include"),
    of: policy_files,
};

/// The class of a new qube.
fn class<'a>(ask: &Ask<'a>) -> Option<&'a str> {
    let created = ask.method.strip_prefix("admin.vm.Create")?;
    match created {
        "Disposable" => Some("DispVM"),
        "Template" => Some("TemplateVM"),
        _ => created.strip_prefix("InPool").unwrap_or(created).strip_prefix('.'),
    }
}

fn or_default(value: &str) -> &str {
    if value.is_empty() { DEFAULT } else { value }
}

/// A new qube's name, label and template are properties, too.
fn properties<'a>(ask: &Ask<'a>) -> Vec<Set<'a>> {
    match (ask.method, class(ask)) {
        ("admin.property.Set" | "admin.vm.property.Set", _) => {
            let value = ask.value("newvalue");
            let is_none = value.is_empty() && names_a_qube(ask.argument) == Some(true);
            vec![(ask.argument, if is_none { "none" } else { value })]
        }
        ("admin.property.Reset" | "admin.vm.property.Reset", _) => vec![(ask.argument, DEFAULT)],
        // An old name for balancing memory, which becomes the property.
        ("admin.vm.feature.Set", _) if ask.argument == "service.meminfo-writer" => {
            vec![("maxmem", if ask.value("value").is_empty() { "0" } else { DEFAULT })]
        }
        ("admin.vm.device.denied.Add" | "admin.vm.device.denied.Remove", _) => {
            vec![("devices_denied", ask.value("interfaces"))]
        }
        ("admin.vm.CreateDisposable", _) => {
            vec![("template", if ask.destination == "dom0" { DEFAULT } else { ask.destination })]
        }
        (_, Some(class)) => {
            let given = vec![("name", ask.value("name")), ("label", ask.value("label"))];
            let template =
                matches!(class, "AppVM" | "DispVM").then(|| ("template", or_default(ask.argument)));
            given.into_iter().chain(template).collect()
        }
        _ => Vec::new(),
    }
}

fn features<'a>(ask: &Ask<'a>) -> Vec<Set<'a>> {
    match ask.method {
        "admin.vm.feature.Set" => vec![(ask.argument, ask.value("value"))],
        "admin.vm.feature.Remove" => vec![(ask.argument, DEFAULT)],
        _ => Vec::new(),
    }
}

/// Class and device of every call that is about one.
fn devices<'a>(ask: &Ask<'a>) -> Vec<Set<'a>> {
    let call = ask.method.strip_prefix("admin.vm.device.").and_then(|call| call.split_once('.'));
    match call {
        Some((class, _)) if class != "denied" && !ask.argument.is_empty() => vec![(class, ask.argument)],
        _ => Vec::new(),
    }
}

fn tags<'a>(ask: &Ask<'a>) -> Vec<Set<'a>> {
    match ask.method {
        "admin.vm.tag.Set" | "admin.vm.tag.Remove" => vec![("", ask.argument)],
        _ => Vec::new(),
    }
}

/// The pools of a new qube, or the one that the call is about.
fn pools<'a>(ask: &Ask<'a>) -> Vec<Set<'a>> {
    let all = ask.value("pool");
    let each = ask.value("pools").split(' ').filter_map(|pair| Some(pair.split_once('=')?.1));
    match (class(ask), ask.method) {
        (Some(_), _) if !all.is_empty() => vec![("", all)],
        (Some(_), _) => each.chain([DEFAULT]).map(|pool| ("", pool)).collect(),
        (None, "admin.pool.Add") => vec![("", or_default(ask.value("name")))],
        (None, method) if method.starts_with("admin.pool.") && !ask.argument.is_empty() => {
            vec![("", ask.argument)]
        }
        _ => Vec::new(),
    }
}

/// The policy file that a call reads or changes.
fn policy_files<'a>(ask: &Ask<'a>) -> Vec<Set<'a>> {
    match ask.method {
        "policy.Get" | "policy.Replace" | "policy.Remove" => vec![("file", ask.argument)],
        "policy.include.Get" | "policy.include.Replace" | "policy.include.Remove" => {
            vec![("include", ask.argument)]
        }
        "policy.RegisterArgument" => vec![("file", REGISTERED)],
        _ => Vec::new(),
    }
}

/// Qubes that a question to policy is about: dom0 is no secret, nor are words that stand for qubes.
fn asked_about<'a>(ask: &Ask<'a>) -> impl Iterator<Item = &'a str> {
    let ends = ask.method.starts_with("policy.Eval").then_some(["source", "target", "relay"]);
    let named = ends.into_iter().flatten().filter_map(|end| qube_in(ask.value(end)));
    named.filter(|name| *name != "dom0")
}

/// The qube that a word of policy names.
pub(super) fn qube_in(word: &str) -> Option<&str> {
    let name = word.strip_prefix("@dispvm:").unwrap_or(word);
    Some(name).filter(|name| !name.is_empty() && !name.starts_with('@'))
}

/// Qubes that a call names besides its destination.
pub(super) fn named<'a>(ask: &Ask<'a>) -> Vec<&'a str> {
    let properties = properties(ask).into_iter().filter(|(name, _)| names_a_qube(name) == Some(true));
    let backends = devices(ask).into_iter().filter_map(|(_, device)| device.split('+').next());
    let named = properties.map(|(_, value)| value).chain(backends).chain(asked_about(ask));
    named.filter(|name| !matches!(*name, DEFAULT | "none" | "")).collect()
}

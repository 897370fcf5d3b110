//! The words that stand for qubes in source and target columns (spec 50 §13.3).

use super::evaluate::SystemInfo;

/// One word of a source or target column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Everything,
    AnyVm,
    AdminVm,
    Default,
    Class(String),
    Tag(String),
    DispVm,
    DispVmOf(String),
    DispVmTagged(String),
    Qube(String),
}

/// UUID text of dom0.
pub(super) const DOM0_UUID: &str = "uuid:00000000-0000-0000-0000-000000000000";

impl Token {
    /// Parses a word of a column; `@default` and plain `@dispvm` are targets only.
    pub(super) fn parse(word: &str, is_target: bool) -> Option<Self> {
        if let Some(rest) = word.strip_prefix("@dispvm:") {
            let tagged = rest.strip_prefix("@tag:");
            let value = tagged.unwrap_or(rest);
            let valid = !value.is_empty() && !value.starts_with('@');
            let make = if tagged.is_some() { Self::DispVmTagged } else { Self::DispVmOf };
            return valid.then(|| make(value.to_owned()));
        }
        match word {
            "*" => Some(Self::Everything),
            "@anyvm" => Some(Self::AnyVm),
            "@adminvm" | "dom0" | DOM0_UUID => Some(Self::AdminVm),
            "@default" => is_target.then_some(Self::Default),
            "@dispvm" => is_target.then_some(Self::DispVm),
            _ => match (word.strip_prefix("@type:"), word.strip_prefix("@tag:")) {
                (Some(""), _) | (_, Some("")) => None,
                (Some(class), _) => Some(Self::Class(class.to_owned())),
                (_, Some(tag)) => Some(Self::Tag(tag.to_owned())),
                _ if word.starts_with('@') || word.is_empty() => None,
                _ => Some(Self::Qube(word.to_owned())),
            },
        }
    }

    /// Whether the word stands for a qube that exists, named or by `uuid:…`.
    pub(super) fn matches(&self, system: &dyn SystemInfo, qube: &str) -> bool {
        let is_dom0 = matches!(qube, "dom0" | "@adminvm" | DOM0_UUID);
        let name = canonical(system, qube);
        match self {
            Self::Everything => true,
            Self::AnyVm => !is_dom0,
            Self::AdminVm => is_dom0,
            Self::Class(class) if qube != "@adminvm" => {
                system.class(&name).is_some_and(|found| found.as_str() == class)
            }
            Self::Tag(tag) if qube != "@adminvm" => system.has_tag(&name, tag),
            Self::Qube(own) => canonical(system, own) == name,
            _ => false,
        }
    }

    /// Whether the word stands for a prepared target, which may be one of the requestable `@` words.
    pub(super) fn matches_target(&self, system: &dyn SystemInfo, source: &str, target: &str) -> bool {
        let default_base = || system.default_dispvm(&canonical(system, source));
        match target {
            "@default" => matches!(self, Self::Everything | Self::AnyVm | Self::Default),
            "@dispvm" => match self {
                Self::Everything | Self::AnyVm | Self::DispVm => true,
                Self::DispVmOf(base) => {
                    default_base().is_some_and(|default| canonical(system, base) == default)
                }
                Self::DispVmTagged(tag) => {
                    default_base().is_some_and(|default| system.has_tag(&default, tag))
                }
                _ => false,
            },
            _ => match target.strip_prefix("@dispvm:") {
                Some(base) => self.matches_base(system, &canonical(system, base)),
                None => self.matches(system, target),
            },
        }
    }

    fn matches_base(&self, system: &dyn SystemInfo, base: &str) -> bool {
        match self {
            Self::Everything | Self::AnyVm => true,
            Self::DispVmOf(own) => canonical(system, own) == base,
            Self::DispVmTagged(tag) => system.has_tag(base, tag),
            _ => false,
        }
    }
}

/// The name that goes with a word: a `uuid:…` becomes the name it belongs to.
pub(super) fn canonical(system: &dyn SystemInfo, word: &str) -> String {
    let by_uuid = word.strip_prefix("uuid:").and_then(|uuid| system.name_of_uuid(uuid));
    by_uuid.unwrap_or_else(|| if word == "@adminvm" { "dom0".to_owned() } else { word.to_owned() })
}

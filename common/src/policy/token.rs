//! The words that stand for qubes in source and target columns (spec 50 §13.3).

use std::borrow::Cow;
use std::fmt;

use super::SystemInfo;
use crate::model::Class;

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
const DOM0_UUID: &str = "uuid:00000000-0000-0000-0000-000000000000";

/// Whether a word stands for dom0.
pub(super) fn is_dom0(word: &str) -> bool {
    matches!(word, "dom0" | "@adminvm" | DOM0_UUID)
}

/// One side of a call as rules see it.
pub(super) struct Party<'a> {
    /// The word itself.
    pub(super) word: &'a str,
    /// The name that goes with it.
    pub(super) name: Cow<'a, str>,
    /// Name of its default template of disposables, where that matters.
    pub(super) default_dispvm: Option<String>,
}

impl<'a> Party<'a> {
    pub(super) fn source(system: &dyn SystemInfo, word: &'a str) -> Self {
        let name = canonical(system, word);
        Self { word, default_dispvm: system.default_dispvm(&name), name }
    }

    /// A target; of `@dispvm:…` the name is that of the base.
    pub(super) fn target(system: &dyn SystemInfo, word: &'a str) -> Self {
        let name = canonical(system, word.strip_prefix("@dispvm:").unwrap_or(word));
        Self { word, name, default_dispvm: None }
    }

    /// Whether it is a new disposable, not the base itself.
    pub(super) fn is_disposable(&self) -> bool {
        self.word.starts_with("@dispvm")
    }
}

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
            _ if is_dom0(word) => Some(Self::AdminVm),
            "@default" => is_target.then_some(Self::Default),
            "@dispvm" => is_target.then_some(Self::DispVm),
            _ => match (word.strip_prefix("@type:"), word.strip_prefix("@tag:")) {
                (Some(value), _) | (_, Some(value)) if value.is_empty() || value.starts_with('@') => None,
                (Some(class), _) => Some(Self::Class(class.to_owned())),
                (_, Some(tag)) => Some(Self::Tag(tag.to_owned())),
                _ if word.starts_with('@') || word.is_empty() => None,
                _ => Some(Self::Qube(word.to_owned())),
            },
        }
    }

    /// Whether the word stands for a qube, named or by `uuid:…`.
    pub(super) fn matches(&self, system: &dyn SystemInfo, qube: &Party<'_>) -> bool {
        match self {
            Self::Everything => true,
            Self::AnyVm => !is_dom0(qube.word),
            Self::AdminVm => is_dom0(qube.word),
            Self::Class(class) if qube.word != "@adminvm" => {
                system.class(&qube.name).is_some_and(|found| found.as_str() == class)
            }
            Self::Tag(tag) if qube.word != "@adminvm" => system.has_tag(&qube.name, tag),
            Self::Qube(own) => canonical(system, own) == qube.name,
            _ => false,
        }
    }

    /// Whether the word stands for a prepared target, which may be one of the requestable `@` words.
    pub(super) fn matches_target(
        &self,
        system: &dyn SystemInfo,
        source: &Party<'_>,
        target: &Party<'_>,
    ) -> bool {
        match target.word {
            "@default" => matches!(self, Self::Everything | Self::AnyVm | Self::Default),
            "@dispvm" => *self == Self::DispVm || self.matches_base(system, source.default_dispvm.as_deref()),
            _ if target.is_disposable() => self.matches_base(system, Some(&target.name)),
            _ => self.matches(system, target),
        }
    }

    /// Whether the word stands for new disposables of a base, if there is one.
    fn matches_base(&self, system: &dyn SystemInfo, base: Option<&str>) -> bool {
        match self {
            Self::Everything | Self::AnyVm => true,
            Self::DispVmOf(own) => base.is_some_and(|base| canonical(system, own) == base),
            Self::DispVmTagged(tag) => {
                base.is_some_and(|base| system.is_template_for_dispvms(base) && system.has_tag(base, tag))
            }
            _ => false,
        }
    }

    /// Whether this word stands for everything that another does, whatever qubes there are.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let is_no_dom0 = match other {
            Self::Everything | Self::AdminVm | Self::Tag(_) => false,
            Self::Class(class) => class != Class::AdminVM.as_str(),
            _ => true,
        };
        *self == Self::Everything || self == other || *self == Self::AnyVm && is_no_dom0
    }
}

impl fmt::Display for Token {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => out.write_str("*"),
            Self::AnyVm => out.write_str("@anyvm"),
            Self::AdminVm => out.write_str("@adminvm"),
            Self::Default => out.write_str("@default"),
            Self::Class(class) => write!(out, "@type:{class}"),
            Self::Tag(tag) => write!(out, "@tag:{tag}"),
            Self::DispVm => out.write_str("@dispvm"),
            Self::DispVmOf(base) => write!(out, "@dispvm:{base}"),
            Self::DispVmTagged(tag) => write!(out, "@dispvm:@tag:{tag}"),
            Self::Qube(name) => out.write_str(name),
        }
    }
}

/// The name that goes with a word: a `uuid:…` becomes the name it belongs to.
pub fn canonical<'a>(system: &dyn SystemInfo, word: &'a str) -> Cow<'a, str> {
    if is_dom0(word) {
        return Cow::Borrowed("dom0");
    }
    let by_uuid = word.strip_prefix("uuid:").and_then(|uuid| system.name_of_uuid(uuid));
    by_uuid.map_or(Cow::Borrowed(word), Cow::Owned)
}

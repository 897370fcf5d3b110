//! The words that stand for qubes in constraints.

use common::model::Class;
use common::names::{QubeName, TagName};
use common::quota::created_by;
use common::store::Entry;

use super::pattern::Pattern;

/// One word of a list of qubes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Who {
    /// `@anyvm`: every qube but dom0.
    Any,
    /// `@self`: the caller.
    Caller,
    /// `@created`: what the caller made.
    Created,
    /// `@tag:…`.
    Tagged(String),
    /// `@type:…`.
    Class(Class),
    /// A name, or how names begin.
    Named(Pattern),
}

impl Who {
    /// Reads a word.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(word: &str) -> Result<Self, &'static str> {
        match (word, word.split_once(':')) {
            ("@anyvm", _) => Ok(Self::Any),
            ("@self", _) => Ok(Self::Caller),
            ("@created", _) => Ok(Self::Created),
            (_, Some(("@tag", tag))) => {
                TagName::parse(tag).map(|tag| Self::Tagged(tag.into())).map_err(|_| "no such tag can be")
            }
            (_, Some(("@type", class))) => {
                Class::parse(class).map(Self::Class).ok_or("an unknown type of qube")
            }
            _ => named(word),
        }
    }

    /// Whether it stands for callers: they are told without themselves.
    pub(super) const fn is_of_callers(&self) -> bool {
        !matches!(self, Self::Caller | Self::Created)
    }

    /// Whether it stands for a qube, seen from a caller.
    pub(super) fn is(&self, caller: &str, qube: &Entry) -> bool {
        match self {
            Self::Any => qube.class() != Class::AdminVM,
            Self::Caller => qube.name() == caller,
            Self::Created => has_tag(qube, &created_by(caller)),
            Self::Tagged(tag) => has_tag(qube, tag),
            Self::Class(class) => qube.class() == *class,
            Self::Named(pattern) => pattern.matches(qube.name()),
        }
    }
}

fn has_tag(qube: &Entry, tag: &str) -> bool {
    qube.tags().any(|known| known == tag)
}

fn named(word: &str) -> Result<Who, &'static str> {
    let pattern = Pattern::parse(word)?;
    let is_name = match &pattern {
        Pattern::Exact(name) => QubeName::parse(name).is_ok(),
        Pattern::Prefix(prefix) => !prefix.is_empty() && QubeName::parse(prefix).is_ok(),
        Pattern::Range(..) => false,
    };
    if is_name { Ok(Who::Named(pattern)) } else { Err("no qube can have this name") }
}

//! One rule, and where it stands.

use std::fmt;
use std::rc::Rc;

use super::Token;

/// Where a rule stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    file: Rc<str>,
    line: usize,
}

impl Origin {
    pub(super) fn new(file: &Rc<str>, line: usize) -> Self {
        Self { file: Rc::clone(file), line }
    }

    /// The file, as it is for those who know nothing of another root.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The line, from 1; 0 for a rule that follows from the file as a whole.
    pub const fn line(&self) -> usize {
        self.line
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.file, self.line)
    }
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The call goes on.
    Allow,
    /// The user is asked.
    Ask,
    /// The call is refused.
    Deny,
}

impl Action {
    pub(super) const ALL: [Self; 3] = [Self::Allow, Self::Ask, Self::Deny];

    /// The word in policy.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Ask => "ask",
            Self::Deny => "deny",
        }
    }

    /// The action of a word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == word)
    }
}

/// One rule. No service or argument stands for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub(super) origin: Origin,
    pub(super) service: Option<String>,
    pub(super) argument: Option<String>,
    pub(super) source: Token,
    pub(super) target: Token,
    pub(super) action: Action,
    /// Where the call really goes, instead of to its target.
    pub(super) redirect: Option<String>,
    /// What the user is offered first.
    pub(super) default_target: Option<String>,
    /// As whom the service runs.
    pub(super) user: Option<String>,
    /// Whether a call may start its target.
    pub(super) autostart: bool,
    /// Whether the user is told, where the rule says so.
    pub(super) notify: Option<bool>,
}

impl Rule {
    /// Where it stands.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The one service it is about.
    pub fn service(&self) -> Option<&str> {
        self.service.as_deref()
    }

    /// The one argument it is about, with its plus sign.
    pub fn argument(&self) -> Option<&str> {
        self.argument.as_deref()
    }

    /// What it does.
    pub fn action(&self) -> Action {
        self.action
    }

    /// Whether it is about a call.
    pub(super) fn is_about(&self, service: &str, argument: &str) -> bool {
        self.service.as_deref().is_none_or(|own| own == service)
            && self.argument.as_deref().is_none_or(|own| own == argument)
    }

    fn parameters(&self) -> impl Iterator<Item = String> {
        let switch = |is_on: bool| if is_on { "yes" } else { "no" }.to_owned();
        let parameters = [
            ("target", self.redirect.clone()),
            ("default_target", self.default_target.clone()),
            ("user", self.user.clone()),
            ("autostart", (!self.autostart).then(|| switch(false))),
            ("notify", self.notify.map(switch)),
        ];
        parameters.into_iter().filter_map(|(key, value)| Some(format!(" {key}={}", value?)))
    }
}

/// The rule in today's format.
impl fmt::Display for Rule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (service, argument) = (self.service().unwrap_or("*"), self.argument().unwrap_or("*"));
        let (source, target, action) = (&self.source, &self.target, self.action.as_str());
        write!(out, "{service} {argument} {source} {target} {action}")?;
        self.parameters().try_for_each(|parameter| out.write_str(&parameter))
    }
}

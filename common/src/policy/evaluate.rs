//! Asking the rules: the first that matches decides (spec 50 §14).

use std::collections::BTreeSet;
use std::fmt;

use super::token::{Party, canonical, is_dom0};
use super::{Action, Policy, Rule, SystemInfo};
use crate::log;
use crate::model::Class;

/// What policy is asked.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The service.
    pub service: &'a str,
    /// Its argument, which begins with `+`.
    pub argument: &'a str,
    /// Who calls, or whom the caller says that it calls for.
    pub source: &'a str,
    /// Whom it asks for.
    pub target: &'a str,
    /// The qube that calls in the name of the source, if that is not the source itself.
    pub relay: Option<&'a str>,
}

/// What policy answers, and by which rule.
#[derive(Debug)]
pub struct Decision<'p> {
    /// The rule that decided; none where none matched or none was asked.
    pub rule: Option<&'p Rule>,
    /// What it comes to.
    pub verdict: Verdict,
}

impl Decision<'_> {
    /// Tells the log what was decided, and why.
    pub fn log(&self, question: &Question<'_>) {
        let Question { service, argument, source, target, .. } = question;
        let pairs: String = self.pairs().iter().map(|(key, value)| format!(" {key}={value}")).collect();
        log::line(&format!("{service}{argument} from {source} to {target}:{pairs}"));
    }

    /// What was decided, as keys and values.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs = self.verdict.pairs();
        if let Some(rule) = self.rule {
            pairs.extend(rule.user.clone().map(|user| ("user", user)));
            pairs.push(("rule", rule.origin().to_string()));
        }
        pairs
    }
}

/// What becomes of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It goes to that place.
    Allow(Place),
    /// The user chooses one of these, the first of which need not be the one that is offered first.
    Ask {
        /// Targets in order.
        candidates: Vec<String>,
        /// What is offered first.
        default: Option<String>,
    },
    /// It is refused.
    Deny(Reason),
}

impl Verdict {
    fn pairs(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Allow(place) => {
                let mut pairs = vec![("result", "allow".to_owned()), ("target", place.target.clone())];
                if let Some((relay, service)) = &place.relay {
                    pairs.extend([("relay", relay.clone()), ("service", service.clone())]);
                }
                pairs
            }
            Self::Ask { candidates, default } => {
                let mut pairs = vec![("result", "ask".to_owned())];
                pairs.push(("candidates", candidates.join(",")));
                pairs.extend(default.iter().map(|target| ("default_target", target.clone())));
                pairs
            }
            Self::Deny(reason) => vec![("result", "deny".to_owned()), ("reason", reason.to_string())],
        }
    }
}

/// Where an allowed call goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// A name, or `@dispvm:` and the name of a base.
    pub target: String,
    /// For a remote qube: the qube that carries the call, and by which service.
    pub relay: Option<(String, String)>,
}

/// Why a call is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each has its text")]
pub enum Reason {
    NotRelayed,
    InvalidTarget,
    NoBase,
    NoRule,
    Rule,
    NoTarget,
    NoDefaultDispVm,
    NotRunning,
    Loopback,
    NoRelay,
    NoCandidates,
    NoGuiVm,
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::NotRelayed => "the caller does not speak for that source",
            Self::InvalidTarget => "no such word may be asked for",
            Self::NoBase => "not a template of disposables",
            Self::NoRule => "no matching rule found",
            Self::Rule => "denied by rule",
            Self::NoTarget => "neither the caller nor the rule names a target that exists",
            Self::NoDefaultDispVm => "the source has no default template of disposables",
            Self::NotRunning => "the target does not run and the rule does not let it start",
            Self::Loopback => "source and target are the same",
            Self::NoRelay => "the remote qube has no relay",
            Self::NoCandidates => "there is nothing to choose from",
            Self::NoGuiVm => "nobody can be asked: the source has no GUI domain",
        })
    }
}

impl Policy {
    /// Decides on a call.
    pub fn decide(&self, system: &dyn SystemInfo, question: &Question<'_>) -> Decision<'_> {
        let mut rule = None;
        let outcome = self.judge(system, question, &mut rule);
        Decision { rule, verdict: outcome.unwrap_or_else(Verdict::Deny) }
    }

    /// Notes the rule that decides before it is followed.
    fn judge<'p>(
        &'p self,
        system: &dyn SystemInfo,
        question: &Question<'_>,
        decisive: &mut Option<&'p Rule>,
    ) -> Result<Verdict, Reason> {
        if question.relay.is_some_and(|relay| !speaks_for(system, relay, question.source)) {
            return Err(Reason::NotRelayed);
        }
        let (source, target) = (
            Party::source(system, question.source),
            Party::target(system, prepared(system, question.target)?),
        );
        let matches = |rule: &&Rule| {
            rule.is_about(question.service, question.argument)
                && rule.source.matches(system, &source)
                && rule.target.matches_target(system, &source, &target)
        };
        let rule = self.rules.iter().find(matches).ok_or(Reason::NoRule)?;
        *decisive = Some(rule);
        match rule.action {
            Action::Deny => Err(Reason::Rule),
            Action::Allow => {
                let mut place = rule.place(system, &source, target.word)?;
                place.relay = relay_to(system, question, &place.target)?;
                Ok(Verdict::Allow(place))
            }
            Action::Ask => self.ask(system, question, rule, &source),
        }
    }

    /// Whether rules allow a source to know of a target by a call, without asking anyone: of itself, too, though it could not
    /// make that call. `argument` begins with `+`.
    pub fn is_plainly_allowed(
        &self,
        system: &dyn SystemInfo,
        service: &str,
        argument: &str,
        source: &str,
        target: &str,
    ) -> bool {
        let question = Question { service, argument, source, target, relay: None };
        let verdict = self.decide(system, &question).verdict;
        matches!(verdict, Verdict::Allow(_) | Verdict::Deny(Reason::Loopback))
    }

    /// Whether a single call is allowed without asking anyone; if not, the log tells why.
    pub fn decide_and_log(&self, system: &dyn SystemInfo, question: &Question<'_>) -> bool {
        let decision = self.decide(system, question);
        let is_allowed = matches!(decision.verdict, Verdict::Allow(_));
        if !is_allowed {
            decision.log(question);
        }
        is_allowed
    }

    fn ask(
        &self,
        system: &dyn SystemInfo,
        question: &Question<'_>,
        rule: &Rule,
        source: &Party<'_>,
    ) -> Result<Verdict, Reason> {
        let offered = match &rule.redirect {
            Some(target) => BTreeSet::from([offer(system, source, prepared(system, target)?)?]),
            None => self.offered(system, question, source),
        };
        let fits = |candidate: &String| {
            *candidate != source.name && (rule.autostart || is_there_already(system, candidate))
        };
        let candidates: Vec<String> = offered.into_iter().filter(fits).collect();
        if candidates.is_empty() {
            return Err(Reason::NoCandidates);
        }
        system.guivm(&source.name).ok_or(Reason::NoGuiVm)?;
        let default = rule.default_target.as_deref().and_then(|target| offer(system, source, target).ok());
        Ok(Verdict::Ask { default: default.filter(|target| candidates.contains(target)), candidates })
    }

    /// What any rule would let the source call: from the last rule to the first, each has the last word on its targets.
    /// Internal qubes and their disposables are not among them.
    fn offered(
        &self,
        system: &dyn SystemInfo,
        question: &Question<'_>,
        source: &Party<'_>,
    ) -> BTreeSet<String> {
        let all = everything(system);
        let mut offered = BTreeSet::new();
        let about = |rule: &&Rule| {
            rule.is_about(question.service, question.argument) && rule.source.matches(system, source)
        };
        for rule in self.rules.iter().rev().filter(about) {
            let targets = rule.targets(system, source, &all);
            if rule.action == Action::Deny {
                offered.retain(|target| !targets.contains(target));
            } else {
                offered.extend(targets);
            }
        }
        let is_shown = |target: &String| {
            let name = target.strip_prefix("@dispvm:").unwrap_or(target);
            !system.is_internal(name)
        };
        let offered = offered.into_iter().filter_map(|target| offer(system, source, &target).ok());
        offered.filter(is_shown).collect()
    }

    /// Whether a call is allowed, where the user, if asked, chooses the target that was asked for.
    pub fn may_allow(&self, system: &dyn SystemInfo, question: &Question<'_>) -> bool {
        match self.decide(system, question).verdict {
            Verdict::Allow(_) => true,
            Verdict::Deny(_) => false,
            Verdict::Ask { candidates, .. } => {
                let source = Party::source(system, question.source);
                let target =
                    prepared(system, question.target).and_then(|target| offer(system, &source, target));
                target.is_ok_and(|target| candidates.contains(&target))
            }
        }
    }
}

impl Rule {
    /// Where a call goes that the rule allows.
    fn place(&self, system: &dyn SystemInfo, source: &Party<'_>, target: &str) -> Result<Place, Reason> {
        let wanted = prepared(system, self.redirect.as_deref().unwrap_or(target))?;
        let target = offer(system, source, wanted)?;
        if !self.autostart && !is_there_already(system, &target) {
            return Err(Reason::NotRunning);
        } else if target == source.name {
            return Err(Reason::Loopback);
        }
        Ok(Place { target, relay: None })
    }

    /// Which of all possible targets it stands for; the one it redirects to, if it does.
    fn targets(&self, system: &dyn SystemInfo, source: &Party<'_>, all: &[String]) -> Vec<String> {
        let is_meant = |target: &&String| match &self.redirect {
            Some(redirect) => prepared(system, redirect).is_ok_and(|redirect| {
                let redirect = Party::target(system, redirect);
                let target = Party::target(system, target);
                redirect.name == target.name && redirect.is_disposable() == target.is_disposable()
            }),
            None => self.target.matches_target(system, source, &Party::target(system, target)),
        };
        all.iter().filter(is_meant).cloned().collect()
    }
}

/// Every qube, a new disposable of every base, and one of the source's own.
fn everything(system: &dyn SystemInfo) -> Vec<String> {
    let names = system.names();
    let bases = names.iter().filter(|name| system.is_template_for_dispvms(name));
    let mut disposables: Vec<String> = bases.map(|base| format!("@dispvm:{base}")).collect();
    disposables.push("@dispvm".to_owned());
    names.into_iter().chain(disposables).collect()
}

/// Whether a qube may call in the name of another: it carries that one's calls.
fn speaks_for(system: &dyn SystemInfo, relay: &str, source: &str) -> bool {
    let source = canonical(system, source);
    system.class(&source) == Some(Class::RemoteVM)
        && system.relayvm(&source).is_some_and(|own| own == canonical(system, relay))
}

/// For a remote qube: what carries the call, and the service that it is carried by.
fn relay_to(
    system: &dyn SystemInfo,
    question: &Question<'_>,
    target: &str,
) -> Result<Option<(String, String)>, Reason> {
    if system.class(target) != Some(Class::RemoteVM) {
        return Ok(None);
    }
    let carried = system.relayvm(target).zip(system.transport_rpc(target));
    let (relay, transport) = carried.ok_or(Reason::NoRelay)?;
    Ok(Some((relay, format!("{transport}+{target}+{}{}", question.service, question.argument))))
}

/// Whether a target need not be started: dom0, and qubes that run.
fn is_there_already(system: &dyn SystemInfo, target: &str) -> bool {
    is_dom0(target) || system.is_running(target)
}

/// A prepared target as it is offered and answered: by name, a disposable with the name of its base.
fn offer(system: &dyn SystemInfo, source: &Party<'_>, target: &str) -> Result<String, Reason> {
    match target {
        "@default" => Err(Reason::NoTarget),
        "@dispvm" => {
            let base = source.default_dispvm.as_deref().ok_or(Reason::NoDefaultDispVm)?;
            Ok(format!("@dispvm:{base}"))
        }
        _ => match target.strip_prefix("@dispvm:") {
            Some(base) => Ok(format!("@dispvm:{}", canonical(system, base))),
            None => Ok(canonical(system, target).into_owned()),
        },
    }
}

/// The target as rules see it.
fn prepared<'a>(system: &dyn SystemInfo, target: &'a str) -> Result<&'a str, Reason> {
    if let Some(base) = target.strip_prefix("@dispvm:") {
        let is_base = system.is_template_for_dispvms(&canonical(system, base));
        return if is_base { Ok(target) } else { Err(Reason::NoBase) };
    }
    match target {
        "" | "@default" => Ok("@default"),
        "@adminvm" | "@dispvm" => Ok(target),
        _ if target.starts_with('@') => Err(Reason::InvalidTarget),
        _ if system.class(&canonical(system, target)).is_some() => Ok(target),
        _ => Ok("@default"),
    }
}

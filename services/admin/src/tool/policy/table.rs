//! A table of expectations: one decision a line, and the qubes it is about.

use common::policy::{Action, Decision, Policy, Question, SystemInfo, Verdict};

use super::declared::Declared;

/// What a table says.
#[derive(Debug, Default)]
pub struct Table {
    system: Option<Declared>,
    expectations: Vec<Expectation>,
}

/// One decision as it shall be.
#[derive(Debug)]
struct Expectation {
    line: usize,
    service: String,
    argument: String,
    source: String,
    target: String,
    action: Action,
    /// The qube that calls in the name of the source.
    via: Option<String>,
    /// More of what is expected.
    values: Vec<(String, String)>,
}

/// What may be expected of a decision.
const KEYS: [&str; 7] = ["target", "candidates", "default_target", "relay", "service", "rule", "via"];

impl Table {
    /// Reads a table.
    ///
    /// # Errors
    /// The first line that means nothing, and why.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut table = Self::default();
        for (number, line) in text.lines().enumerate() {
            let number = number.saturating_add(1);
            table.take(number, line).map_err(|text| format!("{number}: {text}"))?;
        }
        Ok(table)
    }

    /// Whether it declares qubes of its own.
    pub fn has_qubes(&self) -> bool {
        self.system.is_some()
    }

    /// How many decisions it expects.
    pub fn len(&self) -> usize {
        self.expectations.len()
    }

    /// Whether it expects none.
    pub fn is_empty(&self) -> bool {
        self.expectations.is_empty()
    }

    /// The lines whose decision is another one, and which. Its own qubes come before those of the system.
    pub fn differing(&self, policy: &Policy, system: &dyn SystemInfo) -> Vec<(usize, String)> {
        let system = self.system.as_ref().map_or(system, |own| own as &dyn SystemInfo);
        let differing = |expectation: &Expectation| {
            let text = expectation.differs(&policy.decide(system, &expectation.question()))?;
            Some((expectation.line, format!("{expectation}: {text}")))
        };
        self.expectations.iter().filter_map(differing).collect()
    }

    fn take(&mut self, number: usize, line: &str) -> Result<(), String> {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words.as_slice() {
            [] => Ok(()),
            [first, ..] if first.starts_with('#') => Ok(()),
            ["!qube", about @ ..] => self.system.get_or_insert_with(Declared::new).add(about),
            words => {
                self.expectations.push(Expectation::parse(number, words)?);
                Ok(())
            }
        }
    }
}

impl Expectation {
    fn parse(line: usize, words: &[&str]) -> Result<Self, String> {
        let [service, argument, source, target, action, more @ ..] = words else {
            return Err("an expectation needs five words".to_owned());
        };
        if !argument.starts_with('+') {
            return Err(format!("the argument {argument} does not begin with a plus sign"));
        }
        let action = Action::parse(action).ok_or_else(|| format!("{action} is no decision"))?;
        let pair = |word: &&str| {
            let pair = word.split_once('=').filter(|(key, _)| KEYS.contains(key));
            let (key, value) = pair.ok_or_else(|| format!("{word} says nothing of a decision"))?;
            Ok::<_, String>((key.to_owned(), value.to_owned()))
        };
        let mut values = more.iter().map(pair).collect::<Result<Vec<_>, _>>()?;
        let via = values.iter().position(|(key, _)| key == "via").map(|at| values.remove(at).1);
        let [service, argument, source, target] =
            [service, argument, source, target].map(|word| word.trim_matches('"').to_owned());
        Ok(Self { line, service, argument, source, target, action, via, values })
    }

    /// The question it answers.
    fn question(&self) -> Question<'_> {
        Question {
            service: &self.service,
            argument: &self.argument,
            source: &self.source,
            target: &self.target,
            relay: self.via.as_deref(),
        }
    }

    /// What was decided otherwise than expected.
    fn differs(&self, decision: &Decision<'_>) -> Option<String> {
        let action = action(&decision.verdict);
        if action != self.action {
            return Some(format!("expected {}, but {}", self.action.as_str(), told(decision)));
        }
        let differing = self.values.iter().find(|(key, value)| !agrees(key, value, decision))?;
        Some(format!("expected {}={}, but {}", differing.0, differing.1, told(decision)))
    }
}

/// The expectation without what it expects.
impl std::fmt::Display for Expectation {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}{} from {} to {}", self.service, self.argument, self.source, self.target)
    }
}

const fn action(verdict: &Verdict) -> Action {
    match verdict {
        Verdict::Allow(_) => Action::Allow,
        Verdict::Ask { .. } => Action::Ask,
        Verdict::Deny(_) => Action::Deny,
    }
}

/// A rule may be named by the end of its path.
fn agrees(key: &str, expected: &str, decision: &Decision<'_>) -> bool {
    if key == "rule" {
        let origin = decision.rule.map(|rule| format!("/{}", rule.origin()));
        return origin.map_or(expected == "-", |origin| origin.ends_with(&format!("/{expected}")));
    }
    let found = decision.pairs().into_iter().find(|(own, _)| *own == key);
    found.map(|(_, value)| value).unwrap_or_default() == expected
}

/// What was decided, in one line.
fn told(decision: &Decision<'_>) -> String {
    let pairs: Vec<String> =
        decision.pairs().into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(" ")
}

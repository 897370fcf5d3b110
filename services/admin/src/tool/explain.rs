//! `qubes-admin explain`: which layer decides on a call, and why.

use std::cell::RefCell;

use clap::Args;
use common::call::{Family, NOT_MADE, Reply};
use common::failure::{Failure, Refusal};
use common::hypervisor::Published;
use common::names::QubeName;
use common::permission::{self, Facts, Judge, Trial};
use common::policy::{Decision, IndexedSystem, Policy, Question, Verdict};
use common::quota::Quota;
use common::request::{self, Request};
use common::root::Root;
use common::serve;
use common::store::{Entry, Store, View};
use services::constraints::{Ask, Constraints, Reason};

use super::out::Stop;
use super::{complete, table};

/// A call as typed.
#[derive(Args)]
pub(super) struct Explain {
    /// The calling qube.
    #[arg(value_name = "CALLER", add = complete::qubes())]
    pub(super) caller: String,
    /// The method, and its argument after a plus sign.
    #[arg(value_name = "METHOD[+ARG]", add = complete::methods())]
    pub(super) method: String,
    /// The destination.
    #[arg(value_name = "DEST", add = complete::qubes())]
    pub(super) destination: String,
    /// The payload.
    #[arg(value_name = "VALUE", default_value = "")]
    pub(super) value: String,
}

/// What a layer says: whether it lets the call pass, and in words.
type Finding = (bool, String);

/// Prints what each layer says; an error if one denies.
pub(super) fn run(explain: &Explain, root: &Root) -> Result<(), Stop> {
    tell(explain, root, None).map(drop)
}

/// The same. A call that all layers let pass is then decided on by another judge, if there is one; gives how that ends.
pub(super) fn tell(
    explain: &Explain,
    root: &Root,
    then: Option<&dyn Judge>,
) -> Result<Result<Reply, Failure>, Stop> {
    let (family, request) = request(explain)?;
    let store = Store::at(root);
    let view = store.read_one()?;
    let caller = entry(&explain.caller, &view)?;
    let is_dom0 = caller.name() == "dom0";
    let (constraints, said) = (Constraints::load(root), RefCell::default());
    let policy = if is_dom0 { of_dom0() } else { policy(explain, root, &store.read()?)? };
    let witness = Witness { constraints, caller, view: &view, then: then.filter(|_| policy.0), said };
    let (said, ended) = witness.judge_all(family, &request, root, explain);
    let said: Vec<_> = [("policy", policy)].into_iter().chain(said).collect();
    let row = |(layer, (_, text)): &(&str, Finding)| vec![(*layer).to_owned(), text.clone()];
    table::print(&said.iter().map(row).collect::<Vec<_>>())?;
    let is_granted = said.iter().all(|(_, (passes, _))| *passes);
    if is_granted { Ok(ended) } else { Err("the call is not granted".to_owned().into()) }
}

fn of_dom0() -> Finding {
    (true, "not asked: dom0 is the caller".to_owned())
}

/// The request as a service gets it, and the family that serves it.
pub(super) fn request(explain: &Explain) -> Result<(&'static Family, Request), Stop> {
    let Explain { caller, method: call, destination, value } = explain;
    let (method, argument) = call.split_once('+').unwrap_or((call, ""));
    let serves =
        |family: &&&Family| family.find(method.as_bytes()).is_some_and(|call| !call.row.is_internal());
    let family = services::FAMILIES.iter().find(serves).ok_or_else(|| format!("no such method: {method}"))?;
    let is_streamed = family.find(method.as_bytes()).is_some_and(|call| call.row.payload.is_stream());
    let frame = format!("{method}+{argument} {caller} name {destination}\0{value}");
    let request = request::from_descriptor(method.as_bytes(), frame.as_bytes())?;
    Ok((family, Request { is_streamed, ..request }))
}

fn entry(name: &str, view: &View<'_>) -> Result<Entry, Stop> {
    let qube = view.qube(&QubeName::parse(name).map_err(Failure::from)?)?;
    Ok(Entry::of(&*qube.ok_or_else(|| format!("there is no qube {name}"))?))
}

/// What the policy says, as of a call that comes from the caller itself.
fn policy(explain: &Explain, root: &Root, view: &View<'_>) -> Result<Finding, Stop> {
    let (service, argument) = explain.method.split_once('+').unwrap_or((&explain.method, ""));
    let policy = match Policy::load(root) {
        Ok(policy) => policy,
        Err(error) => return Ok((false, format!("denies everything: {error}"))),
    };
    let hypervisor = Published::at(root);
    let argument = format!("+{argument}");
    let question = Question {
        service,
        argument: &argument,
        source: &explain.caller,
        target: &explain.destination,
        relay: None,
    };
    Ok(told(&policy.decide(&IndexedSystem::of(view, &hypervisor)?, &question)))
}

fn told(decision: &Decision<'_>) -> Finding {
    let rule = decision.rule.map_or_else(String::new, |rule| format!(" by {}", rule.origin()));
    match &decision.verdict {
        Verdict::Allow(place) => (true, format!("allowed{rule}; it goes to {}", place.target)),
        Verdict::Ask { .. } => (true, format!("the user is asked{rule}")),
        Verdict::Deny(reason) => (false, format!("denied{rule}: {reason}")),
    }
}

/// Stands in the place of the judge, notes what each layer says, and leaves it to another to grant.
struct Witness<'a> {
    constraints: Constraints,
    caller: Entry,
    view: &'a View<'a>,
    then: Option<&'a dyn Judge>,
    said: RefCell<Vec<(&'static str, Finding)>>,
}

impl Judge for Witness<'_> {
    fn judge(&self, facts: &Facts<'_>) -> Result<Quota, Refusal> {
        let built_in = match permission::check(facts) {
            Ok(()) => (true, "none is against it".to_owned()),
            Err(refusal) => (false, format!("denied: {}", Failure::from(refusal).into_text())),
        };
        let constraints = self.constrained(&Ask::of(facts));
        let is_granted = built_in.0 && constraints.0;
        let request = (true, "well-formed".to_owned());
        for finding in [("request", request), ("built-in rules", built_in), ("constraints", constraints)] {
            self.note(finding);
        }
        let then = self.then.filter(|_| is_granted).ok_or_else(|| Refusal::denied("not made"));
        then?.judge(facts)
    }

    fn trial(&self) -> Option<&dyn Trial> {
        self.then?.trial()
    }
}

impl Witness<'_> {
    /// A call that makes another one is judged twice.
    fn note(&self, finding: (&'static str, Finding)) {
        let mut said = self.said.borrow_mut();
        if !said.contains(&finding) {
            said.push(finding);
        }
    }

    /// What all layers behind the policy say, and how the call ends.
    fn judge_all(
        self,
        family: &Family,
        request: &Request,
        root: &Root,
        explain: &Explain,
    ) -> (Vec<(&'static str, Finding)>, Result<Reply, Failure>) {
        let method = explain.method.split('+').next().unwrap_or_default();
        let hidden = entry(&explain.destination, self.view)
            .ok()
            .filter(|qube| qube.name() != "dom0" && !self.is_dom0());
        if let Some(reason) = hidden.and_then(|qube| self.constraints.hides(&self.caller, method, &qube)) {
            return (vec![("constraints", denied(&reason))], Err(NOT_MADE));
        }
        let ended = serve::judged(family, request, root, &self);
        let mut said = self.said.into_inner();
        if let (true, Err(failure)) = (said.is_empty(), &ended) {
            said.push(("request", (false, format!("refused: {}", failure.clone().into_text()))));
        }
        (said, ended)
    }

    fn is_dom0(&self) -> bool {
        self.caller.name() == "dom0"
    }

    fn constrained(&self, ask: &Ask<'_>) -> Finding {
        if self.is_dom0() || !self.constraints.are_about(&self.caller) {
            return (true, format!("none is about {}", self.caller.name()));
        }
        match self.constraints.judge(&self.caller, ask, self.view) {
            Ok(quota) if quota.is_limited() => {
                (true, format!("none is against it within the quota of {}", in_words(quota)))
            }
            Ok(_) => (true, "none is against it".to_owned()),
            Err(reason) => denied(&reason),
        }
    }
}

fn denied(reason: &Reason) -> Finding {
    (false, format!("denied by {}: {}", reason.place, reason.text))
}

fn in_words(quota: Quota) -> String {
    let limit = |limit: u64, what: &str| (limit != u64::MAX).then(|| format!("{limit} {what}"));
    let limits = [limit(quota.qubes, "qubes"), limit(quota.bytes, "bytes")];
    limits.into_iter().flatten().collect::<Vec<_>>().join(" and ")
}

//! `policy.Eval`, `EvalSimple` and `EvalGUI`: what policy would decide.

use common::call::{Call, Content, Granted, Presence, Received, Row, Values, World};
use common::constraint;
use common::failure::{Failure, Refusal};
use common::log;
use common::names::{Endpoints, QubeName, ServiceCall};
use common::policy::{IndexedSystem, Policy, Question, SystemInfo, canonical};
use common::root::Root;

use super::read::loaded;
use crate::{input, listing};

/// The service that would be called, and by whom.
pub(super) struct Asked {
    call: ServiceCall,
    ends: Endpoints,
}

impl Asked {
    fn in_request(received: &Received) -> Result<Self, Refusal> {
        Ok(Self { call: input::argument(received)?, ends: received.payload.sanitise()? })
    }

    fn question(&self) -> Question<'_> {
        Question {
            service: self.call.service.as_str(),
            argument: &self.call.argument,
            source: &self.ends.source,
            target: &self.ends.target,
            relay: self.ends.relay.as_deref(),
        }
    }

    fn values(&self) -> Values {
        let call = format!("{}{}", self.call.service, self.call.argument);
        let ends = &self.ends;
        let ends =
            [("source", Some(&ends.source)), ("target", Some(&ends.target)), ("relay", ends.relay.as_ref())];
        let told = ends.into_iter().filter_map(|(name, end)| Some((name, end?)));
        told.fold(Values::argument(call), |values, (name, end)| values.with(name, end.as_str()))
    }
}

pub(super) struct Eval;

impl Call for Eval {
    const ROW: Row = Row::read(
        "policy.Eval",
        "What policy decides on SERVICE[+ARG] from SOURCE NUL TARGET [NUL RELAY], and by which rule: result, target or candidates, rule.",
    )
    .on_policy()
    .argument(Presence::Optional)
    .payload(Presence::Optional);
    type Input = Asked;

    fn sanitise(received: &Received) -> Result<Self::Input, Refusal> {
        Asked::in_request(received)
    }

    fn facts(asked: &Self::Input) -> Values {
        asked.values()
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let policy = loaded(world.root())?;
        let system = IndexedSystem::of(world.view(), world.hypervisor())?;
        let mut told = policy.decide(&system, &granted.input().question()).pairs();
        if granted.parties().is_constrained {
            narrow(&mut told, granted.caller(), world.root());
        }
        Ok(listing::pairs(&told))
    }
}

/// Leaves out what names qubes that are not there for the caller.
fn narrow(told: &mut Vec<(&'static str, String)>, caller: &QubeName, root: &Root) {
    const OF_QUBES: [&str; 4] = ["target", "relay", "candidates", "default_target"];
    let of_qubes = told.iter().filter(|(key, _)| OF_QUBES.contains(key));
    let words: Vec<&str> = of_qubes.flat_map(|(_, value)| value.split(',')).collect();
    let seen = constraint::seen(root, caller, Eval::ROW.name, &words);
    let is_seen = |word: &&str| seen.iter().any(|seen| seen == word);
    for (_, value) in told.iter_mut().filter(|(key, _)| OF_QUBES.contains(key)) {
        *value = value.split(',').filter(is_seen).collect::<Vec<_>>().join(",");
    }
    told.retain(|(key, value)| !value.is_empty() || !OF_QUBES.contains(key) || *key == "candidates");
}

/// Declares a call that answers a question in one word. What cannot be understood gets no word (spec 50 §15.2).
macro_rules! simple {
    ($call:ident, $name:literal, $may_ask:expr, $help:literal) => {
        pub(super) struct $call;

        impl Call for $call {
            const ROW: Row = Row::read($name, $help)
                .on_policy()
                .unlisted()
                .argument(Presence::Optional)
                .payload(Presence::Optional);
            type Input = Option<Asked>;

            fn sanitise(received: &Received) -> Result<Self::Input, Refusal> {
                Ok(Asked::in_request(received).ok().filter(|asked| asked.ends.relay.is_none()))
            }

            fn facts(asked: &Self::Input) -> Values {
                asked.as_ref().map(Asked::values).unwrap_or_default()
            }

            fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
                let Some(asked) = granted.input() else {
                    log::line("a question to policy that cannot be understood");
                    return Ok(Content::new());
                };
                let system = IndexedSystem::of(world.view(), world.hypervisor())?;
                let may_ask: fn(&IndexedSystem<'_>, &Asked, &str) -> bool = $may_ask;
                if !may_ask(&system, asked, granted.caller().as_str()) {
                    log::line("a question to policy about qubes that are not the caller's to show");
                    return Ok(Content::new());
                }
                Ok(in_a_word(asked, &system, world))
            }
        }
    };
}

simple!(
    EvalSimple,
    "policy.EvalSimple",
    |_, _, _| true,
    "Whether policy allows SERVICE[+ARG] from SOURCE NUL TARGET; what the user is asked about counts as allowed."
);
simple!(
    EvalGui,
    "policy.EvalGUI",
    |system, asked, caller| {
        let tag = format!("guivm-{caller}");
        [&asked.ends.source, &asked.ends.target]
            .iter()
            .all(|qube| system.has_tag(&canonical(system, qube), &tag))
    },
    "The same for the GUI domain of both qubes."
);

/// Without policy nothing is allowed.
fn in_a_word(asked: &Asked, system: &dyn SystemInfo, world: &World<'_>) -> Content {
    let question = asked.question();
    let is_allowed = Policy::load_or_log(world.root()).is_some_and(|policy| {
        let is_allowed = policy.may_allow(system, &question);
        if !is_allowed {
            policy.decide(system, &question).log(&question);
        }
        is_allowed
    });
    let word = if is_allowed { "allow" } else { "deny" };
    format!("result={word}\n").into_bytes()
}

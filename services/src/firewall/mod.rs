//! `admin.vm.firewall.*`: the rules by which a qube's netvm lets its traffic through (spec 30 §8 to §11).

mod expiry;

use std::rc::Rc;
use std::time::SystemTime;

use common::call::{
    Call, Content, Destination, Family, Granted, Presence, Received, Row, Values, World, entry,
    no_such_domain,
};
use common::event::Event;
use common::failure::{Failure, Refusal};
use common::log;
use common::model::{Class, Qube};
use common::names::{Ascii, QubeName, Rule};
use common::store::Txn;

use crate::companion::live;
use crate::property::Context;

pub use expiry::arm;

/// The family.
pub const FAMILY: Family = Family {
    name: "admin-vm-firewall",
    calls: &[
        entry::<Get>(),
        entry::<Set>(),
        entry::<Reload>(),
        entry::<Flush>(),
        entry::<GetPolicy>(),
        entry::<SetPolicy>(),
        entry::<expiry::Expire>(),
    ],
};

struct Get;

impl Call for Get {
    const ROW: Row = Row::read_one("admin.vm.firewall.Get", "The qube's firewall rules, one per line.")
        .on(Destination::Qube);
    common::no_input!();

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        Ok(print(&rules(&granted, world)?).into_bytes())
    }
}

struct Set;

impl Call for Set {
    const ROW: Row = Row::write("admin.vm.firewall.Set", "Replaces the qube's firewall rules, one per line.")
        .on(Destination::Qube)
        .payload(Presence::Required);
    type Input = Vec<Rule>;

    fn sanitise(received: &Received) -> Result<Vec<Rule>, Refusal> {
        Ok(Rule::parse_all(ascii(received, "Rules contains non-ASCII characters")?.as_str())?)
    }

    fn facts(rules: &Vec<Rule>) -> Values {
        Values::default().with("rules", print(rules))
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        save(&granted, world, |_| granted.input().clone())
    }
}

struct Reload;

impl Call for Reload {
    const ROW: Row =
        Row::write("admin.vm.firewall.Reload", "Tells the qube's netvm its firewall rules again.")
            .on(Destination::Qube);
    common::no_input!();

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let name = granted.destination();
        let words = |_: &World<'_>| Ok(format!("the netvm of {name} is told its rules again"));
        world.foresee(&granted, words, |txn| {
            txn.event(changed(name));
            Ok(())
        })?;
        world.announce(&granted, changed(name))?;
        follow(world, name);
        Ok(Content::new())
    }
}

struct Flush;

impl Call for Flush {
    const ROW: Row =
        Row::write("admin.vm.firewall.Flush", "Removes the qube's firewall rules but its policy.")
            .on(Destination::Qube);
    common::no_input!();

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        save(&granted, world, |rules| {
            rules.last().filter(|last| last.is_catch_all()).cloned().into_iter().collect()
        })
    }
}

struct GetPolicy;

impl Call for GetPolicy {
    const ROW: Row = Row::read_one(
        "admin.vm.firewall.GetPolicy",
        "`accept` or `drop`: what becomes of what no firewall rule is about.",
    )
    .on(Destination::Qube);
    common::no_input!();

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let rules = rules(&granted, world)?;
        let accepts = rules.last().is_some_and(|last| last.is_catch_all() && last.accepts());
        Ok(if accepts { b"accept".to_vec() } else { b"drop".to_vec() })
    }
}

struct SetPolicy;

impl Call for SetPolicy {
    const ROW: Row = Row::write(
        "admin.vm.firewall.SetPolicy",
        "`accept` or `drop`: what shall become of what no firewall rule is about.",
    )
    .on(Destination::Qube)
    .payload(Presence::Required);
    /// Whether all else is accepted.
    type Input = bool;

    fn sanitise(received: &Received) -> Result<bool, Refusal> {
        const INVALID: &str = "Invalid firewall policy";
        match ascii(received, INVALID)?.as_str() {
            "accept" => Ok(true),
            "drop" => Ok(false),
            _ => Err(Refusal::protocol(INVALID)),
        }
    }

    fn facts(accepts: &bool) -> Values {
        Values::default().with("policy", if *accepts { "accept" } else { "drop" })
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        save(&granted, world, |mut rules| {
            rules.pop_if(|last| last.is_catch_all());
            rules.extend(granted.input().then(Rule::accept));
            rules
        })
    }
}

fn ascii(received: &Received, otherwise: &'static str) -> Result<Ascii, Refusal> {
    received.payload.sanitise().map_err(|_| Refusal::protocol(otherwise))
}

fn print(rules: &[Rule]) -> String {
    rules.iter().map(|rule| format!("{rule}\n")).collect()
}

/// The rules that hold now.
fn rules<C: Call>(granted: &Granted<C>, world: &World<'_>) -> Result<Vec<Rule>, Failure> {
    let name = granted.destination();
    Ok(holding(protected(name, world.view().qube(name)?)?.rules()))
}

fn holding(mut rules: Vec<Rule>) -> Vec<Rule> {
    let now = SystemTime::now();
    rules.retain(|rule| rule.holds_at(now));
    rules
}

/// The qube, if it can have rules; the specification keeps the drop for one that cannot (spec 30 §8).
fn protected(name: &QubeName, qube: Option<Rc<Qube>>) -> Result<Rc<Qube>, Failure> {
    let qube = qube.ok_or_else(|| no_such_domain(name.as_str()))?;
    match qube.class {
        Class::RemoteVM => Err(Failure::dropped(format!("the remote qube {name} has no firewall"))),
        _ => Ok(qube),
    }
}

fn changed(name: &QubeName) -> Event {
    Event::on(name, "firewall-changed")
}

/// Replaces the rules, without those that hold no more, and lets everyone know.
fn save<C: Call>(
    granted: &Granted<C>,
    world: &mut World<'_>,
    change: impl FnOnce(Vec<Rule>) -> Vec<Rule>,
) -> Result<Content, Failure> {
    let name = granted.destination();
    world.change(granted, |txn| {
        let qube = protected(name, txn.qube(name)?)?;
        store(txn, name, change(holding(qube.rules())))
    })?;
    follow(world, name);
    Ok(Content::new())
}

fn store(txn: &mut Txn<'_>, name: &QubeName, rules: Vec<Rule>) -> Result<(), Failure> {
    txn.edit_qube(name, |qube| qube.firewall = Some(holding(rules)))?;
    txn.event(changed(name));
    Ok(())
}

/// What follows from a change that is made: the netvm is told, and what ends is watched.
fn follow(world: &World<'_>, name: &QubeName) {
    live::tell_firewall(world.store(), Context::of(world), name);
    match world.store().read_one().and_then(|view| view.qube(name)) {
        Ok(qube) => qube.iter().for_each(|qube| arm(world.root(), qube)),
        Err(error) => log::line(&format!("rules of {name} that end are not watched: {error}")),
    }
}

//! `admin.vm.Shutdown` and `.Kill` (spec 40 §4.1, §4.3).

use std::rc::Rc;
use std::time::Duration;

use common::call::{Call, Content, Granted, Presence, Received, Row, Values, World, no_such_domain};
use common::event::Event;
use common::failure::{Exception, Failure, Refusal};
use common::hypervisor::{Connection, Domain, PowerState, Reply, Request};
use common::model::{Qube, Value};
use common::names::{Ascii, QubeName};

use super::lock::{await_end, insist, reach};
use super::{announce, foresee, refused};
use crate::input;
use crate::property::{Case, Context};

/// How long a domain that was destroyed may take until all is done that follows.
const KILL_DEADLINE: Duration = Duration::from_secs(120);

/// What a shutdown was asked for.
pub(super) struct Wishes {
    force: bool,
    wait: bool,
}

impl Wishes {
    /// Words joined by `+`, in any order and any number.
    fn parse(text: &str) -> Result<Self, Refusal> {
        let mut wishes = Self { force: false, wait: false };
        for word in text.split('+').filter(|_| !text.is_empty()) {
            match word {
                "force" => wishes.force = true,
                "wait" => wishes.wait = true,
                _ => return Err(Refusal::protocol("Argument must match: force, wait")),
            }
        }
        Ok(wishes)
    }
}

pub(super) struct Shutdown;

impl Call for Shutdown {
    const ROW: Row = Row::write(
        "admin.vm.Shutdown",
        "Asks a qube to shut down; `force`: also one that others use or that is paused; `wait`: until it is off.",
    )
    .argument(Presence::Optional);
    type Input = Wishes;

    fn sanitise(received: &Received) -> Result<Wishes, Refusal> {
        let words = input::optional_argument(received)?;
        Wishes::parse(words.as_ref().map(Ascii::as_str).unwrap_or_default())
    }

    fn facts(wishes: &Wishes) -> Values {
        let text = common::storage::options::text_of;
        Values::default().with("force", text(wishes.force)).with("wait", text(wishes.wait))
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let (store, name, wishes) = (world.store(), granted.destination(), granted.input());
        refused::unless_local(granted.parties().class, Exception::QubesVMError, "shutdown")?;
        let look = |world: &World<'_>| {
            let domain = world.hypervisor().domain(name).ok_or_else(|| refused::powered_off(name))?;
            match plan(world, name, wishes, &domain)? {
                (Request::Destroy, _) => Ok(format!("{name} ends at once, as it is paused")),
                _ => Ok(format!("{name} is asked to shut down")),
            }
        };
        world.foresee(&granted, look, |_| Ok(()))?;
        let (domain, watcher) =
            reach(store, world.root(), name)?.ok_or_else(|| refused::powered_off(name))?;
        let force = common::storage::options::text_of(wishes.force);
        announce(store, [Event::on(name, "domain-pre-shutdown").with("force", force)])?;
        let done = shut_down(world, name, wishes, &domain, Some(watcher));
        if let Err(failure) = &done {
            let reason = failure.clone().into_text();
            announce(store, [Event::on(name, "domain-shutdown-failed").with("reason", reason)])?;
        }
        done.map(|()| Content::new())
    }
}

fn shut_down(
    world: &World<'_>,
    name: &QubeName,
    wishes: &Wishes,
    domain: &Domain,
    mut watcher: Option<Connection>,
) -> Result<(), Failure> {
    let (request, patience) = plan(world, name, wishes, domain)?;
    let (store, root) = (world.store(), world.root());
    match insist(store, root, name, &domain.run, &mut watcher, &request)? {
        // Without an answer it has ended.
        Some(Reply::Done) | None => {}
        Some(_) => return Err(refused::does_not_end(name)),
    }
    if wishes.wait
        && let Some(watcher) = watcher
        && !await_end(store, root, name, &domain.run, watcher, patience)?
    {
        return Err(refused::does_not_end(name));
    }
    Ok(())
}

/// What the domain's watcher is asked for, and how long the qube may take then.
fn plan(
    world: &World<'_>,
    name: &QubeName,
    wishes: &Wishes,
    domain: &Domain,
) -> Result<(Request, Duration), Failure> {
    let view = world.store().read()?;
    let qube = view.qube(name)?.ok_or_else(|| no_such_domain(name.as_str()))?;
    let case = Case { view: &view, context: Context::of(world), qube: Some(&qube) };
    if !wishes.force {
        check_users(&case, &qube)?;
    }
    let request = match (domain.state, wishes.force || case.is_on("is_preload")?) {
        (PowerState::Paused, false) => return Err(refused::not_running(name)),
        (PowerState::Paused, true) => Request::Destroy,
        _ => Request::Shutdown,
    };
    Ok((request, patience(&case)?))
}

/// How long the qube may take to shut down.
fn patience(case: &Case<'_>) -> Result<Duration, Failure> {
    let seconds = case.value("shutdown_timeout")?.as_ref().and_then(Value::as_int).unwrap_or_default();
    Ok(Duration::from_secs(u64::try_from(seconds).unwrap_or_default()))
}

/// A way in which running qubes use another one: the property that names it, the exception and the text. Qubes that wait
/// to be used count for the graphical one alone.
const USES: [(&str, Exception, &str, bool); 3] = [
    ("netvm", Exception::QubesVMInUseError, "There are other VMs connected to this VM", false),
    ("guivm", Exception::QubesVMError, "There are running VMs using this VM as GuiVM", true),
    ("audiovm", Exception::QubesVMInUseError, "There are running VMs using this VM as AudioVM", false),
];

/// Refuses while other running qubes need this one.
fn check_users(case: &Case<'_>, qube: &Qube) -> Result<(), Failure> {
    let others = running_beside(case, qube)?;
    for (property, exception, text, counts_waiting) in USES {
        let mut users = Vec::new();
        for other in &others {
            let there = case.at(other);
            let names = there.named_by(property)?.is_some_and(|used| used.name == qube.name);
            if names && (counts_waiting || !there.is_on("is_preload")?) {
                users.push(other.name.as_str());
            }
        }
        if !users.is_empty() {
            return Err(Failure::new(exception, format!("{text}: {}", users.join(", "))));
        }
    }
    Ok(())
}

/// All other running qubes, in the order of lists.
fn running_beside(case: &Case<'_>, qube: &Qube) -> Result<Vec<Rc<Qube>>, Failure> {
    let hypervisor = case.context.hypervisor;
    let running = hypervisor.running();
    let mut others = Vec::new();
    for name in case.view.names()? {
        let may_run = name != qube.name && running.iter().any(|known| known == name.as_str());
        if may_run && hypervisor.domain(&name).is_some() {
            others.extend(case.view.qube(&name)?);
        }
    }
    Ok(others)
}

pub(super) struct Kill;

impl Call for Kill {
    const ROW: Row = Row::write("admin.vm.Kill", "Ends a qube's domain at once.");
    common::no_input!();

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let (store, root, name) = (world.store(), world.root(), granted.destination());
        refused::unless_local(granted.parties().class, Exception::QubesVMError, "kill")?;
        foresee(&granted, world, "ends at once", |_| true, refused::powered_off)?;
        let reached = reach(store, root, name)?;
        let (domain, watcher) = reached.ok_or_else(|| refused::powered_off(name))?;
        let mut watcher = Some(watcher);
        let reply = insist(store, root, name, &domain.run, &mut watcher, &Request::Destroy)?;
        if let Some(Reply::Refused(text)) = reply {
            let has_ended = world.hypervisor().known_domain(name)?.is_none();
            return Err(if has_ended { refused::powered_off(name) } else { refused::by_hypervisor(text) });
        }
        if let Some(watcher) = watcher
            && !await_end(store, root, name, &domain.run, watcher, KILL_DEADLINE)?
        {
            return Err(refused::does_not_end(name));
        }
        Ok(Content::new())
    }
}

//! `admin.vm.Start`: a start under the qube's lifecycle lock, which leaves a complete run or nothing (spec 40 §3).

use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;

use common::call::{Call, Content, Granted, Row, World, no_such_domain};
use common::event::Event;
use common::failure::{Exception, Failure};
use common::hypervisor::{Connection, Domain, Hypervisor, Published, Reply, Request, is_halted, launch};
use common::model::{Class, Qube};
use common::names::QubeName;
use common::root::Root;
use common::storage::Started;
use common::store::{LifecycleGuard, Store};

use super::lock::{lock, lock_after};
use super::steps::STEPS;
use super::{announce, refused};
use crate::companion::memory::Grant;
use crate::property::{Case, Context};

pub(super) struct StartCall;

impl Call for StartCall {
    const ROW: Row = Row::write("admin.vm.Start", "Starts a qube, and its netvm before it.");
    common::no_input!();

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let look = |world: &World<'_>| foreseen(world, granted.destination());
        world.foresee(&granted, look, |_| Ok(()))?;
        start(world.store(), world.root(), granted.destination())?;
        Ok(Content::new())
    }
}

/// What a start would do, as far as it is known before: its steps may fail.
fn foreseen(world: &World<'_>, name: &QubeName) -> Result<String, Failure> {
    let (view, context) = (world.store().read()?, Context::of(world));
    let qube = view.qube(name)?.ok_or_else(|| no_such_domain(name.as_str()))?;
    refused::unless_local(qube.class, Exception::QubesVMNotHaltedError, "start")?;
    let case = Case { view: &view, context, qube: Some(&qube) };
    check_template(&case, &qube)?;
    if !is_halted(context.hypervisor, &qube) {
        return Ok(format!("{name} runs already and is left as it is"));
    }
    let netvm = case.named_by("netvm")?.filter(|netvm| is_halted(context.hypervisor, netvm));
    Ok(netvm.map_or(format!("{name} starts"), |netvm| format!("{} starts, then {name}", netvm.name)))
}

/// Starts a qube. One that has a domain already, in whatever state, is left as it is.
///
/// # Errors
/// Those of spec 40 §3; nothing of the start is left then.
pub fn start(store: &Store, root: &Root, name: &QubeName) -> Result<(), Failure> {
    let class = store.read_one()?.qube(name)?.ok_or_else(|| no_such_domain(name.as_str()))?.class;
    refused::unless_local(class, Exception::QubesVMNotHaltedError, "start")?;
    let held = lock(store, root, name)?;
    let hypervisor = Published::at(root);
    let context = Context { hypervisor: &hypervisor, root };
    let mut start = Start { store, context, name, held, watcher: None, memory: None, volumes: Vec::new() };
    start.look(|case, qube| check_template(case, qube))?;
    if hypervisor.known_domain(name)?.is_some() {
        return Ok(());
    }
    let started = start.begin().and_then(|()| STEPS.iter().try_for_each(|step| step(&mut start)));
    match started {
        Ok(()) => Ok(()),
        Err(failure) => start.fail(failure),
    }
}

/// The template of a disposable qube may have stopped being one for such.
fn check_template(case: &Case<'_>, qube: &Qube) -> Result<(), Failure> {
    if qube.class != Class::DispVM {
        return Ok(());
    }
    let Some(template) = case.template()? else { return Ok(()) };
    if case.at(&template).is_on("template_for_dispvms")? {
        return Ok(());
    }
    let text = format!("template for disposable ({}) needs to have template_for_dispvms=True", template.name);
    Err(Failure::new(Exception::QubesException, text))
}

/// A start as its steps see it.
pub struct Start<'a> {
    /// The store, whose lock no step keeps.
    pub store: &'a Store,
    /// Hypervisor and root.
    pub context: Context<'a>,
    /// The qube.
    pub name: &'a QubeName,
    /// Its lifecycle lock.
    pub(super) held: LifecycleGuard,
    watcher: Option<Connection>,
    /// The memory that is kept for its domain until that has it.
    pub(super) memory: Option<Grant>,
    /// The volumes that its domain is given.
    pub(super) volumes: Vec<Started>,
}

impl Start<'_> {
    /// Reads the state as it is now, under the store's lock.
    ///
    /// # Errors
    /// If the qube is gone; what `look` says.
    pub fn look<T>(
        &self,
        look: impl FnOnce(&Case<'_>, &Rc<Qube>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let view = self.store.read()?;
        let qube = view.qube(self.name)?.ok_or_else(|| no_such_domain(self.name.as_str()))?;
        look(&Case { view: &view, context: self.context, qube: Some(&qube) }, &qube)
    }

    /// The same without a lock, for what may take a while.
    ///
    /// # Errors
    /// As [`Start::look`].
    pub fn glance<T>(
        &self,
        look: impl FnOnce(&Case<'_>, &Rc<Qube>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let view = self.store.read_one()?;
        let qube = view.qube(self.name)?.ok_or_else(|| no_such_domain(self.name.as_str()))?;
        look(&Case { view: &view, context: self.context, qube: Some(&qube) }, &qube)
    }

    /// Publishes events of this qube.
    ///
    /// # Errors
    /// What the store says.
    pub fn announce(&self, events: impl IntoIterator<Item = Event>) -> Result<(), Failure> {
        announce(self.store, events)
    }

    /// The domain, once it is made.
    pub fn domain(&self) -> Option<Domain> {
        self.context.hypervisor.domain(self.name)
    }

    /// Asks the watcher for something.
    ///
    /// # Errors
    /// `Start failed: …` with the hypervisor's words.
    pub fn ask(&self, request: &Request) -> Result<(), Failure> {
        let Some(watcher) = &self.watcher else { return Err(failed("there is no watcher")) };
        done(watcher.ask(request))
    }

    /// From here on something may have to be cleared away, and there is somebody who does.
    fn begin(&mut self) -> Result<(), Failure> {
        let watcher = launch(self.context.root, self.name).map_err(|error| failed(&error.to_string()))?;
        let begun = watcher.ask_with(&Request::Begin, self.held.as_fd());
        self.watcher = Some(watcher);
        done(begun)
    }

    /// Leaves the rest to the watcher, or to another one if that was killed, and waits until all is cleared away. A run
    /// that was to be kept already when its watcher was killed is no failure.
    fn fail(self, failure: Failure) -> Result<(), Failure> {
        let reason = failure.clone().into_text();
        let _ = self.ask(&Request::Fail(reason.clone().into_owned()));
        let Self { store, context, name, held, .. } = self;
        let begun_us = |domain: Domain| domain.run.begun_us;
        let ours = Published::at(context.root).run(name).ok().flatten().map(begun_us);
        drop(held);
        // What cannot be cleared away now is left to the next call: the reason for that may be the same.
        let Ok(_held) = lock_after(store, context.root, name, Some(&reason)) else { return Err(failure) };
        let kept = Published::at(context.root).domain(name).map(begun_us);
        if kept.is_some() && kept == ours { Ok(()) } else { Err(failure) }
    }
}

const NO_IOMMU: &str = "Failed to start an HVM qube with PCI devices assigned - hardware does not support \
    IOMMU/VT-d/AMD-Vi";

/// What a watcher's answer means for a start.
fn done(answer: io::Result<Option<Reply>>) -> Result<(), Failure> {
    match answer.map_err(|error| failed(&error.to_string()))? {
        Some(Reply::Refused(text)) => Err(failed(&text)),
        Some(Reply::Unable(text)) => {
            Err(Failure::new(Exception::QubesException, format!("Start failed: {text}")))
        }
        Some(Reply::NoIommu) => Err(Failure::new(Exception::QubesException, NO_IOMMU)),
        Some(_) => Ok(()),
        None => Err(failed("the domain's watcher has ended")),
    }
}

/// `Start failed: …` with the hypervisor's words.
fn failed(text: &str) -> Failure {
    let log = "/var/log/libvirt/libxl/libxl-driver.log";
    Failure::new(Exception::QubesException, format!("Start failed: {text}, see {log} for details"))
}

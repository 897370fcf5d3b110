//! A call is a row and three stages; a stage is a type (see `docs/architecture.md`).

use std::borrow::Cow;
use std::ffi::c_int;
use std::path::Path;
use std::{fmt, io};

use crate::event::Event;
use crate::failure::{Exception, Failure, Refusal};
use crate::files;
use crate::hypervisor::Hypervisor;
use crate::model::{Class, Qube};
use crate::names::QubeName;
use crate::past;
use crate::permission::{Facts, Judge};
use crate::quota::Quota;
use crate::root::Root;
use crate::storage::import;
use crate::store::{Store, Txn, View};
use crate::stream::{self, Source};
use crate::untrusted::Untrusted;
use crate::upload::Upload;

/// Which destinations a call accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// Only dom0.
    Dom0,
    /// Any qube but dom0.
    Qube,
    /// Any qube, dom0 included.
    Any,
}

/// Whether an argument or payload must, may or must not be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Must not be there.
    No,
    /// May be there.
    Optional,
    /// Must be there.
    Required,
    /// A payload of any length, which the call itself takes from standard input.
    Stream,
    /// The same after a line with its size, which is the payload that the call sanitises.
    SizedStream,
    /// Must not be there. Under qrexec standard input and output are a conversation, which the call itself holds.
    Conversation,
}

impl Presence {
    /// Whether the call itself takes the payload from standard input.
    pub const fn is_stream(self) -> bool {
        matches!(self, Self::Stream | Self::SizedStream)
    }

    /// Whether standard input is the call's own under qrexec.
    pub const fn is_taken_from_qrexec(self) -> bool {
        self.is_stream() || matches!(self, Self::Conversation)
    }

    /// Whether a call may be asked for in this way: with standard input still to come, or without.
    pub const fn may_be_asked(self, is_streamed: bool) -> bool {
        matches!(self, Self::Conversation) || self.is_stream() == is_streamed
    }
}

/// Which policy include file a call is listed in, with [`Access`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Concerns the whole system.
    Global,
    /// Concerns its destination.
    Local,
    /// Only for this machine's own programs, on the internal socket: qrexec has no such service.
    Internal,
    /// What qubes tell dom0 of themselves: any may, and learns of the outcome by the exit status alone.
    Guests,
    /// The policy itself. Under qrexec answers have no frame: the exit status tells how it went.
    Policy,
    /// The same of a call that stands in no policy include file.
    Unlisted,
}

/// What a call does to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reads without a lock: its destination's object alone, or some that need not be of one instant.
    ReadOne,
    /// Reads under the shared lock.
    Read,
    /// Changes.
    Write,
}

/// Everything the dispatcher, the policy and the documentation need to know of a call.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The method's whole name.
    pub name: &'static str,
    /// Accepted destinations.
    pub destination: Destination,
    /// Argument.
    pub argument: Presence,
    /// Payload.
    pub payload: Presence,
    /// Policy scope.
    pub scope: Scope,
    /// Use of the store.
    pub access: Access,
    /// One line for the reference documentation.
    pub help: &'static str,
}

impl Row {
    /// A call that changes its destination; refine with the methods below.
    pub const fn write(name: &'static str, help: &'static str) -> Self {
        Self {
            name,
            destination: Destination::Any,
            argument: Presence::No,
            payload: Presence::No,
            scope: Scope::Local,
            access: Access::Write,
            help,
        }
    }

    /// A call that reads under the shared lock.
    pub const fn read(name: &'static str, help: &'static str) -> Self {
        Self { access: Access::Read, ..Self::write(name, help) }
    }

    /// A call that reads without a lock.
    pub const fn read_one(name: &'static str, help: &'static str) -> Self {
        Self { access: Access::ReadOne, ..Self::write(name, help) }
    }

    /// The same, concerning the whole system.
    pub const fn global(self) -> Self {
        Self { scope: Scope::Global, ..self }
    }

    /// The same, only for this machine's own programs.
    pub const fn internal(self) -> Self {
        Self { scope: Scope::Internal, ..self }
    }

    /// The same for qubes that tell dom0 of themselves.
    pub const fn from_guests(self) -> Self {
        Self { scope: Scope::Guests, ..self }
    }

    /// The same, on the policy itself.
    pub const fn on_policy(self) -> Self {
        Self { scope: Scope::Policy, destination: Destination::Dom0, ..self }
    }

    /// The same in no policy include file.
    pub const fn unlisted(self) -> Self {
        Self { scope: Scope::Unlisted, ..self }
    }

    /// Whether answers have no frame under qrexec.
    pub const fn is_plain(&self) -> bool {
        matches!(self.scope, Scope::Policy | Scope::Unlisted)
    }

    /// Whether qubes tell dom0 of themselves by the call.
    pub const fn is_from_guests(&self) -> bool {
        matches!(self.scope, Scope::Guests)
    }

    /// Whether the call concerns the whole system.
    pub const fn is_global(&self) -> bool {
        matches!(self.scope, Scope::Global | Scope::Policy | Scope::Unlisted)
    }

    /// Whether only this machine's own programs may make the call.
    pub const fn is_internal(&self) -> bool {
        matches!(self.scope, Scope::Internal)
    }

    /// The same for other destinations.
    pub const fn on(self, destination: Destination) -> Self {
        Self { destination, ..self }
    }

    /// The same with an argument.
    pub const fn argument(self, argument: Presence) -> Self {
        Self { argument, ..self }
    }

    /// The same with a payload.
    pub const fn payload(self, payload: Presence) -> Self {
        Self { payload, ..self }
    }
}

/// Who calls and whom it concerns: vouched for by qrexec, resolved against the store.
#[derive(Debug, Clone)]
pub struct Parties {
    /// The calling qube.
    pub caller: QubeName,
    /// The qube the call is about.
    pub destination: QubeName,
    /// Its class.
    pub class: Class,
    /// Whether some constraint of the administrator's is about the caller.
    pub is_constrained: bool,
}

impl Parties {
    /// The same caller and another destination.
    #[must_use]
    pub fn on(&self, qube: &Qube) -> Self {
        Self { destination: qube.name.clone(), class: qube.class, ..self.clone() }
    }
}

/// What a call gets to sanitise.
pub struct Received {
    /// The row it was found by.
    pub row: &'static Row,
    /// Who and whom.
    pub parties: Parties,
    /// The argument; its presence agrees with the row.
    pub argument: Untrusted,
    /// The payload; its presence agrees with the row. Of a stream only the line that announces its size, if it has one.
    pub payload: Untrusted,
    /// Whether standard input is still to come, for the call itself.
    pub is_streamed: bool,
}

impl Received {
    /// The payload of a call whose row says that it is a stream.
    pub fn upload(&self) -> Upload {
        Upload::of_standard_input()
    }
}

/// The content of an OK reply.
pub type Content = Vec<u8>;

/// What a granted call answers. A stream takes over once nothing can be refused any more, so that no OK or EXCEPTION
/// ever follows an event.
pub enum Reply {
    /// One OK message.
    Content(Content),
    /// What serves the caller for as long as it listens, and gives the exit status. Only families that have streams link
    /// the means.
    Stream(Box<dyn FnOnce() -> c_int>),
    /// How an upload ended that had begun. The exit status tells only of those that never did (spec 20 §5.1).
    Ended(Result<Content, Failure>),
}

impl From<Content> for Reply {
    fn from(content: Content) -> Self {
        Self::Content(content)
    }
}

impl<S: Source + 'static> From<S> for Reply {
    fn from(mut source: S) -> Self {
        Self::Stream(Box::new(move || {
            stream::run(&mut source);
            0
        }))
    }
}

/// One call of the Admin API.
pub trait Call: Sized {
    /// Its row.
    const ROW: Row;
    /// What sanitising makes of argument and payload.
    type Input;

    /// Stage 1: bytes to meaning. Nothing may be revealed, printed, logged or stored.
    ///
    /// # Errors
    /// The specification's refusal.
    fn sanitise(received: &Received) -> Result<Self::Input, Refusal>;

    /// The sanitised argument and the extra values that permission rules see.
    fn facts(input: &Self::Input) -> Values;

    /// Stage 3: full authority.
    ///
    /// # Errors
    /// The specification's exception, or a drop.
    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<impl Into<Reply>, Failure>;
}

/// Stage 1 of a call that has neither argument nor payload, which its row says: there is nothing to sanitise.
#[macro_export]
macro_rules! no_input {
    () => {
        type Input = ();

        fn sanitise(_: &$crate::call::Received) -> Result<(), $crate::failure::Refusal> {
            Ok(())
        }

        fn facts((): &()) -> $crate::call::Values {
            $crate::call::Values::default()
        }
    };
}

/// Sanitised values for permission rules.
#[derive(Debug, Clone, Default)]
pub struct Values {
    /// The argument; empty for calls that take none.
    pub argument: String,
    /// Names and values the specification lists for the call.
    pub values: Vec<(&'static str, String)>,
}

impl Values {
    /// Just an argument.
    pub fn argument(argument: impl Into<String>) -> Self {
        Self { argument: argument.into(), values: Vec::new() }
    }

    /// The same with one more value.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.values.push((name, value.into()));
        self
    }
}

/// A call whose input passed stage 1.
pub struct Sanitised<C: Call> {
    row: &'static Row,
    parties: Parties,
    input: C::Input,
}

impl<C: Call> Sanitised<C> {
    /// Runs stage 1.
    ///
    /// # Errors
    /// The call's refusal.
    pub fn new(received: &Received) -> Result<Self, Refusal> {
        let (row, parties) = (received.row, received.parties.clone());
        Ok(Self { row, parties, input: C::sanitise(received)? })
    }

    /// Runs stage 2: the built-in rules and the administrator's constraints, on sanitised values only.
    ///
    /// # Errors
    /// `PermissionDenied`.
    pub fn authorise(self, judge: &dyn Judge) -> Result<Granted<C>, Refusal> {
        let values = C::facts(&self.input);
        let quota = judge.judge(&Facts { row: self.row, parties: &self.parties, values: &values })?;
        Ok(Granted { row: self.row, parties: self.parties, quota, input: self.input })
    }
}

/// A call that was granted. Only [`Sanitised::authorise`] makes one.
///
/// ```compile_fail
/// # use common::call::*;
/// fn forged<C: Call>(parties: Parties, input: C::Input) -> Granted<C> {
///     Granted { row: &C::ROW, parties, quota: Default::default(), input } // the fields are private
/// }
/// ```
pub struct Granted<C: Call> {
    row: &'static Row,
    parties: Parties,
    quota: Quota,
    input: C::Input,
}

impl<C: Call> Granted<C> {
    /// The calling qube.
    pub fn caller(&self) -> &QubeName {
        &self.parties.caller
    }

    /// The destination.
    pub fn destination(&self) -> &QubeName {
        &self.parties.destination
    }

    /// Who and whom.
    pub fn parties(&self) -> &Parties {
        &self.parties
    }

    /// What the caller may use up, which each change is held to. What it may get without one, the call sees to.
    pub fn quota(&self) -> Quota {
        self.quota
    }

    /// Refuses what makes a volume larger before the store knows, where the caller's bytes are limited.
    ///
    /// # Errors
    /// `PermissionDenied`.
    pub fn check_growth(&self, from: u64, to: u64) -> Result<(), Refusal> {
        let is_fine = !self.quota.limits_bytes() || to <= from;
        if is_fine {
            Ok(())
        } else {
            Err(Refusal::denied("under a quota of bytes only a resize makes a volume larger"))
        }
    }

    /// What sanitising made of argument and payload.
    pub fn input(&self) -> &C::Input {
        &self.input
    }
}

/// Everything stage 3 may touch.
pub struct World<'s> {
    root: &'s Root,
    store: &'s Store,
    view: View<'s>,
    hypervisor: &'s dyn Hypervisor,
    judge: &'s dyn Judge,
}

impl<'s> World<'s> {
    /// The world as seen through an open view, and who grants calls in it.
    pub fn new(
        root: &'s Root,
        store: &'s Store,
        view: View<'s>,
        hypervisor: &'s dyn Hypervisor,
        judge: &'s dyn Judge,
    ) -> Self {
        Self { root, store, view, hypervisor, judge }
    }

    /// Who grants calls.
    pub fn judge(&self) -> &'s dyn Judge {
        self.judge
    }

    /// Does what belongs to making the call, as waiting for a lock: nothing where it is only looked at.
    ///
    /// # Errors
    /// Those of `act`.
    pub fn in_earnest<T, E>(&self, act: impl FnOnce() -> Result<T, E>) -> Result<Option<T>, E> {
        if self.judge.trial().is_some() { Ok(None) } else { act().map(Some) }
    }

    /// Tells what the call is about to do, before it does any of it: in words what no store shows, and the change of the
    /// store that it ends with. That is for calls that are only looked at, which end here; others go on at once. A call
    /// that begins with its one [`World::change`] needs none.
    ///
    /// # Errors
    /// [`NOT_MADE`], or why the call would be refused.
    pub fn foresee<C: Call>(
        &mut self,
        granted: &Granted<C>,
        look: impl FnOnce(&Self) -> Result<String, Failure>,
        change: impl FnOnce(&mut Txn<'s>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if self.judge.trial().is_none() {
            return Ok(());
        }
        let words = look(self)?;
        self.change(granted, |txn| {
            txn.in_earnest(&words, || Ok(()))?;
            change(txn)
        })
    }

    /// Where things lie.
    pub fn root(&self) -> &'s Root {
        self.root
    }

    /// The state, as it was when the call began.
    pub fn view(&self) -> &View<'s> {
        &self.view
    }

    /// The store itself, for lifecycle locks.
    pub fn store(&self) -> &'s Store {
        self.store
    }

    /// The hypervisor.
    pub fn hypervisor(&self) -> &'s dyn Hypervisor {
        self.hypervisor
    }

    /// Changes the state: all of it if `change` succeeds, and nothing but its events if `change` refuses.
    ///
    /// Calls whose row only reads cannot call this:
    ///
    /// ```compile_fail
    /// # use common::{call::*, failure::*};
    /// struct Reads;
    /// impl Call for Reads {
    ///     const ROW: Row = Row::read("x", "");
    ///     type Input = ();
    ///     fn sanitise(_: &Received) -> Result<(), Refusal> { Ok(()) }
    ///     fn facts(_: &()) -> Values { Values::default() }
    ///     fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
    ///         world.change(&granted, |_| Ok(Vec::new())) // refused when built
    ///     }
    /// }
    /// let entry = entry::<Reads>();
    /// # fn main() {}
    /// ```
    ///
    /// # Errors
    /// What `change` refuses with, or what the store says.
    pub fn change<C: Call, T>(
        &mut self,
        granted: &Granted<C>,
        change: impl FnOnce(&mut Txn<'s>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        const {
            assert!(matches!(C::ROW.access, Access::Write), "this call's row says that it only reads");
        }
        let (mut change, mut made) = (Some(change), None);
        self.transact(granted.row.name, &granted.parties.caller, granted.quota, &mut |txn| {
            made = change.take().map(|change| change(txn)).transpose()?;
            Ok(())
        })?;
        made.ok_or(NOT_MADE)
    }

    /// The part of a change that is the same for every call.
    fn transact(
        &self,
        method: &'static str,
        caller: &QubeName,
        quota: Quota,
        change: &mut dyn FnMut(&mut Txn<'s>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut txn = self.store.write()?;
        txn.by(caller, method);
        if self.judge.trial().is_some() {
            txn.only_look();
        }
        let outcome = change(&mut txn);
        self.end(txn, caller, quota, outcome.is_ok())?;
        outcome
    }

    /// Makes a change take effect that succeeded and keeps to its caller's quota; of another only its events.
    fn end(&self, txn: Txn<'s>, caller: &QubeName, quota: Quota, succeeded: bool) -> Result<(), Failure> {
        let within = if succeeded { quota.check(caller, &txn, self.store) } else { Ok(()) };
        if let Some(trial) = self.judge.trial() {
            trial.see(&txn);
            return if succeeded { within.and(Err(NOT_MADE)) } else { Ok(()) };
        }
        if succeeded && within.is_ok() {
            txn.commit()?
        } else {
            txn.refuse()?
        }
        import::announce_abandoned(self.store);
        within
    }

    /// The same of a call that leaves nothing in the store.
    ///
    /// # Errors
    /// [`NOT_MADE`].
    pub fn foretell<C: Call>(
        &mut self,
        granted: &Granted<C>,
        words: fmt::Arguments<'_>,
    ) -> Result<(), Failure> {
        self.foresee(granted, |_| Ok(words.to_string()), |_| Ok(()))
    }

    /// Replaces a file whose content is configuration, durably, or removes it where there is no content; the old one is kept
    /// ([`past`]). The inner error tells that the file is as it was.
    ///
    /// # Errors
    /// [`NOT_MADE`].
    pub fn change_file<C: Call>(
        &self,
        granted: &Granted<C>,
        path: &Path,
        content: Option<&[u8]>,
        mode: u32,
    ) -> Result<io::Result<()>, Failure> {
        if let Some(trial) = self.judge.trial() {
            let before = files::read_if_present(path).unwrap_or_default();
            trial.see_file(&self.root.without(path), before.as_deref(), content);
            return Err(NOT_MADE);
        }
        Ok(past::change(path, content, mode, granted.caller(), granted.row.name))
    }

    /// Publishes an event that goes with no change of the state.
    ///
    /// # Errors
    /// What the store says.
    pub fn announce<C: Call>(&mut self, granted: &Granted<C>, event: Event) -> Result<(), Failure> {
        self.change(granted, |txn| {
            txn.event(event);
            Ok(())
        })
    }
}

/// How a call ends whose change is only looked at.
pub const NOT_MADE: Failure = Failure::Dropped(Cow::Borrowed("the change is not made"));

/// A call as the dispatcher knows it.
#[derive(Clone, Copy)]
pub struct Entry {
    /// Its row.
    pub row: Row,
    /// Its three stages.
    pub run: fn(&Received, &mut World<'_>) -> Result<Reply, Failure>,
}

impl Entry {
    /// The same call under another name, which sanitising sees in its row.
    #[must_use]
    pub const fn named(self, name: &'static str, help: &'static str) -> Self {
        Self { row: Row { name, help, ..self.row }, ..self }
    }
}

/// The entry of a call in its family's list.
pub const fn entry<C: Call>() -> Entry {
    Entry { row: C::ROW, run: run::<C> }
}

fn run<C: Call>(received: &Received, world: &mut World<'_>) -> Result<Reply, Failure> {
    let sanitised = Sanitised::<C>::new(received)?;
    let granted = sanitised.authorise(world.judge)?;
    C::act(granted, world).map(Into::into)
}

/// The executables: one per family of calls.
pub struct Family {
    /// The executable's name.
    pub name: &'static str,
    /// Its calls.
    pub calls: &'static [Entry],
}

impl Family {
    /// The call of that name.
    pub fn find(&self, method: &[u8]) -> Option<&'static Entry> {
        self.calls.iter().find(|entry| entry.row.name.as_bytes() == method)
    }
}

/// `no such method: …`.
pub fn no_such_method(method: &str) -> Failure {
    Failure::new(Exception::ProtocolError, format!("no such method: {}", crate::quote::quote(method)))
}

/// `No such domain: …`, for a qube that is not there (any more).
pub fn no_such_domain(name: &str) -> Failure {
    let text = format!("No such domain: {}", crate::quote::quote(name));
    Failure::new(Exception::QubesVMNotFoundError, text)
}

//! `policy.Replace` and `Remove`, and the same for files to include: the whole policy is read as it would be before a file is
//! replaced in one step, or removed.

use std::path::Path;

use common::call::{Call, Content, Granted, Presence, Received, Row, Values, World};
use common::failure::{Exception, Failure, Refusal};
use common::log;
use common::names::{PolicyName, PolicyText, PolicyToken, QubeName};
use common::policy::{IndexedSystem, Policy, PolicyError, Proposal, is_legal_name};
use common::store::{self, Guard, StoreError};

use super::file::{self, Kind};
use super::journal::noted;
use crate::input;

const FILE_MODE: u32 = 0o664;

/// Declares a call that changes a file.
macro_rules! change {
    ($call:ident, $name:literal, $kind:expr, $payload:ty, $act:ident, $help:literal) => {
        pub(super) struct $call;

        impl Call for $call {
            const ROW: Row =
                Row::write($name, $help).on_policy().argument(Presence::Optional).payload(Presence::Optional);
            type Input = (PolicyName, $payload);

            fn sanitise(received: &Received) -> Result<Self::Input, Refusal> {
                Ok((input::argument(received)?, received.payload.sanitise()?))
            }

            fn facts((name, _): &Self::Input) -> Values {
                Values::argument(name.as_str())
            }

            fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
                let (name, payload) = granted.input();
                let make = || {
                    let change = Change::of($kind, name, granted.caller(), world)?;
                    write(&granted, world, &change.path, change.$act(payload)?)
                };
                noted(world, &granted, name.as_str(), make())
            }
        }
    };
}

change!(
    Replace,
    "policy.Replace",
    Kind::Main,
    PolicyText,
    replace,
    "Makes or replaces a policy file: a line with the token that Get tells, or new or any, then the content."
);
change!(
    IncludeReplace,
    "policy.include.Replace",
    Kind::Included,
    PolicyText,
    replace,
    "Makes or replaces a file to include, likewise."
);
change!(
    Remove,
    "policy.Remove",
    Kind::Main,
    PolicyToken,
    remove,
    "Removes a policy file that has this token, or any."
);
change!(
    IncludeRemove,
    "policy.include.Remove",
    Kind::Included,
    PolicyToken,
    remove,
    "Removes a file to include, likewise."
);

/// A file that is about to change, with the lock that all who change policy take.
struct Change<'c, 'w> {
    kind: Kind,
    name: &'c PolicyName,
    path: std::path::PathBuf,
    caller: &'c QubeName,
    world: &'c World<'w>,
    _lock: Option<Guard>,
}

impl<'c, 'w> Change<'c, 'w> {
    fn of(
        kind: Kind,
        name: &'c PolicyName,
        caller: &'c QubeName,
        world: &'c World<'w>,
    ) -> Result<Self, Failure> {
        let lock = world.in_earnest(|| lock(world))?;
        let path = kind.path(world.root(), name)?;
        Ok(Self { kind, name, path, caller, world, _lock: lock })
    }

    /// The new content, if that may be.
    fn replace<'t>(&self, text: &'t PolicyText) -> Result<Option<&'t [u8]>, Failure> {
        if self.kind == Kind::Main && !is_legal_name(self.name.as_str()) {
            let text = "A policy file with a capital letter in its name would have every call denied";
            return Err(Failure::new(Exception::PolicyAdminInvalidFileNameException, text));
        }
        self.check_token(&text.token)?;
        self.check_result(Some(&text.content))?;
        Ok(Some(&text.content))
    }

    /// No content, if that may be.
    fn remove(&self, token: &PolicyToken) -> Result<Option<&'static [u8]>, Failure> {
        self.check_token(token)?;
        file::read(&self.path)?.ok_or_else(file::not_found)?;
        self.check_result(None)?;
        Ok(None)
    }

    fn check_token(&self, token: &PolicyToken) -> Result<(), Failure> {
        let refused = |text: &'static str| Err(Failure::new(Exception::PolicyAdminTokenException, text));
        match (token, file::read(&self.path)?) {
            (PolicyToken::Any, _) | (PolicyToken::New, None) => Ok(()),
            (PolicyToken::New, Some(_)) => refused("There is such a policy file already"),
            (PolicyToken::Hash(_), None) => refused("The policy file is gone"),
            (PolicyToken::Hash(token), Some(content)) if *token == file::token(&content) => Ok(()),
            (PolicyToken::Hash(_), Some(_)) => refused("The policy file has changed"),
        }
    }

    /// Reads the policy as it would be. A file that nothing includes is read on its own, so that it breaks nothing later.
    fn check_result(&self, content: Option<&[u8]>) -> Result<(), Failure> {
        let root = self.world.root();
        let proposal = Proposal { path: self.path.clone(), content: content.map(<[u8]>::to_vec) };
        let policy = as_proposed(self.world, &proposal)?;
        let shown = root.without(&self.path);
        let is_read = policy.files().any(|file| Path::new(file) == shown);
        if content.is_some() && !is_read {
            Policy::check_alone(root, &proposal).map_err(|error| invalid(&error))?;
        }
        self.check_access(&policy)
    }

    /// Whoever may take the change back now may do so after it. dom0 always may.
    fn check_access(&self, after: &Policy) -> Result<(), Failure> {
        if self.caller.is_dom0() {
            return Ok(());
        }
        let Ok(before) = Policy::load(self.world.root()) else { return Ok(()) };
        let system = IndexedSystem::of(self.world.view(), self.world.hypervisor())?;
        let (call, argument) = (self.kind.undoing_call(), format!("+{}", self.name));
        let may = |policy: &Policy| {
            policy.is_plainly_allowed(&system, call, &argument, self.caller.as_str(), "@adminvm")
        };
        if may(&before) && !may(after) {
            let text = "You could not take the change back: it ends your right to make it";
            return Err(Failure::new(Exception::PolicyAdminProtocolException, text));
        }
        Ok(())
    }
}

/// The policy as it would be with a change.
pub(super) fn as_proposed(world: &World<'_>, proposal: &Proposal) -> Result<Policy, Failure> {
    Policy::load_with(world.root(), std::slice::from_ref(proposal)).map_err(|error| invalid(&error))
}

fn invalid(error: &PolicyError) -> Failure {
    let text = format!("Policy change validation failed: {error}");
    Failure::new(Exception::PolicyAdminSyntaxException, text)
}

/// Waits for the lock that all who change policy take.
pub(super) fn lock(world: &World<'_>) -> Result<Guard, Failure> {
    store::lock_directory(&Kind::Main.directory(world.root())).map_err(|error| {
        log::line(&format!("locking the policy: {error}"));
        let text = match error {
            StoreError::Busy => "Another change of the policy takes too long".to_owned(),
            other => format!("Policy files cannot be used: {other}"),
        };
        Failure::new(Exception::QubesException, text)
    })
}

/// Replaces or removes a file in one step.
pub(super) fn write<C: Call>(
    granted: &Granted<C>,
    world: &World<'_>,
    path: &Path,
    content: Option<&[u8]>,
) -> Result<Content, Failure> {
    let written = world.change_file(granted, path, content, FILE_MODE)?;
    written.map(|()| Content::new()).map_err(|error| file::unusable(&error))
}

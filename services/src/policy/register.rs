//! `policy.RegisterArgument`: a qube that serves something lets the destination call it with one argument more.

use common::call::{Call, Content, Destination, Granted, Presence, Received, Row, Values, World};
use common::failure::{Exception, Failure, Refusal};
use common::names::{PolicyName, RegisteredArgument, ServiceName};
use common::policy::{Policy, Proposal};

use super::change::{self, as_proposed};
use super::file::{self, Kind};
use super::journal::noted;
use crate::input;

/// The file of all such rules, without its ending.
pub(crate) const FILE: &str = "60-registered-arguments";

pub(super) struct RegisterArgument;

impl Call for RegisterArgument {
    const ROW: Row = Row::write(
        "policy.RegisterArgument",
        "Lets the destination call a service of the caller with the argument in the payload.",
    )
    .unlisted()
    .on(Destination::Qube)
    .argument(Presence::Optional)
    .payload(Presence::Required);
    type Input = (ServiceName, RegisteredArgument);

    fn sanitise(received: &Received) -> Result<Self::Input, Refusal> {
        Ok((input::argument(received)?, received.payload.sanitise()?))
    }

    fn facts((service, argument): &Self::Input) -> Values {
        Values::argument(service.as_str()).with("argument", argument.as_str())
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let (service, _) = granted.input();
        noted(world, &granted, service.as_str(), register(&granted, world))
    }
}

fn register(granted: &Granted<RegisterArgument>, world: &World<'_>) -> Result<Content, Failure> {
    let (service, argument) = granted.input();
    let _lock = world.in_earnest(|| change::lock(world))?;
    let path = Kind::Main.path(world.root(), &PolicyName::parse(FILE)?)?;
    let mut content = file::read(&path)?.unwrap_or_default();
    if !content.is_empty() && !content.ends_with(b"\n") {
        content.push(b'\n');
    }
    let before = as_proposed(world, &Proposal { path: path.clone(), content: Some(content.clone()) })?;
    refuse_known(&before, service, argument)?;
    let rule = format!("{service} +{argument} {} {} allow\n", granted.destination(), granted.caller());
    content.extend_from_slice(rule.as_bytes());
    as_proposed(world, &Proposal { path: path.clone(), content: Some(content.clone()) })?;
    change::write(granted, world, &path, Some(&content))
}

/// What was registered for one qube is not for another.
fn refuse_known(
    policy: &Policy,
    service: &ServiceName,
    argument: &RegisteredArgument,
) -> Result<(), Failure> {
    let argument = format!("+{argument}");
    let is_about = |rule: &common::policy::Rule| {
        (rule.service(), rule.argument()) == (Some(service.as_str()), Some(&argument))
    };
    if policy.rules().iter().any(is_about) {
        let text = "There is a rule for this argument already";
        return Err(Failure::new(Exception::PolicyAdminProtocolException, text));
    }
    Ok(())
}

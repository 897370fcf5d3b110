//! `admin.vm.device.denied.*`: kinds of devices that may not be attached to a qube by hand (spec 30 §2.9).

use std::collections::BTreeSet;

use common::call::{Call, Content, Granted, Presence, Received, Row, Values, World};
use common::failure::{Failure, Refusal};
use common::model::Value;
use common::names::{Ascii, Interface, QubeName};
use common::quote::quote;
use common::store::{Txn, View};

use crate::property::{self, Context};

const PROPERTY: &str = "devices_denied";

pub(super) struct List;

impl Call for List {
    const ROW: Row = Row::read_one(
        "admin.vm.device.denied.List",
        "Interface codes of the devices that may not be attached to the qube, one per line.",
    );
    common::no_input!();

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let denied = denied(world.view(), granted.destination())?;
        Ok(Interface::all_in(&denied).join("\n").into_bytes())
    }
}

/// The stored codes without separators. A qube that cannot have any gets no answer (spec 30 §2).
pub(super) fn denied(view: &View<'_>, name: &QubeName) -> Result<String, Failure> {
    let qube = view.qube(name)?.ok_or_else(|| common::call::no_such_domain(name.as_str()))?;
    if property::row(qube.class, PROPERTY).is_none() {
        return Err(Failure::dropped(format!("{name} has no {PROPERTY}")));
    }
    Ok(qube.properties.get(PROPERTY).map(Value::to_text).unwrap_or_default())
}

/// Codes as a payload lists them, each once.
fn codes(text: &str) -> Result<BTreeSet<String>, Refusal> {
    let codes = Interface::all_in(text);
    if codes.last().is_some_and(|last| last.len() != 7) {
        let (shown, length) = (quote(text), text.len());
        return Err(Refusal::value(format!(
            "Invalid length of interfaces={shown} (is {length}, expected multiple of 7)"
        )));
    }
    let unique: BTreeSet<String> = codes.iter().map(|code| (*code).to_owned()).collect();
    if unique.len() == codes.len() {
        Ok(unique)
    } else {
        Err(Refusal::protocol("Duplicated device interfaces in payload."))
    }
}

fn ascii(received: &Received) -> Result<Ascii, Refusal> {
    const STRANGE: &str = "Device interface contains non-ASCII characters";
    received.payload.sanitise().map_err(|_| Refusal::protocol(STRANGE))
}

fn facts(codes: &BTreeSet<String>) -> Values {
    Values::default().with("interfaces", codes.iter().map(String::as_str).collect::<String>())
}

pub(super) struct Add;

impl Call for Add {
    const ROW: Row =
        Row::write("admin.vm.device.denied.Add", "Forbids to attach devices with these interface codes.")
            .payload(Presence::Optional);
    type Input = BTreeSet<String>;

    fn sanitise(received: &Received) -> Result<Self::Input, Refusal> {
        codes(ascii(received)?.as_str())
    }

    fn facts(input: &Self::Input) -> Values {
        facts(input)
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let context = Context::of(world);
        world.change(&granted, |txn| {
            let denied = denied(txn, granted.destination())?;
            let added: String = granted.input().iter().map(String::as_str).collect();
            store(txn, &context, granted.destination(), denied + &added)
        })?;
        Ok(Content::new())
    }
}

fn store(txn: &mut Txn<'_>, context: &Context<'_>, name: &QubeName, codes: String) -> Result<(), Failure> {
    property::set(txn, context, name, PROPERTY, Value::Text(codes))
}

pub(super) struct Remove;

impl Call for Remove {
    const ROW: Row = Row::write(
        "admin.vm.device.denied.Remove",
        "Allows to attach devices with these interface codes again, or `all`.",
    )
    .payload(Presence::Optional);
    /// None for all.
    type Input = Option<BTreeSet<String>>;

    fn sanitise(received: &Received) -> Result<Self::Input, Refusal> {
        let payload = ascii(received)?;
        if payload.as_str() == "all" { Ok(None) } else { codes(payload.as_str()).map(Some) }
    }

    fn facts(input: &Self::Input) -> Values {
        input.as_ref().map_or_else(|| Values::default().with("interfaces", "all"), facts)
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let context = Context::of(world);
        world.change(&granted, |txn| {
            let denied = denied(txn, granted.destination())?;
            let goes = |code: &str| granted.input().as_ref().is_none_or(|codes| codes.contains(code));
            let kept: String = Interface::all_in(&denied).into_iter().filter(|code| !goes(code)).collect();
            if kept == denied {
                return Ok(());
            }
            store(txn, &context, granted.destination(), kept)
        })?;
        Ok(Content::new())
    }
}

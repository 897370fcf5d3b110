//! `admin.label.*`: labels, each with an index, a name and a colour (spec 10 §4).

use common::call::{
    Call, Content, Destination, Family, Granted, Presence, Received, Row, Values, World, entry,
};
use common::failure::{Exception, Failure, Refusal};
use common::model::Label;
use common::names::{Ascii, Color, LabelName, NewLabelName};
use common::quote::quote;
use common::store::Txn;

use crate::input;
use crate::listing::{self, Item};

/// The family.
pub const FAMILY: Family = Family {
    name: "admin-label",
    calls: &[entry::<List>(), entry::<Get>(), entry::<Index>(), entry::<Create>(), entry::<Remove>()],
};

/// Labels up to this index are built in: never removed, never given out.
const LAST_BUILT_IN: u32 = 8;

/// `Label does not exist: …`.
pub fn not_found(text: &str) -> Failure {
    Failure::new(Exception::QubesLabelNotFoundError, format!("Label does not exist: {text}"))
}

struct List;

impl Call for List {
    const ROW: Row = Row::read("admin.label.List", "Names of all labels, one per line.")
        .global()
        .on(Destination::Dom0)
        .argument(Presence::Optional);
    type Input = Option<Ascii>;

    fn sanitise(received: &Received) -> Result<Self::Input, Refusal> {
        input::optional_argument(received)
    }

    fn facts(input: &Self::Input) -> Values {
        Values::argument(input.as_ref().map(Ascii::as_str).unwrap_or_default())
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let labels = world.view().labels()?;
        let items = labels.labels.iter().map(|label| Item::plain(label.name.as_str()));
        listing::print(items, granted.input().as_ref(), "labels")
    }
}

/// Declares a call that tells one thing about a label.
macro_rules! about {
    ($call:ident, $name:literal, $help:literal, $tell:expr) => {
        struct $call;

        impl Call for $call {
            const ROW: Row =
                Row::read($name, $help).global().on(Destination::Dom0).argument(Presence::Required);
            type Input = LabelName;

            fn sanitise(received: &Received) -> Result<Self::Input, Refusal> {
                input::argument(received)
            }

            fn facts(input: &Self::Input) -> Values {
                Values::argument(input.as_str()).with("label", input.as_str())
            }

            fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
                let tell: fn(&Label) -> String = $tell;
                let labels = world.view().labels()?;
                let label = labels.find(granted.input().as_str());
                label.map(|label| tell(label).into_bytes()).ok_or_else(|| not_found(granted.input().as_str()))
            }
        }
    };
}

about!(Get, "admin.label.Get", "Colour of a label, 0xRRGGBB.", |label| label.color.clone());
about!(Index, "admin.label.Index", "Index of a label.", |label| label.index.to_string());

struct Create;

impl Call for Create {
    const ROW: Row = Row::write("admin.label.Create", "Makes a label of the colour 0xRRGGBB.")
        .global()
        .on(Destination::Dom0)
        .argument(Presence::Required)
        .payload(Presence::Required);
    type Input = (NewLabelName, Color);

    fn sanitise(received: &Received) -> Result<Self::Input, Refusal> {
        Ok((input::argument(received)?, received.payload.sanitise()?))
    }

    fn facts((name, color): &Self::Input) -> Values {
        Values::argument(name.0.as_str()).with("color", color.as_str())
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let (NewLabelName(name), color) = granted.input();
        world.change(&granted, |txn| create(txn, name, color))
    }
}

fn create(txn: &mut Txn<'_>, name: &LabelName, color: &Color) -> Result<Content, Failure> {
    let labels = txn.labels()?;
    if labels.find(name.as_str()).is_some() {
        let text = format!("Label is still in use: {}", quote(name.as_str()));
        return Err(Failure::new(Exception::QubesLabelInUseError, text));
    }
    let highest = labels.labels.iter().map(|label| label.index).max().unwrap_or_default().max(LAST_BUILT_IN);
    let label =
        Label { index: highest.saturating_add(1), name: name.clone(), color: color.as_str().to_owned() };
    txn.edit_labels(|labels| labels.labels.push(label))?;
    Ok(Content::new())
}

struct Remove;

impl Call for Remove {
    const ROW: Row = Row::write("admin.label.Remove", "Removes a label that is neither built in nor in use.")
        .global()
        .on(Destination::Dom0)
        .argument(Presence::Required);
    type Input = LabelName;

    fn sanitise(received: &Received) -> Result<Self::Input, Refusal> {
        input::argument(received)
    }

    fn facts(input: &Self::Input) -> Values {
        Values::argument(input.as_str()).with("label", input.as_str())
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let name = granted.input();
        world.change(&granted, |txn| remove(txn, name))
    }
}

fn remove(txn: &mut Txn<'_>, name: &LabelName) -> Result<Content, Failure> {
    let labels = txn.labels()?;
    let label = labels.find(name.as_str()).ok_or_else(|| not_found(name.as_str()))?;
    if label.index <= LAST_BUILT_IN {
        return Err(Failure::new(Exception::ProtocolError, "Can only remove custom labels"));
    }
    if txn.index()?.entries().iter().any(|entry| entry.label() == label.name.as_str()) {
        return Err(Failure::new(Exception::QubesLabelInUseError, in_use(label)));
    }
    let index = label.index;
    txn.edit_labels(|labels| labels.labels.retain(|label| label.index != index))?;
    Ok(Content::new())
}

fn in_use(label: &Label) -> String {
    let (color, name) = (quote(&label.color), quote(label.name.as_str()));
    format!("Label is still in use: Label({}, {color}, {name})", label.index)
}

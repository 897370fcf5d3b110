//! `admin.vmclass.List` and `admin.vm.List` (spec 10 §2.2, §2.3).

use common::call::{Call, Content, Destination, Granted, Presence, Received, Row, Values, World};
use common::failure::{Failure, Refusal};
use common::model::Class;
use common::names::Ascii;
use common::store;

use crate::input;
use crate::listing::{self, Item};
use crate::power::States;
use crate::property::Context;
use crate::visible::Visible;

pub(super) struct Classes;

impl Call for Classes {
    const ROW: Row = Row::read_one("admin.vmclass.List", "Names of all classes, one per line.")
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

    fn act(granted: Granted<Self>, _: &mut World<'_>) -> Result<Content, Failure> {
        let items = Class::ALL.into_iter().map(|class| Item::plain(class.as_str()));
        listing::print(items, granted.input().as_ref(), "classes")
    }
}

pub(super) struct List;

impl Call for List {
    const ROW: Row =
        Row::read("admin.vm.List", "Qubes with class, state and UUID: all on dom0, else the destination.")
            .global()
            .argument(Presence::Optional);
    type Input = Option<Ascii>;

    fn sanitise(received: &Received) -> Result<Self::Input, Refusal> {
        input::optional_argument(received)
    }

    fn facts(input: &Self::Input) -> Values {
        Values::argument(input.as_ref().map(Ascii::as_str).unwrap_or_default())
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let index = world.view().listed()?;
        let states = States::of(world.hypervisor());
        let visible = Visible::to(granted.caller(), Self::ROW.name, &Context::of(world), world.view())?;
        let destination = granted.destination();
        let asked = |entry: &&store::Entry| destination.is_dom0() || entry.name() == destination.as_str();
        let items = index.entries().iter().filter(asked).filter(|entry| visible.shows(entry.name()));
        listing::print(items.map(|entry| item(entry, &states)), granted.input().as_ref(), "domains")
    }
}

fn item(entry: &store::Entry, states: &States) -> Item {
    let (name, class, uuid) = (entry.name(), entry.class(), entry.uuid());
    let state = states.state(class, name);
    Item {
        identifier: name.to_owned(),
        line: format!("{name} class={} state={state} uuid={uuid}", class.as_str()),
    }
}

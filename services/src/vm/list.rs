//! `admin.vmclass.List` and `admin.vm.List` (spec 10 §2.2, §2.3).

use std::collections::BTreeSet;

use common::call::{Call, Content, Destination, Granted, Presence, Received, Row, Values, World};
use common::failure::{Failure, Refusal};
use common::hypervisor::{PowerState, power_state};
use common::model::Class;
use common::names::{Ascii, QubeName};
use common::store;

use crate::input;
use crate::listing::{self, Item};
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
        let states = States::of(world);
        let visible = Visible::to(granted.caller(), &Context::of(world), world.view())?;
        let destination = granted.destination();
        let asked = |entry: &&store::Entry| destination.is_dom0() || entry.name() == destination.as_str();
        let items = index.entries().iter().filter(asked).filter(|entry| visible.shows(entry.name()));
        listing::print(items.map(|entry| item(entry, &states)), granted.input().as_ref(), "domains")
    }
}

fn item(entry: &store::Entry, states: &States<'_>) -> Item {
    let (name, class, uuid) = (entry.name(), entry.class(), entry.uuid());
    let state = states.state(class, name);
    Item {
        identifier: name.to_owned(),
        line: format!("{name} class={} state={state} uuid={uuid}", class.as_str()),
    }
}

/// Power states of many qubes: only those that may have a domain are asked for.
struct States<'a> {
    world: &'a World<'a>,
    running: BTreeSet<String>,
}

impl<'a> States<'a> {
    fn of(world: &'a World<'a>) -> Self {
        let mut running = BTreeSet::new();
        running.extend(world.hypervisor().running());
        Self { world, running }
    }

    fn state(&self, class: Class, name: &str) -> PowerState {
        match QubeName::parse(name) {
            Ok(name) if self.running.contains(name.as_str()) || !class.is_qubes_vm() => {
                power_state(self.world.hypervisor(), class, &name)
            }
            _ => PowerState::Halted,
        }
    }
}

//! The calls of both property families.

use std::rc::Rc;

use common::call::{
    Call, Content, Destination, Family, Granted, Presence, Received, Row as CallRow, Values, World, entry,
    no_such_domain,
};
use common::failure::{Failure, Refusal};
use common::model::{Class, Qube, Value};
use common::names::{Ascii, PropertyName};

use super::change::{Holder, reset_on, set_on};
use super::fanout::after_commit;
use super::parse::parse;
use super::row::{Case, Context, Kind, Row};
use super::{explicit, global_row, global_rows, parts, row, rows_of, value_of};
use crate::companion::live;
use crate::input;
use crate::listing::{self, Item};
use crate::preload;

/// The global properties' calls.
pub const GLOBAL: Family = Family {
    name: "admin-property",
    calls: &[
        entry::<List<true>>(),
        entry::<Get<true>>(),
        entry::<GetAll<true>>(),
        entry::<GetDefault<true>>(),
        entry::<Help<true>>(),
        entry::<HelpRst<true>>(),
        entry::<Set<true>>(),
        entry::<Reset<true>>(),
    ],
};

/// The qubes' properties' calls.
pub const VM: Family = Family {
    name: "admin-vm-property",
    calls: &[
        entry::<List<false>>(),
        entry::<Get<false>>(),
        entry::<GetAll<false>>(),
        entry::<GetDefault<false>>(),
        entry::<Help<false>>(),
        entry::<HelpRst<false>>(),
        entry::<Set<false>>(),
        entry::<Reset<false>>(),
    ],
};

/// A row for the qubes' family, or its twin for the global one.
const fn twin(global: bool, names: (&'static str, &'static str), row: CallRow) -> CallRow {
    let name = if global { names.0 } else { names.1 };
    let row = CallRow { name, ..row };
    if global { row.global().on(Destination::Dom0) } else { row }
}

/// The holder of one call's properties: a qube, or the system.
struct Subject {
    qube: Option<Rc<Qube>>,
}

impl Subject {
    fn of<C: Call>(global: bool, granted: &Granted<C>, world: &World<'_>) -> Result<Self, Failure> {
        if global {
            return Ok(Self { qube: None });
        }
        let name = granted.destination();
        let qube = world.view().qube(name)?.ok_or_else(|| no_such_domain(name.as_str()))?;
        Ok(Self { qube: Some(qube) })
    }

    fn case<'a>(&'a self, world: &'a World<'_>) -> Case<'a> {
        Case { view: world.view(), context: Context::of(world), qube: self.qube.as_deref() }
    }

    fn rows(&self) -> Vec<&'static Row> {
        match &self.qube {
            Some(qube) => rows_of(qube.class).collect(),
            None => global_rows().iter().collect(),
        }
    }

    fn row(&self, name: &PropertyName) -> Result<&'static Row, Failure> {
        let found = match &self.qube {
            Some(qube) => row(qube.class, name.as_str()),
            None => global_row(name.as_str()),
        };
        found.ok_or_else(|| no_such_property(self.qube.as_deref(), name))
    }
}

fn no_such_property(qube: Option<&Qube>, name: &PropertyName) -> Failure {
    let holder = qube.map_or("Qubes", |qube| qube.name.as_str());
    let text = format!("Invalid property {} of {holder}", common::quote::quote(name.as_str()));
    Failure::new(common::failure::Exception::QubesNoSuchPropertyError, text)
}

struct List<const GLOBAL_ONES: bool>;

impl<const GLOBAL_ONES: bool> Call for List<GLOBAL_ONES> {
    const ROW: CallRow = twin(
        GLOBAL_ONES,
        ("admin.property.List", "admin.vm.property.List"),
        CallRow::read_one("", "Names of the properties, one per line.").argument(Presence::Optional),
    );
    type Input = Option<Ascii>;

    fn sanitise(received: &Received) -> Result<Self::Input, Refusal> {
        input::optional_argument(received)
    }

    fn facts(input: &Self::Input) -> Values {
        Values::argument(input.as_ref().map(Ascii::as_str).unwrap_or_default())
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let subject = Subject::of(GLOBAL_ONES, &granted, world)?;
        let items = subject.rows().into_iter().map(|row| Item::plain(row.name));
        listing::print(items, granted.input().as_ref(), "properties")
    }
}

struct GetAll<const GLOBAL_ONES: bool>;

impl<const GLOBAL_ONES: bool> Call for GetAll<GLOBAL_ONES> {
    const ROW: CallRow = twin(
        GLOBAL_ONES,
        ("admin.property.GetAll", "admin.vm.property.GetAll"),
        CallRow::read("", "All properties with their values, one per line."),
    );
    common::no_input!();

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let subject = Subject::of(GLOBAL_ONES, &granted, world)?;
        let case = subject.case(world);
        let mut content = String::new();
        for row in subject.rows() {
            let described = describe(&case, row)?.replace('\\', "\\\\").replace('\n', "\\n");
            content.push_str(&format!("{} {described}\n", row.name));
        }
        Ok(content.into_bytes())
    }
}

/// `default=… type=… …`.
fn describe(case: &Case<'_>, row: &Row) -> Result<String, Failure> {
    let is_default = if explicit(case, row)?.is_some() { "False" } else { "True" };
    let value = value_of(case, row)?.map(|value| value.to_text()).unwrap_or_default();
    Ok(format!("default={is_default} type={} {value}", row.type_word()))
}

/// Declares a reading call with a property as argument.
macro_rules! about_one {
    ($call:ident, $names:expr, $row:expr, $tell:expr) => {
        struct $call<const GLOBAL_ONES: bool>;

        impl<const GLOBAL_ONES: bool> Call for $call<GLOBAL_ONES> {
            const ROW: CallRow = twin(GLOBAL_ONES, $names, $row.argument(Presence::Required));
            type Input = PropertyName;

            fn sanitise(received: &Received) -> Result<Self::Input, Refusal> {
                input::argument(received)
            }

            fn facts(input: &Self::Input) -> Values {
                Values::argument(input.as_str())
            }

            fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
                let subject = Subject::of(GLOBAL_ONES, &granted, world)?;
                let row = subject.row(granted.input())?;
                let tell: fn(&Case<'_>, &Row) -> Result<String, Failure> = $tell;
                Ok(tell(&subject.case(world), row)?.into_bytes())
            }
        }
    };
}

about_one!(
    Get,
    ("admin.property.Get", "admin.vm.property.Get"),
    CallRow::read("", "A property's value, its type, and whether it is the default."),
    describe
);
about_one!(
    GetDefault,
    ("admin.property.GetDefault", "admin.vm.property.GetDefault"),
    CallRow::read("", "A property's default value and its type; empty if it has none."),
    |case, row| {
        let is_explicit_only = matches!(row.name, "name" | "qid" | "uuid" | "template" | "label" | "dispid");
        match (row.default)(case)? {
            Some(value) if !is_explicit_only || is_of_dom0(case) => {
                Ok(format!("type={} {}", row.type_word(), value.to_text()))
            }
            _ => Ok(String::new()),
        }
    }
);
about_one!(
    Help,
    ("admin.property.Help", "admin.vm.property.Help"),
    CallRow::read_one("", "What a property means, as plain text."),
    help
);
about_one!(
    HelpRst,
    ("admin.property.HelpRst", "admin.vm.property.HelpRst"),
    CallRow::read_one("", "What a property means, as reStructuredText."),
    help
);

fn is_of_dom0(case: &Case<'_>) -> bool {
    case.qube.is_some_and(|qube| qube.class == Class::AdminVM)
}

/// Our texts have no markup, so both forms are the same. dom0's identity has none.
fn help(case: &Case<'_>, row: &Row) -> Result<String, Failure> {
    let silent = is_of_dom0(case) && matches!(row.name, "name" | "qid" | "uuid");
    Ok(if silent {
        String::new()
    } else {
        parts::help(case.qube.map(|qube| qube.class), row.name).to_owned()
    })
}

struct Set<const GLOBAL_ONES: bool>;

/// A property and the value that its kind made of the payload; none if there is no such property.
struct Assignment {
    property: PropertyName,
    value: Option<Value>,
}

/// How payloads for a property are read. dom0's UUID is plain text, as it cannot be set anyway.
fn kind_of(global: bool, class: Class, property: &PropertyName) -> Option<Kind> {
    if global {
        return global_row(property.as_str()).map(|row| row.kind);
    }
    let kind = row(class, property.as_str())?.kind;
    Some(if class == Class::AdminVM && kind == Kind::Uuid { Kind::Text } else { kind })
}

impl<const GLOBAL_ONES: bool> Call for Set<GLOBAL_ONES> {
    const ROW: CallRow = twin(
        GLOBAL_ONES,
        ("admin.property.Set", "admin.vm.property.Set"),
        CallRow::write("", "Sets a property.").argument(Presence::Required).payload(Presence::Optional),
    );
    type Input = Assignment;

    fn sanitise(received: &Received) -> Result<Self::Input, Refusal> {
        let property: PropertyName = input::argument(received)?;
        let kind = kind_of(GLOBAL_ONES, received.parties.class, &property);
        let value = kind.map(|kind| parse(kind, &received.payload)).transpose()?;
        Ok(Assignment { property, value })
    }

    fn facts(input: &Self::Input) -> Values {
        let value = input.value.as_ref().map(Value::to_text).unwrap_or_default();
        Values::argument(input.property.as_str()).with("newvalue", value)
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let context = Context::of(world);
        let Assignment { property, value } = granted.input();
        let seen = live::before_property(world, property.as_str())?;
        world.change(&granted, |txn| {
            let holder = if GLOBAL_ONES { Holder::SYSTEM } else { Holder::qube(txn, granted.destination())? };
            let value = value.clone().ok_or_else(|| holder.no_such_property(property.as_str()))?;
            set_on(txn, &context, holder, property.as_str(), value)
        })?;
        after_commit(world, property.as_str());
        seen.follow(world);
        preload::refresh(world.store(), world.root(), granted.destination());
        Ok(Content::new())
    }
}

struct Reset<const GLOBAL_ONES: bool>;

impl<const GLOBAL_ONES: bool> Call for Reset<GLOBAL_ONES> {
    const ROW: CallRow = twin(
        GLOBAL_ONES,
        ("admin.property.Reset", "admin.vm.property.Reset"),
        CallRow::write("", "Resets a property to its default.").argument(Presence::Required),
    );
    type Input = PropertyName;

    fn sanitise(received: &Received) -> Result<Self::Input, Refusal> {
        input::argument(received)
    }

    fn facts(input: &Self::Input) -> Values {
        Values::argument(input.as_str())
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Content, Failure> {
        let (context, property) = (Context::of(world), granted.input());
        let seen = live::before_property(world, property.as_str())?;
        world.change(&granted, |txn| {
            let holder = if GLOBAL_ONES { Holder::SYSTEM } else { Holder::qube(txn, granted.destination())? };
            reset_on(txn, &context, holder, property.as_str())
        })?;
        after_commit(world, property.as_str());
        seen.follow(world);
        preload::refresh(world.store(), world.root(), granted.destination());
        Ok(Content::new())
    }
}

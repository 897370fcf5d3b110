//! Setting and resetting a property: checks, events, the stored value and what follows (spec 10 §3.3, appendix D).

use common::call::no_such_domain;
use common::event::Event;
use common::failure::{Exception, Failure};
use common::model::{Class, Qube, Value};
use common::names::QubeName;
use common::quote::quote;
use common::store::{Txn, View};

use super::check::bad;
use super::row::{Access, Case, Context, Fits, Kind, Row};
use super::{fanout, global_row, row, value_of, veto};

/// One change of one property.
pub(super) struct Step<'a> {
    pub(super) context: &'a Context<'a>,
    /// The qube, or nothing for the system.
    pub(super) holder: Option<&'a QubeName>,
    pub(super) class: Option<Class>,
    pub(super) property: &'static str,
    /// The new value; after a Reset, the default.
    pub(super) new: Value,
    /// The value before, if there was one.
    pub(super) old: Option<Value>,
}

impl Step<'_> {
    /// Whether the value differs from the one before.
    pub(super) fn changes(&self) -> bool {
        self.old.as_ref() != Some(&self.new)
    }

    /// `property-<kind>:<property>` on a qube or the system, with the property's name.
    pub(super) fn event_on(subject: Option<&QubeName>, kind: &str, property: &str) -> Event {
        let name = format!("property-{kind}:{property}");
        let event = subject.map_or_else(|| Event::system(name.clone()), |qube| Event::on(qube, name.clone()));
        event.with("name", property)
    }

    fn event(&self, kind: &str) -> Event {
        Self::event_on(self.holder, kind, self.property)
    }

    /// The old value as events show it.
    pub(super) fn old_text(&self) -> Option<String> {
        self.old.as_ref().map(Value::to_event_text)
    }

    fn set_event(&self, kind: &str) -> Event {
        self.event(kind).with("newvalue", self.new.to_event_text()).with_some("oldvalue", self.old_text())
    }

    fn reset_event(&self, kind: &str) -> Event {
        self.event(kind).with_some("oldvalue", self.old_text())
    }

    fn store(&self, txn: &mut Txn<'_>, value: Option<Value>) -> Result<(), Failure> {
        let property = self.property;
        let put = |properties: &mut std::collections::BTreeMap<String, Value>| match value {
            Some(value) => drop(properties.insert(property.to_owned(), value)),
            None => drop(properties.remove(property)),
        };
        match self.holder {
            Some(name) => txn.edit_qube(name, |qube| put(&mut qube.properties))?,
            None => txn.edit_system(|system| put(&mut system.properties))?,
        }
        Ok(())
    }
}

/// Where a change happens: the system, or a qube with its class.
#[derive(Clone, Copy)]
pub(super) struct Holder<'a> {
    name: Option<&'a QubeName>,
    class: Option<Class>,
}

impl<'a> Holder<'a> {
    /// The system object.
    pub(super) const SYSTEM: Self = Self { name: None, class: None };

    /// A qube.
    pub(super) fn qube(txn: &Txn<'_>, name: &'a QubeName) -> Result<Self, Failure> {
        let class = txn.qube(name)?.ok_or_else(|| no_such_domain(name.as_str()))?.class;
        Ok(Self { name: Some(name), class: Some(class) })
    }

    /// The row of a property.
    pub(super) fn row(self, property: &str) -> Result<&'static Row, Failure> {
        let found = match self.class {
            Some(class) => row(class, property),
            None => global_row(property),
        };
        found.ok_or_else(|| self.no_such_property(property))
    }

    /// `Invalid property … of …`.
    pub(super) fn no_such_property(self, property: &str) -> Failure {
        let holder = self.name.map_or("Qubes", QubeName::as_str);
        let text = format!("Invalid property {} of {holder}", quote(property));
        Failure::new(Exception::QubesNoSuchPropertyError, text)
    }

    fn value(self, txn: &Txn<'_>, context: &Context<'_>, row: &Row) -> Result<Option<Value>, Failure> {
        self.with_case(txn, context, |case| value_of(case, row))
    }

    fn with_case<T>(
        self,
        txn: &Txn<'_>,
        context: &Context<'_>,
        look: impl FnOnce(&Case<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let qube = self.name.map_or(Ok(None), |name| txn.qube(name))?;
        look(&Case { view: txn, context: *context, qube: qube.as_deref() })
    }
}

/// Sets a qube's property.
///
/// # Errors
/// Those of the property's row.
pub fn set(
    txn: &mut Txn<'_>,
    context: &Context<'_>,
    qube: &QubeName,
    property: &str,
    value: Value,
) -> Result<(), Failure> {
    let holder = Holder::qube(txn, qube)?;
    set_on(txn, context, holder, property, value)
}

/// Resets a qube's property to its default.
///
/// # Errors
/// Those of the property's row.
pub fn reset(
    txn: &mut Txn<'_>,
    context: &Context<'_>,
    qube: &QubeName,
    property: &str,
) -> Result<(), Failure> {
    let holder = Holder::qube(txn, qube)?;
    reset_on(txn, context, holder, property)
}

/// The whole sequence of Set.
pub(super) fn set_on(
    txn: &mut Txn<'_>,
    context: &Context<'_>,
    holder: Holder<'_>,
    property: &str,
    value: Value,
) -> Result<(), Failure> {
    let row = holder.row(property)?;
    match row.access_in(holder.class) {
        Access::Once => return Err(write_once(property)),
        Access::ReadOnly => return Err(read_only(property, holder)),
        Access::Free => {}
    }
    fits(txn, holder, row, &value)?;
    let new = holder.with_case(txn, context, |case| (row.check)(case, value))?;
    let old = holder.value(txn, context, row)?;
    let step = Step { context, holder: holder.name, class: holder.class, property: row.name, new, old };
    txn.event(step.set_event("pre-set"));
    veto::of_set(txn, &step)?;
    fanout::before_set(txn, &step)?;
    step.store(txn, Some(step.new.clone()))?;
    fanout::after_set(txn, &step)?;
    txn.event(step.set_event("set"));
    Ok(())
}

/// The whole sequence of Reset, also where the property was default already or is read-only.
pub(super) fn reset_on(
    txn: &mut Txn<'_>,
    context: &Context<'_>,
    holder: Holder<'_>,
    property: &str,
) -> Result<(), Failure> {
    let row = holder.row(property)?;
    if row.access_in(holder.class) == Access::Once {
        return Err(write_once(property));
    }
    if row.kind == Kind::Label {
        return Err(bad(format!("property {} cannot be reset", quote(property))));
    }
    let old = holder.value(txn, context, row)?;
    let default = holder.with_case(txn, context, |case| (row.default)(case))?;
    let new = default.unwrap_or(Value::None);
    let step = Step { context, holder: holder.name, class: holder.class, property: row.name, new, old };
    txn.event(step.reset_event("pre-reset"));
    veto::of_reset(txn, &step)?;
    fanout::inside_reset(txn, &step)?;
    txn.event(step.reset_event("pre-del"));
    step.store(txn, None)?;
    fanout::after_reset(txn, &step)?;
    txn.event(step.reset_event("reset"));
    txn.event(step.reset_event("del"));
    Ok(())
}

fn write_once(property: &str) -> Failure {
    bad(format!("property {} is write-once and already set", quote(property)))
}

fn read_only(property: &str, holder: Holder<'_>) -> Failure {
    let class = holder.class.map_or("Qubes", Class::as_str);
    bad(format!("property {} on {class} instance cannot be set", quote(property)))
}

/// Checks and normalises a value that stands in a file as Set does before its first event.
///
/// # Errors
/// Those of the property's row.
pub fn check_stored(
    view: &View<'_>,
    context: &Context<'_>,
    qube: Option<&Qube>,
    property: &str,
    value: Value,
) -> Result<Value, Failure> {
    let holder = Holder { name: qube.map(|qube| &qube.name), class: qube.map(|qube| qube.class) };
    let row = holder.row(property)?;
    fits(view, holder, row, &value)?;
    (row.check)(&Case { view, context: *context, qube }, value)
}

/// Whether a qube named as value exists and is of a class that fits; a pool exists.
fn fits(view: &View<'_>, holder: Holder<'_>, row: &Row, value: &Value) -> Result<(), Failure> {
    match (row.kind, value) {
        (Kind::Qube { none: false, .. }, Value::None) => {
            let name = holder.name.map_or("Qubes", QubeName::as_str);
            Err(bad(format!("Invalid value None for property {} of {name}", quote(row.name))))
        }
        (Kind::Qube { fits, .. }, Value::Text(name)) => qube_fits(view, holder, row, fits, name),
        (Kind::Pool, Value::Text(pool)) if view.pools()?.find(pool).is_none() => {
            Err(bad("No such storage pool"))
        }
        _ => Ok(()),
    }
}

fn qube_fits(view: &View<'_>, holder: Holder<'_>, row: &Row, fits: Fits, name: &str) -> Result<(), Failure> {
    let property = row.name;
    let Some(target) = view.qube_named(name)? else {
        return Err(bad(format!("Can't set {property} to non-existing qube {name}")));
    };
    let needs_template =
        fits == Fits::Template || (property == "template" && holder.class == Some(Class::AppVM));
    let (needed, suits) = match needs_template {
        true => ("TemplateVM", target.class == Class::TemplateVM),
        false => ("LocalVM", target.class.is_local()),
    };
    if suits {
        return Ok(());
    }
    let (shown, class) = (quote(name), target.class.as_str());
    Err(bad(format!("wrong VM class: domains[{shown}] is of type {class} and not {needed}")))
}

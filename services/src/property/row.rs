//! What one property is: a row of the tables.

use common::failure::Failure;
use common::hypervisor::Hypervisor;
use common::model::{Class, Qube, Value};
use common::root::Root;
use common::store::View;

/// What the functions of a row need besides the state.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The hypervisor.
    pub hypervisor: &'a dyn Hypervisor,
    /// Where things lie.
    pub root: &'a Root,
}

impl<'a> Context<'a> {
    /// The context of a call.
    pub fn of(world: &common::call::World<'a>) -> Self {
        Self { hypervisor: world.hypervisor(), root: world.root() }
    }
}

/// A property's holder in a state.
#[derive(Clone, Copy)]
pub struct Case<'a> {
    /// The state.
    pub view: &'a View<'a>,
    /// Hypervisor and root.
    pub context: Context<'a>,
    /// The qube, or nothing for the system.
    pub qube: Option<&'a Qube>,
}

/// Type of a property's value, which decides how payloads are parsed (spec 10 §3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Printable text.
    Text,
    /// Name of a label.
    Label,
    /// Name of a pool.
    Pool,
    /// Whole number.
    Int,
    /// Switch.
    Bool,
    /// IPv4 address.
    Ip4,
    /// IPv6 address.
    Ip6,
    /// UUID.
    Uuid,
    /// Name of a qube.
    Qube {
        /// Whether none is a value.
        none: bool,
        /// Which qubes fit.
        fits: Fits,
    },
}

/// Which qubes a property may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fits {
    /// Any but a `RemoteVM`.
    Local,
    /// `TemplateVM` only.
    Template,
}

/// Whether a property may be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// At any time.
    Free,
    /// Set once, when the qube is made.
    Once,
    /// Never.
    ReadOnly,
}

/// Reads a value that is not explicitly set: outer none if there is no value at all.
pub type Default = fn(&Case<'_>) -> Result<Option<Value>, Failure>;
/// Checks and normalises a new value.
pub type Check = fn(&Case<'_>, Value) -> Result<Value, Failure>;

/// One property.
#[derive(Clone, Copy)]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Access.
    pub access: Access,
    /// Value where none is set explicitly.
    pub default: Default,
    /// Checks of a new value before any event.
    pub check: Check,
    /// Which classes have it; for global properties without meaning.
    pub has: fn(Class) -> bool,
}

/// A row as it is written, from which [`super::parts`] makes what is linked.
pub(super) struct Written {
    pub(super) row: Row,
    /// Documentation; empty where upstream has none.
    pub(super) help: &'static str,
}

impl Written {
    /// A row that takes any value of its kind and has no default.
    pub(super) const fn new(name: &'static str, kind: Kind, help: &'static str) -> Self {
        Self { row: Row::new(name, kind), help }
    }

    /// The same with a default.
    pub(super) const fn default(self, default: Default) -> Self {
        Self { row: Row { default, ..self.row }, ..self }
    }

    /// The same with a check.
    pub(super) const fn check(self, check: Check) -> Self {
        Self { row: Row { check, ..self.row }, ..self }
    }

    /// The same, read-only, with a rule that gives its value.
    pub(super) const fn computed(self, default: Default) -> Self {
        Self { row: Row { default, access: Access::ReadOnly, ..self.row }, ..self }
    }

    /// The same, set once.
    pub(super) const fn once(self) -> Self {
        Self { row: Row { access: Access::Once, ..self.row }, ..self }
    }

    /// The same for other classes than those of the QubesVM family.
    pub(super) const fn of(self, has: fn(Class) -> bool) -> Self {
        Self { row: Row { has, ..self.row }, ..self }
    }
}

impl Row {
    pub(super) const fn new(name: &'static str, kind: Kind) -> Self {
        Self {
            name,
            kind,
            access: Access::Free,
            default: |_| Ok(None),
            check: |_, value| Ok(value),
            has: Class::is_qubes_vm,
        }
    }

    /// Access in a class: what other qubes have once, dom0 has for ever.
    pub fn access_in(&self, class: Option<Class>) -> Access {
        let fixed = self.access == Access::Once || self.name == "maxmem";
        if fixed && class == Some(Class::AdminVM) { Access::ReadOnly } else { self.access }
    }

    /// The type's word on the wire.
    pub const fn type_word(&self) -> &'static str {
        match self.kind {
            Kind::Qube { .. } => "vm",
            Kind::Int => "int",
            Kind::Bool => "bool",
            Kind::Label => "label",
            _ => "str",
        }
    }
}

//! The calls of the Admin API, one module per family.

use common::call::Family;

pub mod backup;
pub mod companion;
pub mod constraints;
pub mod creator;
pub mod device;
pub mod domain;
pub mod events;
pub mod feature;
pub mod firewall;
pub mod input;
pub mod label;
pub mod lifecycle;
pub mod listing;
pub mod notes;
pub mod notify;
pub mod policy;
pub mod pool;
pub mod power;
pub mod preload;
pub mod property;
pub mod sleep;
pub mod system_info;
pub mod tag;
pub mod visible;
pub mod vm;
pub mod volume;
pub mod xml;

/// Every family: one executable each.
pub const FAMILIES: &[&Family] = &[
    &backup::FAMILY,
    &device::FAMILY,
    &device::HOT,
    &device::AUTO,
    &events::FAMILY,
    &feature::FAMILY,
    &firewall::FAMILY,
    &label::FAMILY,
    &lifecycle::FAMILY,
    &lifecycle::STARTING,
    &notes::FAMILY,
    &notify::FAMILY,
    &policy::FAMILY,
    &pool::FAMILY,
    &preload::FAMILY,
    &property::GLOBAL,
    &property::VM,
    &sleep::FAMILY,
    &system_info::FAMILY,
    &tag::FAMILY,
    &vm::DISPOSABLE,
    &vm::TEMPLATE,
    &vm::LIFETIME,
    &vm::LIST,
    &vm::REMOVAL,
    &volume::BY_POOL,
    &volume::FAMILY,
];

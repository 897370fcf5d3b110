//! stub
#![allow(missing_docs, unused)]
use common::call::*;
use common::failure::*;
use common::hypervisor::Hypervisor;
use common::model::*;
use common::names::*;
use common::root::Root;
use common::store::*;
pub struct Context<'a> {
    pub hypervisor: &'a dyn Hypervisor,
    pub root: &'a Root,
}
impl<'a> Context<'a> {
    pub fn of(world: &World<'a>) -> Self {
        Self { hypervisor: world.hypervisor(), root: world.root() }
    }
}
pub fn effective(
    view: &View<'_>,
    h: &dyn Hypervisor,
    r: &Root,
    q: &Qube,
    p: &str,
) -> Result<Option<Value>, Failure> {
    Ok(None)
}
pub fn effective_global(
    view: &View<'_>,
    h: &dyn Hypervisor,
    r: &Root,
    p: &str,
) -> Result<Option<Value>, Failure> {
    Ok(None)
}
pub fn set(txn: &mut Txn<'_>, ctx: &Context<'_>, q: &QubeName, p: &str, v: Value) -> Result<(), Failure> {
    Ok(())
}
pub fn reset(txn: &mut Txn<'_>, ctx: &Context<'_>, q: &QubeName, p: &str) -> Result<(), Failure> {
    Ok(())
}
pub fn is_settable(c: Class, n: &str) -> bool {
    true
}
pub mod autostart {
    pub fn disable(root: &super::Root, name: &super::QubeName) {}
}
pub const GLOBAL: Family = Family { name: "admin-property", calls: &[] };
pub const VM: Family = Family { name: "admin-vm-property", calls: &[] };

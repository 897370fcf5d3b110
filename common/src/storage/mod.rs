//! stub
#![allow(missing_docs, unused)]
use crate::failure::*;
use crate::model::*;
use crate::names::*;
use crate::root::Root;
use std::rc::Rc;
pub struct Layout<'a> {
    pub pools: &'a Pools,
    pub default_pool: &'a dyn Fn(&str) -> Result<Option<String>, Failure>,
    pub template: &'a dyn Fn(&str) -> Result<Option<Rc<Qube>>, Failure>,
}
impl Layout<'_> {
    pub fn volumes_of(&self, q: &Qube) -> Result<Vec<Volume>, Failure> {
        Ok(vec![])
    }
    pub fn move_volumes(
        &self,
        q: &mut Qube,
        pool: Option<&str>,
        pools: &[(VolumeName, String)],
    ) -> Result<(), Failure> {
        Ok(())
    }
    pub fn check(&self, q: &Qube) -> Result<(), Failure> {
        Ok(())
    }
}
pub fn create_all(root: &Root, pools: &Pools, q: &Qube) -> Result<(), Failure> {
    Ok(())
}
pub fn remove_all(root: &Root, pools: &Pools, q: &Qube) {}

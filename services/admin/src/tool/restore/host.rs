//! The system that a backup is restored into, as far as a plan asks for it.

use std::rc::Rc;

use common::hypervisor::Hypervisor;
use common::model::{Qube, Value};
use common::root::Root;
use common::store::View;
use services::property;

use crate::tool::out::Stop;

/// The system.
pub(super) struct Host<'v> {
    pub(super) view: &'v View<'v>,
    pub(super) hypervisor: &'v dyn Hypervisor,
    pub(super) root: &'v Root,
}

impl Host<'_> {
    /// A qube that is there.
    pub(super) fn qube(&self, name: &str) -> Result<Option<Rc<Qube>>, Stop> {
        Ok(self.view.qube_named(name)?)
    }

    /// The qube that a property of the system names.
    pub(super) fn default(&self, property: &str) -> Result<Option<String>, Stop> {
        let value = property::effective_global(self.view, self.hypervisor, self.root, property)?;
        Ok(value.as_ref().and_then(Value::as_text).map(str::to_owned).filter(|name| !name.is_empty()))
    }
}

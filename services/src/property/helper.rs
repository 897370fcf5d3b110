//! Values found by following other objects: templates, netvms, pools, kernels, features.

use std::path::PathBuf;
use std::rc::Rc;

use common::failure::Failure;
use common::files;
use common::model::{Pool, Qube, Value};
use common::storage;

use super::row::Case;
use super::{effective_in, global_in};

impl<'a> Case<'a> {
    /// The same state seen from another qube.
    pub fn at<'b>(&'b self, qube: &'b Qube) -> Case<'b> {
        Case { view: self.view, context: self.context, qube: Some(qube) }
    }

    /// The same state seen from the system.
    pub fn system(&self) -> Case<'_> {
        Case { view: self.view, context: self.context, qube: None }
    }

    /// The effective value of another property of the same holder.
    pub fn value(&self, property: &str) -> Result<Option<Value>, Failure> {
        match self.qube {
            Some(qube) => effective_in(&self.at(qube), property),
            None => global_in(self, property),
        }
    }

    /// A property's text; empty without.
    pub fn text(&self, property: &str) -> Result<String, Failure> {
        Ok(self.value(property)?.map(|value| value.to_text()).unwrap_or_default())
    }

    /// A property's number; 0 without, and for numbers that cannot be.
    pub fn number(&self, property: &str) -> Result<u64, Failure> {
        let number = self.value(property)?.as_ref().and_then(Value::as_int).unwrap_or_default();
        Ok(u64::try_from(number).unwrap_or_default())
    }

    /// Whether a switch of the same holder is on.
    pub fn is_on(&self, property: &str) -> Result<bool, Failure> {
        Ok(self.value(property)?.is_some_and(|value| value.is_true()))
    }

    /// The qube that a property of the same holder names.
    pub fn named_by(&self, property: &str) -> Result<Option<Rc<Qube>>, Failure> {
        match self.value(property)? {
            Some(Value::Text(name)) => Ok(self.view.qube_named(&name)?),
            _ => Ok(None),
        }
    }

    /// The template, if the holder has one.
    pub fn template(&self) -> Result<Option<Rc<Qube>>, Failure> {
        let Some(qube) = self.qube.filter(|qube| qube.class.has_template()) else { return Ok(None) };
        match qube.properties.get("template") {
            Some(Value::Text(name)) => Ok(self.view.qube_named(name)?),
            _ => Ok(None),
        }
    }

    /// A feature of the qube or the nearest of its templates that has it.
    pub fn feature(&self, name: &str) -> Result<Option<String>, Failure> {
        let Some(qube) = self.qube else { return Ok(None) };
        if let Some(value) = qube.feature(name) {
            return Ok(Some(value.to_owned()));
        }
        match self.template()? {
            Some(template) => self.at(&template).feature(name),
            None => Ok(None),
        }
    }

    /// Whether such a feature is there and not empty.
    pub fn has_feature(&self, name: &str) -> Result<bool, Failure> {
        Ok(self.feature(name)?.is_some_and(|value| !value.is_empty()))
    }

    /// Whether the nearest qube on the chain of netvms that has the feature has it true.
    pub fn has_feature_on_netvms(&self, name: &str) -> Result<bool, Failure> {
        let Some(qube) = self.qube else { return Ok(false) };
        let mut visited = Vec::new();
        let mut here = Rc::new(qube.clone());
        loop {
            if let Some(value) = here.feature(name) {
                return Ok(!value.is_empty());
            }
            visited.push(here.name.clone());
            match self.at(&here).named_by("netvm")? {
                Some(next) if !visited.contains(&next.name) => here = next,
                _ => return Ok(false),
            }
        }
    }

    /// Whether any PCI device is assigned.
    pub fn has_pci(&self) -> bool {
        self.qube.is_some_and(|qube| qube.devices.iter().any(|device| device.class == "pci"))
    }

    /// The directory of a kernel.
    pub fn kernel_directory(&self, kernel: &str) -> Result<Option<PathBuf>, Failure> {
        let own =
            self.qube.and_then(|qube| qube.volumes.iter().find(|volume| volume.name.as_str() == "kernel"));
        let pool = match own {
            Some(volume) => Some(volume.pool.as_str().to_owned()),
            None => global_in(&self.system(), "default_pool_kernel")?.map(|value| value.to_text()),
        };
        let pools = self.view.pools()?;
        let directory = pool.and_then(|name| pools.find(&name)?.setting("dir_path").map(str::to_owned));
        Ok(directory.map(|directory| self.context.root.path(&directory).join(kernel)))
    }

    /// The text of a file beside a kernel.
    pub fn kernel_file(&self, kernel: &str, file: &str) -> Result<Option<String>, Failure> {
        let Some(directory) = self.kernel_directory(kernel)? else { return Ok(None) };
        let bytes = files::read_if_present(&directory.join(file)).unwrap_or_default();
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }
}

/// The default pool where none is set (spec 20 §8.2).
pub(super) fn default_pool(case: &Case<'_>) -> Result<Option<Value>, Failure> {
    let pools = case.view.pools()?;
    let in_lib = |pool: &&Pool| {
        matches!(pool.driver.as_str(), "file" | "file-reflink")
            && pool.setting("dir_path") == Some("/var/lib/qubes")
    };
    let root = case.context.root;
    let of_root = || storage::thin_pool_under(root, &pools, &root.path("/"));
    let found = pools.find("default").or_else(of_root).or_else(|| pools.pools.iter().find(in_lib));
    Ok(found.map(|pool| Value::Text(pool.name.as_str().to_owned())))
}

/// The value of `default_pool`, for the pools of single volumes.
pub(super) fn effective_default_pool(case: &Case<'_>) -> Result<Option<Value>, Failure> {
    global_in(&case.system(), "default_pool")
}

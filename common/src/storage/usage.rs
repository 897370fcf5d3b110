//! The space that volumes take, for those who ask nothing else of drivers: they have only that part of each.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::{Keep, PoolDriver, StorageError, callback, pool_of, served};
use crate::model::{Pools, Volume};
use crate::names::PoolName;
use crate::root::Root;

/// What one pool's driver says of a volume.
type Measure = Rc<dyn Fn(&Volume) -> Result<u64, StorageError>>;

/// Measures volumes. The driver of each pool is kept: what it has read of the pool serves for all its volumes.
pub struct Usage<'a> {
    root: &'a Root,
    pools: &'a Pools,
    known: RefCell<BTreeMap<PoolName, Measure>>,
}

impl<'a> Usage<'a> {
    /// Of volumes in these pools.
    pub fn within(root: &'a Root, pools: &'a Pools) -> Self {
        Self { root, pools, known: RefCell::default() }
    }

    /// Bytes that a volume's own data take, as [`PoolDriver::usage`] has them.
    ///
    /// # Errors
    /// As [`super::driver_of`], and what the driver says.
    pub fn of(&self, volume: &Volume) -> Result<u64, StorageError> {
        let known = self.known.borrow().get(&volume.pool).cloned();
        let measure = match known {
            Some(measure) => measure,
            None => self.begin(volume)?,
        };
        measure(volume)
    }

    fn begin(&self, volume: &Volume) -> Result<Measure, StorageError> {
        let pool = pool_of(self.pools, volume)?;
        let measure: Measure = match callback::ready_worker(self.root, pool)? {
            Some(worker) => served::<Measure>(self.root, &worker)?,
            None => Rc::new(|_| Ok(0)),
        };
        self.known.borrow_mut().insert(volume.pool.clone(), Rc::clone(&measure));
        Ok(measure)
    }
}

impl Keep for Measure {
    fn keep(driver: impl PoolDriver + 'static) -> Self {
        Rc::new(move |volume| driver.usage(volume))
    }
}

//! Which volumes a new qube gets, and in which pools (spec 20 §6.3, §6.4).

use std::borrow::Cow;
use std::rc::Rc;

use super::options::REVISIONS_TO_KEEP;
use super::{StorageError, callback, driver_of};
use crate::failure::{Exception, Failure};
use crate::model::{Class, Pool, Pools, Qube, Value, Volume};
use crate::names::{PoolName, VolumeName};
use crate::root::Root;

const ROOT_SIZE: u64 = 10_737_418_240;
const PRIVATE_SIZE: u64 = 2_147_483_648;
const VOLATILE_SIZE: u64 = 10_737_418_240;
const DISPOSABLE_VOLATILE_SIZE: u64 = 12_884_901_888;

/// Looks up the pool of a volume that is told none.
pub type DefaultPool<'a> = &'a dyn Fn(&str) -> Result<Option<String>, Failure>;
/// Looks up a template.
pub type FindQube<'a> = &'a dyn Fn(&str) -> Result<Option<Rc<Qube>>, Failure>;

/// What the layout of a new qube's volumes depends on.
pub struct Layout<'a> {
    /// Where things lie.
    pub root: &'a Root,
    /// All pools.
    pub pools: &'a Pools,
    /// `default_pool_<volume>`.
    pub default_pool: DefaultPool<'a>,
    /// Templates by name.
    pub template: FindQube<'a>,
}

/// How a volume begins and ends a domain's life.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    Kept(u64),
    Snapshot,
    Volatile(u64),
    Kernel,
}

/// The volumes of a class, in definition order.
fn lives(class: Class) -> [(&'static str, Life); 4] {
    let (root, private, volatile) = match class {
        Class::AppVM => (Life::Snapshot, Life::Kept(PRIVATE_SIZE), VOLATILE_SIZE),
        Class::DispVM => (Life::Snapshot, Life::Snapshot, DISPOSABLE_VOLATILE_SIZE),
        _ => (Life::Kept(ROOT_SIZE), Life::Kept(PRIVATE_SIZE), VOLATILE_SIZE),
    };
    [("root", root), ("private", private), ("volatile", Life::Volatile(volatile)), ("kernel", Life::Kernel)]
}

impl Layout<'_> {
    /// The volumes of a new qube of the QubesVM family, in its class's default pools.
    ///
    /// # Errors
    /// If a volume has no pool, or its template no such volume.
    pub fn volumes_of(&self, qube: &Qube) -> Result<Vec<Volume>, Failure> {
        let template = self.template_of(qube)?;
        let mut volumes = Vec::new();
        for (name, life) in lives(qube.class) {
            volumes.push(self.volume(qube, template.as_deref(), name, life)?);
        }
        if let Some(template) = &template {
            let extra =
                template.volumes.iter().filter(|theirs| volumes.iter().all(|ours| ours.name != theirs.name));
            let extra: Vec<Volume> = extra.cloned().collect();
            volumes.extend(extra.into_iter().map(|volume| self.identified(qube, volume)));
        }
        Ok(volumes)
    }

    fn template_of(&self, qube: &Qube) -> Result<Option<Rc<Qube>>, Failure> {
        match qube.properties.get("template").and_then(Value::as_text) {
            Some(name) => (self.template)(name),
            None => Ok(None),
        }
    }

    fn volume(
        &self,
        qube: &Qube,
        template: Option<&Qube>,
        name: &str,
        life: Life,
    ) -> Result<Volume, Failure> {
        let name = VolumeName::parse(name)?;
        let origin = self.origin(template, &name)?.filter(|_| life == Life::Snapshot);
        let live =
            template.filter(|_| qube.class == Class::DispVM).and_then(|template| template.volume(&name));
        let pool = match (&origin, live) {
            (Some(origin), _) => origin.pool.clone(),
            (None, Some(live)) => live.pool.clone(),
            (None, None) => self.pool_for(&name)?,
        };
        let size = match life {
            Life::Kept(size) | Life::Volatile(size) => size,
            Life::Snapshot => origin.as_ref().map_or(0, |origin| origin.size),
            Life::Kernel => 0,
        };
        let volume = Volume {
            revisions_to_keep: self.revisions_of(&pool),
            pool,
            vid: String::new(),
            size,
            rw: live.map_or(life != Life::Kernel, |live| live.rw),
            save_on_stop: matches!(life, Life::Kept(_)),
            snap_on_start: life == Life::Snapshot,
            source: origin.map(|origin| origin.vid),
            ephemeral: live.and_then(|live| live.ephemeral),
            import: None,
            name,
        };
        Ok(self.identified(qube, volume))
    }

    /// The volume a snapshot starts from: the template's of that name, or the one that one starts from.
    fn origin(&self, template: Option<&Qube>, name: &VolumeName) -> Result<Option<Volume>, Failure> {
        let Some(template) = template else { return Ok(None) };
        match template.volume(name) {
            Some(volume) if volume.source.is_some() => {
                let above = self.template_of(template)?;
                Ok(self.origin(above.as_deref(), name)?.or_else(|| Some(volume.clone())))
            }
            found => Ok(found.cloned()),
        }
    }

    fn pool_for(&self, name: &VolumeName) -> Result<PoolName, Failure> {
        let pool = (self.default_pool)(name.as_str())?;
        let missing = || StorageError::Refused(format!("There is no pool for the volume {name}"));
        Ok(PoolName::parse(&pool.ok_or_else(missing)?)?)
    }

    /// Moves volumes into the asked pools: one for all that are read-write and no snapshots, or single ones. If any
    /// pool is asked for, how many old states are kept and how volumes are encrypted is left to the pools.
    ///
    /// # Errors
    /// The specification's text for a snapshot, which stays with its origin.
    pub fn move_volumes(
        &self,
        qube: &mut Qube,
        pool: Option<&str>,
        pools: &[(VolumeName, String)],
    ) -> Result<(), Failure> {
        if pool.is_none() && pools.is_empty() {
            return Ok(());
        }
        let mut volumes = std::mem::take(&mut qube.volumes);
        let moved = volumes.iter_mut().try_for_each(|volume| move_volume(volume, pool, pools));
        for mut volume in volumes {
            volume.ephemeral = None;
            volume.revisions_to_keep = self.revisions_of(&volume.pool);
            qube.volumes.push(self.identified(qube, volume));
        }
        moved
    }

    /// How many old states a pool keeps of its volumes unless they say otherwise.
    fn revisions_of(&self, pool: &PoolName) -> i64 {
        let pool = self.pools.find(pool.as_str()).map(|pool| self.worker(pool));
        pool.and_then(|pool| pool.setting(REVISIONS_TO_KEEP)?.parse().ok()).unwrap_or(1)
    }

    /// The volume with its identifier in its pool, and without old states where the driver keeps none of its kind.
    fn identified(&self, qube: &Qube, mut volume: Volume) -> Volume {
        let pool = self.pools.find(volume.pool.as_str()).map(|pool| self.worker(pool));
        let pool = pool.as_deref();
        let name = &volume.name;
        let (vid, keeps) = match pool.map(|pool| pool.driver.as_str()) {
            Some("linux-kernel") => (String::new(), false),
            Some("file") => (file_vid(qube, &volume), volume.save_on_stop),
            Some("lvm_thin") => {
                (in_container(pool, "volume_group", &format!("vm-{}-{name}", qube.name)), true)
            }
            Some("zfs") => (in_container(pool, "container", &format!("{}/{name}", qube.name)), true),
            _ => (file_vid(qube, &volume), true),
        };
        volume.vid = vid;
        if !keeps {
            volume.revisions_to_keep = 0;
        }
        volume
    }

    /// The pool that does a pool's work, if its configuration tells.
    fn worker<'p>(&self, pool: &'p Pool) -> Cow<'p, Pool> {
        callback::worker(self.root, pool).unwrap_or(Cow::Borrowed(pool))
    }

    /// Refuses volumes that their pools cannot hold, before anything is made.
    ///
    /// # Errors
    /// `StoragePoolException`.
    pub fn check(&self, qube: &Qube) -> Result<(), Failure> {
        for volume in &qube.volumes {
            if volume.snap_on_start && volume.source.is_none() {
                let text = format!("snap_on_start specified on '{}' but no volume source set", volume.name);
                return Err(StorageError::Refused(text).into());
            }
            driver_of(self.root, self.pools, volume)?.can_hold(volume)?;
        }
        Ok(())
    }
}

/// Identifier of a volume in a volume group or dataset.
fn in_container(pool: Option<&Pool>, key: &str, name: &str) -> String {
    let container = pool.and_then(|pool| pool.setting(key)).unwrap_or_default();
    format!("{container}/{name}")
}

/// Identifier of a volume in a pool of files.
fn file_vid(qube: &Qube, volume: &Volume) -> String {
    format!("{}/{}/{}", qube.class.home_folder(), qube.name, volume.name)
}

fn move_volume(
    volume: &mut Volume,
    pool: Option<&str>,
    pools: &[(VolumeName, String)],
) -> Result<(), Failure> {
    let name = volume.name.clone();
    if let Some(pool) = pool.filter(|_| volume.rw && !volume.snap_on_start) {
        volume.pool = PoolName::parse(pool)?;
    }
    let Some((_, pool)) = pools.iter().find(|(asked, _)| *asked == name) else { return Ok(()) };
    if volume.snap_on_start {
        let text = format!(
            "Snapshot volume {name} must be in the same pool as its origin ({name} volume of template),\
             cannot move to pool {pool} "
        );
        return Err(Failure::new(Exception::QubesException, text));
    }
    volume.pool = PoolName::parse(pool)?;
    Ok(())
}

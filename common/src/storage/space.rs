//! Pools as wholes: their directories, their size, and which other pool one lies in (spec 20 §2.3, §8.3).

use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::statvfs::statvfs;

use super::{StorageError, callback, thin_directory};
use crate::files;
use crate::model::{Pool, Pools};
use crate::root::Root;

const DIRECTORY_MODE: u32 = 0o775;

/// Bytes a pool has and bytes of them in use, as far as its driver knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capacity {
    /// All bytes.
    pub size: Option<u64>,
    /// Those in use.
    pub usage: Option<u64>,
    /// The same of a thin pool's metadata, whose usage may be unknown.
    pub metadata: Option<(u64, Option<u64>)>,
}

impl Capacity {
    /// A pool without metadata of its own.
    pub(super) fn of(size: u64, usage: u64) -> Self {
        Self { size: Some(size), usage: Some(usage), metadata: None }
    }
}

/// The capacity of the file system that a directory is on; nothing if there is no such directory.
pub(super) fn capacity(directory: &Path) -> Result<Option<Capacity>, StorageError> {
    let about = match statvfs(directory) {
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
        about => about.map_err(io::Error::from).map_err(StorageError::io("asking for a pool's size"))?,
    };
    let bytes = |blocks: u64| about.fragment_size().saturating_mul(blocks);
    let used = about.blocks().saturating_sub(about.blocks_free());
    Ok(Some(Capacity::of(bytes(about.blocks()), bytes(used))))
}

/// Makes a pool's directory, whose parent must be there. Tells whether it was not there before.
pub(super) fn make_directory(directory: &Path) -> Result<bool, StorageError> {
    let made = files::make_directory(directory, DIRECTORY_MODE);
    made.map_err(StorageError::io("making the pool's directory"))
}

/// Makes the directories of a pool's volumes inside its own.
pub(super) fn make_homes(directory: &Path) -> Result<(), StorageError> {
    ["appvms", "vm-templates"].iter().try_for_each(|home| make_directory(&directory.join(home)).map(drop))
}

/// The pool that another one lies in: one whose directory holds its directory, itself or further above, else the thin pool
/// that its directory's file system is on.
pub fn included_in<'p>(root: &Root, pools: &'p Pools, pool: &Pool) -> Option<&'p Pool> {
    let directory = real_directory(root, pool)?;
    let holds = |other: &&Pool| {
        other.name != pool.name
            && real_directory(root, other).is_some_and(|theirs| directory.starts_with(theirs))
    };
    pools.pools.iter().find(holds).or_else(|| thin_pool_under(root, pools, &directory))
}

/// The pool of logical volumes that the file system of a directory is on.
pub fn thin_pool_under<'p>(root: &Root, pools: &'p Pools, directory: &Path) -> Option<&'p Pool> {
    let (group, name) = thin_directory::thin_pool_of(root, directory)?;
    let is_it = |pool: &&Pool| {
        pool.setting("volume_group") == Some(&group) && pool.setting("thin_pool") == Some(&name)
    };
    pools.pools.iter().find(is_it)
}

fn real_directory(root: &Root, pool: &Pool) -> Option<PathBuf> {
    let pool = callback::worker(root, pool).ok()?;
    pool.setting("dir_path").map(|path| files::real_path_so_far(&root.path(path)))
}

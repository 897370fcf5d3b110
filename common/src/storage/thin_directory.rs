//! The thin pool that the file system of a directory is on (spec 20 §8.2, §8.3).

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::files;
use crate::root::Root;

/// Names of volume group and thin pool. The kernel's own description of its block devices tells them without rights: the
/// device of the file system is a thin volume if it stands on the device of a thin pool.
pub(super) fn thin_pool_of(root: &Root, directory: &Path) -> Option<(String, String)> {
    let device = files::about(directory).ok()?.dev();
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    let below = root.path(&format!("/sys/dev/block/{major}:{minor}/slaves"));
    files::list(&below).ok()?.iter().find_map(|device| {
        let name = files::read(&below.join(device).join("dm/name")).ok()?;
        parse_pool(std::str::from_utf8(&name).ok()?.trim_end())
    })
}

/// Group and pool in `<group>-<pool>-tpool`, dashes inside the names doubled.
pub fn parse_pool(device: &str) -> Option<(String, String)> {
    // No name of a device holds this character.
    const DASH: &str = "/";
    let names = device.strip_suffix("-tpool").filter(|names| !names.contains(DASH))?.replace("--", DASH);
    let (group, pool) = names.split_once('-').filter(|(_, pool)| !pool.contains('-'))?;
    Some((group.replace(DASH, "-"), pool.replace(DASH, "-")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_in_names_are_told_from_those_between() {
        let named = |group: &str, pool: &str| Some((group.to_owned(), pool.to_owned()));
        assert_eq!(parse_pool("qubes_dom0-vm--pool-tpool"), named("qubes_dom0", "vm-pool"));
        assert_eq!(parse_pool("a--b-c-tpool"), named("a-b", "c"));
        for other in ["qubes_dom0-root", "vg-tpool", "a-b-c-tpool", "vg-pool_tdata", ""] {
            assert_eq!(parse_pool(other), None, "{other}");
        }
    }
}

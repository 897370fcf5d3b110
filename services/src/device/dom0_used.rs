//! Which block devices of dom0 somebody uses: dom0 itself, or qubes (spec 30 §4.1).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use common::files;
use common::names::QubeName;
use common::root::Root;

use crate::property::Case;

/// Where file systems of several devices say which these are.
const BTRFS: &str = "/sys/fs/btrfs";

/// Names of devices: numbers, the kernel's names, and names of mappings.
#[derive(Default)]
pub(super) struct Used {
    /// What nobody else can have.
    busy: BTreeSet<String>,
    /// What qubes have as disks, by the names under which devices are told of.
    attached: BTreeSet<String>,
}

impl Used {
    /// What is used now.
    pub(super) fn now(case: &Case<'_>) -> Self {
        let mut used = Self::default();
        used.add_mounts(case.context.root);
        used.add_swaps(case.context.root);
        used.add_disks(case);
        used
    }

    /// Whether a device that is called so, if it is, cannot be had by others.
    pub(super) fn is_busy(&self, name: Option<&str>) -> bool {
        name.is_some_and(|name| self.busy.contains(name))
    }

    /// Whether a qube has the device of that name.
    pub(super) fn is_attached(&self, name: &str) -> bool {
        self.attached.contains(name)
    }

    /// Mounted devices, by their numbers and by what they are called: file systems of several devices have numbers of their own.
    fn add_mounts(&mut self, root: &Root) {
        for line in text(root, "/proc/self/mountinfo").lines() {
            let (mount, of_system) = line.split_once(" - ").unwrap_or((line, ""));
            self.busy.extend(mount.split(' ').nth(2).map(str::to_owned));
            self.busy.extend(
                of_system.split(' ').nth(1).into_iter().flat_map(|source| names(root, Path::new(source))),
            );
        }
        for system in files::list(&root.path(BTRFS)).unwrap_or_default() {
            let devices = root.path(BTRFS).join(system).join("devices");
            self.busy.extend(files::list(&devices).unwrap_or_default());
        }
    }

    fn add_swaps(&mut self, root: &Root) {
        for line in text(root, "/proc/swaps").lines().skip(1) {
            let file = line.split_ascii_whitespace().next();
            self.busy.extend(file.into_iter().flat_map(|file| names(root, Path::new(file))));
        }
    }

    fn add_disks(&mut self, case: &Case<'_>) {
        for disk in disks(case) {
            match disk.strip_prefix("/dev").ok().and_then(Path::to_str) {
                Some(name) if !name.contains('/') => drop(self.attached.insert(name.to_owned())),
                // Nobody is told of it under this name.
                _ => self.busy.extend(names(case.context.root, &disk)),
            }
        }
    }
}

/// The disks of dom0 that qubes run with.
fn disks(case: &Case<'_>) -> Vec<PathBuf> {
    let hypervisor = case.context.hypervisor;
    let running = hypervisor.running().into_iter().filter_map(|name| QubeName::parse(&name).ok());
    let disks = running.filter_map(|name| hypervisor.domain(&name)).flat_map(|domain| domain.devices().disks);
    disks.filter(|disk| disk.backend.is_none()).map(|disk| disk.path).collect()
}

/// What a device is called that has this path: there, and where links lead.
fn names(root: &Root, path: &Path) -> Vec<String> {
    if !path.starts_with("/dev") {
        return Vec::new();
    }
    let real = files::real_path(&root.path(&path.to_string_lossy())).ok();
    let name = |path: &Path| path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    [name(path), real.as_deref().and_then(name)].into_iter().flatten().collect()
}

fn text(root: &Root, path: &str) -> String {
    String::from_utf8_lossy(&files::read(&root.path(path)).unwrap_or_default()).into_owned()
}

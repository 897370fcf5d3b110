//! Links that say who serves the calls. What stood in a place is kept by a second name, the same file, until it is put back.

use std::io;
use std::path::{Path, PathBuf};

use common::files;
use common::root::Root;
use serde::{Deserialize, Serialize};

use super::super::out::Stop;
use super::record::{FOLDER, KEPT};

const LIBEXEC: &str = "/usr/lib/qubes/admin";
const RPC: &str = "/etc/qubes-rpc";
const SETTINGS: &str = "/etc/qubes/rpc-config";
/// qubesd neither starts nor is started by others, our sockets come at boot, and qubes are started by our unit.
const UNITS: [(&str, &str); 3] = [
    ("/etc/systemd/system/qubesd.service", "/dev/null"),
    (
        "/etc/systemd/system/sockets.target.wants/qubes-admin-gateway.socket",
        "/usr/lib/systemd/system/qubes-admin-gateway.socket",
    ),
    ("/etc/systemd/system/qubes-vm@.service", "/usr/lib/qubes/admin/qubes-vm@.service"),
];

/// A place, and where its link leads while we serve the calls.
#[derive(Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) path: String,
    pub(super) target: String,
}

impl Place {
    /// All there are.
    pub(super) fn all() -> Vec<Self> {
        let place = |path: String, target: String| Self { path, target };
        let units = UNITS.map(|(path, target)| place(path.to_owned(), target.to_owned()));
        let calls = services::FAMILIES.iter().flat_map(|family| {
            let methods = family.calls.iter().map(|call| &call.row).filter(|row| !row.is_internal());
            methods.flat_map(|row| {
                let executable = format!("../..{LIBEXEC}/{}", family.name);
                let settings = format!("../../..{LIBEXEC}/rpc-config");
                [
                    place(format!("{RPC}/{}", row.name), executable),
                    place(format!("{SETTINGS}/{}", row.name), settings),
                ]
            })
        });
        calls.chain(units).collect()
    }

    pub(super) fn is_ours(&self, root: &Root) -> bool {
        files::link_target(&root.path(&self.path)).is_ok_and(|target| target.as_os_str() == &*self.target)
    }

    fn kept(&self, root: &Root) -> PathBuf {
        root.path(FOLDER).join(KEPT).join(self.path.trim_start_matches('/'))
    }

    /// Keeps what stands there and puts our link in its place, at one instant.
    pub(super) fn change(&self, root: &Root) -> Result<(), Stop> {
        if self.is_ours(root) { Ok(()) } else { self.told(self.try_change(root)) }
    }

    fn try_change(&self, root: &Root) -> io::Result<()> {
        let (path, kept) = (root.path(&self.path), self.kept(root));
        if is_there(&path) && !is_there(&kept) {
            make_parent(&kept)?;
            files::hard_link(&path, &kept)?;
        }
        make_parent(&path)?;
        let new = files::beside(&path, ".new");
        files::link(&self.target, &new)?;
        files::rename(&new, &path)
    }

    /// Puts back what stood there.
    pub(super) fn restore(&self, root: &Root) -> Result<(), Stop> {
        self.told(self.try_restore(root))
    }

    fn try_restore(&self, root: &Root) -> io::Result<()> {
        let (path, kept) = (root.path(&self.path), self.kept(root));
        if is_there(&kept) {
            // Of two names of one file, both stay.
            files::rename(&kept, &path)?;
            files::remove(&kept)
        } else if self.is_ours(root) {
            files::remove(&path)?;
            files::sync_directory(&path)
        } else {
            Ok(())
        }
    }

    fn told(&self, done: io::Result<()>) -> Result<(), Stop> {
        done.map_err(|error| format!("{}: {error}", self.path).into())
    }

    /// What stands there now, in words.
    pub(super) fn found(&self, root: &Root) -> String {
        described(root.path(&self.path))
    }

    /// What stood there before, in words.
    pub(super) fn was(&self, root: &Root) -> String {
        described(self.kept(root))
    }
}

fn described(path: PathBuf) -> String {
    match files::link_target(&path) {
        Ok(target) => format!("a link leads to {}", target.display()),
        Err(_) if is_there(&path) => "a file is".to_owned(),
        Err(_) => "nothing is".to_owned(),
    }
}

/// Also of a link that leads nowhere.
fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn make_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| files::make_directories(folder, 0o755))
}

/// An installation must be there before anything leads to it.
pub(super) fn refuse_uninstalled(root: &Root) -> Result<(), Stop> {
    let names =
        services::FAMILIES.iter().map(|family| family.name).chain(["rpc-config", "qubes-vm@.service"]);
    let missing = names.map(|name| format!("{LIBEXEC}/{name}")).find(|path| !files::exists(&root.path(path)));
    missing.map_or(Ok(()), |path| Err(format!("{path} is missing; install.sh installs it").into()))
}

/// Links to calls that came with a newer version, after the switch.
pub(super) fn remove_later_links(root: &Root) -> Result<(), Stop> {
    for folder in [RPC, SETTINGS] {
        let told = |error| format!("{folder}: {error}");
        for name in files::list(&root.path(folder)).map_err(told)? {
            let path = root.path(folder).join(name);
            let is_ours = |target: PathBuf| target.to_string_lossy().contains(&format!("{LIBEXEC}/"));
            if files::link_target(&path).is_ok_and(is_ours) {
                files::remove(&path).map_err(told)?;
            }
        }
    }
    Ok(())
}

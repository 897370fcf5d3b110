//! The unit that starts a qube at boot (spec 10 §3.5, `autostart`).

use std::path::PathBuf;
use std::time::Duration;

use crate::names::QubeName;
use crate::root::Root;
use crate::{files, run};

const DEADLINE: Duration = Duration::from_secs(30);
const WANTS: &str = "/etc/systemd/system/multi-user.target.wants";
const TEMPLATE: &str = "/usr/lib/systemd/system/qubes-vm@.service";

fn unit(name: &QubeName) -> String {
    format!("qubes-vm@{name}.service")
}

/// The link that enabling makes.
fn link(root: &Root, name: &QubeName) -> PathBuf {
    root.path(WANTS).join(unit(name))
}

/// Enables the unit; tells whether that worked. Below a throwaway root, makes the link that enabling makes.
pub fn enable(root: &Root, name: &QubeName) -> bool {
    if root.is_system() {
        return systemctl(root, "enable", name);
    }
    files::make_directories(&root.path(WANTS), 0o755)
        .and_then(|()| files::link(TEMPLATE, &link(root, name)))
        .is_ok()
}

/// Disables the unit, if it is enabled; tells whether it no longer is.
pub fn disable(root: &Root, name: &QubeName) -> bool {
    if !link(root, name).is_symlink() {
        true
    } else if root.is_system() {
        systemctl(root, "disable", name)
    } else {
        files::remove(&link(root, name)).is_ok()
    }
}

fn systemctl(root: &Root, verb: &str, name: &QubeName) -> bool {
    let done = run::as_root(root, "/usr/bin/systemctl", &["--quiet", verb, &unit(name)], DEADLINE);
    done.is_ok_and(|done| done.is_success())
}

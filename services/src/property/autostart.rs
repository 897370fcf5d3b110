//! The unit that starts a qube at boot (spec 10 §3.5, `autostart`).

use std::time::Duration;

use common::names::QubeName;
use common::root::Root;
use common::{files, run};

const DEADLINE: Duration = Duration::from_secs(30);
const WANTS: &str = "/etc/systemd/system/multi-user.target.wants";
const TEMPLATE: &str = "/usr/lib/systemd/system/qubes-vm@.service";

fn unit(name: &QubeName) -> String {
    format!("qubes-vm@{name}.service")
}

/// Enables the unit; tells whether that worked. Below a throwaway root, makes the link that enabling makes.
pub(super) fn enable(root: &Root, name: &QubeName) -> bool {
    if root.is_system() {
        return systemctl("enable", name);
    }
    let directory = root.path(WANTS);
    files::make_directories(&directory, 0o755)
        .and_then(|()| files::link(TEMPLATE, &directory.join(unit(name))))
        .is_ok()
}

/// Disables the unit; tells whether that worked.
pub fn disable(root: &Root, name: &QubeName) -> bool {
    if root.is_system() {
        systemctl("disable", name)
    } else {
        files::remove(&root.path(WANTS).join(unit(name))).is_ok()
    }
}

fn systemctl(verb: &str, name: &QubeName) -> bool {
    run::as_root("/usr/bin/systemctl", &["--quiet", verb, &unit(name)], DEADLINE).unwrap_or(false)
}

//! The qubes that slept already when the machine was about to, in a file that is there until the machine is awake again.

use common::failure::{Exception, Failure};
use common::names::QubeName;
use common::root::Root;
use common::{files, log};

const FILE: &str = "/run/qubes/previously-paused.list";

/// Whether the machine sleeps, or is about to.
pub fn is_there(root: &Root) -> bool {
    files::exists(&root.path(FILE))
}

pub(super) fn write(root: &Root, names: &[QubeName]) -> Result<(), Failure> {
    let names: Vec<&str> = names.iter().map(QubeName::as_str).collect();
    let written = files::replace_plainly(&root.path(FILE), names.join("\n").as_bytes(), 0o660);
    written.map_err(|error| unusable(&error))
}

/// Reads the file and removes it; no names where there is none.
pub(super) fn take(root: &Root) -> Result<Vec<QubeName>, Failure> {
    let file = root.path(FILE);
    let bytes = files::read_if_present(&file).map_err(|error| unusable(&error))?.unwrap_or_default();
    files::remove(&file).map_err(|error| unusable(&error))?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.lines().filter_map(|name| QubeName::parse(name).ok()).collect())
}

fn unusable(error: &std::io::Error) -> Failure {
    log::line(&format!("{FILE}: {error}"));
    Failure::new(Exception::QubesException, format!("{FILE} cannot be used: {}", error.kind()))
}

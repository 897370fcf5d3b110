//! Where a run of a profile's backup is known while it goes on, and what a killed one leaves to the next.

use std::path::PathBuf;

use common::failure::{Exception, Failure};
use common::files;
use common::names::BackupProfile;
use common::store::{DIRECTORY_MODE, Store, StoreError};
use common::work::{self, Work};

const FOLDER: &str = "backups";

/// The named pipe by which a run is known and stopped. Its name is as long as that of the profile, so it can be made.
fn pipe(store: &Store, id: &str) -> PathBuf {
    store.run_directory().join(FOLDER).join(format!("{id}.conf"))
}

/// The file that tells what a run has made ready.
pub(super) fn left(store: &Store, id: &str) -> PathBuf {
    store.run_directory().join(FOLDER).join(format!("{id}.left"))
}

fn already() -> Failure {
    Failure::new(Exception::BackupAlreadyRunningError, "Backup already running")
}

/// Whether a run of the profile goes on.
pub(super) fn goes_on(store: &Store, id: &BackupProfile) -> bool {
    work::goes_on(&pipe(store, id.as_str()))
}

/// Refuses a second run of the profile.
///
/// # Errors
/// `BackupAlreadyRunningError`.
pub(super) fn check(store: &Store, id: &BackupProfile) -> Result<(), Failure> {
    if goes_on(store, id) { Err(already()) } else { Ok(()) }
}

/// Begins a run of the profile.
///
/// # Errors
/// `BackupAlreadyRunningError`, and what the system says.
pub(super) fn begin(store: &Store, id: &BackupProfile) -> Result<Work, Failure> {
    let folder = store.run_directory().join(FOLDER);
    files::make_directory(&folder, DIRECTORY_MODE).map_err(StoreError::io("making the folder of runs"))?;
    Work::begin(&pipe(store, id.as_str()))?.ok_or_else(already)
}

/// Asks a run of the profile to stop; tells whether one goes on.
///
/// # Errors
/// What the system says.
pub(super) fn stop(store: &Store, id: &BackupProfile) -> Result<bool, Failure> {
    Ok(work::stop(&pipe(store, id.as_str())).map_err(StoreError::io("asking a run to stop"))?)
}

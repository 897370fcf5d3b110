//! Tokens that stand for a volume to be cloned: made by one call, good for one other (spec 20 §4.8).

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::files;
use crate::names::{CloneToken, PoolName, QubeName, VolumeName};
use crate::store::{Store, StoreError};

/// Where they are kept, below the store's directory in `/run`: a boot makes them invalid.
pub const FOLDER: &str = "tokens";
/// How long one is good: much longer than a client takes from one call to the other.
const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
const FILE_MODE: u32 = 0o660;

/// What a token stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloneSource {
    /// Whose volume it is.
    pub qube: QubeName,
    /// Its name there.
    pub volume: VolumeName,
    /// The pool it lay in.
    pub pool: PoolName,
    /// Its identifier there.
    pub vid: String,
}

fn path(store: &Store, token: &str) -> PathBuf {
    store.run_directory().join(FOLDER).join(token)
}

/// Makes a token.
///
/// # Errors
/// What the file system says.
pub fn issue(store: &Store, source: &CloneSource) -> Result<CloneToken, Failure> {
    forget_old(store);
    let token = CloneToken::random();
    let text = serde_json::to_vec(source).map_err(|error| Failure::dropped(error.to_string()))?;
    let kept = files::replace(&path(store, token.as_str()), &text, FILE_MODE);
    kept.map_err(StoreError::io("keeping a token"))?;
    Ok(token)
}

/// What a token stands for, once: it is good for nothing from here on.
///
/// # Errors
/// What the file system says.
pub fn redeem(store: &Store, token: &CloneToken) -> Result<Option<CloneSource>, StoreError> {
    forget_old(store);
    let Some(source) = look_up(store, token)? else { return Ok(None) };
    // Of two calls with one token, one removes it.
    let is_ours = files::take_away(&path(store, token.as_str()));
    Ok(is_ours.map_err(StoreError::io("using up a token"))?.then_some(source))
}

/// What a token stands for that stays good.
///
/// # Errors
/// What the file system says.
pub fn look_up(store: &Store, token: &CloneToken) -> Result<Option<CloneSource>, StoreError> {
    let text = files::read_if_present(&path(store, token.as_str()));
    let text = text.map_err(StoreError::io("reading a token"))?;
    Ok(text.and_then(|text| serde_json::from_slice(&text).ok()))
}

/// Removes tokens nobody came for. Others remove them too.
fn forget_old(store: &Store) {
    let folder = store.run_directory().join(FOLDER);
    for token in files::list(&folder).unwrap_or_default() {
        let path = folder.join(token);
        let made = files::about(&path).and_then(|about| about.modified());
        let age = made.ok().and_then(|made| SystemTime::now().duration_since(made).ok());
        if age.is_some_and(|age| age > LIFETIME) {
            let _ = files::remove(&path);
        }
    }
}

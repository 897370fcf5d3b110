//! The administrator's changes to one qube's domain, in place of upstream's template files (spec 40 §7.5).

use common::failure::{Exception, Failure};
use common::files;
use common::hypervisor::DomainConfig;
use common::log;
use common::root::Root;
use serde_json::Value;

/// Holds one file for each qube whose domain is made differently: a JSON object of fields of [`DomainConfig`], each of
/// which replaces what was worked out from the state. Name and UUID stay.
const FOLDER: &str = "/etc/qubes/admin-domains.d";

/// The configuration with the changes of its qube's file, if there is one.
///
/// # Errors
/// `QubesException` for a file that cannot be used: a domain other than the one asked for is never made.
pub(super) fn apply(root: &Root, config: DomainConfig) -> Result<DomainConfig, Failure> {
    let file = format!("{FOLDER}/{}.json", config.name);
    let unusable = |why: String| {
        log::line(&format!("{file}: {why}"));
        Failure::new(Exception::QubesException, format!("Cannot use {file}, see the log for details"))
    };
    let bytes = files::read_if_present(&root.path(&file)).map_err(|error| unusable(error.to_string()))?;
    let Some(bytes) = bytes else { return Ok(config) };
    merged(&config, &bytes).map_err(|error| unusable(error.to_string()))
}

fn merged(config: &DomainConfig, changes: &[u8]) -> serde_json::Result<DomainConfig> {
    let changes: serde_json::Map<String, Value> = serde_json::from_slice(changes)?;
    let mut fields = serde_json::to_value(config)?;
    if let Value::Object(fields) = &mut fields {
        fields.extend(changes);
    }
    // By way of text, as it is read everywhere else.
    let merged: DomainConfig = serde_json::from_str(&fields.to_string())?;
    Ok(DomainConfig { name: config.name.clone(), uuid: config.uuid.clone(), ..merged })
}

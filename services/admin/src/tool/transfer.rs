//! `qubes-admin import` and `export`: the store as one `qubes.xml`.

use std::io::{self, Read};
use std::path::Path;

use common::files;
use common::root::Root;
use common::store::Store;

use super::out::{self, Stop};
use super::show::refuse_damaged;
use crate::xml;

/// Fills an empty store from a file, or from standard input for `-`. The whole file is understood before anything
/// is written, and written in one change.
pub(super) fn import(root: &Root, file: &Path) -> Result<(), Stop> {
    let is_standard = file == Path::new("-");
    let name = if is_standard { "standard input".to_owned() } else { file.display().to_string() };
    let at = |problem: String| format!("{name}: {problem}");
    let bytes = if is_standard { standard_input() } else { files::read(file) };
    let bytes = bytes.map_err(|error| at(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| at("not UTF-8".to_owned()))?;
    let imported = xml::import(&text).map_err(|error| at(error.to_string()))?;
    let store = Store::at(root);
    store.prepare()?;
    let count = imported.store(&store, root).map_err(|error| at(error.to_string()))?;
    out::line(&format!("imported {count} qubes"))
}

fn standard_input() -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Writes the store to a file, replaced as a whole, or to standard output. An incomplete copy is none.
pub(super) fn export(root: &Root, file: Option<&Path>) -> Result<(), Stop> {
    let store = Store::at(root);
    refuse_damaged(&store)?;
    let text = xml::export(&store.read()?, root)?;
    match file {
        None => out::bytes(text.as_bytes()),
        Some(file) => files::replace(file, text.as_bytes(), 0o660)
            .map_err(|error| format!("{}: {error}", file.display()).into()),
    }
}

//! Files that follow from the calls' rows agree with them; `UPDATE=1` writes them.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code")]

use std::path::Path;

#[test]
fn generated_files_are_up_to_date() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let update = std::env::var_os("UPDATE").is_some();
    for (path, content) in qubes_admin::generate::files() {
        let file = top.join(path);
        if update {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, &content).unwrap();
        }
        let written = std::fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(written, content, "{path} is behind: UPDATE=1 cargo test -p tests --test generated");
    }
}

#[test]
fn every_call_is_served_once_and_named_once() {
    let mut names: Vec<&str> =
        services::FAMILIES.iter().flat_map(|family| family.calls).map(|call| call.row.name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

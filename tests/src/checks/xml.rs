//! `qubes.xml`: what is imported makes a sound store, and what that exports is imported to the same; and what a backup says of
//! itself by it has each qube once, in a place of its own.

use std::collections::BTreeSet;

use qubes_admin::xml::{Contents, ImportError, export, import};

use crate::Fixture;

pub(super) fn check(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        check_contents(text);
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Some(exported) = through_a_store(text)
    {
        assert_eq!(through_a_store(&exported), Some(exported));
    }
}

fn check_contents(text: &str) {
    let Ok(contents) = Contents::parse(text) else { return };
    let (mut names, mut places) = (BTreeSet::new(), BTreeSet::new());
    for backed_up in contents.qubes.iter().filter(|backed_up| backed_up.qube.is_ok()) {
        assert!(names.insert(&backed_up.name) && places.insert(&backed_up.path));
        assert!(["vm", "dom0-home/"].iter().any(|place| backed_up.path.starts_with(place)));
        for volume in &backed_up.volumes {
            assert_eq!(backed_up.volume_in(&backed_up.file_of(volume)).as_ref(), Some(volume));
        }
    }
}

/// What a store filled from a file exports; nothing if the file is refused.
fn through_a_store(text: &str) -> Option<String> {
    let imported = import(text).ok()?;
    let fixture = Fixture::empty();
    let store = fixture.store();
    match imported.store(&store, &fixture.root()) {
        Err(ImportError::Store(error)) => panic!("{error}"),
        stored => stored.ok()?,
    };
    let problems = store.check().unwrap();
    // Qubes whose pool is gone are kept: the administrator may bring it back.
    assert!(problems.iter().all(|problem| problem.text.contains("no pool")), "{problems:?}");
    Some(exported(&fixture))
}

fn exported(fixture: &Fixture) -> String {
    export(&fixture.store().read().unwrap(), &fixture.root()).unwrap()
}

/// A system's export leads back to the same store, but for what loading adds and translates (spec 10 §7.4).
pub(super) fn check_export(fixture: &Fixture) {
    let exported = exported(fixture);
    let again = through_a_store(&exported).unwrap();
    if !exported.contains("service.meminfo-writer") {
        assert_eq!(without_tags(&again), without_tags(&exported));
    }
}

/// Loading adds the tags that mirror the GUI and audio qube where they are missing.
fn without_tags(text: &str) -> String {
    text.lines().filter(|line| !line.contains("tag")).collect()
}

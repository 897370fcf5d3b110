//! The table of behaviours agrees with the tests and with the calls served (`tests/behaviours.md`).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "test code"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const TABLE: &str = include_str!("../behaviours.md");
/// References that are counted: prefix and last number.
const COUNTED: [(&str, usize); 4] = [("11.", 127), ("9.", 24), ("B", 27), ("H", 21)];
/// References that stand at least once.
const NAMED: [&str; 20] = [
    "A", "B", "C", "D", "E", "1.1", "1.2", "1.3", "1.11", "2.4", "2.8", "3.2", "3.3", "3.4", "3.5", "3.6",
    "3.7", "7.2", "7.3", "7.4",
];

/// Sections of specification 20, each of which stands at least once.
const STORAGE: [&str; 49] = [
    "0.2", "0.3", "1", "2.1", "2.2", "2.3", "2.4", "2.5", "2.6", "2.7", "2.8", "3.1", "3.2", "4.1", "4.2",
    "4.3", "4.4", "4.5", "4.6", "4.7", "4.8", "4.9", "4.10", "4.11", "4.12", "5.1", "5.2", "5.3", "6.1",
    "6.2", "6.3", "6.4", "6.5", "6.6", "7.1", "7.2", "7.3", "7.4", "7.5", "7.6", "8.1", "8.2", "8.3", "8.4",
    "9", "10", "11", "12", "13",
];

/// Sections of specification 40 on qubes' runs, each of which stands at least once.
const RUNS: [&str; 14] = ["1", "2", "3", "3.2", "3.3", "3.4", "3.5", "3.6", "4.2", "5", "7", "8", "9", "10"];

/// Reference and tests of each row.
fn rows() -> Vec<(&'static str, Vec<&'static str>)> {
    let cells = |line: &'static str| {
        let cells: Vec<&str> = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect();
        match cells.as_slice() {
            [reference, _, tests] if *reference != "reference" => {
                Some((*reference, tests.split(", ").collect()))
            }
            _ => None,
        }
    };
    TABLE.lines().filter_map(cells).collect()
}

/// The tests in a file of this folder.
fn tests_of(file: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(format!("{file}.rs"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|_| panic!("there is no {}", path.display()));
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let tests = lines.iter().enumerate().filter(|(_, line)| **line == "#[test]");
    let functions = tests.filter_map(|(at, _)| lines[at + 1..].iter().find(|line| !line.starts_with("#[")));
    let name =
        |line: &str| line.strip_prefix("fn ").and_then(|line| line.split('(').next()).map(str::to_owned);
    functions.filter_map(|line| name(line)).collect()
}

fn is_served(call: &str) -> bool {
    services::FAMILIES.iter().flat_map(|family| family.calls).any(|entry| entry.row.name == call)
}

#[test]
fn every_row_names_tests_that_exist_or_a_call_that_is_not_served_yet() {
    let mut files = BTreeMap::new();
    let rows = rows();
    assert!(rows.len() > 200, "{} rows", rows.len());
    for (reference, tests) in rows {
        for test in tests {
            if let Some(call) = test.strip_prefix("pending ") {
                assert!(!is_served(call), "{reference}: {call} is served now and needs its tests named here");
                continue;
            }
            let (file, function) = test.split_once("::").unwrap_or_else(|| panic!("{reference}: {test}?"));
            let known = files.entry(file).or_insert_with(|| tests_of(file));
            assert!(known.contains(function), "{reference}: there is no test {test}");
        }
    }
}

#[test]
fn no_behaviour_is_left_out() {
    let references: BTreeSet<&str> = rows().into_iter().map(|(reference, _)| reference).collect();
    let counted = COUNTED.iter().flat_map(|(prefix, last)| (1..=*last).map(move |n| format!("{prefix}{n}")));
    let missing: Vec<String> = counted
        .chain(NAMED.iter().map(|name| (*name).to_owned()))
        .chain(STORAGE.iter().map(|section| format!("20 {section}")))
        .chain(RUNS.iter().map(|section| format!("40 {section}")))
        .filter(|reference| !references.contains(reference.as_str()))
        .collect();
    assert!(missing.is_empty(), "without a row: {missing:?}");
}

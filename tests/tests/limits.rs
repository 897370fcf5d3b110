//! The figures that hold for every build (docs/figures.md): sizes, dependencies, lengths, and what calls ask of the
//! system. Times are the benchmark's.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "test code"
)]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::{Fixture, executables, stepper};

const SERVICE_BYTES: u64 = 700_000;
const TOOL_BYTES: u64 = 5_000_000;
const PACKAGES: usize = 60;
const MEDIAN_FUNCTION: usize = 8;
const LONGEST_FUNCTION: usize = 80;
const FILE_LINES: usize = 500;
const SYSTEM_CALLS: usize = 40;

#[test]
fn executables_are_small() {
    let folder = executables::released();
    let size = |name: &str| std::fs::metadata(folder.join(name)).unwrap().len();
    let others = ["qubes-backup", "qubes-backup-writer", "qubes-constraints", "qubes-domain", "qubes-run"];
    for name in services::FAMILIES.iter().map(|family| family.name).chain(others) {
        let bytes = size(name);
        assert!(bytes <= SERVICE_BYTES, "{name}: {bytes} bytes");
    }
    assert!(size("qubes-admin") <= TOOL_BYTES, "{} bytes", size("qubes-admin"));
}

#[test]
fn services_depend_on_few_packages() {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["tree", "-p", "services", "-e", "normal", "--prefix", "none", "--locked", "--offline"]);
    let output = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut packages: Vec<&str> = text.lines().map(|line| line.trim_end_matches(" (*)")).collect();
    packages.sort_unstable();
    packages.dedup();
    assert!((5..=PACKAGES).contains(&packages.len()), "{packages:#?}");
}

#[test]
fn functions_and_files_are_short() {
    let sources = sources();
    let mut functions: Vec<(usize, String)> = Vec::new();
    for (path, text) in &sources {
        let named = function_lengths(text).into_iter();
        functions.extend(named.map(|(line, length)| (length, format!("{}:{line}", path.display()))));
    }
    functions.sort_unstable();
    assert!(functions.len() > 500, "only {} functions were found", functions.len());
    let median = functions[functions.len() / 2].0;
    assert!(median <= MEDIAN_FUNCTION, "median {median} lines");
    let longest = functions.last().unwrap();
    assert!(longest.0 <= LONGEST_FUNCTION, "{longest:?}");
    let mut files: Vec<usize> = sources.iter().map(|(_, text)| text.lines().count()).collect();
    files.sort_unstable();
    assert!(files[files.len() * 9 / 10] <= FILE_LINES, "{files:?}");
}

/// Every source file of the repository with its text.
fn sources() -> Vec<(PathBuf, String)> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut folders: Vec<PathBuf> = ["common", "services", "tests"].map(|name| top.join(name)).into();
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                sources.push((path, text));
            }
        }
    }
    sources
}

/// First line and number of lines of each function with a body, in formatted source: it ends at the closing brace
/// that stands as far in as it begins.
fn function_lengths(text: &str) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let starts = lines.iter().enumerate().filter(|(_, line)| is_function(line));
    let measured = starts.filter_map(|(start, line)| {
        let indent = line.len() - line.trim_start().len();
        let ends = |line: &&str| line.len() - line.trim_start().len() == indent && line.ends_with(['}', ';']);
        let length = lines[start..].iter().position(ends)? + 1;
        lines[start + length - 1].ends_with('}').then_some((start + 1, length))
    });
    measured.collect()
}

fn is_function(line: &str) -> bool {
    let before = line.trim_start().split("fn ").next().unwrap_or_default();
    let words = ["pub", "pub(crate)", "pub(super)", "const", "unsafe", "extern", "\"C\""];
    line.contains("fn ") && before.split_ascii_whitespace().all(|word| words.contains(&word))
}

#[test]
fn function_lengths_are_those_of_formatted_source() {
    let text = "fn one() {}\n\npub(crate) fn three(\n    x: u8,\n) {\n    loop {\n    }\n}\ntrait T {\n    fn none();\n}\n";
    assert_eq!(function_lengths(text), [(1, 1), (3, 6)]);
}

/// System calls of a call, from the first of its own: the start of each executable ignores broken pipes.
fn own_system_calls(fixture: &Fixture, method: &str, rest: &str) -> Vec<i64> {
    let request = fixture.path("/request");
    std::fs::write(&request, format!("{method}{rest}")).unwrap();
    let mut command = fixture.command(method);
    command.stdin(File::open(request).unwrap());
    stepper::system_calls(command).into_iter().skip_while(|call| *call != libc::SYS_rt_sigaction).collect()
}

fn fsyncs(calls: &[i64]) -> usize {
    calls
        .iter()
        .filter(|call| matches!(**call, libc::SYS_fsync | libc::SYS_fdatasync | libc::SYS_sync))
        .count()
}

#[test]
fn a_get_makes_few_system_calls_and_waits_for_no_disk() {
    let fixture = Fixture::new();
    let calls = own_system_calls(&fixture, "admin.vm.property.Get", "+vcpus dom0 name test-vm1\0");
    assert!((10..=SYSTEM_CALLS).contains(&calls.len()), "{} system calls: {calls:?}", calls.len());
    assert_eq!(fsyncs(&calls), 0);
}

#[test]
fn a_change_of_one_object_waits_for_the_disk_twice() {
    let fixture = Fixture::new();
    for (method, rest) in [
        ("admin.vm.property.Set", "+vcpus dom0 name test-vm1\x003"),
        ("admin.vm.feature.Set", "+f dom0 name test-vm1\0value"),
        ("admin.vm.tag.Set", "+t dom0 name test-vm1\0"),
    ] {
        assert_eq!(fsyncs(&own_system_calls(&fixture, method, rest)), 2, "{method}");
    }
}

#[test]
fn a_change_looks_for_no_segment_of_the_log_where_the_index_tells_the_newest() {
    let fixture = Fixture::new();
    fixture.ok("admin.vm.feature.Set+before", "test-vm1", "1");
    for (method, rest) in [
        ("admin.vm.feature.Set", "+f dom0 name test-vm1\0value"),
        ("admin.vm.firewall.Reload", " dom0 name test-vm1\0"),
    ] {
        let calls = own_system_calls(&fixture, method, rest);
        assert!(calls.len() > 10, "{method} {calls:?}");
        // One folder is read, to its end: that of imports which were killed.
        let reads = calls.iter().filter(|call| **call == libc::SYS_getdents64).count();
        assert!(reads <= 2, "{method} {calls:?}");
    }
}

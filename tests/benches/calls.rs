//! CPU time and system calls of whole calls as processes, at growing numbers of qubes, beside empty programs in the
//! same run.
//!
//! `cargo bench -p tests --bench calls` prints two tables, microseconds (minimum of many runs) and system calls with
//! the fsyncs among them, and writes nothing. Executables run as copies, which is how `install.sh` leaves them. With
//! `-- policy` it prints instead what a decision by the last of 200 rules takes.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a benchmark"
)]

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::hypervisor::Published;
use common::policy::{IndexedSystem, Policy, Question};
use tests::executables::released;
use tests::measure::children_cpu;
use tests::{Fixture, stepper};

const SIZES: [u16; 4] = [10, 100, 1_000, 5_000];
/// How many of the qubes run.
const RUNNING: u16 = 10;
const RUNS: usize = 200;
/// Runs of calls that change something, which wait for the disk.
const CHANGING_RUNS: usize = 30;

/// What is measured: a heading, an executable, and the request's method; empty programs have none.
struct Subject {
    heading: &'static str,
    executable: &'static str,
    method: &'static str,
    /// The request after the method, for the n-th run.
    rest: fn(usize) -> String,
}

const fn empty(heading: &'static str, executable: &'static str) -> Subject {
    Subject { heading, executable, method: "", rest: |_| String::new() }
}

/// The caller whom constraints are about while this is measured.
const HELD: &str = "held";
const CONSTRAINTS: &str = "etc/qubes/admin-constraints.d";

const SUBJECTS: [Subject; 11] = [
    empty("static", "empty-static"),
    empty("dynamic", "empty-dynamic"),
    Subject {
        heading: "get",
        executable: "admin-vm-property",
        method: "admin.vm.property.Get",
        rest: |_| "+vcpus dom0 name q1\0".to_owned(),
    },
    Subject {
        heading: "other",
        executable: "admin-vm-property",
        method: "admin.vm.property.Get",
        rest: |_| "+vcpus q2 name q1\0".to_owned(),
    },
    Subject {
        heading: HELD,
        executable: "admin-vm-property",
        method: "admin.vm.property.Get",
        rest: |_| "+vcpus q2 name q1\0".to_owned(),
    },
    Subject {
        heading: "list",
        executable: "admin-vm-list",
        method: "admin.vm.List",
        rest: |_| "+ dom0 name dom0\0".to_owned(),
    },
    Subject {
        heading: "info",
        executable: "admin-system-info",
        method: "internal.GetSystemInfo",
        rest: |_| "+ dom0 name dom0\0".to_owned(),
    },
    Subject {
        heading: "backup",
        executable: "admin-backup",
        method: "admin.backup.Info",
        rest: |_| "+all dom0 name dom0\0".to_owned(),
    },
    Subject {
        heading: "set",
        executable: "admin-vm-property",
        method: "admin.vm.property.Set",
        rest: |run| format!("+vcpus dom0 name q1\0{}", run + 1),
    },
    Subject {
        heading: "create",
        executable: "admin-vm-create",
        method: "admin.vm.Create.AppVM",
        rest: |_| "+test-template dom0 name dom0\0name=fresh label=red".to_owned(),
    },
    Subject {
        heading: "remove",
        executable: "admin-vm-remove",
        method: "admin.vm.Remove",
        rest: |_| "+ dom0 name fresh\0".to_owned(),
    },
];

fn main() {
    if std::env::args().any(|word| word == "policy") {
        return decide();
    }
    let scratch = tempfile::tempdir().unwrap();
    let programs = install(scratch.path());
    let heading: String = SUBJECTS.iter().map(|subject| format!("{:>9}", subject.heading)).collect();
    println!("{:>6}{heading}   CPU microseconds; static and dynamic: empty programs", "qubes");
    let mut counts = Vec::new();
    for size in SIZES {
        let fixture = Fixture::with_qubes(size);
        fixture.profile("all", "{destination_vm: dom0, destination_path: /backup, include: ['@type:AppVM']}");
        let _running: Vec<_> =
            (1..=RUNNING).map(|number| fixture.domain(&format!("q{number}"), "Running")).collect();
        let root = fixture.path("/");
        println!("{}", row(size, &cpu_times(&programs, &root)));
        counts.push(row(size, &system_calls(&programs, &root)));
    }
    println!("{:>6}{heading}   system calls/fsyncs", "qubes");
    println!("{}", counts.join("\n"));
}

/// Reading 200 rules and deciding by the last, each the least of many times, without the start of a process.
fn decide() {
    const RULES: usize = 200;
    let fixture = Fixture::with_qubes(100);
    let rule =
        |number: usize| format!("admin.vm.Start * q{} @tag:t{number} allow target=dom0\n", number % 100 + 1);
    let mut rules: String = (1..RULES).map(rule).collect();
    rules.push_str("admin.vm.Start * q1 @anyvm allow target=dom0\n");
    fixture.policy("30-user.policy", &rules);
    let (store, hypervisor) = (fixture.store(), Published::at(&fixture.root()));
    let system = IndexedSystem::of(&store.read().unwrap(), &hypervisor).unwrap();
    let policy = Policy::load(&fixture.root()).unwrap();
    let question =
        Question { service: "admin.vm.Start", argument: "+", source: "q1", target: "q2", relay: None };
    let decided = policy.decide(&system, &question);
    assert_eq!(decided.rule.unwrap().origin().line(), RULES);
    let read = least(|| drop(Policy::load(&fixture.root()).unwrap()));
    let evaluated = least(|| drop(policy.decide(&system, &question)));
    println!("{RULES} rules: read in {read:?}, decided in {evaluated:?}");
}

fn least(act: impl Fn()) -> Duration {
    let timed = |_| {
        let begun = Instant::now();
        act();
        begun.elapsed()
    };
    (0..RUNS).map(timed).min().unwrap()
}

fn row(size: u16, cells: &[String]) -> String {
    let cells: String = cells.iter().map(|cell| format!("{cell:>9}")).collect();
    format!("{size:>6}{cells}")
}

/// The least CPU time of each subject. They take turns, so that all meet the same moods of the machine.
fn cpu_times(programs: &Path, root: &Path) -> Vec<String> {
    let mut least = [u64::MAX; SUBJECTS.len()];
    for run in 0..RUNS {
        for (subject, least) in SUBJECTS.iter().zip(&mut least) {
            if run < CHANGING_RUNS
                || matches!(subject.heading, "static" | "dynamic" | "get" | "other" | HELD | "list" | "info")
            {
                *least = (*least).min(cpu_time(subject, command(subject, programs, root, run)));
            }
        }
    }
    least.iter().map(u64::to_string).collect()
}

/// System calls of each subject from its start to its end, and the fsyncs among them.
fn system_calls(programs: &Path, root: &Path) -> Vec<String> {
    let counted = SUBJECTS.iter().map(|subject| {
        let calls = stepper::system_calls(command(subject, programs, root, RUNS));
        format!("{}/{}", calls.len(), calls.iter().filter(|call| **call == libc::SYS_fsync).count())
    });
    counted.collect()
}

fn command(subject: &Subject, programs: &Path, root: &Path, run: usize) -> Command {
    constrain(root, subject.heading == HELD);
    let request = root.join("request");
    std::fs::write(&request, format!("{}{}", subject.method, (subject.rest)(run))).unwrap();
    let mut command = Command::new(programs.join(subject.executable));
    command.arg0(subject.method).env_clear().env("QUBES_ADMIN_ROOT", root);
    command.stdin(File::open(request).unwrap()).stderr(Stdio::inherit());
    command
}

/// Makes a constraint on `q2`, or leaves no folder of any.
fn constrain(root: &Path, is_held: bool) {
    let folder = root.join(CONSTRAINTS);
    if is_held {
        std::fs::create_dir_all(&folder).unwrap();
        let text = "[[constraint]]\ncallers = [\"q2\"]\nproperty.memory = [\"..4000\"]\n";
        std::fs::write(folder.join("50.toml"), text).unwrap();
    } else if folder.exists() {
        std::fs::remove_dir_all(folder).unwrap();
    }
}

/// CPU microseconds of one process, user and system.
fn cpu_time(subject: &Subject, mut command: Command) -> u64 {
    let before = children_cpu();
    let output = command.output().unwrap();
    let answered = subject.method.is_empty() || output.stdout.starts_with(b"0\0");
    assert!(answered, "{:?}", String::from_utf8_lossy(&output.stdout));
    children_cpu() - before
}

/// A folder with copies of the services' executables and both empty programs.
fn install(scratch: &Path) -> PathBuf {
    let programs = scratch.join("programs");
    std::fs::create_dir(&programs).unwrap();
    let subjects = SUBJECTS.iter().filter(|subject| !subject.method.is_empty());
    for executable in subjects.map(|it| it.executable).chain(["qubes-constraints", "qubes-backup"]) {
        std::fs::copy(released().join(executable), programs.join(executable)).unwrap();
    }
    for (name, flags) in [("empty-static", "-Ctarget-feature=+crt-static"), ("empty-dynamic", "-Lnative=.")] {
        compile_empty_program(scratch, flags);
        std::fs::copy(scratch.join("empty"), programs.join(name)).unwrap();
    }
    programs
}

/// An empty Rust program, `scratch/empty`; a dynamic one loads the C library alone, as the services do.
fn compile_empty_program(scratch: &Path, flags: &str) {
    std::fs::write(scratch.join("empty.rs"), "fn main() {}\n").unwrap();
    std::fs::write(scratch.join("libgcc_s.so"), "INPUT ( -lgcc_eh -lgcc )\n").unwrap();
    let mut rustc = Command::new("rustc");
    rustc.args(["-O", "-Cpanic=abort", flags, "empty.rs"]).current_dir(scratch);
    assert!(rustc.status().unwrap().success());
}

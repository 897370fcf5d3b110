//! Runs of qubes on the simulated hypervisor: the CPU time of a start and of calls on states, lists where many run, what a
//! watcher costs, and reads while twenty qubes start of which one hangs.
//!
//! `cargo bench -p tests --bench lifecycle` prints a line for each and writes nothing; with `-- states`, for the calls on
//! states alone. CPU time is that of all our processes: the call with those it waits for, the watcher and the process that
//! stands in for the guest.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a benchmark"
)]

use std::fs::File;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::audit::JOURNAL;
use nix::unistd::Pid;
use tests::Fixture;
use tests::measure::children_cpu;
use tests::startable::{behave, calling, end, guest, hanging, reply, system, until, watcher};

const STARTS: usize = 30;
const CALLS: usize = 100;
const QUBES: u16 = 1_000;
const RUNNING: u16 = 100;
const AT_ONCE: usize = 20;
const ROUNDS: usize = 5;
const IDLE: Duration = Duration::from_secs(3);

fn main() {
    let fixture = system();
    let _memory = in_memory(&fixture, "/run");
    journal(&fixture);
    if std::env::args().any(|word| word == "states") {
        fixture.ok("admin.vm.Start", "net", "");
        return states(&fixture);
    }
    starts(&fixture);
    fixture.ok("admin.vm.Start", "net", "");
    states(&fixture);
    watching(&fixture);
    lists();
    reads_beside_starts(&fixture);
}

/// Moves a folder into memory, where dom0 has its run-time files.
fn in_memory(fixture: &Fixture, folder: &str) -> tempfile::TempDir {
    let (memory, folder) = (tempfile::tempdir_in("/dev/shm").unwrap(), fixture.path(folder));
    let copied = Command::new("cp").arg("-a").arg(folder.join(".")).arg(memory.path()).status().unwrap();
    assert!(copied.success());
    std::fs::remove_dir_all(&folder).unwrap();
    std::os::unix::fs::symlink(memory.path(), folder).unwrap();
    memory
}

/// Takes in what calls log, as dom0's journal does.
fn journal(fixture: &Fixture) {
    let socket = fixture.path(JOURNAL);
    std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
    let journal = UnixDatagram::bind(socket).unwrap();
    std::thread::spawn(move || while journal.recv(&mut [0; 4096]).is_ok() {});
}

/// CPU microseconds that a process has taken.
fn cpu(process: Pid) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/schedstat")).unwrap();
    text.split(' ').next().unwrap().parse::<u64>().unwrap() / 1_000
}

/// What a call took.
#[derive(Clone, Copy)]
struct Cost {
    cpu: u64,
    latency: u64,
}

/// Makes a call that must succeed.
fn call(fixture: &Fixture, method: &str, qube: &str) -> Cost {
    let request = fixture.path("/request");
    std::fs::write(&request, format!("{method} dom0 name {qube}\0")).unwrap();
    let mut command = fixture.command(method.split('+').next().unwrap());
    command.stdin(File::open(request).unwrap()).stderr(Stdio::inherit());
    let (before, begun) = (children_cpu(), Instant::now());
    let output = command.output().unwrap();
    let latency = u64::try_from(begun.elapsed().as_micros()).unwrap();
    assert!(output.stdout.starts_with(b"0\0"), "{method}: {:?}", String::from_utf8_lossy(&output.stdout));
    Cost { cpu: children_cpu() - before, latency }
}

fn least(costs: &[u64]) -> u64 {
    *costs.iter().min().unwrap()
}

fn median(mut costs: Vec<u64>) -> u64 {
    costs.sort_unstable();
    costs[costs.len() / 2]
}

fn starts(fixture: &Fixture) {
    let [mut calls, mut watchers, mut guests, mut all] = [const { Vec::new() }; 4];
    for _ in 0..STARTS {
        let started = call(fixture, "admin.vm.Start+", "net").cpu;
        let [watched, simulated] = [watcher(fixture, "net"), guest(fixture, "net")].map(cpu);
        calls.push(started);
        watchers.push(watched);
        guests.push(simulated);
        all.push(started + watched + simulated);
        fixture.ok("admin.vm.Kill", "net", "");
    }
    println!(
        "a start: at least {} us CPU (limit 15000), median {}; the call {}, its watcher {}, the guest {}",
        least(&all),
        median(all.clone()),
        least(&calls),
        least(&watchers),
        least(&guests)
    );
}

/// Calls on a running qube take turns with a read of a property. The watcher's work for them counts.
fn states(fixture: &Fixture) {
    const METHODS: [&str; 4] =
        ["admin.vm.property.Get+memory", "admin.vm.CurrentState+", "admin.vm.Pause+", "admin.vm.Unpause+"];
    let watcher = watcher(fixture, "net");
    let mut costs = [const { Vec::new() }; METHODS.len()];
    let mut watching = [const { Vec::new() }; METHODS.len()];
    for _ in 0..CALLS {
        for (place, method) in METHODS.iter().enumerate() {
            let before = cpu(watcher);
            let called = call(fixture, method, "net").cpu;
            until("the watcher is done with the call", || is_asleep(watcher));
            let watched = cpu(watcher) - before;
            watching[place].push(watched);
            costs[place].push(called + watched);
        }
    }
    let read = least(&costs[0]);
    println!("a read of a property: {read} us CPU");
    for ((method, costs), watching) in METHODS.iter().zip(&costs).zip(&watching).skip(1) {
        let (cost, watched) = (least(costs), least(watching));
        let more = i128::from(cost) - i128::from(read);
        let method = method.trim_end_matches('+');
        println!(
            "{method}: {cost} us CPU, {more} more than the read (limit 200); of these the watcher {watched}"
        );
    }
}

fn watching(fixture: &Fixture) {
    let watcher = watcher(fixture, "net");
    until("the watcher is done with the last call", || is_asleep(watcher));
    let before = cpu(watcher);
    std::thread::sleep(IDLE);
    let taken = cpu(watcher) - before;
    println!(
        "a watcher: {} KiB private memory (limit 2048), {taken} us CPU in {} s without work",
        private_kib(watcher),
        IDLE.as_secs()
    );
}

fn is_asleep(process: Pid) -> bool {
    std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap().contains(") S ")
}

fn private_kib(process: Pid) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap();
    let private = text.lines().filter(|line| line.starts_with("Private_"));
    private.map(|line| line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap()).sum()
}

fn lists() {
    let fixture = Fixture::with_qubes(QUBES);
    let costs = |fixture: &Fixture| {
        let costs: Vec<u64> = (0..CALLS).map(|_| call(fixture, "admin.vm.List+", "dom0").cpu).collect();
        least(&costs)
    };
    let halted = costs(&fixture);
    let domains: Vec<_> =
        (1..=RUNNING).map(|number| fixture.domain(&format!("q{number}"), "Running")).collect();
    println!(
        "a list of {QUBES} qubes of which {} run: {} us CPU (limit 3000); none: {halted}",
        domains.len(),
        costs(&fixture)
    );
}

const READS: [(&str, &str); 2] = [("admin.vm.property.Get+memory", "net"), ("admin.vm.List+", "dom0")];

/// Both reads some times; until `enough`.
fn read(fixture: &Fixture, mut is_enough: impl FnMut(usize) -> bool) -> [Vec<Cost>; 2] {
    let mut costs = [const { Vec::new() }; 2];
    while !is_enough(costs[0].len()) {
        for ((method, qube), costs) in READS.iter().zip(&mut costs) {
            costs.push(call(fixture, method, qube));
        }
    }
    costs
}

/// Reads alone, while twenty qubes start, and while the one of them that hangs is all that is left of that.
fn reads_beside_starts(fixture: &Fixture) {
    let names: Vec<String> = (0..AT_ONCE).map(|number| format!("start{number}")).collect();
    for name in &names {
        fixture.ok("admin.vm.Create.AppVM+test-template", "dom0", format!("name={name} label=red"));
        fixture.ok("admin.vm.volume.Resize+private", name, "65536");
        fixture.ok("admin.vm.property.Set+netvm", name, "");
    }
    fixture.ok("admin.vm.Kill", "net", "");
    behave(fixture, &names[0], "simulated.hangs");
    let alone = read(fixture, |reads| reads == CALLS);
    let [mut beside, mut beside_hanging] = [const { [const { Vec::new() }; 2] }; 2];
    for _ in 0..ROUNDS {
        let first = calling(fixture, "admin.vm.Start", &names[0]);
        let hanging = hanging(fixture);
        let mut starts: Vec<Child> =
            names[1..].iter().map(|name| calling(fixture, "admin.vm.Start", name)).collect();
        let is_over = |_: usize| starts.iter_mut().all(|start| start.try_wait().unwrap().is_some());
        add(&mut beside, read(fixture, is_over));
        add(&mut beside_hanging, read(fixture, |reads| reads == CALLS / ROUNDS));
        end(hanging);
        assert!(reply(first).starts_with("2·QubesException··Start failed: "));
        for name in &names[1..] {
            fixture.ok("admin.vm.Kill", name, "");
        }
    }
    for (what, costs) in [("19 others start", beside), ("one hangs", beside_hanging)] {
        for (((method, _), costs), alone) in READS.iter().zip(costs).zip(&alone) {
            println!("{}", compared(method.trim_end_matches('+'), what, &costs, alone));
        }
    }
}

fn add(all: &mut [Vec<Cost>; 2], more: [Vec<Cost>; 2]) {
    all.iter_mut().zip(more).for_each(|(all, more)| all.extend(more));
}

/// The ratios to the same read alone. Least times tell of waits for locks, medians also of the wait for a processor.
fn compared(method: &str, what: &str, costs: &[Cost], alone: &[Cost]) -> String {
    let ratio = |of: fn(&[Cost]) -> u64| of(costs) as f64 / of(alone) as f64;
    let cpu: fn(&[Cost]) -> u64 = |costs| least(&costs.iter().map(|cost| cost.cpu).collect::<Vec<_>>());
    let latency: fn(&[Cost]) -> u64 =
        |costs| least(&costs.iter().map(|cost| cost.latency).collect::<Vec<_>>());
    let usual: fn(&[Cost]) -> u64 = |costs| median(costs.iter().map(|cost| cost.latency).collect());
    format!(
        "{method} while {what}: CPU x{:.2}, latency x{:.2}, its median x{:.2} ({} reads)",
        ratio(cpu),
        ratio(latency),
        ratio(usual),
        costs.len()
    )
}

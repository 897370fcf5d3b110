//! Event streams: from append to delivery, losses, what listeners cost a writer, and what they cost idle.
//!
//! `cargo bench -p tests --bench events` prints its figures and writes nothing.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a benchmark"
)]

use std::io::Write;
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use common::event::Event;
use nix::sys::resource::{UsageWho, getrusage};
use tests::Fixture;
use tests::listener::Listener;

const LISTENERS: usize = 100;
/// Events in one run; times the listeners, so many deliveries.
const EVENTS: usize = 500;
const SETS: usize = 300;

fn main() {
    let fixture = Fixture::new();
    let one = [Listener::to_all(&fixture)];
    let deliveries = deliver(&fixture, one.into());
    println!("append to delivery, 1 listener: median {} us", median(deliveries.times).as_micros());
    let listeners: Vec<Listener> = (0..LISTENERS).map(|_| Listener::to_all(&fixture)).collect();
    let (memory, cpu) = (private_kib(&listeners), cpu_ticks(&listeners));
    let idle = Instant::now();
    while idle.elapsed() < Duration::from_secs(2) {
        std::thread::yield_now();
    }
    let ticks = cpu_ticks(&listeners) - cpu;
    println!(
        "{LISTENERS} idle listeners: private memory at most {memory} KiB each, {ticks} CPU ticks in 2 s"
    );
    for (what, [none, with]) in cost_of_set([&Fixture::new(), &fixture]) {
        let more = 100.0 * (with as f64 / none as f64 - 1.0);
        println!(
            "a Set's CPU, {what}: {none} us without listeners, {with} us with {LISTENERS} ({more:+.1} %)"
        );
    }
    drop(listeners);
    let listeners = (0..LISTENERS).map(|_| Listener::to_all(&fixture)).collect();
    let deliveries = deliver(&fixture, listeners);
    println!(
        "append to delivery, {LISTENERS} listeners: median {} us; {} deliveries, {} lost, doubled or out of order",
        median(deliveries.times).as_micros(),
        EVENTS * LISTENERS,
        deliveries.wrong,
    );
}

struct Deliveries {
    times: Vec<Duration>,
    wrong: usize,
}

/// Publishes events one by one, each when all listeners have the one before, and tells how long each took to arrive.
fn deliver(fixture: &Fixture, listeners: Vec<Listener>) -> Deliveries {
    let count = listeners.len();
    let (send, arrivals) = channel();
    for listener in listeners {
        let send = send.clone();
        std::thread::spawn(move || {
            for expected in 0..EVENTS {
                let message = listener.next_bytes().unwrap();
                let now = Instant::now();
                let right = message == format!("1\0\0bench:{expected}\0\0").into_bytes();
                send.send((now, right)).unwrap();
            }
        });
    }
    let store = fixture.store();
    let mut deliveries = Deliveries { times: Vec::new(), wrong: 0 };
    for number in 0..EVENTS {
        let mut txn = store.write().unwrap();
        txn.event(Event::system(format!("bench:{number}")));
        let published = Instant::now();
        txn.commit().unwrap();
        collect(&arrivals, count, published, &mut deliveries);
    }
    deliveries
}

fn collect(arrivals: &Receiver<(Instant, bool)>, count: usize, published: Instant, into: &mut Deliveries) {
    for _ in 0..count {
        let (arrived, right) = arrivals.recv_timeout(Duration::from_secs(60)).unwrap();
        into.times.push(arrived.saturating_duration_since(published));
        into.wrong += usize::from(!right);
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// CPU microseconds of a whole Set process, in two systems by turns.
fn cost_of_set(fixtures: [&Fixture; 2]) -> [(&'static str, [u64; 2]); 2] {
    let mut costs = [Vec::new(), Vec::new()];
    for number in 0..SETS {
        for (costs, fixture) in costs.iter_mut().zip(fixtures) {
            costs.push(set(fixture, number));
        }
    }
    costs.iter_mut().for_each(|costs| costs.sort_unstable());
    let of = |place: usize| costs.each_ref().map(|costs| costs[place]);
    [("median", of(SETS / 2)), ("minimum", of(0))]
}

fn set(fixture: &Fixture, number: usize) -> u64 {
    let before = children_cpu();
    let mut child = fixture.command("admin.vm.feature.Set").stdin(Stdio::piped()).spawn().unwrap();
    let request = format!("admin.vm.feature.Set+f dom0 name test-vm1\0{number}");
    child.stdin.take().unwrap().write_all(request.as_bytes()).unwrap();
    assert_eq!(child.wait_with_output().unwrap().stdout, b"0\0");
    children_cpu() - before
}

fn children_cpu() -> u64 {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    let micros = |time: nix::sys::time::TimeVal| time.tv_sec() as u64 * 1_000_000 + time.tv_usec() as u64;
    micros(usage.user_time()) + micros(usage.system_time())
}

/// The largest private memory among the listeners, KiB.
fn private_kib(listeners: &[Listener]) -> u64 {
    let of = |listener: &Listener| {
        let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", listener.pid())).unwrap();
        let private = text.lines().filter(|line| line.starts_with("Private_"));
        private.map(|line| line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap()).sum::<u64>()
    };
    listeners.iter().map(of).max().unwrap()
}

/// CPU time of all listeners so far, in ticks of the system.
fn cpu_ticks(listeners: &[Listener]) -> u64 {
    let of = |listener: &Listener| {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", listener.pid())).unwrap();
        let fields: Vec<&str> = text.rsplit(')').next().unwrap().split_ascii_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    listeners.iter().map(of).sum()
}

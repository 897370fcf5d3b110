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

use std::io::{IoSliceMut, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Child, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::event::Event;
use nix::sys::socket::sockopt::ReceiveTimestampns;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, setsockopt, socketpair,
};
use tests::Fixture;
use tests::measure::children_cpu;

const LISTENERS: usize = 100;
/// Events in one run; times the listeners, so many deliveries.
const EVENTS: usize = 500;
const SETS: usize = 300;

fn main() {
    let fixture = Fixture::new();
    let deliveries = deliver(&fixture, &[Listener::to_all(&fixture)]);
    println!("append to delivery, 1 listener: median {} us", median(deliveries.times).as_micros());
    let listeners: Vec<Listener> = (0..LISTENERS).map(|_| Listener::to_all(&fixture)).collect();
    let (memory, cpu) = (private_kib(&listeners), cpu_ticks(&listeners));
    std::thread::sleep(Duration::from_secs(2));
    let ticks = cpu_ticks(&listeners) - cpu;
    println!(
        "{LISTENERS} idle listeners: private memory at most {memory} KiB each, {ticks} CPU ticks in 2 s"
    );
    for (what, [none, with]) in cost_of_set([(&Fixture::new(), &[]), (&fixture, &listeners)]) {
        let more = 100.0 * (with as f64 / none as f64 - 1.0);
        println!(
            "a Set's CPU, {what}: {none} us without listeners, {with} us with {LISTENERS} ({more:+.1} %)"
        );
    }
    let deliveries = deliver(&fixture, &listeners);
    println!(
        "append to delivery, {LISTENERS} listeners: median {} us, last {} us; {} deliveries, {} lost, doubled or out of order",
        median(deliveries.times).as_micros(),
        median(deliveries.last).as_micros(),
        EVENTS * LISTENERS,
        deliveries.wrong,
    );
}

/// A real `admin.Events` process whose standard output is a socket that keeps messages apart. The kernel stamps each
/// when it has arrived at the caller's end: what the benchmark itself needs to read them is not measured.
struct Listener {
    child: Child,
    caller: OwnedFd,
}

impl Listener {
    fn to_all(fixture: &Fixture) -> Self {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (caller, output) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap();
        setsockopt(&caller, ReceiveTimestampns, &true).unwrap();
        let mut command = fixture.command("admin.Events");
        let mut child = command.stdin(Stdio::piped()).stdout(output).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"admin.Events+ dom0 name dom0\0").unwrap();
        let listener = Self { child, caller };
        assert_eq!(listener.next().1, b"1\0\0connection-established\0\0");
        // The probe of a listener that begins to wait; a stream would not show it.
        assert_eq!(listener.next().1, b"");
        listener
    }

    /// The next message and when it arrived.
    fn next(&self) -> (Duration, Vec<u8>) {
        let mut message = [0; 4096];
        let mut stamp = nix::cmsg_space!(nix::sys::time::TimeSpec);
        let mut parts = [IoSliceMut::new(&mut message)];
        let flags = MsgFlags::empty();
        let received = recvmsg::<()>(self.caller.as_raw_fd(), &mut parts, Some(&mut stamp), flags).unwrap();
        let arrived = received.cmsgs().unwrap().find_map(|part| match part {
            ControlMessageOwned::ScmTimestampns(time) => Some(Duration::from(time)),
            _ => None,
        });
        let (arrived, length) = (arrived.unwrap_or_default(), received.bytes);
        (arrived, message[..length].to_vec())
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[derive(Default)]
struct Deliveries {
    times: Vec<Duration>,
    /// Of each event, how long it took to the last listener.
    last: Vec<Duration>,
    wrong: usize,
}

/// Publishes events one by one, each when all listeners have the one before, and tells how long each took from the
/// beginning of its commit to its arrival.
fn deliver(fixture: &Fixture, listeners: &[Listener]) -> Deliveries {
    let store = fixture.store();
    let mut deliveries = Deliveries::default();
    for number in 0..EVENTS {
        let mut txn = store.write().unwrap();
        txn.event(Event::system(format!("bench:{number}")));
        let published = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        txn.commit().unwrap();
        let expected = format!("1\0\0bench:{number}\0\0").into_bytes();
        let arrivals = listeners.iter().map(Listener::next);
        let times: Vec<_> = arrivals
            .map(|(arrived, message)| {
                deliveries.wrong += usize::from(message != expected);
                arrived.saturating_sub(published)
            })
            .collect();
        deliveries.last.extend(times.iter().max());
        deliveries.times.extend(times);
    }
    deliveries
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// CPU microseconds of a whole Set process, in two systems by turns. Before the next, every listener has delivered and
/// sleeps again.
fn cost_of_set(systems: [(&Fixture, &[Listener]); 2]) -> [(&'static str, [u64; 2]); 2] {
    let mut costs = [Vec::new(), Vec::new()];
    for number in 0..SETS {
        for (costs, (fixture, listeners)) in costs.iter_mut().zip(systems) {
            costs.push(set(fixture, number));
            listeners.iter().for_each(|listener| drop(listener.next()));
            std::thread::sleep(Duration::from_millis(2));
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

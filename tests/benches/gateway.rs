//! Calls at the gateway's socket beside the same calls as processes of their own, in one run.
//!
//! `cargo bench -p tests --bench gateway` prints microseconds from the first byte of the request to the end of the answer,
//! minimum and median of many runs, and writes nothing.
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
use std::time::Instant;

use tests::Fixture;
use tests::gateway::Gateway;

const RUNS: usize = 300;

/// Minimum and median of the microseconds that something takes.
fn time(mut what: impl FnMut()) -> (u128, u128) {
    let mut times: Vec<u128> = (0..RUNS)
        .map(|_| {
            let begun = Instant::now();
            what();
            begun.elapsed().as_micros()
        })
        .collect();
    times.sort_unstable();
    (times[0], times[RUNS / 2])
}

/// The call as qrexec's daemon would start it.
fn by_executable(fixture: &Fixture, method: &str, request: &[u8]) {
    let mut process = fixture.command(method).stdin(Stdio::piped()).spawn().unwrap();
    process.stdin.take().unwrap().write_all(request).unwrap();
    assert!(process.wait_with_output().unwrap().stdout.starts_with(b"0\0"));
}

fn main() {
    println!("qubes  call  by the executable: min, median  at the gateway: min, median  (microseconds)");
    for qubes in [10, 1_000] {
        let fixture = Fixture::with_qubes(qubes);
        let gateway = Gateway::of(&fixture);
        for (socket, method, rest) in [
            ("qubesd.sock", "admin.vm.property.Get", "+vcpus dom0 name q1\0"),
            ("qubesd.sock", "admin.vm.List", "+ dom0 name dom0\0"),
            ("qubesd.internal.sock", "internal.GetSystemInfo", "+ dom0 name dom0\0"),
        ] {
            let request = format!("{method}{rest}").into_bytes();
            let alone = time(|| by_executable(&fixture, method, &request));
            let served = time(|| assert!(gateway.ask(socket, &request).starts_with(b"0\0")));
            println!("{qubes:>5}  {method}  {} {}  {} {}", alone.0, alone.1, served.0, served.1);
        }
    }
}

//! Writing an encrypted backup beside the same work done by `openssl`: cipher, code, and a pipe between them.
//!
//! `cargo bench -p tests --bench backup` prints the ratio that docs/figures.md asks for. Both read the same file, of which nothing
//! is a hole, and their output goes nowhere; they take turns, and the least time of each counts. Keys cost nothing here.
//! `BACKUP_MIB` is the size of the file (1024 without it), which lies where `TMPDIR` says.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    reason = "a benchmark"
)]

use std::fs::File;
use std::io::Read;
use std::ops::ControlFlow;
use std::process::Command;
use std::time::Instant;

use backup::{BackupId, Content, Cost, Header, Options, Passphrase, Reader, Reading, Sink, Verified, Writer};

const ROUNDS: usize = 5;
const CHEAP: Cost = Cost { log_n: 1, r: 1, p: 1 };
const OPENSSL: &str = "key=$(printf %064d 1); iv=$(printf %032d 0); \
    openssl enc -aes-256-ctr -K $key -iv $iv -in \"$0\" | openssl dgst -sha256 -hmac key >/dev/null";

fn main() {
    let mib = std::env::var("BACKUP_MIB").map_or(1024, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    let mut random = File::open("/dev/urandom").unwrap().take(mib << 20);
    std::io::copy(&mut random, &mut File::create(&path).unwrap()).unwrap();
    let (mut ours, mut theirs, mut read) = (f64::MAX, f64::MAX, f64::MAX);
    for _ in 0..ROUNDS {
        theirs = theirs.min(seconds(|| {
            let status =
                Command::new("bash").args(["-euo", "pipefail", "-c", OPENSSL]).arg(&path).status().unwrap();
            assert!(status.success());
        }));
        ours = ours.min(seconds(|| drop(write(&path, File::create("/dev/null").unwrap()))));
    }
    let backup = folder.path().join("backup");
    drop(write(&path, File::create(&backup).unwrap()));
    for _ in 0..ROUNDS {
        read = read.min(seconds(|| assert_eq!(unpack(&backup, folder.path()), mib << 20)));
    }
    let speed = |seconds: f64| mib as f64 / seconds;
    println!("openssl enc | openssl dgst  {:6.0} MiB/s", speed(theirs));
    println!(
        "writing a backup            {:6.0} MiB/s, {:.2} of that (at least 0.80)",
        speed(ours),
        theirs / ours
    );
    println!("reading and proving it      {:6.0} MiB/s, {:.2} of that", speed(read), theirs / read);
    println!("a key at the usual cost     {:6.2} s", seconds(|| drop(begin(std::io::sink(), Cost::USUAL))));
}

fn seconds(work: impl FnOnce()) -> f64 {
    let started = Instant::now();
    work();
    started.elapsed().as_secs_f64()
}

fn begin<W: std::io::Write + Send>(out: W, cost: Cost) -> Writer<W> {
    let id = BackupId::new("20230405T123455-1234").unwrap();
    let header = Header { compressed: false, filter: "gzip".to_owned(), id };
    let options = Options { cost, ..Options::usual(std::env::temp_dir()) };
    Writer::begin(out, header, Passphrase::new("passphrase"), options).unwrap()
}

fn write(path: &std::path::Path, out: File) -> File {
    let mut writer = begin(out, CHEAP);
    let file = File::open(path).unwrap();
    writer.file("vm1/private.img", Content::File(&file), &mut |_| ControlFlow::Continue(())).unwrap();
    writer.finish().unwrap()
}

/// Counts what it gets.
struct Counter(u64);

impl Sink for Counter {
    fn begin(&mut self, _: u64) -> std::io::Result<()> {
        Ok(())
    }

    fn data(&mut self, _: u64, data: Verified<'_>) -> std::io::Result<()> {
        self.0 += data.bytes().len() as u64;
        Ok(())
    }
}

fn unpack(backup: &std::path::Path, scratch: &std::path::Path) -> u64 {
    let input = File::open(backup).unwrap();
    let mut reader = Reader::begin(input, Passphrase::new("passphrase"), Reading::usual(scratch)).unwrap();
    let mut counter = Counter(0);
    let _complete = reader.next().unwrap().unwrap().image(&mut counter).unwrap();
    counter.0
}

//! Writing an encrypted backup beside the same work done by `openssl`: cipher, code, and a pipe between them; and a compressed
//! one beside `gzip`.
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
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use backup::{BackupId, Content, Cost, Header, Options, Passphrase, Reader, Reading, Sink, Verified, Writer};

const ROUNDS: usize = 5;
/// The part of the file's size that is compressed.
const COMPRESSED_PART: u64 = 8;
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
        ours = ours.min(seconds(|| drop(write(&path, false, File::create("/dev/null").unwrap()))));
    }
    let backup = folder.path().join("backup");
    drop(write(&path, false, File::create(&backup).unwrap()));
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
    println!(
        "a key at the usual cost     {:6.2} s",
        seconds(|| drop(begin(std::io::sink(), false, Cost::USUAL)))
    );
    compressed(folder.path(), mib / COMPRESSED_PART);
}

/// The same with compression, beside the program `gzip`, which has one processor.
fn compressed(folder: &Path, mib: u64) {
    let path = folder.join("compressible");
    let mut content = Vec::new();
    File::open("/dev/urandom").unwrap().take(mib << 20).read_to_end(&mut content).unwrap();
    // Half of each byte says nothing.
    content.iter_mut().for_each(|byte| *byte &= 0x0f);
    std::fs::write(&path, content).unwrap();
    let (mut ours, mut theirs) = (f64::MAX, f64::MAX);
    for _ in 0..ROUNDS {
        theirs = theirs.min(seconds(|| {
            let gzip = Command::new("bash").args(["-c", "gzip <\"$0\" >/dev/null"]).arg(&path).status();
            assert!(gzip.unwrap().success());
        }));
        ours = ours.min(seconds(|| drop(write(&path, true, File::create("/dev/null").unwrap()))));
    }
    let processors = std::thread::available_parallelism().unwrap();
    println!("gzip                        {:6.0} MiB/s", mib as f64 / theirs);
    println!(
        "writing a compressed backup {:6.0} MiB/s, {:.2} of that, on {processors} processors",
        mib as f64 / ours,
        theirs / ours
    );
}

fn seconds(work: impl FnOnce()) -> f64 {
    let started = Instant::now();
    work();
    started.elapsed().as_secs_f64()
}

fn begin<W: std::io::Write + Send>(out: W, compressed: bool, cost: Cost) -> Writer<W> {
    let id = BackupId::new("20230405T123455-1234").unwrap();
    let header = Header { compressed, filter: "gzip".to_owned(), id };
    let options = Options { cost, ..Options::usual(std::env::temp_dir()) };
    Writer::begin(out, header, Passphrase::new("passphrase"), options).unwrap()
}

fn write(path: &Path, compressed: bool, out: File) -> File {
    let mut writer = begin(out, compressed, CHEAP);
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

fn unpack(backup: &Path, scratch: &Path) -> u64 {
    let input = File::open(backup).unwrap();
    let mut reader = Reader::begin(input, Passphrase::new("passphrase"), Reading::usual(scratch)).unwrap();
    let mut counter = Counter(0);
    let _complete = reader.next().unwrap().unwrap().image(&mut counter).unwrap();
    counter.0
}

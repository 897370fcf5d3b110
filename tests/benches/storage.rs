//! Content of volumes: imports beside `dd`, copies beside `cp`, clones of small and of large volumes, memory, and the CPU
//! time of a look at a volume beside that of a property.
//!
//! `cargo bench -p tests --bench storage` prints a line for each, with the ratio that docs/figures.md asks for, and writes
//! to the disk that holds `TMPDIR`. `STORAGE_MIB` is the size of the streams (4096 without it). What is compared takes
//! turns; the least time of each counts. Clones need root, for the file systems that they are made on.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a benchmark"
)]

use std::fs::File;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use tests::Fixture;
use tests::executables::serving;
use tests::loops::Mounted;
use tests::measure::{children_cpu, children_peak};
use tests::volumes::system;

const MIB: u64 = 1 << 20;
const ROUNDS: usize = 3;
/// Pieces that streams are made of.
const PIECE: u64 = 64 * MIB;
const LOOKS: usize = 300;
/// Disk space that a file system for clones must leave to others.
const SPARE: u64 = 6 << 30;

fn main() {
    if std::env::args().nth(1).as_deref() == Some(MEASURED) {
        return measured();
    }
    let bench = Bench::new();
    bench.imports();
    bench.copies();
    for kind in ["xfs", "btrfs"] {
        bench.clones(kind).unwrap_or_else(|reason| println!("clones on {kind}: not run: {reason}"));
    }
    bench.looks();
}

/// A root in memory, with pools on a disk.
struct Bench {
    fixture: Fixture,
    disk: tempfile::TempDir,
    /// Length of the streams.
    size: u64,
}

/// What a process took.
struct Cost {
    seconds: f64,
    peak_kib: i64,
}

impl Bench {
    fn new() -> Self {
        let mib = std::env::var("STORAGE_MIB").map_or(4096, |text| text.parse().unwrap());
        let (fixture, disk) = (system(), tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink(disk.path(), fixture.path("/disk")).unwrap();
        let mut random = File::open("/dev/urandom").unwrap();
        let mut piece = vec![0; PIECE as usize];
        std::io::Read::read_exact(&mut random, &mut piece).unwrap();
        std::fs::write(fixture.path("/random"), &piece).unwrap();
        std::fs::write(fixture.path("/zeros"), vec![0; PIECE as usize]).unwrap();
        let bench = Self { fixture, disk, size: mib * MIB };
        bench.pool("one", "/disk/one");
        bench.pool("two", "/disk/two");
        bench.qube("volume", "one");
        bench.qube("copy", "two");
        bench
    }

    fn pool(&self, name: &str, directory: &str) {
        let payload = format!("name={name}\ndir_path={directory}\nsetup_check=False");
        self.fixture.ok("admin.pool.Add+file-reflink", "dom0", payload);
    }

    fn qube(&self, name: &str, pool: &str) {
        let payload = format!("name={name} label=red pool:private={pool}");
        self.fixture.ok("admin.vm.CreateInPool.AppVM+test-template", "dom0", payload);
        self.fixture.ok("admin.vm.volume.Set.revisions_to_keep+private", name, "0");
        self.fixture.ok("admin.vm.volume.Resize+private", name, "0");
    }

    /// Waits until the disk has nothing left to write of what came before.
    fn settle(&self) {
        assert!(Command::new("sync").arg("-f").arg(self.disk.path()).status().unwrap().success());
    }

    /// A process that gives so many bytes, of these pieces in turn, after a line.
    fn stream(&self, line: &str, size: u64, pieces: [&str; 2]) -> Child {
        let [one, two] = pieces.map(|piece| self.fixture.path(piece).display().to_string());
        let script =
            format!("printf '{line}'; for i in $(seq {}); do cat {one} {two}; done", size / PIECE / 2);
        Command::new("sh").args(["-c", &script]).stdout(Stdio::piped()).spawn().unwrap()
    }

    /// An import into the volume of a qube.
    fn import(&self, qube: &str, size: u64, pieces: [&str; 2]) -> Cost {
        let method = "admin.vm.volume.ImportWithSize";
        let mut stream = self.stream(&format!("{size}\\n"), size, pieces);
        let environment = [("QREXEC_REMOTE_DOMAIN", "dom0"), ("QREXEC_REQUESTED_TARGET", qube)];
        let input = stream.stdout.take().unwrap();
        let (cost, reply) = self.run(&serving(method), &[method, "private"], &environment, input);
        stream.wait().unwrap();
        assert_eq!(reply, b"0\0", "{}", String::from_utf8_lossy(&reply));
        cost
    }

    fn clear(&self, qube: &str) {
        self.fixture.ok("admin.vm.volume.Resize+private", qube, "0");
        self.settle();
    }

    fn imports(&self) {
        for (name, pieces, least) in
            [("random data", ["/random", "/random"], 0.9), ("half zeros", ["/random", "/zeros"], 1.5)]
        {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                self.clear("volume");
                ours.push(self.import("volume", self.size, pieces));
                self.clear("volume");
                theirs.push(self.dd(pieces));
            }
            self.compare(&format!("import of {name}"), &ours, "dd", &theirs, least);
        }
    }

    fn dd(&self, pieces: [&str; 2]) -> Cost {
        let target = self.disk.path().join("dd");
        let mut stream = self.stream("", self.size, pieces);
        let of = format!("of={}", target.display());
        let words = ["dd", "bs=1M", "conv=fdatasync", "status=none", &of];
        let (cost, _) = self.run("/bin/dd".as_ref(), &words, &[], stream.stdout.take().unwrap());
        stream.wait().unwrap();
        std::fs::remove_file(target).unwrap();
        cost
    }

    /// Copies between pools whose files share no blocks, beside `cp` with the sync that a copy ends with.
    fn copies(&self) {
        if common::storage::supports_clone(self.disk.path()) {
            return println!("copies: not run: files in {} share blocks", self.disk.path().display());
        }
        self.clear("volume");
        self.import("volume", self.size / 2, ["/random", "/zeros"]);
        let source = self.disk.path().join("one/appvms/volume/private.img");
        let target = self.disk.path().join("cp");
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            self.clear("copy");
            ours.push(self.clone("volume", "copy"));
            self.clear("copy");
            let script = "cp --sparse=always \"$0\" \"$1\" && sync \"$1\"";
            let words = ["sh", "-c", script, source.to_str().unwrap(), target.to_str().unwrap()];
            theirs.push(self.run("/bin/sh".as_ref(), &words, &[], Stdio::null()).0);
            std::fs::remove_file(&target).unwrap();
        }
        self.compare("clone between pools", &ours, "cp", &theirs, 0.9);
        self.clear("volume");
        self.clear("copy");
    }

    fn clone(&self, from: &str, to: &str) -> Cost {
        let token = self.fixture.ok("admin.vm.volume.CloneFrom+private", from, "");
        let method = "admin.vm.volume.CloneTo";
        let request = self.fixture.path("/request");
        std::fs::write(&request, format!("{method}+private dom0 name {to}\0{token}")).unwrap();
        let (cost, reply) = self.run(&serving(method), &[method], &[], File::open(request).unwrap());
        assert_eq!(reply, b"0\0", "{}", String::from_utf8_lossy(&reply));
        cost
    }

    /// Clones within a pool whose files share blocks: a small volume beside a large one.
    fn clones(&self, kind: &str) -> Result<(), String> {
        const SMALL: u64 = 10 * MIB;
        let about = nix::sys::statvfs::statvfs(self.disk.path()).unwrap();
        let room = (about.blocks_available() * about.fragment_size()).saturating_sub(SPARE);
        let large = (10 << 30).min(room / (2 * PIECE) * (2 * PIECE));
        if large < 1 << 30 {
            return Err(format!("less than {} GiB free", (SPARE >> 30) + 1));
        }
        let point = self.disk.path().join(kind);
        let _mounted = Mounted::new(kind, &self.disk.path().join("image"), large + (2 << 30), &point)?;
        self.pool(kind, &format!("/disk/{kind}/pool"));
        let [small_one, large_one, copy] = ["small", "large", "copy"].map(|name| format!("{name}-{kind}"));
        for qube in [&small_one, &large_one, &copy] {
            self.qube(qube, kind);
        }
        let of_small = point.join("pool/appvms").join(&small_one).join("private.img");
        self.fixture.ok("admin.vm.volume.Resize+private", &small_one, SMALL.to_string());
        std::fs::write(of_small, vec![7; SMALL as usize]).unwrap();
        self.import(&large_one, large, ["/random", "/random"]);
        let (mut small_costs, mut large_costs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS * 3 {
            self.clear(&copy);
            large_costs.push(self.clone(&large_one, &copy));
            self.clear(&copy);
            small_costs.push(self.clone(&small_one, &copy));
        }
        let name = format!("clone of {:.1} GiB on {kind}", large as f64 / (1_u64 << 30) as f64);
        self.compare(&name, &large_costs, "of 10 MiB", &small_costs, 0.5);
        Ok(())
    }

    /// CPU time of Info of a volume and of Get of a property, which take turns.
    fn looks(&self) {
        let cost = |method: &str, call: &str| {
            let request = self.fixture.path("/request");
            std::fs::write(&request, format!("{call} dom0 name volume\0")).unwrap();
            let mut command = Command::new(serving(method));
            command.arg0(method).env_clear().env("QUBES_ADMIN_ROOT", self.fixture.path("/"));
            let before = children_cpu();
            let output = command.stdin(File::open(request).unwrap()).output().unwrap();
            assert!(output.stdout.starts_with(b"0\0"));
            children_cpu() - before
        };
        let (mut info, mut get) = (u64::MAX, u64::MAX);
        for _ in 0..LOOKS {
            info = info.min(cost("admin.vm.volume.Info", "admin.vm.volume.Info+private"));
            get = get.min(cost("admin.vm.property.Get", "admin.vm.property.Get+label"));
        }
        println!(
            "volume.Info {info} µs CPU, property.Get {get} µs: {:.2} times (at most 1.20)",
            info as f64 / get as f64
        );
    }

    /// Runs a program through a process that tells what it took: words from its own name on.
    fn run(
        &self,
        program: &Path,
        words: &[&str],
        environment: &[(&str, &str)],
        input: impl Into<Stdio>,
    ) -> (Cost, Vec<u8>) {
        let told = self.fixture.path("/told");
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env_clear().env("QUBES_ADMIN_ROOT", self.fixture.path("/")).envs(environment.iter().copied());
        command.arg(MEASURED).arg(&told).arg(program).args(words);
        let started = Instant::now();
        let output = command.stdin(input).stderr(Stdio::inherit()).output().unwrap();
        let seconds = started.elapsed().as_secs_f64();
        let peak_kib = std::fs::read_to_string(told).unwrap().parse().unwrap();
        (Cost { seconds, peak_kib }, output.stdout)
    }

    /// Prints how much faster ours is than theirs, and the most memory that ours took.
    fn compare(&self, name: &str, ours: &[Cost], their_name: &str, theirs: &[Cost], least: f64) {
        let fastest = |costs: &[Cost]| costs.iter().map(|cost| cost.seconds).fold(f64::MAX, f64::min);
        let (our, their) = (fastest(ours), fastest(theirs));
        let peak = ours.iter().map(|cost| cost.peak_kib).max().unwrap();
        println!(
            "{name}: {our:.3} s, {their_name} {their:.3} s: {:.2} times as fast (at least {least}); {peak} KiB (at most 16384)",
            their / our
        );
        std::io::stdout().flush().unwrap();
    }
}

/// First argument of the process that measures another.
const MEASURED: &str = "--measured";

/// Runs the program and writes the most memory it had to a file.
fn measured() {
    let words: Vec<PathBuf> = std::env::args_os().skip(2).map(PathBuf::from).collect();
    let [told, program, name, rest @ ..] = words.as_slice() else { return };
    let status = Command::new(program).arg0(name).args(rest).status().unwrap();
    std::fs::write(told, children_peak().to_string()).unwrap();
    std::process::exit(status.code().unwrap_or(1));
}

//! CPU time of whole calls as processes, at growing numbers of qubes, beside an empty static program in the same run.
//!
//! `cargo bench -p tests --bench calls` prints a table in microseconds (minimum of many runs) and writes nothing.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a benchmark"
)]

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::model::{Class, Labels, Pool, Pools, Qube, System, Value};
use common::names::{PoolName, QubeName, QubeUuid};
use common::root::Root;
use common::store::Store;
use nix::sys::resource::{UsageWho, getrusage};

const SIZES: [usize; 4] = [10, 100, 1_000, 5_000];
const RUNS: usize = 200;
const CHANGING_RUNS: usize = 30;

fn main() {
    let scratch = tempfile::tempdir().unwrap();
    let empty = empty_static_program(scratch.path());
    let baseline = minimum(RUNS, || run(Command::new(&empty), b""));
    println!("empty static program: {baseline} us CPU");
    println!("{:>6} {:>8} {:>8} {:>8} {:>8} {:>8}", "qubes", "get", "list", "set", "create", "remove");
    for size in SIZES {
        let root = scratch.path().join(size.to_string());
        fill(&root, size);
        let call = |executable: &str, method: &str, frame: &str| {
            let mut command = Command::new(executable_path(executable));
            command.arg0(method).env_clear().env("QUBES_ADMIN_ROOT", &root);
            run(command, format!("{method}{frame}").as_bytes())
        };
        let get =
            minimum(RUNS, || call("admin-vm-property", "admin.vm.property.Get", "+vcpus dom0 name q1\0"));
        let list = minimum(RUNS, || call("admin-vm-list", "admin.vm.List", "+ dom0 name dom0\0"));
        let mut value = 1;
        let set = minimum(CHANGING_RUNS, || {
            value += 1;
            call("admin-vm-property", "admin.vm.property.Set", &format!("+vcpus dom0 name q1\0{value}"))
        });
        let mut creates = u64::MAX;
        let mut removes = u64::MAX;
        for _ in 0..CHANGING_RUNS {
            let made = "+tpl dom0 name dom0\0name=fresh label=red";
            creates = creates.min(call("admin-vm-create", "admin.vm.Create.AppVM", made));
            removes = removes.min(call("admin-vm-create", "admin.vm.Remove", "+ dom0 name fresh\0"));
        }
        println!("{size:>6} {get:>8} {list:>8} {set:>8} {creates:>8} {removes:>8}");
    }
}

/// The executables that `cargo bench` builds lie beside this one's folder.
fn executable_path(name: &str) -> PathBuf {
    let here = std::env::current_exe().unwrap();
    here.ancestors().map(|folder| folder.join(name)).find(|path| path.is_file()).unwrap()
}

fn empty_static_program(scratch: &Path) -> PathBuf {
    let (source, program) = (scratch.join("empty.rs"), scratch.join("empty"));
    std::fs::write(&source, "fn main() {}\n").unwrap();
    let flags = ["-O", "-C", "target-feature=+crt-static", "-C", "panic=abort", "-o"];
    let status = Command::new("rustc").args(flags).arg(&program).arg(&source).status().unwrap();
    assert!(status.success());
    program
}

/// CPU microseconds of one process, user and system.
fn run(mut command: Command, request: &[u8]) -> u64 {
    let before = children_cpu();
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(request);
    let output = child.wait_with_output().unwrap();
    assert!(
        request.is_empty() || output.stdout.starts_with(b"0\0"),
        "{:?}",
        String::from_utf8_lossy(&output.stdout)
    );
    children_cpu() - before
}

fn children_cpu() -> u64 {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    let micros = |time: nix::sys::time::TimeVal| time.tv_sec() as u64 * 1_000_000 + time.tv_usec() as u64;
    micros(usage.user_time()) + micros(usage.system_time())
}

fn minimum(runs: usize, mut measure: impl FnMut() -> u64) -> u64 {
    (0..runs).map(|_| measure()).min().unwrap()
}

/// A store with `size` qubes based on one template.
fn fill(root: &Path, size: usize) {
    let root = Root::at(root);
    let store = Store::at(&root);
    store.prepare().unwrap();
    let mut txn = store.write().unwrap();
    txn.put_labels(Labels::built_in());
    txn.put_pools(pools());
    let mut system = System::default();
    system.properties.insert("default_pool_kernel".into(), Value::Text("linux-kernel".into()));
    txn.put_system(system);
    let mut add = |name: &str, class: Class, qid: usize| {
        let uuid = if qid == 0 { QubeUuid::dom0() } else { QubeUuid::random() };
        let mut qube = Qube::new(QubeName::parse(name).unwrap(), class, qid as u16, uuid);
        qube.properties.insert("label".into(), Value::Text("red".into()));
        if class == Class::AppVM {
            qube.properties.insert("template".into(), Value::Text("tpl".into()));
        }
        txn.insert_qube(qube).unwrap();
    };
    add("dom0", Class::AdminVM, 0);
    add("tpl", Class::TemplateVM, 1);
    for number in 1..=size {
        add(&format!("q{number}"), Class::AppVM, number + 1);
    }
    txn.commit().unwrap();
    std::fs::create_dir_all(root.path("/var/lib/qubes/vm-kernels")).unwrap();
}

fn pools() -> Pools {
    let pool = |name: &str, driver: &str, directory: &str| Pool {
        name: PoolName::parse(name).unwrap(),
        driver: driver.into(),
        settings: vec![("dir_path".into(), directory.into())],
    };
    Pools {
        pools: vec![
            pool("varlibqubes", "file-reflink", "/var/lib/qubes"),
            pool("linux-kernel", "linux-kernel", "/var/lib/qubes/vm-kernels"),
        ],
    }
}

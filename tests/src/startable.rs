//! Roots whose qubes can be started: with volumes on disk, and the simulated hypervisor.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use common::hypervisor::{Domain, Published};
use common::names::QubeName;
use common::root::ROOT_VARIABLE;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Fixture;
use crate::fixture::listening;

/// How long a test waits for what has to come. Far more than it ever takes.
const DEADLINE: Duration = Duration::from_secs(60);

/// A root where `work` and its netvm `net` can be started; both are `AppVM`s on `test-template`.
pub fn system() -> Fixture {
    let fixture = Fixture::new();
    let template = fixture.path("/var/lib/qubes/vm-templates/test-template");
    std::fs::create_dir_all(&template).unwrap();
    for image in ["root.img", "private.img"] {
        File::create(template.join(image)).unwrap().set_len(65_536).unwrap();
    }
    for (name, netvm) in [("net", ""), ("work", "net")] {
        fixture.ok("admin.vm.Create.AppVM+test-template", "dom0", format!("name={name} label=red"));
        fixture.ok("admin.vm.volume.Resize+private", name, "65536");
        if name == "net" {
            fixture.ok("admin.vm.property.Set+provides_network", name, "True");
        }
        fixture.ok("admin.vm.property.Set+netvm", name, netvm);
    }
    fixture
}

/// Sets the words of a qube's command line, which tell its simulated guest how to behave.
pub fn behave(fixture: &Fixture, qube: &str, words: &str) {
    fixture.ok("admin.vm.property.Set+kernelopts", qube, words);
}

/// What is there only while a run lasts: all that is published of runs, guests, and marks and images of volumes in use.
/// Half-written files of killed processes, which the next ones replace, do not count.
pub fn traces(fixture: &Fixture) -> Vec<String> {
    let is_trace = |path: &PathBuf| {
        let text = path.to_str().unwrap();
        let file = path.file_name().unwrap().to_str().unwrap();
        let published = ["/admin/domains/", "/admin/watchers/", "/admin/simulated/", "volume-running-"];
        let is_published = published.iter().any(|part| text.contains(part)) && !file.starts_with('.');
        is_published || file.ends_with("-dirty.img") || file.starts_with("volatile")
    };
    let files = fixture.files().into_keys().filter(is_trace);
    files.map(|path| path.display().to_string()).collect()
}

/// What is published of a qube's run.
pub fn run_of(fixture: &Fixture, qube: &str) -> Option<Domain> {
    Published::at(&fixture.root()).run(&QubeName::parse(qube).unwrap()).unwrap()
}

/// The process that stands in for a qube's guest.
pub fn guest(fixture: &Fixture, qube: &str) -> Pid {
    Pid::from_raw(i32::try_from(run_of(fixture, qube).unwrap().domid.0).unwrap())
}

/// The process that watches a qube's run.
pub fn watcher(fixture: &Fixture, qube: &str) -> Pid {
    listening(&fixture.path("/run/qubes/admin/watchers").join(qube)).unwrap()
}

/// Waits until something is so.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < DEADLINE, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// What a stand-in hears next.
pub fn next<T>(heard: &Receiver<T>) -> T {
    heard.recv_timeout(DEADLINE).expect("nothing is heard")
}

/// Waits until all runs of a call of that family that were begun in the background have ended.
pub fn ended(fixture: &Fixture, family: &str, call: &str) {
    let root = format!("{ROOT_VARIABLE}={}", fixture.root().path("/").display());
    let is_one = |process: &Path| {
        let words = |file: &str| std::fs::read_to_string(process.join(file)).unwrap_or_default();
        let program = std::fs::read_link(process.join("exe")).unwrap_or_default();
        let (line, environment) = (words("cmdline"), words("environ"));
        // One that was started this moment has no words yet.
        let is_it =
            line.is_empty() || line.starts_with(call) && environment.split('\0').any(|own| own == root);
        program.ends_with(family) && is_it
    };
    let processes = || std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    until(call, || !processes().any(|process| is_one(&process)));
}

/// Kills a process and waits until it is gone.
pub fn end(process: Pid) {
    kill(process, Signal::SIGKILL).unwrap();
    let stat = format!("/proc/{process}/stat");
    let is_gone = || std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
    until("a killed process goes on", is_gone);
}

/// A call that is made beside the test.
pub fn calling(fixture: &Fixture, call: &str, qube: &str) -> Child {
    let request = fixture.path(&format!("/request-{call}-{qube}"));
    std::fs::write(&request, format!("{call} dom0 name {qube}\0")).unwrap();
    let mut command = fixture.command(call.split('+').next().unwrap());
    command.stdin(File::open(request).unwrap()).stderr(Stdio::null()).spawn().unwrap()
}

/// The reply of a call made beside the test.
pub fn reply(child: Child) -> String {
    crate::fixture::readable(&child.wait_with_output().unwrap().stdout)
}

/// The process of a guest that hangs before its domain is made.
pub fn hanging(fixture: &Fixture) -> Pid {
    let folder = fixture.path("/run/qubes/admin/simulated");
    let guests = || {
        let names = std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
        names.filter_map(|name| name.to_str()?.parse().ok()).collect::<Vec<i32>>()
    };
    until("no guest hangs", || !guests().is_empty());
    Pid::from_raw(guests()[0])
}

/// Lets a hanging guest go on.
pub fn wake(guest: Pid) {
    kill(guest, Signal::SIGUSR2).unwrap();
}

/// What a start of a qube without a netvm tells.
pub const STARTED: [&str; 11] = [
    "domain-pre-start start_guid=True mem_required=None",
    "domain-verify-files",
    "domain-pre-spawn start_guid=True",
    "property-reset:xid name=xid",
    "property-reset:stubdom_xid name=stubdom_xid",
    "property-reset:start_time name=start_time",
    "domain-spawn start_guid=True",
    "domain-qdb-create",
    "domain-pre-unpaused",
    "domain-unpaused",
    "domain-start start_guid=True",
];

/// What every end tells.
pub const STOPPED: [&str; 5] = [
    "domain-stopped",
    "property-reset:xid name=xid",
    "property-reset:stubdom_xid name=stubdom_xid",
    "property-reset:start_time name=start_time",
    "domain-shutdown",
];

/// These events of a qube.
pub fn of(qube: &str, events: &[&str]) -> Vec<String> {
    events.iter().map(|event| format!("{qube} {event}")).collect()
}

/// The power state that is told of a qube.
pub fn state(fixture: &Fixture, qube: &str) -> String {
    let told = fixture.ok("admin.vm.CurrentState", qube, "");
    told.rsplit_once("power_state=").unwrap().1.to_owned()
}

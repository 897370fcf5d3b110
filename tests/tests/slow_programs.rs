//! A program of the machine that does not answer holds up nobody but the call that waits for it: no call keeps the store
//! locked while a driver's program runs.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::panic, reason = "test code")]

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Stdio};
use std::thread;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tests::Fixture;
use tests::fixture::readable;
use tests::pools::{add_lvm, spoil};

/// A root with a pool whose program can be held, the qube `made` with a volume in it and `plain` with none.
fn system() -> Fixture {
    let fixture = Fixture::new();
    add_lvm(&fixture);
    mkfifo(&fixture.path("/hold"), Mode::S_IRWXU).unwrap();
    create(&fixture, "made");
    fixture.ok("admin.vm.Create.AppVM+test-template", "dom0", "name=plain label=red");
    for qube in ["made", "plain"] {
        fixture.ok("admin.vm.volume.Resize+private", qube, "4096");
    }
    fixture
}

fn create(fixture: &Fixture, name: &str) {
    let payload = format!("name={name} label=red pool:private=lvm");
    fixture.ok("admin.vm.CreateInPool.AppVM+test-template", "dom0", payload);
}

fn exists(fixture: &Fixture, name: &str) -> bool {
    fixture.ok("admin.vm.List", "dom0", "").lines().any(|line| line.starts_with(&format!("{name} ")))
}

/// A call on its way.
fn start(fixture: &Fixture, call: &str, destination: &str, payload: &str) -> Child {
    let method = call.split('+').next().unwrap();
    let frame = format!("{call} dom0 name {destination}\0{payload}");
    let mut child = fixture.command(method).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(frame.as_bytes()).unwrap();
    child
}

/// The pipe that a program waits at, once it does; nothing if the call ends without it.
fn held(fixture: &Fixture, child: &mut Child) -> Option<File> {
    let mut options = OpenOptions::new();
    options.write(true).custom_flags(nix::libc::O_NONBLOCK);
    loop {
        if let Ok(pipe) = options.open(fixture.path("/hold")) {
            return Some(pipe);
        } else if child.try_wait().unwrap().is_some() {
            return None;
        }
        thread::yield_now();
    }
}

/// What a call needs each time, and the call: method with argument, destination, payload.
type Make = fn(&Fixture) -> (&'static str, &'static str, String);

fn plain(
    call: &'static str,
    destination: &'static str,
    payload: &str,
) -> (&'static str, &'static str, String) {
    (call, destination, payload.to_owned())
}

/// Calls on pools and volumes that run programs.
const CALLS: [Make; 16] = [
    |_| plain("admin.pool.Info+lvm", "dom0", ""),
    |_| plain("admin.pool.UsageDetails+lvm", "dom0", ""),
    |_| plain("admin.pool.volume.List+lvm", "dom0", ""),
    |_| plain("admin.pool.volume.Info+lvm", "dom0", "vg/vm-made-private"),
    |_| plain("admin.pool.volume.ListSnapshots+lvm", "dom0", "vg/vm-made-private"),
    |_| plain("admin.vm.volume.Info+private", "made", ""),
    |_| plain("admin.vm.volume.ListSnapshots+private", "made", ""),
    |_| plain("admin.vm.volume.Resize+private", "made", "8192"),
    |_| plain("admin.vm.volume.Clear+private", "made", ""),
    |_| plain("admin.vm.volume.Snapshot+private", "made", ""),
    |fixture| {
        let revisions = fixture.ok("admin.vm.volume.ListSnapshots+private", "made", "");
        ("admin.vm.volume.Revert+private", "made", revisions.lines().last().unwrap().to_owned())
    },
    |fixture| {
        let token = fixture.ok("admin.vm.volume.CloneFrom+private", "plain", "");
        ("admin.vm.volume.CloneTo+private", "made", token)
    },
    |fixture| {
        let token = fixture.ok("admin.vm.volume.CloneFrom+private", "made", "");
        ("admin.vm.volume.CloneTo+private", "plain", token)
    },
    |fixture| {
        if exists(fixture, "fresh") {
            fixture.ok("admin.vm.Remove", "fresh", "");
        }
        let payload = "name=fresh label=red pool:private=lvm";
        plain("admin.vm.CreateInPool.AppVM+test-template", "dom0", payload)
    },
    |fixture| {
        if !exists(fixture, "fresh") {
            create(fixture, "fresh");
        }
        plain("admin.vm.Remove", "fresh", "")
    },
    |fixture| {
        if fixture.ok("admin.pool.List", "dom0", "").contains("second") {
            fixture.ok("admin.pool.Remove+second", "dom0", "");
        }
        plain("admin.pool.Add+lvm_thin", "dom0", "name=second\nvolume_group=vg\nthin_pool=pool")
    },
];

/// Makes a call with its program number `number` held; false if it runs fewer.
fn hold(fixture: &Fixture, make: Make, number: u32) -> bool {
    let (call, destination, payload) = make(fixture);
    spoil(fixture, "wait", "any", number);
    let mut child = start(fixture, call, destination, &payload);
    let held = held(fixture, &mut child);
    let is_held = held.is_some();
    if is_held {
        fixture.ok("admin.vm.feature.Set+asked", "test-vm1", format!("{call} {number}"));
        fixture.ok("admin.vm.tag.Set+asked", "made", "");
        assert!(fixture.ok("admin.vm.List", "dom0", "").contains("test-vm1"));
        assert!(child.try_wait().unwrap().is_none(), "{call} did not wait for its program {number}");
    }
    drop(held);
    let output = child.wait_with_output().unwrap();
    assert!(output.stdout.starts_with(b"0\0"), "{call} {number}: {}", readable(&output.stdout));
    let _ = std::fs::remove_file(fixture.path("/stand-in"));
    is_held
}

#[test]
fn no_call_holds_the_store_while_a_program_runs() {
    let fixture = system();
    for make in CALLS {
        let (call, ..) = make(&fixture);
        let held = (0..).take_while(|number| hold(&fixture, make, *number)).count();
        assert!(held > 0, "{call} runs no program");
    }
}

#[test]
fn an_import_holds_the_store_at_none_of_its_programs() {
    let fixture = system();
    let import = |number| {
        spoil(&fixture, "wait", "any", number);
        let mut command: Command = fixture.command("admin.vm.volume.ImportWithSize");
        command.arg("private").env("QREXEC_REMOTE_DOMAIN", "dom0").env("QREXEC_REQUESTED_TARGET", "made");
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"4\nabcd").unwrap();
        let held = held(&fixture, &mut child);
        let is_held = held.is_some();
        if is_held {
            fixture.ok("admin.vm.tag.Set+asked", "made", "");
        }
        drop(held);
        assert_eq!(readable(&child.wait_with_output().unwrap().stdout), "0·");
        is_held
    };
    assert!((0..).take_while(|number| import(*number)).count() > 2);
}

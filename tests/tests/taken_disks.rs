//! Disks that are taken from those who use them, as their backend's run has ended or they are gone: told of once, also where
//! whoever takes them is killed (spec 30 §5). Every 23rd place is tried, `EVERY=1` for all of them.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_macros, reason = "test code")]

use tests::companions::{install, show};
use tests::startable::{end, guest, system, watcher};
use tests::stepped::{Stepped, from_file, stops};
use tests::stepper::{Trouble, run};
use tests::{Fixture, golden};

const ATTACHED: &str = "admin.vm.device.block.Attached";
const LOOK: &str = "internal.LookForDevices+";

/// `work` runs, which needs no netvm.
fn running() -> Fixture {
    let fixture = system();
    install(&fixture);
    fixture.ok("admin.vm.property.Set+netvm", "work", "");
    fixture.ok("admin.vm.Start", "work", "");
    fixture
}

/// How often listeners heard this since then.
fn count(fixture: &Fixture, before: usize, told: &str) -> usize {
    fixture.events().split_off(before).iter().filter(|event| *event == told).count()
}

/// Lets `net` run without a watcher, with a disk that `work` uses; then its domain ends.
fn dead_backend(fixture: &Fixture) {
    fixture.ok("admin.vm.Start", "net", "");
    show(fixture, "net", &[("/qubes-block-devices/sda/mode", "w")]);
    fixture.ok("admin.vm.device.block.Attach+net+sda", "work", "");
    end(watcher(fixture, "net"));
    end(guest(fixture, "net"));
}

#[test]
fn an_end_that_is_killed_tells_once_of_the_disks_that_it_took() {
    let (stepped, fixture) = (Stepped::new(), running());
    let (detached, removed) =
        ("work device-detach:block port=net:sda", "net device-removed:block port=net:sda");
    for (kills, stop) in stops().enumerate() {
        let place = format!("killed at stop {stop}");
        dead_backend(&fixture);
        let before = fixture.events().len();
        stepped.kill_next(stop);
        stepped.call(&fixture, "admin.vm.Kill", "net");
        // The one that uses the disk may end in between, too.
        let ends = kills % 2 == 1;
        if ends {
            fixture.ok("admin.vm.Kill", "work", "");
        }
        fixture.ok("admin.vm.Start", "net", "");
        assert_eq!(count(&fixture, before, detached), 1, "{place}");
        assert!(count(&fixture, before, removed) == 1 || ends, "{place}");
        if ends {
            fixture.ok("admin.vm.Start", "work", "");
        }
        assert_eq!(fixture.ok(ATTACHED, "work", ""), "", "{place}");
        fixture.ok("admin.vm.Kill", "net", "");
        fixture.ok("admin.vm.Kill", "work", "");
        fixture.ok("admin.vm.Start", "work", "");
        assert_eq!(count(&fixture, before, detached), 1, "{place}: told later again");
        if !stepped.was_killed() {
            println!("the end of a backend: {kills} kills, 0 torn");
            assert!(kills > 5, "{kills}");
            return;
        }
    }
}

#[test]
fn a_look_that_is_killed_tells_once_of_the_disks_that_are_gone() {
    let fixture = running();
    golden::devices(&fixture);
    let (disk, aside) = (fixture.path("/sys/class/block/sr0"), fixture.path("/sr0"));
    let (detached, removed) =
        ("work device-detach:block port=dom0:sr0", "dom0 device-removed:block port=dom0:sr0");
    fixture.ok(LOOK, "dom0", "");
    for (kills, stop) in stops().enumerate() {
        let place = format!("killed at stop {stop}");
        fixture.ok("admin.vm.device.block.Attach+dom0+sr0", "work", "");
        std::fs::rename(&disk, &aside).unwrap();
        let before = fixture.events().len();
        let look = run(from_file(&fixture, LOOK, "dom0"), Trouble::Kill(stop));
        let ends = kills % 2 == 1;
        if ends {
            fixture.ok("admin.vm.Kill", "work", "");
            fixture.ok("admin.vm.Start", "work", "");
        }
        fixture.ok(LOOK, "dom0", "");
        for told in [detached, removed] {
            assert_eq!(count(&fixture, before, told), 1, "{place}: {told}");
        }
        assert_eq!(fixture.ok(ATTACHED, "work", ""), "", "{place}");
        std::fs::rename(&aside, &disk).unwrap();
        fixture.ok(LOOK, "dom0", "");
        if !look.met {
            println!("a look at the disks of dom0: {kills} kills, 0 torn");
            assert!(kills > 5, "{kills}");
            return;
        }
    }
}

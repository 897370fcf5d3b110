//! One call of every kind that changes something, what it is made on, and what the world looks like before and after.

use std::fs::File;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::names::{QubeName, QubeUuid};

use crate::Fixture;

/// A call with destination and payload.
pub type Call = (&'static str, &'static str, &'static str);

/// A changing call.
pub struct Case {
    /// Calls made before.
    pub before: &'static [Call],
    /// The call.
    pub call: Call,
}

const fn case(before: &'static [Call], call: Call) -> Case {
    Case { before, call }
}

const MADE: Call = ("admin.vm.Create.AppVM+test-template", "dom0", "name=made label=red");

/// Every kind of change: of one object, of several, with files beside the store, and the store's own.
pub const CASES: [Case; 27] = [
    case(&[], ("admin.vm.property.Set+vcpus", "test-vm1", "3")),
    case(
        &[("admin.vm.property.Set+vcpus", "test-vm1", "3")],
        ("admin.vm.property.Reset+vcpus", "test-vm1", ""),
    ),
    case(&[], ("admin.vm.property.Set+netvm", "test-vm1", "test-net")),
    case(&[], ("admin.vm.property.Set+autostart", "test-vm1", "True")),
    case(
        &[("admin.property.Set+clockvm", "dom0", "test-net")],
        ("admin.property.Set+clockvm", "dom0", "test-vm1"),
    ),
    case(&[("admin.property.Set+clockvm", "dom0", "test-net")], ("admin.property.Reset+clockvm", "dom0", "")),
    case(&[("admin.vm.feature.Set+f", "test-vm1", "old")], ("admin.vm.feature.Set+f", "test-vm1", "new")),
    case(&[], ("admin.vm.feature.Set+service.s", "dom0", "1")),
    case(&[("admin.vm.feature.Set+f", "test-vm1", "old")], ("admin.vm.feature.Remove+f", "test-vm1", "")),
    case(&[], ("admin.vm.tag.Set+t", "test-vm1", "")),
    case(&[("admin.vm.tag.Set+t", "test-vm1", "")], ("admin.vm.tag.Remove+t", "test-vm1", "")),
    case(
        &[("admin.vm.firewall.Set", "test-vm1", "action=accept proto=tcp\naction=accept")],
        ("admin.vm.firewall.Set", "test-vm1", "action=drop dst4=10.0.0.1\n"),
    ),
    case(&[], ("admin.vm.device.block.Assign+dom0+sda+_", "test-vm1", "mode='required' _read-only='yes'")),
    case(
        &[("admin.vm.device.block.Assign+dom0+sda+_", "test-vm1", "mode='required'")],
        ("admin.vm.device.block.Set.assignment+dom0+sda+_", "test-vm1", "auto-attach"),
    ),
    case(
        &[("admin.vm.device.denied.Add", "test-vm1", "u08****")],
        ("admin.vm.device.denied.Add", "test-vm1", "b******"),
    ),
    case(&[], ("admin.label.Create+mine", "dom0", "0x123456")),
    case(&[("admin.label.Create+mine", "dom0", "0x123456")], ("admin.label.Remove+mine", "dom0", "")),
    case(&[("admin.vm.notes.Set", "test-vm1", "old")], ("admin.vm.notes.Set", "test-vm1", "new")),
    case(&[], MADE),
    case(&[], ("admin.vm.CreateInPool.StandaloneVM", "dom0", "name=made label=red pool=test")),
    case(&[], ("admin.vm.Create.RemoteVM", "dom0", "name=made label=red")),
    case(
        &[MADE, ("admin.vm.property.Set+template_for_dispvms", "made", "True")],
        ("admin.vm.CreateDisposable", "made", ""),
    ),
    case(&[MADE, ("admin.vm.notes.Set", "made", "old")], ("admin.vm.Remove", "made", "")),
    case(&[], ("admin.pool.Add+file", "dom0", "name=made\ndir_path=/var/lib/qubes/made")),
    case(&[], ("admin.pool.Set.revisions_to_keep+test", "dom0", "-1")),
    case(&[], ("admin.pool.Set.ephemeral_volatile+test", "dom0", "True")),
    case(&[], ("admin.pool.Remove+test", "dom0", "")),
];

/// What a call changes, to be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct World {
    /// All objects and what lies beside them.
    pub state: String,
    /// All events.
    pub events: Vec<String>,
}

impl Case {
    /// The method and its argument.
    pub fn name(&self) -> &'static str {
        self.call.0
    }

    /// A throwaway root where the call can be made.
    pub fn prepared(&self) -> Fixture {
        let fixture = Fixture::new();
        for (call, destination, payload) in self.before {
            fixture.ok(call, destination, payload);
        }
        let (call, destination, payload) = self.call;
        let call = if call.contains('+') { call.to_owned() } else { format!("{call}+") };
        std::fs::write(fixture.path("/request"), format!("{call} dom0 name {destination}\0{payload}"))
            .unwrap();
        fixture
    }

    /// The call, ready to be started.
    pub fn command(&self, fixture: &Fixture) -> Command {
        let method = self.call.0.split('+').next().unwrap();
        let mut command = fixture.command(method);
        command.stdin(File::open(fixture.path("/request")).unwrap());
        command
    }

    /// The worlds before and after the call, when nothing goes wrong.
    pub fn worlds(&self) -> (World, World) {
        let fixture = self.prepared();
        let old = World::of(&fixture);
        let output = self.command(&fixture).output().unwrap();
        assert!(output.stdout.starts_with(b"0\0"), "{}: {:?}", self.name(), output);
        let new = World::of(&fixture);
        assert_ne!(old.state, new.state, "{} changes nothing", self.name());
        (old, new)
    }
}

impl World {
    /// Everything as it is after recovery. Random UUIDs and numbers are left out.
    pub fn of(fixture: &Fixture) -> Self {
        let store = fixture.store();
        let view = store.read().unwrap();
        let mut state = format!(
            "{:?}\n{:?}\n{:?}\n",
            view.system().unwrap(),
            view.labels().unwrap().labels,
            view.pools().unwrap().pools
        );
        for name in view.names().unwrap() {
            let mut qube = (*view.qube(&name).unwrap().unwrap()).clone();
            qube.uuid = QubeUuid::dom0();
            qube.properties.remove("dispid");
            state.push_str(&format!("{qube:?}\n"));
            if let Some(home) = qube.home() {
                state.push_str(&beside(fixture, &name, &home));
            }
        }
        drop(view);
        Self {
            state: without_drawn_names(&state),
            events: fixture.events().iter().map(|event| without_drawn_names(event)).collect(),
        }
    }
}

/// A text in which every name that was made from a drawn number is the same.
fn without_drawn_names(text: &str) -> String {
    let mut pieces = text.split("disp");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |text, piece| {
        text + "disp" + piece.trim_start_matches(|character: char| character.is_ascii_digit())
    })
}

/// The files that belong to a qube: names of its images, and its notes.
fn beside(fixture: &Fixture, name: &QubeName, home: &str) -> String {
    let list = |directory: &str| {
        let entries = std::fs::read_dir(fixture.path(directory)).into_iter().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.retain(|name| !name.as_encoded_bytes().starts_with(b"."));
        names.sort();
        names
    };
    let notes = std::fs::read_to_string(fixture.path(&format!("/var/lib/qubes/{home}/notes.txt")));
    let pool = list(&format!("/var/lib/qubes/test/appvms/{name}"));
    format!("{:?} {pool:?} {:?}\n", list(&format!("/var/lib/qubes/{home}")), notes.unwrap_or_default())
}

/// Does something to each case, several at a time.
pub fn side_by_side<T: Send>(cases: &'static [Case], act: fn(&Case) -> T) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mine = || cases.get(next.fetch_add(1, Ordering::Relaxed));
        std::iter::from_fn(mine).map(act).collect::<Vec<T>>()
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    })
}

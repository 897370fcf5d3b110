//! `qubes-admin call --dry-run`: what a call would do, which is not done. Every call that writes can be looked at so.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::indexing_slicing, reason = "test code")]

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::process::Stdio;

use common::call::Access;
use tests::companions::{database, entries};
use tests::tool::{command, install, text};
use tests::{Fixture, golden, startable};

/// The lines that a dry run prints behind those of the layers, and how it ends.
fn tried(
    fixture: &Fixture,
    caller: &str,
    destination: &str,
    call: &str,
    payload: &str,
) -> (Vec<String>, String) {
    let before = fixture.files();
    let mut child = command(fixture, &["call", "--dry-run", "--as", caller, destination, call])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(payload.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(fixture.files(), before, "something was done");
    let lines =
        text(&output).lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    (lines, String::from_utf8(output.stderr).unwrap())
}

/// How events are told by a dry run, as the log has them.
fn told(events: &[String]) -> Vec<String> {
    events.iter().map(|event| format!("event {}", event.trim())).collect()
}

#[test]
fn a_dry_run_tells_what_the_call_then_does() {
    let fixture = Fixture::new();
    install(&fixture);
    for (destination, call, payload, changes) in [
        ("test-vm1", "admin.vm.property.Set+memory", "300", &["properties memory: nothing becomes 300"][..]),
        ("test-vm1", "admin.vm.property.Set+memory", "301", &["properties memory: 300 becomes 301"]),
        ("test-vm1", "admin.vm.property.Reset+memory", "", &["properties memory: 301 becomes nothing"]),
        ("test-vm1", "admin.vm.feature.Set+f", "1", &["features: with [\"f\",\"1\"]"]),
        ("test-vm1", "admin.vm.feature.Remove+f", "", &["features: without [\"f\",\"1\"]"]),
        ("test-vm1", "admin.vm.tag.Set+t", "", &["tags: with \"t\""]),
        ("test-vm1", "admin.vm.tag.Remove+t", "", &["tags: without \"t\""]),
    ] {
        let (lines, errors) = tried(&fixture, "dom0", destination, call, payload);
        assert_eq!(errors, "", "{call}");
        let events = fixture.events_of(|fixture| drop(fixture.ok(call, destination, payload)));
        let changes = changes.iter().map(|change| format!("change qubes/{destination}.json {change}"));
        let expected: Vec<String> = changes.chain(told(&events)).collect();
        assert_eq!(lines.get(4..).unwrap(), expected, "{call}");
    }
}

#[test]
fn a_dry_run_tells_of_qubes_volumes_and_assignments_as_they_would_be() {
    let fixture = startable::system();
    install(&fixture);
    let assign = "admin.vm.device.block.Assign+dom0+sda";
    let create = "admin.vm.Create.AppVM+test-template";
    let new = [
        "change qubes/new.json class: nothing becomes \"AppVM\"",
        "change qubes/new.json properties label: nothing becomes \"blue\"",
        "change qubes/new.json properties template: nothing becomes \"test-template\"",
        "change qubes/new.json tags: with \"created-by-dom0\"",
    ];
    for (destination, call, payload, changes) in [
        ("dom0", create, "name=new label=blue", &new[..]),
        ("new", assign, "mode='required'", &["change qubes/new.json devices: with "]),
        ("new", "admin.vm.device.block.Set.assignment+dom0+sda", "auto-attach", &new[..0]),
        ("new", "admin.vm.device.block.Unassign+dom0+sda", "", &["change qubes/new.json devices: without "]),
        (
            "new",
            "admin.vm.volume.Set.revisions_to_keep+private",
            "4",
            &["change qubes/new.json volumes: with "],
        ),
        ("new", "admin.vm.Remove", "", &["change qubes/new.json: removed"]),
    ] {
        let (lines, errors) = tried(&fixture, "dom0", destination, call, payload);
        assert_eq!(errors, "", "{call}");
        for change in changes {
            assert!(lines.iter().any(|line| line.starts_with(change)), "{call}: {change}: {lines:#?}");
        }
        let events = fixture.events_of(|fixture| drop(fixture.ok(call, destination, payload)));
        let told_events: Vec<&String> = lines.iter().filter(|line| line.starts_with("event ")).collect();
        assert_eq!(told_events, told(&events).iter().collect::<Vec<_>>(), "{call}");
    }
}

/// Destination, call, payload, and beginnings of lines that are among those told. Each call is made before the next is tried.
type Case = (&'static str, &'static str, &'static str, &'static [&'static str]);

const SYSTEM: [Case; 21] = [
    (
        "dom0",
        "admin.label.Create+mine",
        "0x123456",
        &["change labels.json labels: with {\"color\":\"0x123456\""],
    ),
    ("dom0", "admin.label.Remove+mine", "", &["change labels.json labels: without "]),
    (
        "dom0",
        "admin.pool.Add+file-reflink",
        "name=p\ndir_path=/var/lib/qubes/p\nsetup_check=False",
        &[
            "effect driver file-reflink makes the pool ready",
            "change pools.json pools: with ",
            "event pool-add pool=p",
        ],
    ),
    ("dom0", "admin.pool.Set.revisions_to_keep+p", "3", &["change pools.json pools: with "]),
    ("dom0", "admin.pool.Set.ephemeral_volatile+p", "True", &["change pools.json pools: with "]),
    ("dom0", "admin.pool.Remove+p", "", &["change pools.json pools: without "]),
    ("dom0", "admin.property.Set+stats_interval", "7", &["change system.json properties stats_interval: "]),
    ("dom0", "admin.property.Reset+stats_interval", "", &["change system.json properties stats_interval: 7"]),
    (
        "dom0",
        "policy.Replace+30-new",
        "new\nsvc * a b deny\n",
        &["change /etc/qubes/policy.d/30-new.policy: made"],
    ),
    (
        "dom0",
        "policy.Replace+30-new",
        "any\nsvc * a b allow\n",
        &[
            "change /etc/qubes/policy.d/30-new.policy: without \"svc * a b deny\"",
            "change /etc/qubes/policy.d/30-new.policy: with \"svc * a b allow\"",
        ],
    ),
    ("dom0", "policy.Replace+30-new", "any\nsvc * a b allow\nsvc * a c deny\n", &[]),
    (
        "dom0",
        "policy.Replace+30-new",
        "any\nsvc * a c deny\nsvc * a b allow\n",
        &["change /etc/qubes/policy.d/30-new.policy: the same in another order or number"],
    ),
    ("dom0", "policy.Remove+30-new", "any", &["change /etc/qubes/policy.d/30-new.policy: removed"]),
    ("dom0", "policy.include.Replace+new", "new\n", &["change /etc/qubes/policy.d/include/new: made"]),
    ("dom0", "policy.include.Remove+new", "any", &["change /etc/qubes/policy.d/include/new: removed"]),
    (
        "work",
        "policy.RegisterArgument+svc",
        "x",
        &["change /etc/qubes/policy.d/60-registered-arguments.policy: with \"svc +x work dom0 allow\""],
    ),
    (
        "dom0",
        "admin.vm.Create.AppVM+test-template",
        "name=new label=red",
        &["effect the volumes of new are made"],
    ),
    (
        "dom0",
        "admin.vm.CreateInPool.AppVM+test-template",
        "name=other label=red pool=varlibqubes",
        &["effect the volumes of other are made", "change qubes/other.json class: nothing becomes \"AppVM\""],
    ),
    ("dom0", "admin.vm.CreateTemplate+fresh", "", &["effect the volumes of fresh are made"]),
    (
        "other",
        "admin.vm.Remove",
        "",
        &["effect the volumes of other are removed", "change qubes/other.json: removed"],
    ),
    ("new", "admin.vm.property.Set+template_for_dispvms", "True", &["change qubes/new.json properties "]),
];

const CONFIGURATION: [Case; 18] = [
    ("new", "admin.vm.CreateDisposable", "", &["effect the volumes of disp", "change qubes/disp"]),
    ("new", "admin.vm.CreateDisposable+preload", "", &["effect disposables of new are made"]),
    ("new", "admin.vm.property.Reset+template_for_dispvms", "", &["change qubes/new.json properties "]),
    (
        "new",
        "admin.vm.property.Set+autostart",
        "True",
        &[
            "effect the unit that starts the qube at boot is enabled",
            "change qubes/new.json properties autostart: ",
        ],
    ),
    ("new", "admin.vm.feature.Set+f", "1", &["change qubes/new.json features: with "]),
    ("new", "admin.vm.feature.Remove+f", "", &["change qubes/new.json features: without "]),
    ("new", "admin.vm.tag.Set+t", "", &["change qubes/new.json tags: with \"t\""]),
    ("new", "admin.vm.tag.Remove+t", "", &["change qubes/new.json tags: without \"t\""]),
    (
        "new",
        "admin.vm.notes.Set",
        "one\ntwo\n",
        &["change /var/lib/qubes/appvms/new/notes.txt: with \"one\""],
    ),
    ("new", "admin.vm.firewall.Set", "action=drop\n", &["change qubes/new.json firewall: with "]),
    ("new", "admin.vm.firewall.SetPolicy", "accept", &["change qubes/new.json firewall: with "]),
    ("new", "admin.vm.firewall.Flush", "", &["event new firewall-changed"]),
    ("new", "admin.vm.firewall.Reload", "", &["effect the netvm of new is told its rules again"]),
    ("new", "admin.vm.device.denied.Add", "b******", &["change qubes/new.json properties devices_denied: "]),
    (
        "new",
        "admin.vm.device.denied.Remove",
        "b******",
        &["change qubes/new.json properties devices_denied: "],
    ),
    (
        "new",
        "admin.vm.device.block.Assign+dom0+sda",
        "mode='required'",
        &["change qubes/new.json devices: with "],
    ),
    (
        "new",
        "admin.vm.device.block.Set.assignment+dom0+sda",
        "auto-attach",
        &["change qubes/new.json devices: "],
    ),
    ("new", "admin.vm.device.block.Set.required+dom0+sda", "True", &["change qubes/new.json devices: with "]),
];

const VOLUMES: [Case; 21] = [
    ("new", "admin.vm.device.block.Unassign+dom0+sda", "", &["change qubes/new.json devices: without "]),
    (
        "work",
        "admin.vm.volume.Resize+private",
        "131072",
        &[
            "effect volume appvms/work/private gets 131072 bytes, from 65536",
            "change qubes/work.json volumes: with ",
        ],
    ),
    (
        "work",
        "admin.vm.volume.Set.revisions_to_keep+private",
        "2",
        &["change qubes/work.json volumes: with "],
    ),
    ("work", "admin.vm.volume.Set.ephemeral+volatile", "True", &["change qubes/work.json volumes: with "]),
    ("work", "admin.vm.volume.Set.rw+private", "True", &["change none"]),
    (
        "work",
        "admin.vm.volume.Snapshot+private",
        "",
        &["effect the state of volume appvms/work/private is kept"],
    ),
    (
        "work",
        "admin.vm.volume.Revert+private",
        "1",
        &["effect volume appvms/work/private gets its old state "],
    ),
    (
        "work",
        "admin.vm.volume.Clear+private",
        "",
        &[
            "effect volume appvms/work/private gets 131072 bytes that are all zero",
            "event work domain-volume-import-end ",
        ],
    ),
    (
        "work",
        "admin.vm.volume.Import+private",
        "",
        &["effect volume appvms/work/private gets 131072 bytes of the payload"],
    ),
    (
        "work",
        "admin.vm.volume.ImportWithSize+private",
        "4096\n",
        &[
            "effect volume appvms/work/private gets 4096 bytes of the payload",
            "change qubes/work.json volumes: with ",
        ],
    ),
    (
        "work",
        "admin.vm.volume.CloneFrom+private",
        "",
        &["effect CloneTo can take volume appvms/work/private once"],
    ),
    (
        "work",
        "admin.vm.volume.CloneTo+private",
        "TOKEN",
        &[
            "effect volume appvms/work/private gets what volume appvms/net/private holds",
            "event work domain-import-volume name=private ",
        ],
    ),
    (
        "dom0",
        "admin.pool.volume.Resize+varlibqubes",
        "appvms/work/private 131072",
        &["effect volume appvms/work/private "],
    ),
    (
        "dom0",
        "admin.pool.volume.Snapshot+varlibqubes",
        "appvms/work/private",
        &["effect the state of volume "],
    ),
    (
        "dom0",
        "admin.pool.volume.Revert+varlibqubes",
        "appvms/work/private REVISION",
        &["effect volume appvms/work/private "],
    ),
    (
        "dom0",
        "admin.pool.volume.CloneFrom+varlibqubes",
        "appvms/work/private",
        &["effect CloneTo can take volume "],
    ),
    (
        "dom0",
        "admin.pool.volume.CloneTo+varlibqubes",
        "appvms/work/private TOKEN",
        &["effect volume appvms/work/private "],
    ),
    (
        "dom0",
        "admin.pool.volume.Import+varlibqubes",
        "appvms/work/private\n",
        &["effect volume appvms/work/private gets "],
    ),
    (
        "dom0",
        "admin.pool.volume.Set.revisions_to_keep+varlibqubes",
        "appvms/work/private 3",
        &["change qubes/work.json volumes: with "],
    ),
    ("dom0", "admin.pool.volume.Set.rw+varlibqubes", "appvms/work/private True", &["change none"]),
    (
        "dom0",
        "admin.pool.volume.Set.ephemeral+varlibqubes",
        "appvms/work/volatile False",
        &["change qubes/work.json volumes: with "],
    ),
];

/// What happens to runs leaves nothing in the store: it is told in words.
const RUNS: [Case; 11] = [
    ("work", "admin.vm.Start", "", &["effect net starts, then work"]),
    ("work", "admin.vm.Start", "", &["effect work runs already and is left as it is"]),
    ("work", "admin.vm.device.block.Attach+dom0+sda", "", &["effect work gets block device dom0:sda::None"]),
    ("work", "admin.vm.device.block.Detach+dom0+sda", "", &["effect work loses block device dom0:sda::None"]),
    ("work", "admin.vm.Console", "", &["effect work is joined with the caller by its console"]),
    ("work", "admin.vm.Pause", "", &["effect work is paused"]),
    ("work", "admin.vm.Unpause", "", &["effect work goes on"]),
    ("work", "admin.vm.Suspend", "", &["effect work is sent to sleep"]),
    ("work", "admin.vm.Resume", "", &["effect work wakes and goes on"]),
    ("work", "admin.vm.Shutdown+wait", "", &["effect work is asked to shut down"]),
    ("net", "admin.vm.Kill", "", &["effect net ends at once"]),
];

/// What qubes tell of themselves.
const GUESTS: [(&str, &str); 3] =
    [("qubes.FeaturesRequest", ""), ("qubes.NotifyTools", ""), ("qubes.NotifyUpdates", "1")];

/// A backup, and one that a test holds as if it were being made.
const BACKUPS: [Case; 2] = [
    (
        "dom0",
        "admin.backup.Execute+p",
        "",
        &[
            "effect a backup of work is written to /var/tmp/x in dom0",
            "change qubes/work.json properties backup_timestamp: nothing becomes ",
            "event work property-set:backup_timestamp name=backup_timestamp ",
        ],
    ),
    ("dom0", "admin.backup.Cancel+held", "", &["effect the backup of profile held is given up"]),
];

/// A pipe by which a backup is known that is being made.
fn held_backup(fixture: &Fixture) -> File {
    fixture.profile(
        "p",
        "destination_vm: dom0\ndestination_path: /var/tmp/x\ninclude: [work]\npassphrase_text: a",
    );
    let pipe = fixture.path("/run/qubes/admin/backups/held.conf");
    std::fs::create_dir_all(pipe.parent().unwrap()).unwrap();
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    File::options().read(true).write(true).open(pipe).unwrap()
}

/// Calls that are not made after they were tried: their payload is a stream, or what they make has a drawn name or the time.
const NOT_MADE: [&str; 7] = [
    "admin.backup.Execute",
    "admin.vm.CreateTemplate",
    "admin.vm.CreateDisposable",
    "admin.vm.volume.Import",
    "admin.vm.volume.ImportWithSize",
    "admin.pool.volume.Import",
    "admin.vm.property.Set+autostart",
];

/// One type serves the calls of all classes of qubes, and of devices.
fn form(method: &str) -> String {
    let mut words: Vec<&str> = method.split('.').collect();
    match words.as_mut_slice() {
        ["admin", "vm", "Create" | "CreateInPool", class] => *class = "*",
        ["admin", "vm", "device", class, ..] if *class != "denied" => *class = "*",
        _ => {}
    }
    words.join(".")
}

/// Gives what stands for a word in a payload.
type Draw = fn(&Fixture) -> String;

/// Tries a call, looks for what it tells, makes it and compares the events.
fn try_then_make(fixture: &Fixture, (destination, call, payload, expected): Case) {
    let drawn: [(&str, Draw); 2] = [
        ("TOKEN", |fixture| fixture.ok("admin.vm.volume.CloneFrom+private", "net", "")),
        ("REVISION", |fixture| {
            let all = fixture.ok("admin.vm.volume.ListSnapshots+private", "work", "");
            all.lines().last().unwrap().to_owned()
        }),
    ];
    let found = drawn.iter().find(|(word, _)| payload.contains(word));
    let payload = found.map_or(payload.to_owned(), |(word, draw)| payload.replace(word, &draw(fixture)));
    let (lines, errors) = tried(fixture, "dom0", destination, call, &payload);
    assert_eq!(errors, "", "{call}: {lines:#?}");
    for line in expected {
        assert!(lines.iter().any(|told| told.starts_with(line)), "{call}: {line}: {lines:#?}");
    }
    if NOT_MADE.iter().any(|other| call.split('+').next() == Some(*other) || call == *other) {
        return;
    }
    let events = fixture.events_of(|fixture| drop(fixture.ok(call, destination, &payload)));
    let foretold: Vec<&String> = lines.iter().filter(|line| line.starts_with("event ")).collect();
    if !foretold.is_empty() {
        assert_eq!(foretold, told(&events).iter().collect::<Vec<_>>(), "{call}");
    }
}

#[test]
fn every_call_that_writes_tells_what_it_would_do() {
    let fixture = startable::system();
    install(&fixture);
    golden::devices(&fixture);
    fixture.policy("30-all.policy", "* * @anyvm dom0 allow\n");
    std::fs::create_dir_all(fixture.path("/etc/qubes/policy.d/include")).unwrap();
    let _held = held_backup(&fixture);
    let cases = SYSTEM.into_iter().chain(CONFIGURATION).chain(BACKUPS).chain(VOLUMES).chain(RUNS);
    let mut seen = BTreeSet::new();
    for case in cases {
        try_then_make(&fixture, case);
        seen.insert(form(case.1.split('+').next().unwrap()));
    }
    let _domain = fixture.domain("test-template", "Running");
    for (call, payload) in GUESTS {
        let asked = [("/features-request/os", &b"Linux"[..]), ("/features-request/vmexec", b"1")];
        database(&fixture, "test-template", entries(&asked));
        let (lines, errors) = tried(&fixture, "test-template", "dom0", call, payload);
        assert_eq!(errors, "", "{call}: {lines:#?}");
        assert!(lines.len() > 4, "{call}: {lines:#?}");
        seen.insert(call.to_owned());
    }
    let rows = services::FAMILIES.iter().flat_map(|family| family.calls).map(|call| call.row);
    // Nobody makes those by hand that are for this machine's own programs.
    let writing = rows.filter(|row| row.access == Access::Write && !row.is_internal());
    assert_eq!(seen, writing.map(|row| form(row.name)).collect());
}

#[test]
fn a_dry_run_tells_why_a_call_would_be_refused() {
    let fixture = startable::system();
    install(&fixture);
    golden::devices(&fixture);
    for (destination, call, payload) in [
        ("work", "admin.vm.property.Set+netvm", "test-template"),
        ("dom0", "admin.backup.Execute+nosuch", ""),
        ("dom0", "admin.backup.Cancel+nosuch", ""),
        ("work", "admin.vm.Pause", ""),
        ("work", "admin.vm.Unpause", ""),
        ("work", "admin.vm.Resume", ""),
        ("work", "admin.vm.Kill", ""),
        ("work", "admin.vm.Shutdown", ""),
        ("dom0", "admin.vm.Start", ""),
        ("work", "admin.vm.volume.Resize+nosuch", "1"),
        ("work", "admin.vm.volume.Revert+private", "9"),
        ("work", "admin.vm.volume.CloneTo+private", "nonsense"),
        ("dom0", "admin.pool.Add+file-reflink", "name=varlibqubes\ndir_path=/x"),
        ("dom0", "policy.Replace+30-new", "new\nnonsense\n"),
        ("dom0", "policy.Remove+30-new", "any"),
        ("work", "admin.vm.device.block.Attach+dom0+sda", ""),
        ("work", "admin.vm.device.block.Detach+dom0+sda", ""),
        ("dom0", "admin.vm.Create.AppVM+test-template", "name=work label=red"),
        ("dom0", "admin.vm.Create.AppVM+test-template", "name=new label=nosuch"),
        ("dom0", "admin.vm.CreateInPool.AppVM+test-template", "name=new label=red pool=nosuch"),
        ("net", "admin.vm.Remove", ""),
    ] {
        let (lines, errors) = tried(&fixture, "dom0", destination, call, payload);
        let is_told = |line: &String| line.starts_with("change") || line.starts_with("effect");
        assert!(!lines.iter().any(is_told), "{call}: {lines:#?}");
        let refused = fixture.refused(call, destination, payload);
        let (_, text) = refused.split_once(": ").unwrap();
        // The log may tell more before.
        assert_eq!(errors.lines().last(), Some(&*format!("qubes-admin: {text}")), "{call}");
    }
    let (_, errors) = tried(&fixture, "test-net", "test-vm1", "admin.vm.property.Set+memory", "400");
    assert_eq!(errors, "qubes-admin: the call is not granted\n");
}

//! `qubes-admin switch` on a tree laid out like a dom0 where qubesd is in charge: there and back, killed in between, refused.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "test code"
)]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::thread;

use tests::stepper::{Trouble, run, system_calls};
use tests::tool::{self, error, text};
use tests::{Fixture, executables};

const GOLDEN: &str = include_str!("../conformance/initial.qubes.xml");
const XML: &str = "/var/lib/qubes/qubes.xml";
const RULES: &str = "/var/lib/qubes/appvms/work/firewall.xml";
const AT_REST: &str =
    "dom0 class=AdminVM state=Running\nwork class=AppVM state=Halted\nfar class=RemoteVM state=NA\n";
const UNITS: &str = "/usr/lib/systemd/system";
/// Files that qubesd has among its links.
const SCRIPTS: [&str; 3] = ["admin.vm.volume.Import", "admin.vm.Console", "qubes.NotifyTools"];
/// A call that it has no link for.
const UNLINKED: &str = "admin.vm.Suspend";
/// What systemctl is told to start.
const STARTED: &str = "start qubes-admin-gateway.socket qubes-admin-qubes.service";
/// Where a switch is killed, in parts of its way.
const KILLS: usize = 64;

fn script(fixture: &Fixture, path: &str, text: &str) {
    executables::script(&fixture.path(path), text);
}

fn write(fixture: &Fixture, path: &str, content: &str, mode: u32) {
    fs::create_dir_all(fixture.path(path).parent().unwrap()).unwrap();
    fs::write(fixture.path(path), content).unwrap();
    fs::set_permissions(fixture.path(path), PermissionsExt::from_mode(mode)).unwrap();
}

fn link(fixture: &Fixture, target: &str, path: &str) {
    fs::create_dir_all(fixture.path(path).parent().unwrap()).unwrap();
    symlink(target, fixture.path(path)).unwrap();
}

/// A dom0 of qubesd, where this project is installed. Stand-ins answer for qubesd and record what systemctl is told.
fn dom0() -> Fixture {
    let fixture = Fixture::empty();
    for call in services::FAMILIES.iter().flat_map(|family| family.calls).map(|call| &call.row) {
        let path = format!("/etc/qubes-rpc/{}", call.name);
        match call.name {
            name if SCRIPTS.contains(&name) => script(&fixture, &path, "#!/bin/sh\n"),
            name if name == UNLINKED || call.is_internal() => (),
            name if name.starts_with("policy.") => link(&fixture, "/usr/bin/qubes-policy-admin", &path),
            _ => link(&fixture, "../../var/run/qubesd.sock", &path),
        }
    }
    link(&fixture, "../../var/run/qubesd.sock", "/etc/qubes-rpc/admin.vm.Foreign");
    for family in services::FAMILIES {
        let executable = executables::executable(family.name);
        link(&fixture, executable.to_str().unwrap(), &format!("/usr/lib/qubes/admin/{}", family.name));
    }
    for file in ["rpc-config", "qubes-vm@.service"] {
        write(&fixture, &format!("/usr/lib/qubes/admin/{file}"), "ours\n", 0o644);
    }
    for unit in ["qubesd.service", "qubes-vm@.service", "qubes-core.service"] {
        write(&fixture, &format!("{UNITS}/{unit}"), "[Unit]\n", 0o644);
    }
    let wants = "/etc/systemd/system/multi-user.target.wants";
    link(&fixture, &format!("{UNITS}/qubesd.service"), &format!("{wants}/qubesd.service"));
    write(&fixture, "/etc/systemd/system/qubes-vm@.service", "the administrator's\n", 0o600);
    write(&fixture, XML, GOLDEN, 0o660);
    let systemctl = format!("#!/bin/sh\necho \"$*\" >>{}\n", fixture.path("/systemctl.log").display());
    script(&fixture, "/usr/bin/systemctl", &systemctl);
    answer(&fixture, AT_REST);
    let listener = UnixListener::bind(fixture.path("/run/qubesd.sock")).unwrap();
    let file = fixture.path("/answer");
    thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut request = Vec::new();
            let _ = connection.read_to_end(&mut request);
            assert!(b"admin.vm.List+ dom0 name dom0\0".starts_with(&request));
            // Who asks may be killed meanwhile.
            let _ = connection.write_all(&fs::read(&file).unwrap_or_default());
        }
    });
    fixture
}

/// What qubesd says of its qubes.
fn answer(fixture: &Fixture, list: &str) {
    fs::create_dir_all(fixture.path("/run")).unwrap();
    fs::write(fixture.path("/answer"), format!("0\0{list}")).unwrap();
}

/// What systemctl was told since the last look.
fn told(fixture: &Fixture) -> Vec<String> {
    let log = fixture.path("/systemctl.log");
    let told = fs::read_to_string(&log).unwrap_or_default();
    let _ = fs::remove_file(log);
    told.lines().map(str::to_owned).collect()
}

/// Every file and link of the installation and qubesd's state: kind, mode, owner, number, time, target.
fn everything(fixture: &Fixture) -> String {
    let mut find = Command::new("find");
    find.args(["etc", "usr", "var/lib/qubes/qubes.xml", "!", "-type", "d"]);
    find.args(["-printf", "%p %y %m %U:%G %i %T@ %l\n"]).current_dir(fixture.path("/"));
    let mut lines: Vec<String> =
        String::from_utf8(find.output().unwrap().stdout).unwrap().lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines.join("\n")
}

fn switch(fixture: &Fixture, words: &[&str]) -> String {
    let output = tool::tool(fixture, &[&["switch"], words].concat());
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    text(&output)
}

fn refused(fixture: &Fixture, words: &[&str]) -> String {
    error(&tool::tool(fixture, &[&["switch"], words].concat()))
}

fn target(fixture: &Fixture, path: &str) -> String {
    fs::read_link(fixture.path(path)).unwrap().to_str().unwrap().to_owned()
}

/// Whether all calls are ours, and the store is whole.
fn is_ours(fixture: &Fixture) -> bool {
    let calls =
        services::FAMILIES.iter().flat_map(|family| family.calls.iter().map(move |call| (family, call)));
    let are_linked = calls.filter(|(_, call)| !call.row.is_internal()).all(|(family, call)| {
        let link = fs::read_link(fixture.path("/etc/qubes-rpc").join(call.row.name));
        let config = fixture.path("/etc/qubes/rpc-config").join(call.row.name);
        link.is_ok_and(|link| link == Path::new("../../usr/lib/qubes/admin").join(family.name))
            && config.exists()
    });
    are_linked && tool::text(&tool::tool(fixture, &["export"])) == GOLDEN
}

/// Whether nothing of a switch is left but the store that was put aside.
fn is_qubesds(fixture: &Fixture) -> bool {
    let store = fixture.path("/var/lib/qubes/admin");
    let files = |folder: &Path| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter(|entry| entry.path().is_file() && entry.file_name() != "lock").count()
    };
    let is_empty = files(&store) == 0 && files(&store.join("qubes")) == 0;
    is_empty && fs::read_dir(fixture.path("/etc/qubes/admin-switch")).map_or(0, Iterator::count) == 0
}

#[test]
fn there_and_back_leaves_everything_as_it_was() {
    let fixture = dom0();
    let before = everything(&fixture);
    for _ in 0..2 {
        assert_eq!(switch(&fixture, &["to"]), "switched; qubes-admin switch back returns to qubesd\n");
        assert_eq!(told(&fixture), ["stop qubesd.service", "daemon-reload", STARTED]);
        assert!(is_ours(&fixture));
        let units = "/etc/systemd/system";
        assert_eq!(target(&fixture, &format!("{units}/qubesd.service")), "/dev/null");
        let socket = target(&fixture, &format!("{units}/sockets.target.wants/qubes-admin-gateway.socket"));
        assert_eq!(socket, format!("{UNITS}/qubes-admin-gateway.socket"));
        let starter = target(&fixture, &format!("{units}/qubes-vm@.service"));
        assert_eq!(starter, "/usr/lib/qubes/admin/qubes-vm@.service");
        assert_eq!(target(&fixture, "/etc/qubes-rpc/admin.vm.Foreign"), "../../var/run/qubesd.sock");
        assert_eq!(switch(&fixture, &["to"]), "switched already\n");
        assert_eq!(switch(&fixture, &["back"]), "qubesd is in charge again\n");
        let ended = "stop qubes-admin-gateway.service qubes-admin-gateway.socket qubes-admin-qubes.service";
        assert_eq!(told(&fixture), [ended, "daemon-reload", "start qubesd.service"]);
        assert!(everything(&fixture) == before, "{}", everything(&fixture));
        assert!(is_qubesds(&fixture));
    }
    assert_eq!(refused(&fixture, &["back"]), "qubes-admin: qubesd is in charge\n");
}

#[test]
#[cfg_attr(not(systemd), ignore = "systemd's programs are not installed")]
fn systemd_finds_qubesd_masked_and_our_sockets_enabled() {
    let fixture = dom0();
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rpc-config/systemd");
    let starter = fs::read_to_string(units.join("qubes-vm@.service")).unwrap();
    write(&fixture, "/usr/lib/qubes/admin/qubes-vm@.service", &starter, 0o644);
    let socket = fs::read_to_string(units.join("qubes-admin-gateway.socket")).unwrap();
    write(&fixture, &format!("{UNITS}/qubes-admin-gateway.socket"), &socket, 0o644);
    let states = || {
        let mut systemctl = Command::new("/usr/bin/systemctl");
        systemctl.arg("--root").arg(fixture.path("/"));
        systemctl.args(["is-enabled", "qubesd.service", "qubes-admin-gateway.socket"]);
        String::from_utf8(systemctl.output().unwrap().stdout).unwrap()
    };
    let before = states();
    switch(&fixture, &["to"]);
    assert_eq!(states(), "masked\nenabled\n");
    switch(&fixture, &["back"]);
    assert_eq!(states(), before);
}

#[test]
fn what_changed_meanwhile_comes_back() {
    let fixture = dom0();
    write(&fixture, RULES, "<firewall version=\"2\"><rules/></firewall>", 0o660);
    switch(&fixture, &["to"]);
    fixture.ok("admin.vm.property.Set+label", "work", "green");
    fixture.ok("admin.vm.firewall.Set", "work", "action=accept dst4=10.0.0.1/32\naction=drop\n");
    let later = fixture.path("/etc/qubes-rpc/admin.vm.Later");
    symlink("../../usr/lib/qubes/admin/admin-vm-list", &later).unwrap();
    let exported = text(&tool::tool(&fixture, &["export"]));
    switch(&fixture, &["back"]);
    assert_eq!(fs::read_to_string(fixture.path(XML)).unwrap(), exported);
    assert_ne!(exported, GOLDEN);
    assert_eq!(fs::read_to_string(fixture.path(&format!("{XML}.before-switch-back"))).unwrap(), GOLDEN);
    assert!(fs::read_to_string(fixture.path(RULES)).unwrap().contains("10.0.0.1/32"));
    assert!(later.symlink_metadata().is_err(), "a call of a later version stays without its executable");
    assert!(fixture.path("/var/lib/qubes/admin/before-switch-back/qubes/work.json").exists());
    switch(&fixture, &["to"]);
    assert_eq!(text(&tool::tool(&fixture, &["export"])), exported);
    assert_eq!(
        fixture.ok("admin.vm.firewall.Get", "work", ""),
        "action=accept dst4=10.0.0.1/32\naction=drop\n"
    );
}

#[test]
fn rules_that_qubesd_set_meanwhile_hold() {
    let fixture = dom0();
    write(&fixture, RULES, "<firewall version=\"2\"><rules/></firewall>", 0o660);
    switch(&fixture, &["to"]);
    fixture.ok("admin.vm.firewall.Set", "work", "action=accept dst4=10.0.0.1/32\naction=drop\n");
    switch(&fixture, &["back"]);
    assert!(fs::read_to_string(fixture.path(XML)).unwrap().contains("10.0.0.1/32"));
    // qubesd changes the file of the rules alone.
    let rules = fs::read_to_string(fixture.path(RULES)).unwrap();
    fs::write(fixture.path(RULES), rules.replace("10.0.0.1", "10.0.0.2")).unwrap();
    switch(&fixture, &["to"]);
    assert_eq!(
        fixture.ok("admin.vm.firewall.Get", "work", ""),
        "action=accept dst4=10.0.0.2/32\naction=drop\n"
    );
    switch(&fixture, &["back"]);
    fs::remove_file(fixture.path(RULES)).unwrap();
    switch(&fixture, &["to"]);
    assert!(
        fixture.ok("admin.vm.firewall.Get", "work", "").contains("10.0.0."),
        "the file's own rules are left"
    );
}

#[test]
fn a_dry_run_tells_all_of_it_and_changes_nothing() {
    let fixture = dom0();
    let before = everything(&fixture);
    let told_to = switch(&fixture, &["to", "--dry-run"]);
    for line in [
        "stop qubesd.service",
        "import 10 qubes from /var/lib/qubes/qubes.xml",
        "link /etc/qubes-rpc/admin.vm.List to ../../usr/lib/qubes/admin/admin-vm-list, where a link leads to ../../var/run/qubesd.sock",
        "link /etc/qubes-rpc/admin.vm.Console to ../../usr/lib/qubes/admin/admin-vm-lifecycle, where a file is",
        "link /etc/systemd/system/qubesd.service to /dev/null, where nothing is",
        STARTED,
    ] {
        assert!(told_to.lines().any(|told| told == line), "{line}: {told_to}");
    }
    assert!(told(&fixture).is_empty() && everything(&fixture) == before && is_qubesds(&fixture));
    switch(&fixture, &["to"]);
    let (between, _) = (everything(&fixture), told(&fixture));
    let told_back = switch(&fixture, &["back", "--dry-run"]);
    assert!(
        told_back.contains(
            "restore /etc/qubes-rpc/admin.vm.List, where a link leads to ../../var/run/qubesd.sock\n"
        )
    );
    assert!(told_back.contains("leave as it is: /var/lib/qubes/qubes.xml\n"), "{told_back}");
    fixture.ok("admin.vm.property.Set+label", "work", "green");
    assert!(switch(&fixture, &["back", "--dry-run"]).contains("write: /var/lib/qubes/qubes.xml\n"));
    assert!(told(&fixture).is_empty() && everything(&fixture) == between);
}

#[test]
fn what_cannot_be_done_is_refused_before_anything_changes() {
    type Hindrance = (fn(&Fixture), &'static str);
    let table: [Hindrance; 6] = [
        (|it| answer(it, &AT_REST.replace("Halted", "Running")), "shut down first: work"),
        (|it| answer(it, &AT_REST.replace("Halted", "Paused")), "shut down first: work"),
        (|it| fs::remove_file(it.path("/run/qubesd.sock")).unwrap(), "qubesd does not tell which qubes run"),
        (|it| fs::write(it.path("/answer"), "").unwrap(), "qubesd does not tell which qubes run"),
        (|it| fs::write(it.path(XML), "<qubes>").unwrap(), "/var/lib/qubes/qubes.xml: line "),
        (|it| fs::remove_file(it.path("/usr/lib/qubes/admin/rpc-config")).unwrap(), "rpc-config is missing"),
    ];
    for (hinder, said) in table {
        let fixture = dom0();
        hinder(&fixture);
        let before = everything(&fixture);
        for words in [&["to", "--dry-run"][..], &["to"]] {
            assert!(refused(&fixture, words).contains(said), "{said}");
        }
        assert!(
            told(&fixture).is_empty() && everything(&fixture) == before && is_qubesds(&fixture),
            "{said}"
        );
    }
    let fixture = dom0();
    assert!(tool::tool(&fixture, &["init"]).status.success());
    assert!(refused(&fixture, &["to"]).contains("the store is not empty"));
}

#[test]
fn a_unit_that_fails_undoes_it() {
    for failing in ["stop qubesd.service", STARTED] {
        let fixture = dom0();
        let systemctl =
            format!("#!/bin/sh\n[ \"$*\" != '{failing}' ] || {{ echo no such luck >&2; exit 1; }}\n");
        script(&fixture, "/usr/bin/systemctl", &systemctl);
        let before = everything(&fixture);
        assert_eq!(refused(&fixture, &["to"]), format!("qubes-admin: systemctl {failing}: no such luck\n"));
        assert!(everything(&fixture) == before, "{}", everything(&fixture));
        assert!(is_qubesds(&fixture));
    }
}

/// A switch in one direction that is killed, at points all along its way; then the same command finishes it, or the other
/// undoes it, in turn. Each try begins on what the last one left, which must be as it was at first.
fn killed_along_its_way(words: &[&str]) {
    let fixture = dom0();
    let before = everything(&fixture);
    let all = [&["switch"], words].concat();
    let begin = || {
        if words == ["back"] {
            drop(switch(&fixture, &["to"]))
        }
    };
    begin();
    let stops = 2 * system_calls(tool::command(&fixture, &all)).len();
    assert!(stops > 2000, "{words:?}: only {stops} stops");
    if words == ["to"] {
        switch(&fixture, &["back"]);
    }
    for part in 0..KILLS {
        begin();
        // Every other one where most happens besides the links: as the way there begins, and as the way back ends.
        let along = part * stops / KILLS;
        let stop = match (part % 2, words) {
            (0, _) => along,
            (_, ["to"]) => along / 8,
            _ => stops - 1 - along / 4,
        };
        let met = run(tool::command(&fixture, &all), Trouble::Kill(stop)).met;
        let context = format!("{words:?} killed at {stop} of {stops}");
        if words == ["to"] && part % 4 < 2 {
            switch(&fixture, &["to"]);
            assert!(is_ours(&fixture), "{context}");
        }
        let output = tool::tool(&fixture, &["switch", "back"]);
        let was_done = !output.status.success();
        assert!(!was_done || error(&output).contains("qubesd is in charge"), "{context}: {output:?}");
        assert!(met, "{context}");
        assert!(everything(&fixture) == before, "{context}: {}", everything(&fixture));
        assert!(is_qubesds(&fixture), "{context}");
    }
}

#[test]
fn a_killed_way_there_is_finished_or_undone() {
    killed_along_its_way(&["to"]);
}

#[test]
fn a_killed_way_back_is_finished() {
    killed_along_its_way(&["back"]);
}

#[test]
fn a_switch_that_goes_on_later_takes_what_qubesd_did_meanwhile() {
    let fixture = dom0();
    switch(&fixture, &["to"]);
    switch(&fixture, &["back"]);
    let words = ["switch", "to"];
    let stops = 2 * system_calls(tool::command(&fixture, &words)).len();
    switch(&fixture, &["back"]);
    assert!(run(tool::command(&fixture, &words), Trouble::Kill(stops / 2)).met);
    assert_eq!(
        target(&fixture, "/etc/qubes-rpc/admin.deviceclass.List"),
        "../../usr/lib/qubes/admin/admin-vm-device"
    );
    // The machine was booted in between.
    answer(&fixture, &AT_REST.replace("Halted", "Running"));
    assert!(refused(&fixture, &["to"]).contains("shut down first: work"));
    answer(&fixture, AT_REST);
    let newer = GOLDEN.replace("<property name=\"label\">blue<", "<property name=\"label\">green<");
    assert_ne!(newer, GOLDEN);
    fs::write(fixture.path(XML), &newer).unwrap();
    switch(&fixture, &["to"]);
    assert_eq!(text(&tool::tool(&fixture, &["export"])), newer);
    switch(&fixture, &["back"]);
    assert_eq!(fs::read_to_string(fixture.path(XML)).unwrap(), newer);
}

#[test]
fn a_way_back_that_was_killed_may_turn_round_while_the_store_counts() {
    let fixture = dom0();
    switch(&fixture, &["to"]);
    let stops = 2 * system_calls(tool::command(&fixture, &["switch", "back"])).len();
    let (mut turned, mut refused) = (0, 0);
    for part in 1..KILLS / 2 {
        let _ = tool::tool(&fixture, &["switch", "back"]);
        switch(&fixture, &["to"]);
        fixture.ok("admin.vm.property.Set+label", "work", "green");
        run(tool::command(&fixture, &["switch", "back"]), Trouble::Kill(part * stops * 2 / KILLS));
        let again = tool::tool(&fixture, &["switch", "to"]);
        if again.status.success() {
            let label = fixture.ok("admin.vm.property.Get+label", "work", "");
            assert_eq!(label, "default=False type=label green");
            turned += 1;
        } else {
            assert!(error(&again).contains("qubes-admin switch back finishes it"));
            refused += 1;
        }
    }
    assert!(turned > 0 && turned + refused == KILLS / 2 - 1, "{turned} turned round, {refused} refused");
}

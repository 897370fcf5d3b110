//! Starts, changes and ends of qubes where QubesDB, qrexec and the memory daemon are there: stand-ins that record
//! (spec 40 §3, §4.2).
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::indexing_slicing, reason = "test code")]

use std::sync::mpsc::Receiver;

use tests::Fixture;
use tests::companions::{install, memory_daemon, recorded, spoil};
use tests::startable::{STARTED, guest, next, of, state, system, traces};

/// A root where `work` and its netvm `net` can be started, in company.
fn company() -> Fixture {
    let fixture = system();
    install(&fixture);
    fixture.ok("admin.vm.feature.Set+qubes-firewall", "test-template", "1");
    fixture
}

fn start(fixture: &Fixture, qube: &str) -> i32 {
    fixture.ok("admin.vm.Start", qube, "");
    guest(fixture, qube).as_raw()
}

fn uuid(fixture: &Fixture, qube: &str) -> String {
    fixture.qube(qube).uuid.to_string()
}

fn ip(fixture: &Fixture, qube: &str) -> String {
    let told = fixture.ok("admin.vm.property.Get+ip", qube, "");
    told.rsplit_once(' ').unwrap().1.to_owned()
}

/// What the netvm is told of a client.
fn told_of(ip: &str, gateway: &str) -> Vec<String> {
    vec![
        format!("/connected-ips = {ip:?}"),
        "/connected-ips6 = \"\"".to_owned(),
        format!("/mapped-ip/{ip}/visible-ip = {ip:?}"),
        format!("/mapped-ip/{ip}/visible-gateway = {gateway:?}"),
        format!("/qubes-firewall/{ip}/ -"),
        format!("/qubes-firewall/{ip}/policy = \"drop\""),
        format!("/qubes-firewall/{ip}/0000 = \"action=accept\""),
        format!("/qubes-firewall/{ip} = \"\""),
    ]
}

#[test]
fn a_start_brings_everything_along_and_an_end_takes_it_away() {
    let fixture = company();
    let requests = memory_daemon(&fixture, "OK\n");
    let net = start(&fixture, "net");
    assert_eq!(next_two(&requests), [amount().to_string(), "released".to_owned()]);
    assert_eq!(recorded(&fixture, "qubesdb-daemon"), [format!("{net} net")]);
    assert!(recorded(&fixture, "qubesdb.net").contains(&"/qubes-vm-type = \"NetVM\"".to_owned()));

    let events = fixture.events_of(|fixture| drop(fixture.ok("admin.vm.Start", "work", "")));
    assert_eq!(events, of("work", &STARTED));
    let work = guest(&fixture, "work").as_raw();
    assert_eq!(recorded(&fixture, "qubesdb-daemon"), [format!("{work} work")]);
    let told = recorded(&fixture, "qubesdb.work");
    assert_eq!(told[0], "/name = \"work\"");
    assert!(told.contains(&format!("/qubes-gateway = {:?}", ip(&fixture, "net"))));
    assert!(told.last().unwrap().starts_with("/qubes-random-seed = \""));
    let of_client = told_of(&ip(&fixture, "work"), &ip(&fixture, "net"));
    assert_eq!(recorded(&fixture, "qubesdb.net"), [of_client.clone(), of_client].concat());
    let [net_uuid, work_uuid] = ["net", "work"].map(|qube| uuid(&fixture, qube));
    let daemons = [
        format!("QREXEC_STARTUP_NOWAIT=1 -q -u {net_uuid} -- {net} net user"),
        format!("QREXEC_STARTUP_NOWAIT=1 -q -u {work_uuid} -- {work} work user"),
    ];
    assert_eq!(recorded(&fixture, "qrexec-daemon"), daemons);

    for qube in ["work", "net"] {
        fixture.ok("admin.vm.Kill", qube, "");
    }
    assert_eq!(traces(&fixture), [""; 0]);
    for socket in ["qrexec.work", "qrexec.net"] {
        assert!(!fixture.path("/run/qubes").join(socket).exists(), "{socket}");
    }
    for qube in ["work", "net"] {
        let socket = fixture.path("/run/qubes").join(format!("qubesdb.{qube}.sock"));
        assert!(std::os::unix::net::UnixStream::connect(socket).is_err(), "{qube}");
    }
}

/// 400 MiB, what the hypervisor needs for a domain and two processors, and for each MiB that it may get.
fn amount() -> u64 {
    const MIB: u64 = 1 << 20;
    400 * MIB + 4 * MIB + 3 * MIB + 4000 * 8192
}

fn next_two(requests: &Receiver<String>) -> [String; 2] {
    [next(requests), next(requests)]
}

#[test]
fn a_start_that_misses_something_leaves_nothing() {
    let agent = "QubesVMError: Cannot connect to qrexec agent for 60 seconds, see \
                 /var/log/xen/console/guest-net.log for details";
    for (status, program, refusal) in [
        (1, "qubesdb-daemon", "QubesException: Cannot execute qubesdb-daemon"),
        (1, "qrexec-daemon", "QubesVMError: qrexec-daemon startup failed: told to _fail"),
        (3, "qrexec-daemon", agent),
    ] {
        let fixture = company();
        fixture.ok("admin.vm.feature.Set+qrexec", "test-template", "1");
        let requests = memory_daemon(&fixture, "OK\n");
        spoil(&fixture, status, program);
        assert_eq!(fixture.refused("admin.vm.Start", "net", ""), refusal);
        assert_eq!(next_two(&requests)[1], "released");
        let reason = refusal.split_once(": ").unwrap().1;
        let failed = format!("net domain-start-failed reason={reason}");
        assert!(fixture.events().contains(&failed), "{:?}", fixture.events());
        assert_eq!(traces(&fixture), [""; 0]);
        assert_eq!(state(&fixture, "net"), "Halted");
        start(&fixture, "net");
    }
    let fixture = company();
    let _requests = memory_daemon(&fixture, "FAIL\n");
    let refusal = "QubesMemoryError: Not enough memory to start domain 'net'";
    assert_eq!(fixture.refused("admin.vm.Start", "net", ""), refusal);
    assert_eq!((traces(&fixture), recorded(&fixture, "qubesdb-daemon").len()), (Vec::new(), 0));
}

#[test]
fn a_qube_with_qrexec_is_running_while_its_agent_is_connected() {
    let fixture = company();
    fixture.ok("admin.vm.feature.Set+qrexec", "test-template", "1");
    start(&fixture, "net");
    assert_eq!(state(&fixture, "net"), "Running");
    let told = recorded(&fixture, "qrexec-daemon");
    assert!(told[0].starts_with("QREXEC_STARTUP_TIMEOUT=60 -q -u "), "{told:?}");
    std::fs::remove_file(fixture.path("/run/qubes/qrexec.net")).unwrap();
    assert_eq!(state(&fixture, "net"), "Transient");
    assert!(fixture.ok("admin.vm.List", "net", "").contains("state=Transient"));
    fixture.ok("admin.vm.Pause", "net", "");
    assert_eq!(state(&fixture, "net"), "Paused");
}

#[test]
fn a_guest_is_told_before_it_sleeps_and_when_it_is_awake() {
    let fixture = company();
    fixture.ok("admin.vm.feature.Set+qrexec", "test-template", "1");
    start(&fixture, "net");
    let events = fixture.events_of(|fixture| {
        fixture.ok("admin.vm.Suspend", "net", "");
        assert_eq!(state(fixture, "net"), "Suspended");
        fixture.ok("admin.vm.Resume", "net", "");
    });
    let told = "domain-cmd-pre-run start_guid=False";
    assert_eq!(events, of("net", &[told, told, "domain-resumed"]));
    let services = ["qubes.SuspendPre", "qubes.SuspendPost"]
        .map(|service| format!("-d net root:QUBESRPC {service} dom0 < \"\""));
    assert_eq!(recorded(&fixture, "qrexec-client"), services);
    spoil(&fixture, 1, "qrexec-client");
    fixture.ok("admin.vm.Suspend", "net", "");
    fixture.ok("admin.vm.Resume", "net", "");
    fixture.ok("admin.vm.Pause", "net", "");
    let paused = "QubesVMNotRunningError: Domain 'net' is paused";
    assert_eq!(fixture.refused("admin.vm.Suspend", "net", ""), paused);
    fixture.ok("admin.vm.Unpause", "net", "");
    std::fs::remove_file(fixture.path("/run/qubes/qrexec.net")).unwrap();
    let unconnected = "QubesVMError: Domain 'net': qrexec not connected";
    assert_eq!(fixture.refused("admin.vm.Suspend", "net", ""), unconnected);
}

#[test]
fn running_qubes_learn_of_another_netvm() {
    let fixture = company();
    fixture.ok("admin.vm.Create.AppVM+test-template", "dom0", "name=other label=red");
    fixture.ok("admin.vm.property.Set+provides_network", "other", "True");
    fixture.ok("admin.vm.property.Set+netvm", "other", "");
    for qube in ["work", "other"] {
        start(&fixture, qube);
    }
    let [work, other] = ["work", "other"].map(|qube| ip(&fixture, qube));
    for qube in ["work", "net", "other"] {
        recorded(&fixture, &format!("qubesdb.{qube}"));
    }
    fixture.ok("admin.vm.property.Set+netvm", "work", "other");
    let told = recorded(&fixture, "qubesdb.work");
    assert_eq!(told[0], "/name = \"work\"");
    assert!(told.contains(&format!("/qubes-gateway = {other:?}")), "{told:?}");
    assert!(told.last().unwrap().starts_with("/qubes-random-seed = \""));
    let news = told_of(&work, &other).into_iter().filter(|line| !line.contains("connected-ips6"));
    assert_eq!(recorded(&fixture, "qubesdb.other"), news.collect::<Vec<_>>());
    let old = recorded(&fixture, "qubesdb.net");
    assert!(old.contains(&"/connected-ips = \"\"".to_owned()), "{old:?}");
    assert!(old.contains(&format!("/qubes-firewall/{work}/0000 -")), "{old:?}");

    fixture.ok("admin.property.Set+default_netvm", "dom0", "net");
    assert_eq!(recorded(&fixture, "qubesdb.work"), [""; 0]);
    fixture.ok("admin.vm.property.Reset+netvm", "work", "");
    let gateway = format!("/qubes-gateway = {:?}", ip(&fixture, "net"));
    assert!(recorded(&fixture, "qubesdb.work").contains(&gateway));
    fixture.ok("admin.vm.property.Set+netvm", "work", "");
    assert!(recorded(&fixture, "qubesdb.work").contains(&"/qubes-ip -".to_owned()));
}

#[test]
fn running_qubes_learn_of_changed_features_sound_and_keys() {
    let fixture = company();
    start(&fixture, "work");
    recorded(&fixture, "qubesdb.work");
    recorded(&fixture, "qubesdb.net");
    for (call, payload, line) in [
        ("admin.vm.feature.Set+service.cups", "1", "/qubes-service/cups = \"1\""),
        ("admin.vm.feature.Set+service.cups", "", "/qubes-service/cups = \"0\""),
        ("admin.vm.feature.Remove+service.cups", "", "/qubes-service/cups -"),
        ("admin.vm.feature.Set+vm-config.key", "value", "/vm-config/key = \"value\""),
        ("admin.vm.feature.Set+custom-persist.a", "/a", "/persist/a = \"/a\""),
        ("admin.vm.property.Set+audiovm", "", "/qubes-audio-domain-xid -"),
        ("admin.vm.property.Reset+audiovm", "", "/qubes-audio-domain-xid = \"0\""),
        ("admin.vm.property.Set+keyboard_layout", "de++", "/keyboard-layout = \"de++\""),
        ("admin.vm.property.Reset+keyboard_layout", "", "/keyboard-layout = \"us++\""),
    ] {
        fixture.ok(call, "work", payload);
        assert_eq!(recorded(&fixture, "qubesdb.work"), [line], "{call}");
    }
    for (call, payload) in [("admin.vm.feature.Set+other", "1"), ("admin.vm.property.Set+vcpus", "3")] {
        fixture.ok(call, "work", payload);
    }
    fixture.ok("admin.vm.Create.RemoteVM", "dom0", "name=far label=red");
    fixture.ok("admin.vm.property.Set+relayvm", "far", "work");
    fixture.ok("admin.vm.property.Set+remote_name", "far", "near");
    fixture.ok("admin.vm.property.Set+relayvm", "far", "");
    let relayed = ["/remote/far = \"far\"", "/remote/far = \"near\"", "/remote/far -"];
    assert_eq!(recorded(&fixture, "qubesdb.work"), relayed);
    assert_eq!(recorded(&fixture, "qubesdb.net"), [""; 0]);
}

#[test]
fn qubes_that_are_shown_and_heard_learn_where() {
    let fixture = company();
    for property in ["guivm", "audiovm"] {
        fixture.ok(&format!("admin.vm.property.Set+{property}"), "net", "work");
    }
    start(&fixture, "net");
    assert!(recorded(&fixture, "qubesdb.net").contains(&"/qubes-gui-domain-xid -".to_owned()));
    let work = start(&fixture, "work");
    let told = recorded(&fixture, "qubesdb.net");
    let numbers =
        [format!("/qubes-gui-domain-xid = \"{work}\""), format!("/qubes-audio-domain-xid = \"{work}\"")];
    assert_eq!(told[told.len() - 2..], numbers);
}

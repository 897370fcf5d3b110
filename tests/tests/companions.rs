//! What accompanies a running domain: QubesDB and what it holds, qrexec, memory (spec 40 §3.2 to §3.6). The parts of
//! other packages are stand-ins that record.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code"
)]

use std::collections::BTreeMap;

use common::failure::Failure;
use common::hypervisor::{Domid, Published, Stubdom};
use common::model::{Class, Qube, Value};
use common::names::{FeatureName, FeatureValue, QubeName};
use common::qubesdb::Entry;
use services::companion::memory::Grant;
use services::companion::qrexec::Agent;
use services::companion::{clients, entries, memory, qrexec, qubesdb, service};
use services::property::{Case, Context};
use tests::companions::{install, memory_daemon, recorded, spoil};
use tests::startable::next;
use tests::{Fixture, fixture};

type Held = BTreeMap<String, String>;

/// Looks at the state from a qube.
fn look<T>(
    fixture: &Fixture,
    name: &str,
    look: impl FnOnce(&Case<'_>, &Qube) -> Result<T, Failure>,
) -> Result<T, String> {
    let (root, store) = (fixture.root(), fixture.store());
    let view = store.read().unwrap();
    let qube = view.qube_named(name).unwrap().unwrap();
    let hypervisor = Published::at(&root);
    let context = Context { hypervisor: &hypervisor, root: &root };
    let case = Case { view: &view, context, qube: Some(&qube) };
    look(&case, &qube).map_err(text)
}

fn text(failure: Failure) -> String {
    match failure {
        Failure::Exception { exception, message, .. } => format!("{}: {message}", exception.class()),
        Failure::Dropped(reason) => panic!("dropped: {reason}"),
    }
}

/// What a database holds that was filled with these entries.
fn held(entries: Vec<Entry>) -> Held {
    let mut held = Held::new();
    for Entry { key, value } in entries {
        match value {
            Some(value) => drop(held.insert(key, value)),
            None if key.ends_with('/') => held.retain(|known, _| !known.starts_with(&key)),
            None => drop(held.remove(&key)),
        }
    }
    held
}

fn database(fixture: &Fixture, name: &str) -> Held {
    held(look(fixture, name, entries::of).unwrap())
}

fn set(fixture: &Fixture, qube: &str, property: &str, value: Value) {
    fixture.edit(qube, |qube| drop(qube.properties.insert(property.to_owned(), value)));
}

fn text_value(value: &str) -> Value {
    Value::Text(value.to_owned())
}

fn feature(fixture: &Fixture, qube: &str, name: &str, value: &str) {
    let (name, value) = (FeatureName::parse(name).unwrap(), FeatureValue::parse(value).unwrap());
    fixture.edit(qube, |qube| qube.set_feature(name, value));
}

/// Entries by their keys, one each line: `/key value`.
fn expected(lines: &str) -> Held {
    let lines = lines.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .map(|line| line.split_once(' ').unwrap_or((line, "")))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// What every qube of the fixture has, but for what its lines say otherwise.
fn common_entries(name: &str, lines: &str) -> Held {
    let mut held = expected(&format!(
        "/name {name}
        /type AppVM
        /default-user user
        /qubes-vm-updateable False
        /qubes-vm-persistence rw-only
        /qubes-debug-mode 0
        /qubes-base-template test-template
        /qubes-timezone Europe/Lisbon
        /qubes-block-devices
        /qubes-usb-devices
        /qubes-service/meminfo-writer 1
        /qubes-gui-enabled True
        /keyboard-layout us++
        /qubes-gui-domain-xid 0
        /qubes-audio-domain-xid 0
        /qubes-vm-type AppVM
        /qubes-iptables-error"
    ));
    held.extend(expected(lines));
    held.retain(|_, value| value != "absent");
    held
}

/// The fixture with a time zone, firewalls of today, and `test-vm1` behind `test-net`.
fn network() -> Fixture {
    let fixture = Fixture::new();
    let link = fixture.path("/etc/localtime");
    std::os::unix::fs::symlink("../usr/share/zoneinfo/Europe/Lisbon", link).unwrap();
    feature(&fixture, "test-template", "qubes-firewall", "1");
    set(&fixture, "test-vm1", "netvm", text_value("test-net"));
    fixture
}

const CLIENT: &str = "/qubes-mac 00:16:3e:5e:6c:00
    /qubes-ip 10.137.0.2
    /qubes-netmask 255.255.255.255
    /qubes-gateway 10.137.0.3
    /qubes-primary-dns 10.139.1.1
    /qubes-secondary-dns 10.139.1.2
";
const PROVIDER: &str = "/qubes-vm-type NetVM
    /qubes-netvm-network 10.137.0.3
    /qubes-netvm-gateway 10.137.0.3
    /qubes-netvm-netmask 255.255.255.255
    /qubes-netvm-primary-dns 10.139.1.1
    /qubes-netvm-secondary-dns 10.139.1.2
    /connected-ips 10.137.0.2
    /connected-ips6
";
const FIREWALL: &str = "/mapped-ip/10.137.0.2/visible-ip 10.137.0.2
    /mapped-ip/10.137.0.2/visible-gateway 10.137.0.3
    /qubes-firewall/10.137.0.2
    /qubes-firewall/10.137.0.2/policy drop
    /qubes-firewall/10.137.0.2/0000 action=accept
";

#[test]
fn a_client_and_its_netvm_find_each_other() {
    let fixture = network();
    assert_eq!(database(&fixture, "test-vm1"), common_entries("test-vm1", CLIENT));
    assert_eq!(database(&fixture, "test-net"), common_entries("test-net", PROVIDER));
    let _running = fixture.domain("test-vm1", "Running");
    let with_firewall = format!("{PROVIDER}{FIREWALL}");
    assert_eq!(database(&fixture, "test-net"), common_entries("test-net", &with_firewall));
}

#[test]
fn addresses_of_version_6_are_there_where_the_chain_has_them() {
    let fixture = network();
    let _running = fixture.domain("test-vm1", "Running");
    feature(&fixture, "test-net", "ipv6", "1");
    let client = format!("{CLIENT}/qubes-ip6 fd09:24ef:4179::a89:2\n/qubes-gateway6 fd09:24ef:4179::a89:3");
    assert_eq!(database(&fixture, "test-vm1"), common_entries("test-vm1", &client));
    let address = "/qubes-firewall/fd09:24ef:4179::a89:2";
    let provider = format!(
        "{PROVIDER}{FIREWALL}/qubes-netvm-gateway6 fd09:24ef:4179::a89:3
        /connected-ips6 fd09:24ef:4179::a89:2
        {address}\n{address}/policy drop\n{address}/0000 action=accept"
    );
    assert_eq!(database(&fixture, "test-net"), common_entries("test-net", &provider));
    feature(&fixture, "test-net", "ipv6", "");
    feature(&fixture, "test-vm1", "ipv6", "1");
    let client = format!("{CLIENT}/qubes-ip6 fd09:24ef:4179::a89:2");
    assert_eq!(database(&fixture, "test-vm1"), common_entries("test-vm1", &client));
}

#[test]
fn a_client_sees_the_addresses_that_features_tell_it() {
    let fixture = network();
    let _running = fixture.domain("test-vm1", "Running");
    for (name, value) in [
        ("net.fake-ip", "192.168.1.128"),
        ("net.fake-gateway", "192.168.1.1"),
        ("net.fake-netmask", "255.255.255.0"),
    ] {
        feature(&fixture, "test-vm1", name, value);
    }
    let client =
        format!("{CLIENT}/qubes-ip 192.168.1.128\n/qubes-gateway 192.168.1.1\n/qubes-netmask 255.255.255.0");
    assert_eq!(database(&fixture, "test-vm1"), common_entries("test-vm1", &client));
    let provider = format!(
        "{PROVIDER}{FIREWALL}/connected-ips 192.168.1.128
        /mapped-ip/10.137.0.2/visible-ip 192.168.1.128
        /mapped-ip/10.137.0.2/visible-gateway 192.168.1.1"
    );
    assert_eq!(database(&fixture, "test-net"), common_entries("test-net", &provider));
}

#[test]
fn a_template_a_proxy_and_a_disposable_are_told_what_they_are() {
    let fixture = network();
    let template = "/type TemplateVM\n/qubes-vm-type TemplateVM\n/qubes-vm-updateable True
        /qubes-vm-persistence full\n/qubes-base-template";
    assert_eq!(database(&fixture, "test-template"), common_entries("test-template", template));
    set(&fixture, "test-vm1", "provides_network", Value::Bool(true));
    let found = database(&fixture, "test-vm1");
    assert_eq!((found["/qubes-vm-type"].as_str(), found["/connected-ips"].as_str()), ("ProxyVM", ""));
    fixture.edit("test-vm1", |qube| {
        qube.class = Class::DispVM;
        qube.properties.insert("dispid".to_owned(), Value::Int(300));
    });
    let found = database(&fixture, "test-vm1");
    assert_eq!(found["/qubes-vm-persistence"], "none");
    assert_eq!(found["/qubes-ip"], "10.138.1.46");
}

#[test]
fn features_become_entries() {
    let fixture = network();
    let long = "x".repeat(49);
    for (name, value) in [
        ("service.cups", "1"),
        ("service.network-manager", ""),
        ("service.app-dispvm.short-name", "1"),
        (&format!("service.{long}"), "1"),
        ("check-updates", ""),
        ("dvm", "1"),
        ("updates-proxy-setup", "1"),
        ("vm-config.key", "some = text"),
        ("custom-persist.home", "/home"),
        ("anon-timezone", "1"),
        ("gui-videoram-min", "512"),
    ] {
        feature(&fixture, "test-vm1", name, value);
    }
    feature(&fixture, "dom0", "gui-videoram-overhead", "7");
    set(&fixture, "test-vm1", "maxmem", Value::Int(0));
    let lines = format!(
        "{CLIENT}/qubes-timezone absent
        /qubes-service/meminfo-writer 0
        /qubes-service/cups 1
        /qubes-service/network-manager 0
        /qubes-service/app-dispvm.short-name 1
        /hash-app-dispvm/uRc_3Q51DYlZXclkZX_BN2iYvUkKh8qXRxkqvvGAwEI short-name
        /qubes-service/qubes-update-check 0
        /qubes-service/qubes-dvm 1
        /qubes-service/yum-proxy-setup 1
        /vm-config/key some = text
        /persist/home /home
        /qubes-gui-videoram-min 512
        /qubes-gui-videoram-overhead 7"
    );
    assert_eq!(database(&fixture, "test-vm1"), common_entries("test-vm1", &lines));
}

#[test]
fn the_user_is_the_boot_modes_while_that_is_known() {
    let fixture = network();
    feature(&fixture, "test-vm1", "boot-mode.default-user.safe", "admin");
    feature(&fixture, "test-vm1", "boot-mode.active", "safe");
    assert_eq!(database(&fixture, "test-vm1")["/default-user"], "user");
    feature(&fixture, "test-vm1", "boot-mode.kernelopts.safe", "single");
    assert_eq!(database(&fixture, "test-vm1")["/default-user"], "admin");
}

#[test]
fn qubes_that_show_and_play_are_told_by_the_numbers_of_their_domains() {
    let fixture = network();
    for property in ["guivm", "audiovm"] {
        set(&fixture, "test-vm1", property, text_value("test-net"));
        set(&fixture, "test-net", property, text_value("test-net"));
    }
    set(&fixture, "test-net", "keyboard_layout", text_value("fr++"));
    feature(&fixture, "test-net", "service.guivm", "1");
    let halted = format!(
        "{CLIENT}/keyboard-layout fr++\n/qubes-gui-domain-xid absent\n/qubes-audio-domain-xid absent"
    );
    assert_eq!(database(&fixture, "test-vm1"), common_entries("test-vm1", &halted));
    let _running = fixture.domain("test-net", "Running");
    let running =
        format!("{CLIENT}/keyboard-layout fr++\n/qubes-gui-domain-xid 7\n/qubes-audio-domain-xid 7");
    assert_eq!(database(&fixture, "test-vm1"), common_entries("test-vm1", &running));
    let itself = format!(
        "{PROVIDER}/keyboard-layout absent\n/qubes-gui-domain-xid absent\n/qubes-audio-domain-xid absent
        /qubes-service/guivm 1\n/guivm-windows-prefix GuiVM"
    );
    assert_eq!(database(&fixture, "test-net"), common_entries("test-net", &itself));
    for property in ["guivm", "audiovm"] {
        set(&fixture, "test-vm1", property, Value::None);
    }
    let none = format!(
        "{CLIENT}/qubes-gui-enabled False\n/keyboard-layout absent\n/qubes-gui-domain-xid absent
        /qubes-audio-domain-xid absent"
    );
    assert_eq!(database(&fixture, "test-vm1"), common_entries("test-vm1", &none));
}

#[test]
fn netvms_without_the_firewall_of_today_find_rules_of_iptables() {
    let fixture = network();
    fixture.edit("test-template", |qube| assert!(qube.remove_feature("qubes-firewall")));
    let _running = fixture.domain("test-vm1", "Running");
    let found = database(&fixture, "test-net");
    assert_eq!(
        found["/qubes-iptables-domainrules/7"],
        "*filter\n-A FORWARD -s 10.137.0.2 -j ACCEPT\n-A FORWARD -s 10.137.0.2 -j DROP\nCOMMIT\n"
    );
    assert!(found["/qubes-iptables-header"].starts_with("*filter\n:INPUT DROP"));
    assert_eq!(found["/qubes-iptables"], "reload");
}

#[test]
fn a_netvm_is_told_the_rules_of_its_client() {
    let fixture = network();
    let _running = fixture.domain("test-vm1", "Running");
    fixture.ok(
        "admin.vm.firewall.Set",
        "test-vm1",
        "action=drop dst4=10.0.0.1\naction=accept dst6=::1\naction=accept",
    );
    let found = database(&fixture, "test-net");
    let rule = |number: &str| found.get(&format!("/qubes-firewall/10.137.0.2/{number}")).map(String::as_str);
    assert_eq!(rule("policy"), Some("drop"));
    assert_eq!(rule("0000"), Some("action=drop dst4=10.0.0.1/32"));
    assert_eq!(rule("0001"), None);
    assert_eq!(rule("0002"), Some("action=accept"));
}

#[test]
fn netvms_without_the_firewall_of_today_cut_off_clients_with_rules() {
    let fixture = network();
    fixture.edit("test-template", |qube| assert!(qube.remove_feature("qubes-firewall")));
    let _running = fixture.domain("test-vm1", "Running");
    fixture.ok("admin.vm.firewall.Set", "test-vm1", "action=accept dst4=10.0.0.1\n");
    let found = database(&fixture, "test-net");
    let all = "*filter\n-A FORWARD -s 10.137.0.2 -j DROP\nCOMMIT\n";
    assert_eq!(found["/qubes-iptables-domainrules/7"], all);
}

#[test]
fn a_database_is_filled_in_order_told_of_changes_and_ended() {
    let fixture = network();
    let (root, name) = (fixture.root(), QubeName::parse("test-vm1").unwrap());
    install(&fixture);
    let unconnected = "QubesException: qubesdb not connected, VM was killed in the meantime";
    assert_eq!(qubesdb::fill(&root, &name, &[]).map_err(text), Err(unconnected.to_owned()));
    spoil(&fixture, 1, "qubesdb-daemon");
    let unstarted = "QubesException: Cannot execute qubesdb-daemon";
    assert_eq!(qubesdb::start(&root, &name, Domid(7)).map_err(text), Err(unstarted.to_owned()));
    qubesdb::start(&root, &name, Domid(7)).unwrap();
    assert_eq!(recorded(&fixture, "qubesdb-daemon"), ["7 test-vm1", "7 test-vm1"]);

    let key = |length: usize| format!("/{}", "k".repeat(length - 1));
    let entries = [
        Entry::new("/text", "é \n\"%s\""),
        Entry::none("/gone"),
        Entry::new(key(63), "x".repeat(3072)),
        Entry::new(key(64), "too long a key"),
        Entry::new("/large", "x".repeat(3073)),
    ];
    qubesdb::fill(&root, &name, &entries).unwrap();
    let told = recorded(&fixture, "qubesdb.test-vm1");
    let whole = format!("{} = {:?}", key(63), "x".repeat(3072));
    assert_eq!(told[..3], ["/text = \"é \\n\\\"%s\\\"\"", "/gone -", &whole]);
    let seed = told[3].strip_prefix("/qubes-random-seed = \"").unwrap().strip_suffix("==\"").unwrap();
    assert_eq!((told.len(), seed.len()), (4, 86));

    qubesdb::tell(&root, &name, &[Entry::new("/one", "more")]);
    assert_eq!(recorded(&fixture, "qubesdb.test-vm1"), ["/one = \"more\""]);
    qubesdb::stop(&root, &name);
    qubesdb::stop(&root, &name);
    qubesdb::tell(&root, &name, &[Entry::new("/one", "more")]);
    assert_eq!(qubesdb::fill(&root, &name, &[]).map_err(text), Err(unconnected.to_owned()));
}

#[test]
fn qrexec_daemons_are_started_for_a_qube_and_its_helper() {
    let fixture = network();
    let (root, name) = (fixture.root(), QubeName::parse("test-vm1").unwrap());
    let agent = || look(&fixture, "test-vm1", |case, qube| Agent::of_qube(case, qube, Domid(7))).unwrap();
    let stubdom = Stubdom { domid: Domid(8), uuid: fixture::uuid(99).to_string(), cpu_time_ns: 0, vcpus: 1 };
    agent().start(&root).unwrap();
    assert!(!qrexec::is_connected(&root, &name));

    install(&fixture);
    let started = |agent: Agent| agent.start(&root).map_err(text);
    assert_eq!(started(agent()), Ok(()));
    feature(&fixture, "test-template", "qrexec", "1");
    set(&fixture, "test-vm1", "debug", Value::Bool(true));
    set(&fixture, "test-vm1", "qrexec_timeout", Value::Int(90));
    set(&fixture, "test-vm1", "default_user", text_value("alice"));
    assert_eq!(started(agent().in_stubdom(&stubdom)), Ok(()));
    spoil(&fixture, 3, "qrexec-daemon");
    let silent = "QubesVMError: Cannot connect to qrexec agent for 90 seconds, see \
                  /var/log/xen/console/guest-test-vm1.log for details";
    assert_eq!(started(agent()), Err(silent.to_owned()));
    spoil(&fixture, 1, "qrexec-daemon");
    let failed = "QubesVMError: qrexec-daemon startup failed: told to _fail";
    assert_eq!(started(agent()), Err(failed.to_owned()));

    let (own, helpers) = (fixture::uuid(2), fixture::uuid(99));
    let expected = [
        format!("QREXEC_STARTUP_NOWAIT=1 -q -u {own} -- 7 test-vm1 user"),
        format!("QREXEC_STARTUP_TIMEOUT=90 -u {helpers} -- 8 test-vm1-dm root"),
        format!("QREXEC_STARTUP_TIMEOUT=90 -u {own} -- 7 test-vm1 alice"),
        format!("QREXEC_STARTUP_TIMEOUT=90 -u {own} -- 7 test-vm1 alice"),
    ];
    assert_eq!(recorded(&fixture, "qrexec-daemon"), expected);
    assert!(qrexec::is_connected(&root, &name));
    qrexec::stop(&root, &name);
    qrexec::stop(&root, &name);
    assert!(!qrexec::is_connected(&root, &name));
    assert!(!fixture.path("/run/qubes/qrexec.test-vm1-dm").exists());
}

#[test]
fn services_run_where_the_qube_is_connected() {
    let fixture = network();
    install(&fixture);
    let (root, name) = (fixture.root(), QubeName::parse("test-vm1").unwrap());
    let refusal = || look(&fixture, "test-vm1", |case, qube| service::check(&case.context, qube));
    let off = "QubesVMNotRunningError: Domain not running (either powered off or paused): 'test-vm1'";
    assert_eq!(refusal(), Err(off.to_owned()));
    let paused = fixture.domain("test-vm1", "Paused");
    assert_eq!(refusal(), Err("QubesVMNotRunningError: Domain 'test-vm1' is paused".to_owned()));
    drop(paused);
    let _running = fixture.domain("test-vm1", "Running");
    assert_eq!(refusal(), Err("QubesVMError: Domain 'test-vm1': qrexec not connected".to_owned()));
    look(&fixture, "test-vm1", |case, qube| Agent::of_qube(case, qube, Domid(7)))
        .unwrap()
        .start(&root)
        .unwrap();
    assert_eq!(refusal(), Ok(()));
    let deadline = std::time::Duration::from_secs(60);
    assert!(service::run(&root, &name, "root", "qubes.SuspendPre", "", deadline).unwrap().is_success());
    assert_eq!(
        recorded(&fixture, "qrexec-client"),
        ["-d test-vm1 root:QUBESRPC qubes.SuspendPre dom0 < \"\""]
    );
    qrexec::stop(&root, &name);
}

#[test]
fn the_memory_asked_for_is_the_domains_and_the_hypervisors() {
    const MIB: u64 = 1 << 20;
    let fixture = network();
    let amount = || look(&fixture, "test-vm1", |case, _| memory::amount(case)).unwrap();
    assert_eq!(amount(), 400 * MIB + 4 * MIB + 3 * MIB + 4000 * 8192);
    set(&fixture, "test-vm1", "vcpus", Value::Int(3));
    set(&fixture, "test-vm1", "maxmem", Value::Int(0));
    assert_eq!(amount(), 400 * MIB + 4 * MIB + 9 * MIB / 2 + 400 * 8192);
    set(&fixture, "test-vm1", "virt_mode", text_value("pv"));
    assert_eq!(amount(), 400 * MIB + 4 * MIB + 9 * MIB / 2);
    set(&fixture, "test-vm1", "virt_mode", text_value("hvm"));
    let rest = 400 * MIB + 4 * MIB + 9 * MIB / 2 + 400 * 8192;
    assert_eq!(amount(), rest + (128 + 16) * MIB);
    feature(&fixture, "test-vm1", "linux-stubdom", "");
    assert_eq!(amount(), rest + (28 + 16) * MIB);
    set(&fixture, "test-vm1", "stubdom_mem", Value::Int(200));
    assert_eq!(amount(), rest + (200 + 16) * MIB);
}

#[test]
fn memory_is_held_until_it_is_given_back() {
    let fixture = Fixture::new();
    let (root, name) = (fixture.root(), QubeName::parse("test-vm1").unwrap());
    assert!(Grant::request(&root, &name, 5).unwrap().is_none());
    let requests = memory_daemon(&fixture, "OK\n");
    let grant = Grant::request(&root, &name, 12_345_678_901).unwrap();
    assert_eq!(next(&requests), "12345678901");
    assert!(requests.try_recv().is_err());
    drop(grant);
    assert_eq!(next(&requests), "released");
}

#[test]
fn without_enough_memory_there_is_no_start() {
    let fixture = Fixture::new();
    let (root, name) = (fixture.root(), QubeName::parse("test-vm1").unwrap());
    let asked = || Grant::request(&root, &name, 1).map(drop).map_err(text);
    let requests = memory_daemon(&fixture, "FAIL\n");
    assert_eq!(asked(), Err("QubesMemoryError: Not enough memory to start domain 'test-vm1'".to_owned()));
    assert_eq!([next(&requests), next(&requests)], ["1", "released"]);
    let socket = fixture.path("/run/qubes/qmemman.sock");
    std::fs::remove_file(&socket).unwrap();
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let unreachable = "QubesException: Cannot reach the memory daemon, see the log for details";
    assert_eq!(asked(), Err(unreachable.to_owned()));
}

#[test]
fn a_netvm_is_told_of_a_new_client() {
    let fixture = network();
    let told = look(&fixture, "test-vm1", |client, _| {
        let netvm = client.named_by("netvm")?.unwrap();
        clients::of_new_client(&client.at(&netvm), client)
    });
    let lines = format!("/connected-ips 10.137.0.2\n/connected-ips6\n{FIREWALL}");
    assert_eq!(held(told.unwrap()), expected(&lines));
}

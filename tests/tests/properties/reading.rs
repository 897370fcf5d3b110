//! List, Get, GetAll, GetDefault and Help (spec 10 §3.1, §3.2, appendix C).

use super::{SYSTEM, call, content, get, refused, reset, set, world};
use tests::Fixture;
use tests::fixture::uuid;

const GLOBAL: &str = "check_updates_vm clockvm default_audiovm default_dispvm default_guivm default_kernel \
    default_netvm default_pool default_pool_kernel default_pool_private default_pool_root default_pool_volatile \
    default_qrexec_timeout default_shutdown_timeout default_template management_dispvm maxmem no_cpus \
    stats_interval updatevm";
const ADMIN: &str = "devices_denied icon include_in_backups keyboard_layout klass label maxmem name qid updateable \
    uuid default_dispvm";
const EARLY: &str = "autostart backup_timestamp debug default_user devices_denied dns gateway gateway6 icon \
    include_in_backups installed_by_rpm ip ip6 kernel keyboard_layout klass label mac maxmem memory name \
    provides_network qid qrexec_timeout shutdown_timeout start_time stubdom_mem stubdom_uuid stubdom_xid \
    updateable uuid vcpus virt_mode visible_gateway visible_gateway6 visible_ip visible_ip6 visible_netmask xid";
const LATE: &str = "audiovm bootmode default_dispvm guivm kernelopts management_dispvm netvm";
const REMOTE: &str = "icon include_in_backups klass label name qid remote_name transport_rpc uuid relayvm";

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

/// The list with one more word, behind another or (behind nothing) in front.
fn with(mut list: Vec<String>, behind: &str, word: &str) -> Vec<String> {
    let place = list.iter().position(|known| known == behind).map_or(0, |position| position + 1);
    list.insert(place, word.to_owned());
    list
}

/// Holders and their lists as the table of spec 10 §3.2 has them, with the counts it states.
fn lists() -> [(&'static str, Vec<String>, usize); 7] {
    let early = || words(EARLY);
    let serving = || with(early(), "stubdom_xid", "template_for_dispvms");
    let late = || words(LATE);
    let based = || with(late(), "netvm", "template");
    let disposable = with(with(early(), "", "auto_cleanup"), "devices_denied", "dispid");
    let disposable = with(disposable, "ip6", "is_preload");
    [
        (SYSTEM, words(GLOBAL), 20),
        ("dom0", words(ADMIN), 12),
        ("test-template", [early(), with(late(), "", "appvm_default_bootmode")].concat(), 47),
        ("test-alone", [serving(), late()].concat(), 47),
        ("test-vm1", [serving(), based()].concat(), 48),
        ("test-disp", [disposable, based()].concat(), 50),
        ("test-far", words(REMOTE), 10),
    ]
}

/// What a call without argument prints.
fn print(fixture: &Fixture, verb: &str, holder: &str) -> String {
    content(&call(fixture, verb, holder, "", b""))
}

#[test]
fn each_class_lists_its_properties_in_load_order() {
    let fixture = world();
    for (holder, list, count) in lists() {
        assert_eq!(list.len(), count);
        assert_eq!(print(&fixture, "List", holder), list.join("\n") + "\n", "{holder}");
        assert_eq!(content(&call(&fixture, "List", holder, &list[3], b"")), format!("{}\n", list[3]));
        assert_eq!(
            refused(&fixture, "List", holder, "nope", b""),
            "PermissionDenied: Argument not in 'properties'"
        );
    }
}

#[test]
fn get_all_is_every_get_in_the_order_of_the_list() {
    let fixture = world();
    set(&fixture, "test-vm1", "kernelopts", "opt1\nopt2\nopt3\\opt4");
    for (holder, list, _) in lists() {
        let line = |name: &String| {
            let escaped = get(&fixture, holder, name).replace('\\', "\\\\").replace('\n', "\\n");
            format!("{name} {escaped}\n")
        };
        let lines: String = list.iter().map(line).collect();
        assert_eq!(print(&fixture, "GetAll", holder), lines, "{holder}");
    }
    let all = print(&fixture, "GetAll", "test-vm1");
    assert!(all.contains("\nkernelopts default=False type=str opt1\\nopt2\\nopt3\\\\opt4\n"));
}

#[test]
fn a_fresh_appvm_reads_as_the_tables_say() {
    let fixture = Fixture::new();
    let expected = format!(
        "autostart default=True type=bool False\nbackup_timestamp default=True type=int \n\
        debug default=True type=bool False\ndefault_user default=True type=str user\n\
        devices_denied default=True type=str \ndns default=True type=str \ngateway default=True type=str \n\
        gateway6 default=True type=str \nicon default=True type=str appvm-red\n\
        include_in_backups default=True type=bool True\ninstalled_by_rpm default=True type=bool False\n\
        ip default=True type=str \nip6 default=True type=str \nkernel default=True type=str 1.0\n\
        keyboard_layout default=True type=str us++\nklass default=True type=str AppVM\n\
        label default=False type=label red\nmac default=True type=str 00:16:3e:5e:6c:00\n\
        maxmem default=True type=int 4000\nmemory default=True type=int 400\n\
        name default=False type=str test-vm1\nprovides_network default=True type=bool False\n\
        qid default=False type=int 2\nqrexec_timeout default=True type=int 60\n\
        shutdown_timeout default=True type=int 60\nstart_time default=True type=str \n\
        stubdom_mem default=True type=int \nstubdom_uuid default=True type=str \n\
        stubdom_xid default=True type=int -1\ntemplate_for_dispvms default=True type=bool False\n\
        updateable default=True type=bool False\nuuid default=False type=str {}\n\
        vcpus default=True type=int 2\nvirt_mode default=True type=str pvh\n\
        visible_gateway default=True type=str \nvisible_gateway6 default=True type=str \n\
        visible_ip default=True type=str \nvisible_ip6 default=True type=str \n\
        visible_netmask default=True type=str \nxid default=True type=int -1\naudiovm default=True type=vm dom0\n\
        bootmode default=True type=str default\ndefault_dispvm default=True type=vm \n\
        guivm default=True type=vm dom0\nkernelopts default=True type=str swiotlb=2048\n\
        management_dispvm default=True type=vm \nnetvm default=True type=vm \n\
        template default=False type=vm test-template\n",
        uuid(2)
    );
    assert_eq!(print(&fixture, "GetAll", "test-vm1"), expected);
}

#[test]
fn the_system_and_dom0_read_as_the_tables_say() {
    let fixture = Fixture::new();
    let expected = "check_updates_vm default=True type=bool True\nclockvm default=True type=vm \n\
        default_audiovm default=True type=vm dom0\ndefault_dispvm default=True type=vm \n\
        default_guivm default=True type=vm dom0\ndefault_kernel default=False type=str 1.0\n\
        default_netvm default=False type=vm \ndefault_pool default=False type=str varlibqubes\n\
        default_pool_kernel default=False type=str linux-kernel\n\
        default_pool_private default=True type=str varlibqubes\n\
        default_pool_root default=True type=str varlibqubes\n\
        default_pool_volatile default=True type=str varlibqubes\ndefault_qrexec_timeout default=True type=int 60\n\
        default_shutdown_timeout default=True type=int 60\ndefault_template default=False type=vm test-template\n\
        management_dispvm default=True type=vm \nmaxmem default=True type=int 16384\n\
        no_cpus default=True type=int 4\nstats_interval default=True type=int 3\nupdatevm default=True type=vm \n";
    assert_eq!(print(&fixture, "GetAll", SYSTEM), expected);
    let expected = "devices_denied default=True type=str \nicon default=True type=str adminvm-black\n\
        include_in_backups default=True type=bool True\nkeyboard_layout default=True type=str us++\n\
        klass default=True type=str AdminVM\nlabel default=False type=label black\n\
        maxmem default=True type=int 4096\nname default=True type=str dom0\nqid default=True type=int 0\n\
        updateable default=True type=bool True\n\
        uuid default=True type=str 00000000-0000-0000-0000-000000000000\ndefault_dispvm default=True type=vm \n";
    assert_eq!(print(&fixture, "GetAll", "dom0"), expected);
}

#[test]
fn a_remote_qube_has_only_what_it_needs() {
    let fixture = world();
    let all = print(&fixture, "GetAll", "test-far");
    let lines: Vec<&str> = all.lines().filter(|line| !line.starts_with("uuid ")).collect();
    let expected = [
        "icon default=True type=str remotevm-red",
        "include_in_backups default=True type=bool False",
        "klass default=True type=str RemoteVM",
        "label default=False type=label red",
        "name default=False type=str test-far",
        "qid default=False type=int 7",
        "remote_name default=True type=str ",
        "transport_rpc default=True type=str ",
        "relayvm default=True type=vm ",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn set_to_its_default_value_a_property_is_not_default() {
    let fixture = Fixture::new();
    set(&fixture, "test-vm1", "vcpus", "2");
    assert_eq!(get(&fixture, "test-vm1", "vcpus"), "default=False type=int 2");
    reset(&fixture, "test-vm1", "vcpus");
    assert_eq!(get(&fixture, "test-vm1", "vcpus"), "default=True type=int 2");
}

#[test]
fn get_default_tells_the_default_whatever_is_set() {
    let fixture = world();
    for (holder, property, value, shown) in [
        ("test-vm1", "provides_network", "True", "type=bool False"),
        ("test-vm1", "netvm", "test-net", "type=vm "),
        ("test-vm1", "vcpus", "9", "type=int 2"),
        ("test-vm1", "default_user", "root", "type=str user"),
        ("test-disp", "default_dispvm", "", "type=vm test-dvm"),
        ("dom0", "keyboard_layout", "de++", "type=str us++"),
        (SYSTEM, "updatevm", "test-net", "type=vm "),
        (SYSTEM, "stats_interval", "9", "type=int 3"),
        (SYSTEM, "default_template", "", ""),
        (SYSTEM, "default_kernel", "", ""),
    ] {
        set(&fixture, holder, property, value);
        assert_eq!(content(&call(&fixture, "GetDefault", holder, property, b"")), shown, "{property}");
    }
    for (holder, property, shown) in [
        ("test-vm1", "template", ""),
        ("test-vm1", "label", ""),
        ("test-vm1", "name", ""),
        ("test-vm1", "qid", ""),
        ("test-vm1", "uuid", ""),
        ("test-disp", "dispid", ""),
        ("dom0", "label", ""),
        ("dom0", "name", "type=str dom0"),
        ("test-vm1", "xid", "type=int -1"),
        ("test-net", "dns", "type=str 10.139.1.1 10.139.1.2"),
    ] {
        assert_eq!(content(&call(&fixture, "GetDefault", holder, property, b"")), shown, "{property}");
    }
}

#[test]
fn help_is_the_documentation_and_both_forms_agree() {
    let fixture = world();
    let label = "Colourful label assigned to VM. This is where the colour of the padlock is set.";
    let clockvm = "Which VM to use as NTP proxy for updating AdminVM";
    assert_eq!(content(&call(&fixture, "Help", "test-vm1", "label", b"")), label);
    assert_eq!(content(&call(&fixture, "Help", SYSTEM, "clockvm", b"")), clockvm);
    for (holder, list, _) in lists() {
        for name in &list {
            let text = content(&call(&fixture, "Help", holder, name, b""));
            let own = holder == "dom0" && matches!(name.as_str(), "name" | "qid" | "uuid");
            let silent = own || matches!(name.as_str(), "icon" | "stubdom_uuid" | "stubdom_xid");
            assert_eq!(text.is_empty(), silent, "{holder} {name}");
            assert_eq!(text.split_whitespace().collect::<Vec<_>>().join(" "), text, "{holder} {name}");
            assert_eq!(content(&call(&fixture, "HelpRst", holder, name, b"")), text, "{holder} {name}");
        }
    }
}

#[test]
fn an_unknown_property_is_refused_by_every_call() {
    let fixture = world();
    for (holder, shown) in
        [(SYSTEM, "Qubes"), ("dom0", "dom0"), ("test-vm1", "test-vm1"), ("test-far", "test-far")]
    {
        for verb in ["Get", "GetDefault", "Help", "HelpRst", "Set", "Reset"] {
            let text = format!("QubesNoSuchPropertyError: Invalid property 'nope' of {shown}");
            assert_eq!(refused(&fixture, verb, holder, "nope", b""), text, "{verb}");
        }
    }
    assert!(refused(&fixture, "Get", "test-far", "netvm", b"").starts_with("QubesNoSuchPropertyError"));
    assert_eq!(
        refused(&fixture, "Get", "test-vm1", "it's%", b""),
        "QubesNoSuchPropertyError: Invalid property \"it's%%\" of test-vm1"
    );
}

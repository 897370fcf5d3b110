//! The files that follow from the calls' rows: policy, its include groups, the reference of calls.

use common::call::{Access, Destination, Entry, Presence, Scope};
use common::root::Root;
use common::store::{DIRECTORY_MODE, Store};

use crate::tool::SOCKETS;

/// Every generated file: path from the repository's root, and content.
pub fn files() -> Vec<(&'static str, String)> {
    let groups = [
        ("admin-global-ro", "admin-global-rwx"),
        ("admin-local-ro", "admin-local-rwx"),
        ("admin-policy-ro", "admin-policy-rwx"),
    ];
    let mut files = vec![
        ("docs/calls.md", reference()),
        ("rpc-config/policy.d/90-admin-default.policy", default_policy()),
        ("rpc-config/policy.d/90-admin-policy-default.policy", policy_on_policy()),
        ("rpc-config/policy.d/91-admin-default-deny.policy", default_deny()),
        ("rpc-config/rpc-config/admin", rpc_config()),
        ("rpc-config/sysctl.d/qubes-admin.conf", limits()),
        ("rpc-config/systemd/qubes-admin-boot.service", boot()),
        ("rpc-config/systemd/qubes-admin-devices@.service", devices()),
        ("rpc-config/systemd/qubes-admin-gateway.service", gateway()),
        ("rpc-config/systemd/qubes-admin-gateway.socket", sockets()),
        ("rpc-config/systemd/qubes-admin-preload.service", preload()),
        ("rpc-config/systemd/qubes-admin-qubes.service", qubes()),
        ("rpc-config/systemd/qubes-admin-sleep.service", sleep()),
        ("rpc-config/systemd/qubes-vm@.service", qube()),
        ("rpc-config/tmpfiles.d/qubes-admin.conf", directories()),
        ("rpc-config/udev/90-qubes-admin-block.rules", appearance()),
    ];
    for (read, write) in groups {
        files.push((path_of(read), include(&format!("!include include/{write}\n"))));
        files.push((path_of(write), include("")));
    }
    files
}

fn path_of(group: &str) -> &'static str {
    match group {
        "admin-global-ro" => "rpc-config/policy.d/include/admin-global-ro",
        "admin-global-rwx" => "rpc-config/policy.d/include/admin-global-rwx",
        "admin-local-ro" => "rpc-config/policy.d/include/admin-local-ro",
        "admin-policy-ro" => "rpc-config/policy.d/include/admin-policy-ro",
        "admin-policy-rwx" => "rpc-config/policy.d/include/admin-policy-rwx",
        _ => "rpc-config/policy.d/include/admin-local-rwx",
    }
}

fn calls() -> Vec<&'static Entry> {
    let mut calls: Vec<&Entry> = services::FAMILIES.iter().flat_map(|family| family.calls).collect();
    calls.sort_by_key(|call| call.row.name);
    calls
}

/// `include/admin-<scope>-<mode>`: whoever may write may also read.
fn group(call: &Entry) -> String {
    let scope = match call.row.scope {
        Scope::Global => "global",
        Scope::Policy => "policy",
        _ => "local",
    };
    let mode = if call.row.access == Access::Write { "rwx" } else { "ro" };
    format!("include/admin-{scope}-{mode}")
}

const HEADER: &str = "## Generated from the calls' rows: UPDATE=1 cargo test writes this file.\n";

fn default_policy() -> String {
    let mut text = format!("{HEADER}## Who may make these calls stands in the include files.\n\n");
    // Nobody makes a second dom0; those calls answer dom0 alone.
    let has_rules = |call: &&Entry| {
        !call.row.name.ends_with(".AdminVM") && !call.row.is_internal() && !call.row.is_plain()
    };
    for call in calls().into_iter().filter(has_rules) {
        let name = call.row.name;
        let rule = match call.row.is_from_guests() {
            true => format!("{name} * @anyvm @adminvm allow\n"),
            false => format!("!include-service {name} * {}\n", group(call)),
        };
        text.push_str(&rule);
    }
    text
}

fn policy_on_policy() -> String {
    let mut text = format!("{HEADER}## Who may read and change the policy stands in the include files.\n\n");
    for call in calls().into_iter().filter(|call| call.row.scope == Scope::Policy) {
        text.push_str(&format!("!include-service {} * {}\n", call.row.name, group(call)));
    }
    text
}

/// Clients try the bulk reads first and fall back; their refusal is no news.
fn default_deny() -> String {
    let mut text = format!("{HEADER}\n");
    for call in ["admin.vm.property.GetAll", "admin.property.GetAll"] {
        for target in ["@anyvm", "@adminvm"] {
            text.push_str(&format!("{call} * @anyvm {target} deny notify=no\n"));
        }
    }
    text
}

fn include(includes: &str) -> String {
    format!("## Rules for a group of calls, one a line: SOURCE TARGET allow target=dom0\n{includes}")
}

/// How qrexec starts every call; each method's file is a link to this one.
fn rpc_config() -> String {
    "# Admin calls are answered at once, whether or not anybody is logged in.\nwait-for-session = false\n"
        .to_owned()
}

/// The store's directories, made anew at every boot where they lie in `/run`.
fn directories() -> String {
    let mut text =
        "# The store of the Admin API: generated, UPDATE=1 cargo test writes this file.\n".to_owned();
    for path in Store::at(&Root::at("/")).directories() {
        text.push_str(&format!("d {} {DIRECTORY_MODE:o} root qubes -\n", path.display()));
    }
    text.push_str(
        "# What is told of volumes in use and of qrexec's daemons.\nd /run/qubes 2775 root qubes -\n",
    );
    text.push_str("# Logs.\nd /var/log/qubes 2770 root qubes -\n");
    text.push_str("# dom0's services, read by everyone.\nd /run/qubes-service 2775 root qubes -\n");
    text
}

/// Each listener has an inotify instance; the kernel's own limit of 128 is soon reached.
fn limits() -> String {
    "# How many event listeners a user may have: generated, UPDATE=1 cargo test writes this file.\n\
        fs.inotify.max_user_instances = 8192\n"
        .to_owned()
}

/// What a boot needs done before services start: `/run` is empty, and a power loss may have left something unfinished.
fn boot() -> String {
    "# Generated, UPDATE=1 cargo test writes this file.\n\
        [Unit]\n\
        Description=Bring the store of the Admin API and what follows from it in order\n\
        ConditionPathExists=/var/lib/qubes/admin/system.json\n\
        DefaultDependencies=no\n\
        RequiresMountsFor=/var/lib/qubes\n\
        After=systemd-tmpfiles-setup.service\n\
        Before=sysinit.target\n\n\
        [Service]\n\
        Type=oneshot\n\
        ExecStart=/usr/bin/qubes-admin check --repair\n\
        UMask=0007\n\n\
        [Install]\n\
        WantedBy=sysinit.target\n"
        .to_owned()
}

/// What is done for all qubes when services start and before they end. Domains' watchers come before it, so that a
/// machine that ends leaves them alone until no domain is left.
fn qubes() -> String {
    "# Generated, UPDATE=1 cargo test writes this file.\n\
        [Unit]\n\
        Description=Clear away what an earlier boot left of disposable qubes, and shut all qubes down at the end\n\
        ConditionPathExists=/var/lib/qubes/admin/system.json\n\
        After=qubes-admin-boot.service xenstored.service xenconsoled.service xen-init-dom0.service\n\n\
        [Service]\n\
        Type=oneshot\n\
        RemainAfterExit=yes\n\
        ExecStart=-/usr/bin/qubes-admin clean-up\n\
        ExecStop=/usr/bin/qubes-admin shutdown-all\n\
        TimeoutStopSec=10min\n\
        UMask=0007\n\n\
        [Install]\n\
        WantedBy=multi-user.target\n"
        .to_owned()
}

/// Starts one qube at boot: enabled for each whose `autostart` is on.
fn qube() -> String {
    "# Generated, UPDATE=1 cargo test writes this file.\n\
        [Unit]\n\
        Description=Start the qube %i\n\
        ConditionKernelCommandLine=!qubes.skip_autostart\n\
        After=qubes-admin-qubes.service\n\n\
        [Service]\n\
        Type=oneshot\n\
        RemainAfterExit=yes\n\
        ExecStart=/usr/bin/qubes-admin start -- %i\n\
        UMask=0007\n\n\
        [Install]\n\
        WantedBy=multi-user.target\n"
        .to_owned()
}

/// Makes disposables in advance at boot, beside the qubes that start with the machine. Nobody's start waits for it.
fn preload() -> String {
    "# Generated, UPDATE=1 cargo test writes this file.\n\
        [Unit]\n\
        Description=Make disposable qubes in advance\n\
        ConditionPathExists=/var/lib/qubes/admin/system.json\n\
        ConditionKernelCommandLine=!qubes.skip_autostart\n\
        After=qubes-admin-qubes.service\n\n\
        [Service]\n\
        Type=exec\n\
        ExecStart=/usr/bin/qubes-admin preload\n\
        UMask=0007\n\n\
        [Install]\n\
        WantedBy=multi-user.target\n"
        .to_owned()
}

/// Lets dom0's block devices be looked at whenever one came or went, but not volumes that lvm has: each start of a qube makes
/// some. What udev runs itself must be short, and the user may be asked who gets a device.
fn appearance() -> String {
    "# Generated, UPDATE=1 cargo test writes this file.\n\
        ACTION==\"add|change|remove\", SUBSYSTEM==\"block\", KERNEL!=\"ram*|zram*|xvd*\", ENV{DM_UUID}!=\"LVM-*\", \
        TEST==\"/var/lib/qubes/admin/system.json\", \
        RUN+=\"/usr/bin/systemctl --no-block start qubes-admin-devices@$env{SEQNUM}.service\"\n"
        .to_owned()
}

/// An instance for each event, as one that runs already may have looked before.
fn devices() -> String {
    "# Generated, UPDATE=1 cargo test writes this file.\n\
        [Unit]\n\
        Description=Tell of block devices of dom0 that came or went (%i)\n\
        ConditionPathExists=/var/lib/qubes/admin/system.json\n\
        CollectMode=inactive-or-failed\n\
        After=qubes-admin-boot.service\n\n\
        [Service]\n\
        Type=exec\n\
        ExecStart=/usr/bin/qubes-admin look-for-devices\n\
        KillMode=process\n\
        UMask=0007\n"
        .to_owned()
}

/// Sends the qubes to sleep before the machine, and wakes them with it. A qube that does not sleep keeps none of the others from
/// waking. Where another unit has done the same through our sockets, the list of those that slept before is there, and must
/// not be written again.
fn sleep() -> String {
    "# Generated, UPDATE=1 cargo test writes this file.\n\
        [Unit]\n\
        Description=Send the qubes to sleep before the machine, and wake them with it\n\
        ConditionPathExists=/var/lib/qubes/admin/system.json\n\
        ConditionPathExists=!/run/qubes/previously-paused.list\n\
        DefaultDependencies=no\n\
        After=qubes-suspend.service\n\
        Before=sleep.target\n\
        StopWhenUnneeded=yes\n\n\
        [Service]\n\
        Type=oneshot\n\
        RemainAfterExit=yes\n\
        ExecStart=-/usr/bin/qubes-admin suspend-all\n\
        ExecStop=/usr/bin/qubes-admin resume-all\n\
        TimeoutStartSec=10min\n\
        TimeoutStopSec=10min\n\
        UMask=0007\n\n\
        [Install]\n\
        WantedBy=sleep.target\n"
        .to_owned()
}

/// The sockets of the daemon that dom0's tools know, which gives them up. Calls of many qubes may come at once: a limit on
/// how often the gateway is started would let any of them close the sockets for good.
fn sockets() -> String {
    let listen: String = SOCKETS.iter().map(|(name, _)| format!("ListenStream=/run/{name}\n")).collect();
    format!(
        "# Generated, UPDATE=1 cargo test writes this file.\n\
        [Unit]\n\
        Description=The sockets at which dom0's tools make calls of the Admin API\n\
        ConditionPathExists=/var/lib/qubes/admin/system.json\n\
        Conflicts=qubesd.service\n\
        After=qubesd.service\n\n\
        [Socket]\n\
        {listen}\
        SocketMode=0660\n\
        SocketGroup=qubes\n\
        RemoveOnStop=yes\n\
        TriggerLimitIntervalSec=0\n\n\
        [Install]\n\
        WantedBy=sockets.target\n"
    )
}

/// The gateway ends when it has nothing to do, and leaves the calls alone that it serves when it is ended.
fn gateway() -> String {
    "# Generated, UPDATE=1 cargo test writes this file.\n\
        [Unit]\n\
        Description=Serve the calls of dom0's tools\n\
        Requires=qubes-admin-gateway.socket\n\
        StartLimitIntervalSec=0\n\n\
        [Service]\n\
        Type=exec\n\
        ExecStart=/usr/bin/qubes-admin gateway\n\
        KillMode=process\n\
        UMask=0007\n"
        .to_owned()
}

fn reference() -> String {
    let mut text = "# Calls\n\nGenerated from the calls' rows: `UPDATE=1 cargo test` writes this file.\n\n\
        Destination: *dom0* only, any *qube* but dom0, or *any*. Argument and payload: – none, ? optional, ! required, … a stream of any length.\n\n\
        | call | destination | argument | payload | policy group | what it does |\n|---|---|---|---|---|---|\n"
        .to_owned();
    for call in calls() {
        let row = &call.row;
        let destination = match row.destination {
            Destination::Dom0 => "dom0",
            Destination::Qube => "qube",
            Destination::Any => "any",
        };
        let (argument, payload) = (mark(row.argument), mark(row.payload));
        let group = group(call);
        let group = match row.scope {
            Scope::Internal => "internal",
            Scope::Guests => "any qube",
            Scope::Unlisted => "none",
            Scope::Global | Scope::Local | Scope::Policy => group.trim_start_matches("include/"),
        };
        let (name, help) = (row.name, row.help);
        text.push_str(&format!("| `{name}` | {destination} | {argument} | {payload} | {group} | {help} |\n"));
    }
    text
}

const fn mark(presence: Presence) -> char {
    match presence {
        Presence::No | Presence::Conversation => '–',
        Presence::Optional => '?',
        Presence::Required => '!',
        Presence::Stream | Presence::SizedStream => '…',
    }
}

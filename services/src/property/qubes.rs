//! The properties of qubes (spec 10 §3.5 to §3.7).

use common::model::{Class, Value};

use super::row::{Case, Fits, Kind, Written};
use super::{check, network, values};

const QUBE: Kind = Kind::Qube { none: true, fits: Fits::Local };
const TEMPLATE: Kind = Kind::Qube { none: false, fits: Fits::Local };

const fn any(_: Class) -> bool {
    true
}

const fn only_remote(class: Class) -> bool {
    matches!(class, Class::RemoteVM)
}

const fn only_template(class: Class) -> bool {
    matches!(class, Class::TemplateVM)
}

const fn only_disposable(class: Class) -> bool {
    matches!(class, Class::DispVM)
}

const fn may_serve_disposables(class: Class) -> bool {
    matches!(class, Class::AppVM | Class::StandaloneVM)
}

type Found = Result<Option<Value>, common::failure::Failure>;

fn text(value: &str) -> Found {
    Ok(Some(Value::Text(value.to_owned())))
}

const fn none(_: &Case<'_>) -> Found {
    Ok(Some(Value::None))
}

const fn off(_: &Case<'_>) -> Found {
    Ok(Some(Value::Bool(false)))
}

/// Properties of load stage 2, by name.
pub(super) const EARLY: &[Written] = &[
    Written::new("auto_cleanup", Kind::Bool, "Whether the disposable is removed after its shutdown.")
        .of(only_disposable)
        .default(off),
    Written::new(
        "autostart",
        Kind::Bool,
        "Setting this to True means that VM should be autostarted on dom0 boot.",
    )
    .default(off),
    Written::new("backup_timestamp", Kind::Int, "Time of last backup of the qube, in seconds since unix epoch")
        .default(none),
    Written::new("debug", Kind::Bool, "Turns on debugging features.").default(off),
    Written::new(
        "default_user",
        Kind::Text,
        "Default user to start applications as. TemplateBasedVMs use its template's value by default.",
    )
    .default(|case| values::through_template(case, "default_user", || text("user")))
    .check(check::default_user),
    Written::new("devices_denied", Kind::Text, "List of device interface codes that are denied for this VM.")
        .of(Class::is_local)
        .default(|_| text(""))
        .check(check::devices_denied),
    Written::new("dispid", Kind::Int, "Number of the disposable, part of its name.").of(only_disposable).once(),
    Written::new("dns", Kind::Text, "DNS servers set up for this domain.").computed(network::dns),
    Written::new("gateway", Kind::Text, "Gateway for other domains that use this domain as netvm.")
        .computed(network::gateway),
    Written::new("gateway6", Kind::Text, "Gateway (IPv6) for other domains that use this domain as netvm.")
        .computed(network::gateway6),
    Written::new("icon", Kind::Text, "").of(any).computed(values::icon),
    Written::new("include_in_backups", Kind::Bool, "If this domain is to be included in default backup.")
        .of(any)
        .default(values::include_in_backups),
    Written::new(
        "installed_by_rpm",
        Kind::Bool,
        "If this domain's image was installed from package tracked by package manager.",
    )
    .default(off),
    Written::new("ip", Kind::Ip4, "IP address of this domain.").default(network::ip),
    Written::new("ip6", Kind::Ip6, "IPv6 address of this domain.").default(network::ip6),
    Written::new("is_preload", Kind::Bool, "Whether the disposable was made in advance and not yet used.")
        .of(only_disposable)
        .computed(values::is_preload),
    Written::new(
        "kernel",
        Kind::Text,
        "Kernel used by this domain. TemplateBasedVMs use its template's value by default.",
    )
    .default(|case| values::through_template_or_global(case, "kernel", "default_kernel"))
    .check(check::kernel),
    Written::new("keyboard_layout", Kind::Text, "Keyboard layout for this VM")
        .of(Class::is_local)
        .default(values::keyboard_layout)
        .check(check::keyboard_layout),
    Written::new("klass", Kind::Text, "Domain class name").of(any).computed(values::class),
    Written::new(
        "label",
        Kind::Label,
        "Colourful label assigned to VM. This is where the colour of the padlock is set.",
    )
    .of(any)
    .check(check::label),
    Written::new("mac", Kind::Text, "MAC address of the NIC emulated inside VM")
        .default(|_| text("00:16:3e:5e:6c:00"))
        .check(check::mac),
    Written::new(
        "maxmem",
        Kind::Int,
        "Maximum amount of memory available for this VM (for the purpose of the memory balancer). Set to 0 to \
         disable memory balancing for this qube. TemplateBasedVMs use its template's value by default (unless \
         memory balancing not supported for this qube).",
    )
    .of(Class::is_local)
    .default(values::maxmem)
    .check(check::maxmem),
    Written::new(
        "memory",
        Kind::Int,
        "Memory currently available for this VM. TemplateBasedVMs use its template's value by default.",
    )
    .default(|case| values::through_template(case, "memory", || Ok(Some(Value::Int(400)))))
    .check(|_, value| check::positive("memory", value)),
    Written::new("name", Kind::Text, "User-specified name of the domain.").of(any).once().default(values::name),
    Written::new(
        "provides_network",
        Kind::Bool,
        "If this domain can act as network provider (formerly known as NetVM or ProxyVM)",
    )
    .default(off)
    .check(check::provides_network),
    Written::new(
        "qid",
        Kind::Int,
        "Internal, persistent identificator of particular domain. Note this is different from Xen domid.",
    )
    .of(any)
    .once()
    .default(values::qid),
    Written::new(
        "qrexec_timeout",
        Kind::Int,
        "Time in seconds after which qrexec connection attempt is deemed failed. Operating system inside VM should \
         be able to boot in this time.",
    )
    .default(|case| values::through_template_or_global(case, "qrexec_timeout", "default_qrexec_timeout"))
    .check(|_, value| check::positive("qrexec_timeout", value)),
    Written::new("remote_name", Kind::Text, "Name of the qube on its own host.").of(only_remote).default(none),
    Written::new(
        "shutdown_timeout",
        Kind::Int,
        "Time in seconds for shutdown of the VM, after which VM may be forcefully powered off. Operating system \
         inside VM should be able to fully shutdown in this time.",
    )
    .default(|case| values::through_template_or_global(case, "shutdown_timeout", "default_shutdown_timeout"))
    .check(|_, value| check::positive("shutdown_timeout", value)),
    Written::new("start_time", Kind::Text, "Tell when machine was started. :rtype: float or None")
        .computed(values::start_time),
    Written::new("stubdom_mem", Kind::Int, "Memory amount allocated for the stubdom")
        .default(none)
        .check(|_, value| check::positive("stubdom_mem", value)),
    Written::new("stubdom_uuid", Kind::Text, "").computed(values::stubdom_uuid),
    Written::new("stubdom_xid", Kind::Int, "").computed(values::stubdom_xid),
    Written::new("template_for_dispvms", Kind::Bool, "Should this VM be allowed to start as Disposable VM")
        .of(may_serve_disposables)
        .default(off),
    Written::new("transport_rpc", Kind::Text, "Service of the relay that carries calls to the remote qube.")
        .of(only_remote)
        .default(none),
    Written::new("updateable", Kind::Bool, "True if this machine may be updated on its own.")
        .of(Class::is_local)
        .computed(values::updateable),
    Written::new("uuid", Kind::Uuid, "UUID from libvirt.").of(any).once().default(values::uuid),
    Written::new(
        "vcpus",
        Kind::Int,
        "Number of virtual CPUs for a qube. TemplateBasedVMs use its template's value by default.",
    )
    .default(|case| values::through_template(case, "vcpus", || Ok(Some(Value::Int(2)))))
    .check(|_, value| check::positive("vcpus", value)),
    Written::new(
        "virt_mode",
        Kind::Text,
        "Virtualisation mode: full virtualisation (\"HVM\"), or paravirtualisation (\"PV\"), or hybrid (\"PVH\"). \
         TemplateBasedVMs use its template's value by default.",
    )
    .default(values::virt_mode)
    .check(check::virt_mode),
    Written::new("visible_gateway", Kind::Text, "Default gateway of this domain as seen by the domain.")
        .computed(network::visible_gateway),
    Written::new("visible_gateway6", Kind::Text, "Default (IPv6) gateway of this domain as seen by the domain.")
        .computed(network::visible_gateway6),
    Written::new("visible_ip", Kind::Text, "IP address of this domain as seen by the domain.")
        .computed(network::visible_ip),
    Written::new("visible_ip6", Kind::Text, "IPv6 address of this domain as seen by the domain.")
        .computed(network::visible_ip6),
    Written::new("visible_netmask", Kind::Text, "Netmask as seen by the domain.").computed(network::visible_netmask),
    Written::new("xid", Kind::Int, "Xen ID. Or not Xen, but ID.").computed(values::xid),
];

/// Properties of load stage 4, by name.
pub(super) const LATE: &[Written] = &[
    Written::new("appvm_default_bootmode", Kind::Text, "Boot mode of qubes based on this template.")
        .of(only_template)
        .default(values::appvm_default_bootmode),
    Written::new("audiovm", QUBE, "VM used for Audio").default(|case| values::global(case, "default_audiovm")),
    Written::new("bootmode", Kind::Text, "Active boot mode for this domain").default(values::bootmode),
    Written::new(
        "default_dispvm",
        QUBE,
        "Default disposable template to be used for spawning disposable qubes for service calls.",
    )
    .of(Class::is_local)
    .default(values::default_dispvm)
    .check(|case, value| check::disposable_template(case, "default_dispvm", value)),
    Written::new("guivm", QUBE, "VM used for Gui").default(|case| values::global(case, "default_guivm")),
    Written::new(
        "kernelopts",
        Kind::Text,
        "Kernel command line passed to domain. TemplateBasedVMs use its template's value by default.",
    )
    .default(values::kernelopts)
    .check(check::kernelopts),
    Written::new(
        "management_dispvm",
        QUBE,
        "Default disposable template to be used for spawning disposable qubes for managing this qube.",
    )
    .default(|case| values::through_template_or_global(case, "management_dispvm", "management_dispvm"))
    .check(|case, value| check::disposable_template(case, "management_dispvm", value)),
    Written::new(
        "netvm",
        QUBE,
        "VM that provides network connection to this domain. When None, machine is disconnected. When absent, \
         domain uses default NetVM.",
    )
    .default(network::netvm)
    .check(check::netvm),
    Written::new("relayvm", QUBE, "Qube through which calls reach the remote qube.").of(only_remote).default(none),
    Written::new("template", TEMPLATE, "Template, on which this AppVM is based.")
        .of(Class::has_template)
        .check(check::template),
];

//! The global properties (spec 10 §3.4).

use common::failure::Failure;
use common::model::Value;

use super::row::{Case, Fits, Kind, Written};
use super::{check, helper};

const QUBE: Kind = Kind::Qube { none: true, fits: Fits::Local };

const fn no_value(_: &Case<'_>) -> Result<Option<Value>, Failure> {
    Ok(None)
}

fn text(value: &str) -> Result<Option<Value>, Failure> {
    Ok(Some(Value::Text(value.to_owned())))
}

const fn none(_: &Case<'_>) -> Result<Option<Value>, Failure> {
    Ok(Some(Value::None))
}

fn number(value: u64) -> Result<Option<Value>, Failure> {
    Ok(Some(Value::Int(i64::try_from(value).unwrap_or(i64::MAX))))
}

/// All global properties, in the order of lists.
pub(super) const ROWS: &[Written] = &[
    Written::new("check_updates_vm", Kind::Bool, "Check for updates inside qubes")
        .default(|_| Ok(Some(Value::Bool(true)))),
    Written::new("clockvm", QUBE, "Which VM to use as NTP proxy for updating AdminVM").default(none),
    Written::new("default_audiovm", QUBE, "Default AudioVM for VMs.").default(|_| text("dom0")),
    Written::new(
        "default_dispvm",
        QUBE,
        "Default disposable template to be used for spawning disposable qubes for service calls in this system.",
    )
    .default(none)
    .check(check::disposable_template_of_system),
    Written::new("default_guivm", QUBE, "Default GuiVM for VMs.").default(|_| text("dom0")),
    Written::new("default_kernel", Kind::Text, "Which kernel to use when not overriden in VM").default(no_value),
    Written::new(
        "default_netvm",
        QUBE,
        "Default NetVM for AppVMs. Initial state is None, which means that AppVMs are not connected to the Internet.",
    )
    .default(none)
    .check(check::default_netvm),
    Written::new("default_pool", Kind::Pool, "Default storage pool").default(helper::default_pool),
    Written::new("default_pool_kernel", Kind::Pool, "Default storage pool for kernel volumes")
        .default(helper::effective_default_pool),
    Written::new("default_pool_private", Kind::Pool, "Default storage pool for private volumes")
        .default(helper::effective_default_pool),
    Written::new("default_pool_root", Kind::Pool, "Default storage pool for root volumes")
        .default(helper::effective_default_pool),
    Written::new("default_pool_volatile", Kind::Pool, "Default storage pool for volatile volumes")
        .default(helper::effective_default_pool),
    Written::new(
        "default_qrexec_timeout",
        Kind::Int,
        "Default time in seconds after which qrexec connection attempt is deemed failed",
    )
    .default(|_| number(60))
    .check(|_, value| check::positive("default_qrexec_timeout", value)),
    Written::new("default_shutdown_timeout", Kind::Int, "Default time in seconds for VM shutdown to complete")
        .default(|_| number(60))
        .check(|_, value| check::positive("default_shutdown_timeout", value)),
    Written::new(
        "default_template",
        Kind::Qube { none: true, fits: Fits::Template },
        "Default template for new AppVMs",
    ),
    Written::new(
        "management_dispvm",
        QUBE,
        "Default disposable template to be used for spawning disposable qubes for managing a qube in this system.",
    )
    .default(none)
    .check(check::disposable_template_of_system_for_management),
    Written::new("maxmem", Kind::Int, "Maximum system memory.")
        .computed(|case| number(case.context.hypervisor.host().memory_mib)),
    Written::new("no_cpus", Kind::Int, "Quantity of CPUs")
        .computed(|case| number(u64::from(case.context.hypervisor.host().cpus))),
    Written::new("stats_interval", Kind::Int, "Interval in seconds for VM stats reporting (memory, CPU usage)")
        .default(|_| number(3))
        .check(|_, value| check::positive("stats_interval", value)),
    Written::new("updatevm", QUBE, "Which VM to use as yum proxy for updating AdminVM and TemplateVMs").default(none),
];

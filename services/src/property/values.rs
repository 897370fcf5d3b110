//! Default and computed values of qubes' properties (spec 10 §3.5), but for the network's.

use std::rc::Rc;

use common::failure::Failure;
use common::hypervisor::Domain;
use common::model::{Class, Qube, Value};

use super::global_in;
use super::row::Case;

type Found = Result<Option<Value>, Failure>;

fn text(value: impl Into<String>) -> Found {
    Ok(Some(Value::Text(value.into())))
}

/// The template's value, else what `otherwise` gives.
pub(super) fn through_template(case: &Case<'_>, property: &str, otherwise: impl FnOnce() -> Found) -> Found {
    match case.template()? {
        Some(template) => case.at(&template).value(property),
        None => otherwise(),
    }
}

/// The template's value, else a global property's.
pub(super) fn through_template_or_global(case: &Case<'_>, property: &str, of_system: &str) -> Found {
    through_template(case, property, || global(case, of_system))
}

/// A global property's value.
pub(super) fn global(case: &Case<'_>, property: &str) -> Found {
    global_in(&case.system(), property)
}

pub(super) fn name(case: &Case<'_>) -> Found {
    Ok(case.qube.map(|qube| Value::Text(qube.name.as_str().to_owned())))
}

pub(super) fn qid(case: &Case<'_>) -> Found {
    Ok(case.qube.map(|qube| Value::Int(i64::from(qube.qid))))
}

pub(super) fn uuid(case: &Case<'_>) -> Found {
    Ok(case.qube.map(|qube| Value::Text(qube.uuid.to_string())))
}

pub(super) fn class(case: &Case<'_>) -> Found {
    Ok(case.qube.map(|qube| Value::Text(qube.class.as_str().to_owned())))
}

pub(super) fn updateable(case: &Case<'_>) -> Found {
    Ok(case.qube.map(|qube| Value::Bool(!qube.class.has_template())))
}

/// Name of the icon: what kind of qube it is and its label; without label there is none.
pub(super) fn icon(case: &Case<'_>) -> Found {
    let Some(qube) = case.qube else { return Ok(None) };
    if qube.class == Class::AdminVM {
        return text("adminvm-black");
    }
    let Some(label) = qube.properties.get("label").and_then(Value::as_text) else { return Ok(None) };
    text(format!("{}-{label}", icon_kind(case, qube)?))
}

fn icon_kind(case: &Case<'_>, qube: &Qube) -> Result<&'static str, Failure> {
    Ok(match qube.class {
        Class::AppVM if case.is_on("template_for_dispvms")? => "templatevm",
        Class::TemplateVM => "templatevm",
        Class::RemoteVM => "remotevm",
        _ if case.has_own_feature("servicevm") => "servicevm",
        Class::DispVM => "dispvm",
        Class::StandaloneVM => "standalonevm",
        _ => "appvm",
    })
}

impl Case<'_> {
    fn has_own_feature(&self, name: &str) -> bool {
        self.qube.and_then(|qube| qube.feature(name)).is_some_and(|value| !value.is_empty())
    }
}

pub(super) fn include_in_backups(case: &Case<'_>) -> Found {
    let Some(qube) = case.qube else { return Ok(None) };
    Ok(Some(Value::Bool(match qube.class {
        Class::DispVM => !case.is_on("auto_cleanup")?,
        Class::RemoteVM => false,
        _ => true,
    })))
}

/// Whether the disposable stands in its template's list of those made in advance.
pub(super) fn is_preload(case: &Case<'_>) -> Found {
    let (Some(qube), Some(template)) = (case.qube, case.template()?) else {
        return Ok(Some(Value::Bool(false)));
    };
    let listed = template.feature("preload-dispvm").unwrap_or_default();
    let waiting = listed.split_ascii_whitespace().any(|name| name == qube.name.as_str());
    Ok(Some(Value::Bool(waiting)))
}

/// The layout of the GUI qube, of its GUI qube and so on; a circle ends it.
pub(super) fn keyboard_layout(case: &Case<'_>) -> Found {
    const PLAIN: &str = "us++";
    let Some(mut here) = case.qube.cloned().map(Rc::new) else { return Ok(None) };
    let mut visited = vec![here.name.clone()];
    while here.class.is_qubes_vm() {
        let Some(guivm) = case.at(&here).named_by("guivm")? else { break };
        if visited.contains(&guivm.name) {
            break;
        }
        if let Some(layout) = guivm.properties.get("keyboard_layout") {
            return Ok(Some(layout.clone()));
        }
        visited.push(guivm.name.clone());
        here = guivm;
    }
    text(PLAIN)
}

/// Memory limit: none where balancing is impossible, else ten times the memory of Linux, half the host at most.
pub(super) fn maxmem(case: &Case<'_>) -> Found {
    let Some(qube) = case.qube else { return Ok(None) };
    if qube.class == Class::AdminVM {
        let static_max = case.context.hypervisor.dom0_memory_max_mib().unwrap_or(4096);
        return Ok(Some(Value::Int(i64::try_from(static_max).unwrap_or(i64::MAX))));
    }
    if !can_balance(case)? {
        return Ok(Some(Value::Int(0)));
    }
    through_template(case, "maxmem", || {
        let memory = case.value("memory")?.and_then(|value| value.as_int()).unwrap_or_default();
        let linux = case.feature("os")?.as_deref() == Some("Linux");
        let wished = if linux { memory.saturating_mul(10) } else { 4000 };
        let host = i64::try_from(case.context.hypervisor.host().memory_mib).unwrap_or(i64::MAX);
        Ok(Some(Value::Int(wished.min(host.checked_div(2).unwrap_or_default()))))
    })
}

fn can_balance(case: &Case<'_>) -> Result<bool, Failure> {
    if case.has_pci() {
        return Ok(false);
    }
    let is_hvm = case.value("virt_mode")?.and_then(|value| value.as_text().map(|mode| mode == "hvm"));
    if is_hvm != Some(true) {
        return Ok(true);
    }
    let silent = has_any_supported_service(case)? && !case.has_feature("supported-service.meminfo-writer")?;
    Ok(case.has_feature("qrexec")? && !silent)
}

fn has_any_supported_service(case: &Case<'_>) -> Result<bool, Failure> {
    let Some(qube) = case.qube else { return Ok(false) };
    if qube.features.iter().any(|(name, _)| name.as_str().starts_with("supported-service.")) {
        return Ok(true);
    }
    match case.template()? {
        Some(template) => has_any_supported_service(&case.at(&template)),
        None => Ok(false),
    }
}

pub(super) fn virt_mode(case: &Case<'_>) -> Found {
    if case.has_pci() {
        return text("hvm");
    }
    through_template(case, "virt_mode", || text("pvh"))
}

/// Command line of the kernel; none of its own without kernel.
pub(super) fn kernelopts(case: &Case<'_>) -> Found {
    let kernel = match case.value("kernel")? {
        Some(Value::Text(kernel)) if !kernel.is_empty() => kernel,
        Some(_) => return text(""),
        None => return Ok(None),
    };
    if case.has_pci() {
        return kernelopts_with_pci(case, &kernel);
    }
    through_template(case, "kernelopts", || {
        let file = case.kernel_file(&kernel, "default-kernelopts-nopci.txt")?;
        text(file.as_deref().map_or("swiotlb=2048", str::trim))
    })
}

fn kernelopts_with_pci(case: &Case<'_>, kernel: &str) -> Found {
    let file = case.kernel_file(kernel, "default-kernelopts-pci.txt")?;
    let mut options = file.unwrap_or_default().trim().to_owned();
    let dom0 = case.view.qube(&common::names::QubeName::dom0())?;
    if dom0.is_some_and(|dom0| dom0.feature("suspend-s0ix").is_some_and(|value| !value.is_empty())) {
        options.push_str(" qubes_exp_pm_use_suspend=1");
    }
    text(options)
}

/// The mode asked for, if it is there: the qube's own, else what its templates give.
pub(super) fn bootmode(case: &Case<'_>) -> Found {
    const DEFAULT: &str = "default";
    let own = case.qube.and_then(|qube| qube.feature("boot-mode.active")).map(str::to_owned);
    if let Some(mode) = own
        && is_bootmode(case, &mode)?
    {
        return text(mode);
    }
    let mut here = case.template()?;
    while let Some(template) = here {
        let there = case.at(&template);
        if let Some(Value::Text(mode)) = there.value("appvm_default_bootmode")?
            && is_bootmode(case, &mode)?
        {
            return text(mode);
        }
        here = there.template()?;
    }
    text(DEFAULT)
}

fn is_bootmode(case: &Case<'_>, mode: &str) -> Result<bool, Failure> {
    Ok(mode == "default" || case.feature(&format!("boot-mode.kernelopts.{mode}"))?.is_some())
}

pub(super) fn appvm_default_bootmode(case: &Case<'_>) -> Found {
    text(case.qube.and_then(|qube| qube.feature("boot-mode.appvm-default")).unwrap_or("default"))
}

/// A disposable's own template, else the global one.
pub(super) fn default_dispvm(case: &Case<'_>) -> Found {
    match case.qube {
        Some(qube) if qube.class == Class::DispVM => Ok(qube.properties.get("template").cloned()),
        _ => global(case, "default_dispvm"),
    }
}

fn domain(case: &Case<'_>) -> Option<Domain> {
    case.qube.and_then(|qube| case.context.hypervisor.domain(&qube.name))
}

pub(super) fn xid(case: &Case<'_>) -> Found {
    Ok(Some(Value::Int(domain(case).map_or(-1, |domain| i64::from(domain.domid.0)))))
}

pub(super) fn stubdom_xid(case: &Case<'_>) -> Found {
    let stubdom = domain(case).and_then(|domain| domain.stubdom);
    Ok(Some(Value::Int(stubdom.map_or(-1, |stubdom| i64::from(stubdom.domid.0)))))
}

pub(super) fn stubdom_uuid(case: &Case<'_>) -> Found {
    text(domain(case).and_then(|domain| domain.stubdom).map(|stubdom| stubdom.uuid).unwrap_or_default())
}

/// Seconds with a point, as clients read a floating number.
pub(super) fn start_time(case: &Case<'_>) -> Found {
    match domain(case) {
        Some(domain) => text(seconds(domain.start_time_us)),
        None => Ok(Some(Value::None)),
    }
}

/// Microseconds as seconds with a point: at least one digit behind it, no needless zeros.
fn seconds(microseconds: u64) -> String {
    const SECOND: u64 = 1_000_000;
    let whole = microseconds.checked_div(SECOND).unwrap_or_default();
    let fraction = format!("{:06}", microseconds.checked_rem(SECOND).unwrap_or_default());
    let fraction = fraction.trim_end_matches('0');
    format!("{whole}.{}", if fraction.is_empty() { "0" } else { fraction })
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn seconds_have_a_point_and_no_needless_zeros() {
        assert_eq!(seconds(1_700_000_000_000_000), "1700000000.0");
        assert_eq!(seconds(1_700_000_000_250_000), "1700000000.25");
        assert_eq!(seconds(7), "0.000007");
    }
}

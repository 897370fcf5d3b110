//! Refusals that come after the pre-event: listeners have seen it, nothing has changed (spec 10 §3.3 step 4).

use common::autostart;
use common::call::no_such_domain;
use common::failure::{Exception, Failure};
use common::hypervisor::{self, PowerState};
use common::model::{Class, Qube, Value};
use common::names::QubeName;
use common::quote::quote;
use common::root::Root;
use common::store::Txn;

use super::change::Step;
use super::check::{self, bad};
use super::row;
use super::row::Case;

type Verdict = Result<(), Failure>;

/// Refuses a Set after its pre-event.
pub(super) fn of_set(txn: &mut Txn<'_>, step: &Step<'_>) -> Verdict {
    match step.property {
        "autostart" => unit(txn, step, step.new.is_true(), "Failed to set autostart for VM in systemd"),
        "kernel" | "default_kernel" => installed(txn, step),
        "maxmem" => unchanged_or_halted(txn, step),
        "template" => halted_for_template(txn, step),
        "template_for_dispvms" if !step.new.is_true() => unused_by_disposables(txn, step),
        _ => Ok(()),
    }
}

/// Refuses a Reset after its first pre-event.
pub(super) fn of_reset(txn: &mut Txn<'_>, step: &Step<'_>) -> Verdict {
    match step.property {
        "autostart" if step.old.as_ref().is_some_and(Value::is_true) => {
            unit(txn, step, false, "Failed to reset autostart for VM in systemd")
        }
        "netvm" => step.with_qube(txn, |case, _| check::netvm(case, step.new.clone()).map(drop)),
        "template" => cannot_unset_template(txn, step),
        "template_for_dispvms" => unused_by_disposables(txn, step),
        _ => Ok(()),
    }
}

fn unit(txn: &mut Txn<'_>, step: &Step<'_>, enabled: bool, text: &'static str) -> Verdict {
    let Some(name) = step.holder else { return Ok(()) };
    let root = step.context.root;
    let (words, set): (_, fn(&Root, &QubeName) -> bool) = match enabled {
        true => ("the unit that starts the qube at boot is enabled", autostart::enable),
        false => ("the unit that starts the qube at boot is disabled", autostart::disable),
    };
    txn.in_earnest(words, || match set(root, name) {
        true => Ok(()),
        false => Err(Failure::new(Exception::QubesException, text)),
    })
}

fn installed(txn: &Txn<'_>, step: &Step<'_>) -> Verdict {
    let kernel = step.new.to_text();
    if kernel.is_empty() {
        return Ok(());
    }
    let qube = step.holder.map_or(Ok(None), |name| txn.qube(name))?;
    let case = Case { view: txn, context: *step.context, qube: qube.as_deref() };
    let quoted = quote(&kernel);
    match case.kernel_directory(&kernel)? {
        Some(directory) if directory.join("vmlinuz").is_file() => Ok(()),
        Some(directory) if directory.is_dir() => {
            Err(bad(format!("Kernel {quoted} not properly installed: missing 'vmlinuz' file")))
        }
        _ => Err(bad(format!("Kernel {quoted} not installed"))),
    }
}

/// `maxmem` of a running qube changes only by memory hotplug.
fn unchanged_or_halted(txn: &Txn<'_>, step: &Step<'_>) -> Verdict {
    step.with_qube(txn, |case, qube| {
        let changes = step.old.as_ref() != Some(&step.new);
        if !changes || hypervisor::is_halted(step.context.hypervisor, qube) || has_memory_hotplug(case)? {
            return Ok(());
        }
        let name = &qube.name;
        let text = format!(
            "Can't change maxmem of VM {name}, because it isn't Halted and memory hotplug is forbidden"
        );
        Err(Failure::new(Exception::QubesVMNotHaltedError, text))
    })
}

fn has_memory_hotplug(case: &Case<'_>) -> Result<bool, Failure> {
    if let Some(value) = case.feature("memory-hotplug")? {
        return Ok(!value.is_empty());
    }
    if case.value("virt_mode")?.is_some_and(|mode| mode.as_text() == Some("hvm")) {
        return Ok(false);
    }
    match case.value("kernel")? {
        Some(Value::Text(kernel)) if !kernel.is_empty() => {
            let directory = case.kernel_directory(&kernel)?;
            Ok(directory.is_some_and(|directory| directory.join("memory-hotplug-supported").exists()))
        }
        _ => case.has_feature("supported-feature.memory-hotplug"),
    }
}

fn halted_for_template(txn: &Txn<'_>, step: &Step<'_>) -> Verdict {
    step.with_qube(txn, |_, qube| {
        if !hypervisor::is_halted(step.context.hypervisor, qube) {
            let text = "Cannot change template while qube is running";
            return Err(Failure::new(Exception::QubesVMNotHaltedError, text));
        }
        if qube.class == Class::AppVM && has_running_disposables(txn, step, qube)? {
            let text = "Cannot change template while there are running disposables based on this disposable template";
            return Err(Failure::new(Exception::QubesVMInUseError, text));
        }
        Ok(())
    })
}

fn has_running_disposables(txn: &Txn<'_>, step: &Step<'_>, template: &Qube) -> Result<bool, Failure> {
    let preloaded = template.feature("preload-dispvm").unwrap_or_default();
    let index = txn.index()?;
    let based = index.entries().iter().filter(|entry| {
        entry.class() == Class::DispVM && entry.reference("template") == Some(template.name.as_str())
    });
    let others = based.filter(|entry| !preloaded.split_ascii_whitespace().any(|name| name == entry.name()));
    for entry in others {
        if let Some(qube) = txn.qube_named(entry.name())?
            && hypervisor::power_state(step.context.hypervisor, qube.class, &qube.name) != PowerState::Halted
        {
            return Ok(true);
        }
    }
    Ok(false)
}

fn cannot_unset_template(txn: &Txn<'_>, step: &Step<'_>) -> Verdict {
    step.with_qube(txn, |_, qube| {
        let system = txn.system()?;
        let default = system.properties.get("default_template").and_then(Value::as_text);
        let text = match default.filter(|_| qube.class == Class::AppVM) {
            Some(name) => {
                format!("Cannot unset template. You can set it to the current default ({name}) instead")
            }
            None => "Cannot unset template".to_owned(),
        };
        Err(Failure::new(Exception::QubesValueError, text))
    })
}

/// Properties that name templates of disposables.
const DISPOSABLE_REFERENCES: [&str; 2] = ["default_dispvm", "management_dispvm"];

fn unused_by_disposables(txn: &Txn<'_>, step: &Step<'_>) -> Verdict {
    step.with_qube(txn, |_, qube| {
        if !step.old.as_ref().is_some_and(Value::is_true) {
            return Ok(());
        }
        let name = qube.name.as_str();
        let system = txn.system()?;
        let of_system =
            |property: &&str| system.properties.get(*property).and_then(Value::as_text) == Some(name);
        if DISPOSABLE_REFERENCES.iter().any(of_system) {
            return Err(still_used(
                "it is in use by the system by any of these properties: \
                default_dispvm, management_dispvm",
            ));
        }
        let names_it = |property: &str| DISPOSABLE_REFERENCES.contains(&property) || property == "template";
        let index = txn.index()?;
        let mut others = index.entries().iter().filter(|entry| entry.name() != name);
        if others
            .any(|entry| entry.references().any(|(property, target)| target == name && names_it(property)))
        {
            return Err(still_used(
                "it is the disposable template of a qube by any of these properties: \
                default_dispvm, management_dispvm, template",
            ));
        }
        Ok(())
    })
}

fn still_used(why: &str) -> Failure {
    let text = format!("Cannot change template_for_dispvms to False while {why}");
    Failure::new(Exception::QubesVMInUseError, text)
}

impl Step<'_> {
    /// Looks at the holder, if it is a qube.
    pub(super) fn with_qube(&self, txn: &Txn<'_>, look: impl FnOnce(&Case<'_>, &Qube) -> Verdict) -> Verdict {
        let Some(name) = self.holder else { return Ok(()) };
        let qube = txn.qube(name)?.ok_or_else(|| no_such_domain(name.as_str()))?;
        debug_assert!(row(qube.class, self.property).is_some());
        look(&Case { view: txn, context: *self.context, qube: Some(&qube) }, &qube)
    }
}

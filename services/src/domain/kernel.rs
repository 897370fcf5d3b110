//! Kernel, initial RAM disk and command line (spec 40 §7.1 to §7.3).

use std::path::PathBuf;

use common::failure::Failure;
use common::files;
use common::hypervisor::VirtMode;
use common::model::Qube;

use super::devices;
use crate::property::{self, Case};

/// The command line that dom0's kernels come with, where their directory has none.
const COMMON: &str = "root=/dev/mapper/dmroot ro nomodeset console=hvc0 rd_NO_PLYMOUTH rd.plymouth.enable=0 \
                      plymouth.enable=0 xen_privcmd.unrestricted ";

/// What a domain boots.
#[derive(Default)]
pub(super) struct Boot {
    pub(super) kernel: Option<PathBuf>,
    pub(super) initrd: Option<PathBuf>,
    pub(super) cmdline: Option<String>,
}

/// Name of the kernel in dom0; none if the qube boots from its own disks.
pub(super) fn in_dom0(case: &Case<'_>) -> Result<Option<String>, Failure> {
    Ok(Some(case.text("kernel")?).filter(|kernel| !kernel.is_empty()))
}

/// A fully virtualised guest boots from its disks in any case, and gets the command line alone.
pub(super) fn boot(case: &Case<'_>, qube: &Qube, mode: VirtMode) -> Result<Boot, Failure> {
    let Some(name) = in_dom0(case)? else { return Ok(boot_loader(case, mode)) };
    let cmdline = Some(cmdline(case, qube, &name)?);
    let directory = case.kernel_directory(&name)?.filter(|_| mode != VirtMode::Hvm);
    let Some(directory) = directory else { return Ok(Boot { cmdline, ..Boot::default() }) };
    let initrd = directory.join("initramfs");
    let initrd = files::open(&initrd).is_ok().then_some(initrd);
    Ok(Boot { kernel: Some(directory.join("vmlinuz")), initrd, cmdline })
}

/// The boot loader that finds the qube's own kernel.
fn boot_loader(case: &Case<'_>, mode: VirtMode) -> Boot {
    let folder = match mode {
        VirtMode::Pvh => "pvgrub2-pvh",
        VirtMode::Pv => "pvgrub2",
        VirtMode::Hvm => return Boot::default(),
    };
    let kernel = case.context.root.path(&format!("/var/lib/qubes/vm-kernels/{folder}/vmlinuz"));
    Boot { kernel: Some(kernel), ..Boot::default() }
}

fn cmdline(case: &Case<'_>, qube: &Qube, kernel: &str) -> Result<String, Failure> {
    let (own, boot_mode) = (case.text("kernelopts")?, boot_mode(case)?);
    if case.has_feature("no-default-kernelopts")? {
        return Ok(format!("{own}{boot_mode}"));
    }
    Ok(format!("{}{}{own}{}{boot_mode}", machine_id(case, qube)?, common(case, qube, kernel)?, guard(case)?))
}

fn machine_id(case: &Case<'_>, qube: &Qube) -> Result<String, Failure> {
    let is_linux = case.feature("os")?.as_deref() == Some("Linux");
    let id = qube.uuid.to_string().replace('-', "");
    Ok(if is_linux { format!("systemd.machine_id={id} ") } else { String::new() })
}

fn common(case: &Case<'_>, qube: &Qube, kernel: &str) -> Result<String, Failure> {
    let file = case.kernel_file(kernel, "default-kernelopts-common.txt")?;
    let text = file.as_deref().map_or(COMMON, |text| text.trim_end_matches(['\r', '\n']));
    let sets_mode = match case.feature("no-nomodeset")? {
        Some(wish) => !wish.is_empty(),
        None => devices::has_display(case, qube),
    };
    let kept = text.split(' ').filter(|word| !(sets_mode && *word == "nomodeset"));
    Ok(kept.collect::<Vec<_>>().join(" "))
}

/// The security module that the guest asks for.
fn guard(case: &Case<'_>) -> Result<String, Failure> {
    for module in ["apparmor", "selinux"] {
        if case.feature(module)?.as_deref() == Some("1") {
            return Ok(format!(" {module}=1 security={module}"));
        }
    }
    Ok(String::new())
}

/// Options of the active boot mode; of the default one where the active one is unknown.
fn boot_mode(case: &Case<'_>) -> Result<String, Failure> {
    let options = |mode: &str| case.feature(&format!("boot-mode.kernelopts.{mode}"));
    let found = match options(&case.text("bootmode")?)? {
        None => options(&property::default_text(case, "bootmode")?)?,
        found => found,
    };
    Ok(found.map(|options| format!(" {options}")).unwrap_or_default())
}

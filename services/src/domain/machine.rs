//! Mode, memory, processors, firmware and clock (spec 40 §7.4, §8).

use std::path::PathBuf;

use common::failure::Failure;
use common::files;
use common::hypervisor::{Clock, VirtMode};

use super::{kernel, kib};
use crate::property::Case;

/// Memory of a domain, KiB.
pub(super) struct Memory {
    pub(super) initial_kib: u64,
    pub(super) max_kib: u64,
    pub(super) hotplug_max_kib: Option<u64>,
}

pub(super) fn virt_mode(case: &Case<'_>) -> Result<VirtMode, Failure> {
    Ok(match case.text("virt_mode")?.as_str() {
        "hvm" => VirtMode::Hvm,
        "pv" => VirtMode::Pv,
        _ => VirtMode::Pvh,
    })
}

/// A domain that may grow has its limit from the start, but with hotplug, where the limit is told apart.
pub(super) fn memory(case: &Case<'_>, mode: VirtMode) -> Result<Memory, Failure> {
    let (memory, maxmem) = (kib(case.number("memory")?), kib(case.number("maxmem")?));
    let is_fixed = maxmem == 0 || (mode == VirtMode::Hvm && case.has_pci());
    let hotplug_max_kib = (!is_fixed && has_hotplug(case, mode)?).then_some(maxmem);
    let max_kib = if is_fixed || hotplug_max_kib.is_some() { memory } else { maxmem };
    Ok(Memory { initial_kib: memory, max_kib, hotplug_max_kib })
}

fn has_hotplug(case: &Case<'_>, mode: VirtMode) -> Result<bool, Failure> {
    if let Some(wish) = case.feature("memory-hotplug")? {
        return Ok(!wish.is_empty());
    }
    match kernel::in_dom0(case)? {
        _ if mode == VirtMode::Hvm => Ok(false),
        Some(kernel) if !kernel.starts_with("pvgrub2") => {
            Ok(case.kernel_file(&kernel, "memory-hotplug-supported")?.is_some())
        }
        _ => case.has_feature("supported-feature.memory-hotplug"),
    }
}

/// No nested virtualisation, a clock of constant pace, and no random numbers from processors that have bad ones.
pub(super) fn cpuid(case: &Case<'_>, mode: VirtMode) -> Vec<String> {
    if mode == VirtMode::Pv {
        return Vec::new();
    }
    let bad_random = has_bad_random_numbers(case).then_some("rdrand=0");
    ["vmx=0", "svm=0", "invtsc=1"].into_iter().chain(bad_random).map(str::to_owned).collect()
}

/// Whether the host's processor is of family 6, model 58 or 62.
fn has_bad_random_numbers(case: &Case<'_>) -> bool {
    let text = files::read(&case.context.root.path("/proc/cpuinfo")).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let field = |name: &str| {
        let mut fields = text.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(key, _)| key.trim() == name).and_then(|(_, value)| value.trim().parse::<u32>().ok())
    };
    field("cpu family") == Some(6) && matches!(field("model"), Some(58 | 62))
}

pub(super) fn uefi(case: &Case<'_>, mode: VirtMode) -> Result<Option<PathBuf>, Failure> {
    let wished = mode == VirtMode::Hvm && case.has_feature("uefi")?;
    Ok(wished.then(|| case.context.root.path("/usr/share/edk2/xen/OVMF.fd")))
}

/// UTC, but for fully virtualised guests that ask for local time or so many seconds beside UTC.
pub(super) fn clock(case: &Case<'_>, mode: VirtMode) -> Result<Clock, Failure> {
    let wish = case.feature("timezone")?.filter(|_| mode == VirtMode::Hvm).unwrap_or_default();
    let is_plain = wish.trim_start_matches('-').bytes().all(|byte| byte.is_ascii_digit());
    Ok(match wish.parse() {
        Ok(seconds) if is_plain => Clock::Utc(seconds),
        _ if wish.eq_ignore_ascii_case("localtime") => Clock::LocalTime,
        _ => Clock::Utc(0),
    })
}

//! The device emulator of fully virtualised guests and its command line (spec 40 §8.1).

use std::path::PathBuf;

use common::failure::Failure;
use common::hypervisor::{Emulator, VirtMode};

use super::kib;
use crate::property::Case;

const FULL_KERNEL: &str = "/usr/libexec/xen/boot/qemu-stubdom-linux-full-kernel";
const FULL_RAMDISK: &str = "/usr/libexec/xen/boot/qemu-stubdom-linux-full-rootfs";
const DNS: [&str; 2] = ["10.139.1.1", "10.139.1.2"];

pub(super) fn of(case: &Case<'_>, mode: VirtMode) -> Result<Option<Emulator>, Failure> {
    if mode != VirtMode::Hvm {
        return Ok(None);
    }
    let linux = case.feature("linux-stubdom")?.is_none_or(|value| !value.is_empty());
    let full = case.has_feature("audio-model")? || case.has_feature("stubdom-qrexec")?;
    let memory = case.number("stubdom_mem")?;
    Ok(Some(Emulator {
        linux,
        arguments: arguments(case, linux)?,
        memory_kib: (memory > 0).then(|| kib(memory)),
        image: full.then(|| (PathBuf::from(FULL_KERNEL), PathBuf::from(FULL_RAMDISK))),
        video: case.feature("video-model")?.unwrap_or_else(|| "vga".to_owned()),
        sound: case.feature("audio-model")?.filter(|model| !model.is_empty()),
    }))
}

fn arguments(case: &Case<'_>, linux: bool) -> Result<Vec<String>, Failure> {
    let xid = match case.named_by("audiovm")? {
        Some(audiovm) if audiovm.name.is_dom0() => "0".to_owned(),
        Some(audiovm) => case.at(&audiovm).text("xid")?,
        None => "-1".to_owned(),
    };
    let mut text = format!("-qubes-audio:audiovm_xid={xid}");
    for more in [case.feature("qemu-extra-args")?, debug(case)?, network(case, linux)?] {
        text.push(' ');
        text.push_str(&more.unwrap_or_default());
    }
    Ok(text.split_ascii_whitespace().map(str::to_owned).collect())
}

fn debug(case: &Case<'_>) -> Result<Option<String>, Failure> {
    Ok(case.is_on("debug")?.then(|| "-trace xen_platform_log".to_owned()))
}

fn network(case: &Case<'_>, linux: bool) -> Result<Option<String>, Failure> {
    let Some(netvm) = case.named_by("netvm")? else { return Ok(None) };
    let (ip, gateway) = (case.text("ip")?, case.at(&netvm).text("gateway")?);
    let [first, second] = DNS;
    let netmask = "255.255.255.255";
    Ok(Some(if linux {
        format!("-qubes-net:client_ip={ip},dns_0={first},dns_1={second},gw={gateway},netmask={netmask}")
    } else {
        format!("-net lwip,client_ip={ip},server_ip={second},dns={first},gw={gateway},netmask={netmask}")
    }))
}

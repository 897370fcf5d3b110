//! The shim's functions as C has them (`shim.c`).

use std::ffi::{c_char, c_int};

/// A connection, known to C alone.
#[repr(C)]
pub(super) struct Shim([u8; 0]);

/// A configuration, known to C alone.
#[repr(C)]
pub(super) struct Config([u8; 0]);

/// `struct shim_info`.
#[repr(C)]
#[derive(Debug, Default)]
pub(super) struct Info {
    pub(super) paused: u64,
    pub(super) dying: u64,
    pub(super) shutdown: u64,
    pub(super) reason: u64,
    pub(super) memory_kib: u64,
    pub(super) cpu_time_ns: u64,
    pub(super) vcpus: u64,
}

type Text = *const c_char;

/// `SHIM_CANNOT_SLEEP`.
pub(super) const CANNOT_SLEEP: c_int = 3;
/// `SHIM_NONE`.
pub(super) const NONE: c_int = 4;

unsafe extern "C" {
    pub(super) fn shim_open() -> *mut Shim;
    pub(super) fn shim_message(shim: *const Shim) -> Text;
    pub(super) fn shim_forget(shim: *mut Shim);

    pub(super) fn shim_config(mode: Text, name: Text, uuid: Text) -> *mut Config;
    pub(super) fn shim_config_free(config: *mut Config);
    pub(super) fn shim_memory(config: *mut Config, initial_kib: u64, max_kib: u64);
    pub(super) fn shim_vcpus(shim: *mut Shim, config: *mut Config, count: c_int) -> c_int;
    pub(super) fn shim_cpuid(config: *mut Config, text: Text) -> c_int;
    pub(super) fn shim_boot(config: *mut Config, kernel: Text, ramdisk: Text, cmdline: Text);
    pub(super) fn shim_clock(config: *mut Config, local: bool, seconds: i32);
    pub(super) fn shim_e820_host(config: *mut Config);
    pub(super) fn shim_hvm(config: *mut Config, uefi: Text, video: Text, sound: Text) -> c_int;
    pub(super) fn shim_emulator(
        config: *mut Config,
        linux: bool,
        memory_kib: u64,
        kernel: Text,
        ramdisk: Text,
    );
    pub(super) fn shim_emulator_argument(config: *mut Config, argument: Text);
    pub(super) fn shim_disk(
        config: *mut Config,
        path: Text,
        target: Text,
        rw: bool,
        cdrom: bool,
        backend: Text,
        script: Text,
    );
    pub(super) fn shim_nic(config: *mut Config, mac: Text, ip: Text, backend: Text, script: Text) -> c_int;
    pub(super) fn shim_pci(
        config: *mut Config,
        segment: c_int,
        bus: u8,
        device: u8,
        function: u8,
        permissive: bool,
        power_management: bool,
    );

    pub(super) fn shim_create(shim: *mut Shim, config: *mut Config, domid: *mut u32) -> c_int;
    pub(super) fn shim_has_iommu(shim: *mut Shim) -> bool;
    pub(super) fn shim_memory_reports(shim: *mut Shim, domid: u32, hotplug_max_kib: u64) -> c_int;
    pub(super) fn shim_reported(shim: *mut Shim, domid: u32, key: Text) -> u64;
    pub(super) fn shim_unpause(shim: *mut Shim, domid: u32) -> c_int;
    pub(super) fn shim_pause(shim: *mut Shim, domid: u32) -> c_int;
    pub(super) fn shim_shutdown(shim: *mut Shim, domid: u32) -> c_int;
    pub(super) fn shim_suspend(shim: *mut Shim, domid: u32) -> c_int;
    pub(super) fn shim_resume(shim: *mut Shim, domid: u32) -> c_int;
    pub(super) fn shim_destroy(shim: *mut Shim, domid: u32) -> c_int;
    pub(super) fn shim_connect(
        shim: *mut Shim,
        domid: u32,
        mac: Text,
        ip: Text,
        backend: Text,
        script: Text,
    ) -> c_int;
    pub(super) fn shim_disconnect(shim: *mut Shim, domid: u32) -> c_int;
    pub(super) fn shim_attach_disk(
        shim: *mut Shim,
        domid: u32,
        path: Text,
        target: Text,
        rw: bool,
        cdrom: bool,
        backend: Text,
        script: Text,
    ) -> c_int;
    pub(super) fn shim_detach_disk(shim: *mut Shim, domid: u32, target: Text) -> c_int;
    pub(super) fn shim_attach_pci(
        shim: *mut Shim,
        domid: u32,
        segment: c_int,
        bus: u8,
        device: u8,
        function: u8,
        permissive: bool,
        power_management: bool,
    ) -> c_int;
    pub(super) fn shim_detach_pci(
        shim: *mut Shim,
        domid: u32,
        segment: c_int,
        bus: u8,
        device: u8,
        function: u8,
    ) -> c_int;
    pub(super) fn shim_console(shim: *mut Shim, domid: u32) -> *mut c_char;
    pub(super) fn shim_info(shim: *mut Shim, domid: u32, found: *mut Info) -> c_int;
    pub(super) fn shim_stubdom(
        shim: *mut Shim,
        domid: u32,
        stubdom: *mut u32,
        uuid: *mut c_char,
        found: *mut Info,
    ) -> c_int;
    pub(super) fn shim_find(shim: *mut Shim, uuid: Text, domid: *mut u32) -> c_int;
    pub(super) fn shim_watch(shim: *mut Shim, domid: u32) -> c_int;
    pub(super) fn shim_wait(shim: *mut Shim, other: c_int) -> c_int;
}

//! Xen through its own library. The shim in C has the library's structures; here are only texts and numbers.
#![allow(unsafe_code, reason = "the one place that calls libxl")]

mod shim;

use std::ffi::{CStr, CString, c_int};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr::{self, NonNull};

use common::hypervisor::{
    Clock, Disk, DomainConfig, Domid, Emulator, GuestMemory, HotDevice, Nic, Pci, PciAddress, PowerState,
    Stubdom, VirtMode,
};
use common::names::QubeUuid;

use crate::control::{Control, Done, Info, Refused, Woken};

/// A connection to Xen, for one domain.
pub struct Libxl {
    shim: NonNull<shim::Shim>,
    watched: Option<Domid>,
}

impl Libxl {
    /// Opens the connection.
    ///
    /// # Errors
    /// If there is no Xen, or we may not use it.
    pub fn open() -> Done<Self> {
        // SAFETY: takes nothing; gives null or a connection that lives as long as the process.
        let shim = NonNull::new(unsafe { shim::shim_open() });
        let shim = shim.ok_or_else(|| Refused("cannot connect to the hypervisor".to_owned()))?;
        Ok(Self { shim, watched: None })
    }

    /// The connection for the next call, whose last words will be its own.
    fn next(&self) -> *mut shim::Shim {
        let shim = self.shim.as_ptr();
        // SAFETY: the connection is ours, and nobody reads the text that it keeps.
        unsafe { shim::shim_forget(shim) };
        shim
    }

    /// The library's last words where it failed.
    fn done(&self, failed: c_int) -> Done {
        if failed == 0 {
            return Ok(());
        }
        // SAFETY: the shim keeps a text that ends with NUL, and writes to it only while one of its functions runs.
        let text = unsafe { CStr::from_ptr(shim::shim_message(self.shim.as_ptr())) };
        let text = text.to_string_lossy().into_owned();
        Err(Refused(if text.is_empty() { format!("error {failed}") } else { text }))
    }

    /// Whether there is what was asked for. That nobody can tell is no answer.
    fn is_found(&self, answer: c_int) -> Done<bool> {
        if answer == shim::NONE { Ok(false) } else { self.done(answer).map(|()| true) }
    }

    /// Does one thing that takes a connection and a domain.
    fn act(&mut self, domid: Domid, act: unsafe extern "C" fn(*mut shim::Shim, u32) -> c_int) -> Done {
        // SAFETY: the connection is ours alone; the functions given here take any number for a domain.
        let failed = unsafe { act(self.next(), domid.0) };
        self.done(failed)
    }

    /// Makes the places where the guest reports its use of memory (spec 40 §3.3).
    fn take_memory_reports(&mut self, domid: Domid, hotplug_max_kib: Option<u64>) -> Done {
        let most = hotplug_max_kib.unwrap_or_default();
        // SAFETY: the connection is ours, the rest are plain numbers.
        let failed = unsafe { shim::shim_memory_reports(self.next(), domid.0, most) };
        self.done(failed)
    }

    /// The domain that emulates another's devices.
    fn stubdom(&mut self, domid: Domid) -> Done<Option<Stubdom>> {
        let (mut number, mut uuid, mut info) = (0, [0; 40], shim::Info::default());
        let (number_place, uuid_place, info_place) = (&raw mut number, uuid.as_mut_ptr(), &raw mut info);
        // SAFETY: the connection is ours; the shim fills in the places it is given, of which the text has room for a UUID
        // and its NUL.
        let answer =
            unsafe { shim::shim_stubdom(self.next(), domid.0, number_place, uuid_place, info_place) };
        if !self.is_found(answer)? {
            return Ok(None);
        }
        // SAFETY: the shim has written a text that ends with NUL.
        let uuid = unsafe { CStr::from_ptr(uuid.as_ptr()) }.to_string_lossy().into_owned();
        let (cpu_time_ns, vcpus) = (info.cpu_time_ns, u32::try_from(info.vcpus).unwrap_or(1));
        Ok(Some(Stubdom { domid: Domid(number), uuid, cpu_time_ns, vcpus }))
    }

    /// What the guest says of its memory; swap counts where it tells both.
    fn guest_memory(&mut self, domid: Domid) -> Option<GuestMemory> {
        let used_kib = self.reported(domid, c"meminfo")?;
        Some(GuestMemory { used_kib, swap_used_kib: self.reported(domid, c"swapinfo") })
    }

    fn reported(&mut self, domid: Domid, key: &CStr) -> Option<u64> {
        // SAFETY: the connection is ours; the text ends with NUL and outlives the call.
        let number = unsafe { shim::shim_reported(self.next(), domid.0, key.as_ptr()) };
        (number != u64::MAX).then_some(number)
    }

    fn raw_info(&mut self, domid: Domid) -> Done<Option<shim::Info>> {
        let mut info = shim::Info::default();
        // SAFETY: the connection is ours; the shim fills in the structure it is given.
        let answer = unsafe { shim::shim_info(self.next(), domid.0, &raw mut info) };
        Ok(self.is_found(answer)?.then_some(info))
    }
}

impl Control for Libxl {
    fn create(&mut self, config: &DomainConfig) -> Done<Domid> {
        let made = Config::of(self, config)?;
        let mut domid = u32::MAX;
        // SAFETY: connection and configuration are ours; the shim writes the number.
        let failed = unsafe { shim::shim_create(self.next(), made.0.as_ptr(), &raw mut domid) };
        self.done(failed)?;
        let domid = Domid(domid);
        if config.memory_reports
            && let Err(refused) = self.take_memory_reports(domid, config.hotplug_max_kib)
        {
            self.destroy(domid)?;
            return Err(refused);
        }
        Ok(domid)
    }

    fn has_iommu(&mut self) -> bool {
        // SAFETY: the connection is ours.
        unsafe { shim::shim_has_iommu(self.next()) }
    }

    fn find(&mut self, uuid: &QubeUuid) -> Done<Option<Domid>> {
        let uuid = text(&uuid.to_string())?;
        let mut domid = u32::MAX;
        // SAFETY: the connection is ours, the text ends with NUL and outlives the call; the shim writes the number.
        let answer = unsafe { shim::shim_find(self.next(), uuid.as_ptr(), &raw mut domid) };
        Ok(self.is_found(answer)?.then_some(Domid(domid)))
    }

    fn unpause(&mut self, domid: Domid) -> Done {
        self.act(domid, shim::shim_unpause)
    }

    /// Xen counts: what is paused twice has to be unpaused twice.
    fn pause(&mut self, domid: Domid) -> Done {
        if self.raw_info(domid)?.is_some_and(|info| info.paused == 1) {
            return Ok(());
        }
        self.act(domid, shim::shim_pause)
    }

    fn shutdown(&mut self, domid: Domid) -> Done {
        self.act(domid, shim::shim_shutdown)
    }

    fn suspend(&mut self, domid: Domid) -> Done<bool> {
        // SAFETY: the connection is ours alone; any number may be given for a domain.
        match unsafe { shim::shim_suspend(self.next(), domid.0) } {
            shim::CANNOT_SLEEP => Ok(false),
            failed => self.done(failed).map(|()| true),
        }
    }

    fn resume(&mut self, domid: Domid) -> Done {
        self.act(domid, shim::shim_resume)?;
        // The notice of its next end has to be ordered anew.
        self.watched = None;
        Ok(())
    }

    fn destroy(&mut self, domid: Domid) -> Done {
        self.act(domid, shim::shim_destroy)
    }

    fn connect(&mut self, domid: Domid, nic: &Nic) -> Done {
        let texts = nic_texts(nic)?;
        let [mac, ip, backend, script] = texts.each_ref().map(|text| text.as_ptr());
        let shim = self.next();
        // SAFETY: the connection is ours; each text ends with NUL and outlives the call.
        let failed = unsafe { shim::shim_connect(shim, domid.0, mac, ip, backend, script) };
        self.done(failed)
    }

    fn disconnect(&mut self, domid: Domid) -> Done {
        self.act(domid, shim::shim_disconnect)
    }

    fn attach(&mut self, domid: Domid, device: &HotDevice) -> Done {
        let failed = match device {
            HotDevice::Disk(disk) => self.attach_disk(domid, disk)?,
            HotDevice::Pci(pci) => self.attach_pci(domid, pci),
        };
        self.done(failed)
    }

    fn detach(&mut self, domid: Domid, device: &HotDevice) -> Done {
        let failed = match device {
            HotDevice::Disk(disk) => {
                let target = text(&disk.target)?;
                // SAFETY: the connection is ours; the text ends with NUL and outlives the call.
                unsafe { shim::shim_detach_disk(self.next(), domid.0, target.as_ptr()) }
            }
            HotDevice::Pci(Pci { address, .. }) => {
                let PciAddress { segment, bus, device, function } = *address;
                // SAFETY: the connection is ours, the rest are plain numbers.
                unsafe { shim::shim_detach_pci(self.next(), domid.0, segment.into(), bus, device, function) }
            }
        };
        self.done(failed)
    }

    fn console(&mut self, domid: Domid) -> Done<PathBuf> {
        // SAFETY: the connection is ours; the answer is null or a text made for us.
        let path = unsafe { shim::shim_console(self.next(), domid.0) };
        let Some(path) = NonNull::new(path) else { return self.done(-1).map(|()| PathBuf::new()) };
        // SAFETY: as above.
        let found = unsafe { CStr::from_ptr(path.as_ptr()) }.to_string_lossy().into_owned();
        // SAFETY: the text was allocated for us by the C library.
        unsafe { libc::free(path.as_ptr().cast()) };
        Ok(PathBuf::from(found))
    }

    fn info(&mut self, domid: Domid) -> Done<Option<Info>> {
        let Some(info) = self.raw_info(domid)? else { return Ok(None) };
        Ok(Some(Info {
            state: state(&info),
            memory_kib: info.memory_kib,
            cpu_time_ns: info.cpu_time_ns,
            vcpus: u32::try_from(info.vcpus).unwrap_or(1),
            stubdom: self.stubdom(domid)?,
            guest_memory: self.guest_memory(domid),
        }))
    }

    fn wait(&mut self, domid: Domid, requests: BorrowedFd<'_>) -> Done<Woken> {
        if self.watched != Some(domid) {
            self.act(domid, shim::shim_watch)?;
            self.watched = Some(domid);
        }
        // SAFETY: the connection is ours; the descriptor is open for as long as it is borrowed.
        match unsafe { shim::shim_wait(self.next(), requests.as_raw_fd()) } {
            0 => Ok(Woken::Request),
            1 | 2 => Ok(Woken::Domain),
            failed => self.done(failed).map(|()| Woken::Domain),
        }
    }
}

impl Libxl {
    fn attach_disk(&mut self, domid: Domid, disk: &Disk) -> Done<c_int> {
        let (source, target) = (path(&disk.path)?, text(&disk.target)?);
        let backend = disk.backend.as_ref().map(|backend| text(backend.as_str())).transpose()?;
        let script = optional_path(disk.script.as_deref())?;
        let (source, target) = (source.as_ptr(), target.as_ptr());
        let (backend, script) = (pointer(&backend), pointer(&script));
        let (shim, rw, cdrom) = (self.next(), disk.rw, disk.cdrom);
        // SAFETY: the connection is ours; each text is null or ends with NUL, and outlives the call.
        Ok(unsafe { shim::shim_attach_disk(shim, domid.0, source, target, rw, cdrom, backend, script) })
    }

    fn attach_pci(&mut self, domid: Domid, pci: &Pci) -> c_int {
        let PciAddress { segment, bus, device, function } = pci.address;
        // SAFETY: the connection is ours, the rest are plain numbers.
        unsafe {
            shim::shim_attach_pci(
                self.next(),
                domid.0,
                segment.into(),
                bus,
                device,
                function,
                pci.permissive,
                pci.power_management,
            )
        }
    }
}

/// The state, tested in the order of spec 40 §2.
fn state(info: &shim::Info) -> PowerState {
    const SUSPEND: u64 = 2;
    const CRASH: u64 = 3;
    match (info.paused, info.shutdown, info.reason, info.dying) {
        (1, 0, _, 0) => PowerState::Paused,
        (_, _, _, 1) => PowerState::Dying,
        (_, 1, SUSPEND, _) => PowerState::Suspended,
        (_, 1, CRASH, _) => PowerState::Crashed,
        (_, 1, ..) => PowerState::Halting,
        _ => PowerState::Running,
    }
}

/// A configuration in the library's own form.
struct Config(NonNull<shim::Config>);

impl Drop for Config {
    fn drop(&mut self) {
        // SAFETY: made by the shim, and ours alone.
        unsafe { shim::shim_config_free(self.0.as_ptr()) };
    }
}

impl Config {
    /// Puts every field where the library has it (spec 40 §8).
    fn of(library: &Libxl, domain: &DomainConfig) -> Done<Self> {
        let mode = match domain.virt_mode {
            VirtMode::Pv => c"pv",
            VirtMode::Pvh => c"pvh",
            VirtMode::Hvm => c"hvm",
        };
        let (name, uuid) = (text(domain.name.as_str())?, text(&domain.uuid.to_string())?);
        // SAFETY: three texts that end with NUL and outlive the call; the answer is never null.
        let config = unsafe { shim::shim_config(mode.as_ptr(), name.as_ptr(), uuid.as_ptr()) };
        let config = Self(NonNull::new(config).ok_or_else(|| refused("configuration"))?);
        config.machine(library, domain)?;
        config.boot(domain)?;
        if let Some(emulator) = &domain.emulator {
            config.emulator(domain, emulator)?;
        }
        domain.disks.iter().try_for_each(|disk| config.disk(disk))?;
        domain.nics.iter().try_for_each(|nic| config.nic(nic))?;
        domain.pci.iter().for_each(|device| config.pci(device));
        Ok(config)
    }

    fn machine(&self, library: &Libxl, domain: &DomainConfig) -> Done {
        let (config, vcpus) = (self.0.as_ptr(), c_int::try_from(domain.vcpus).unwrap_or(c_int::MAX));
        // SAFETY: connection and configuration are ours.
        let failed = unsafe {
            shim::shim_memory(config, domain.memory_kib, domain.max_memory_kib);
            shim::shim_vcpus(library.next(), config, vcpus)
        };
        library.done(failed)?;
        for change in &domain.cpuid {
            let change = text(change)?;
            // SAFETY: the configuration is ours, the text ends with NUL and outlives the call.
            let failed = unsafe { shim::shim_cpuid(config, change.as_ptr()) };
            (failed == 0).then_some(()).ok_or_else(|| refused("processor feature"))?;
        }
        let (local, seconds) = match domain.clock {
            Clock::Utc(seconds) => (false, seconds),
            Clock::LocalTime => (true, 0),
        };
        // SAFETY: the configuration is ours.
        unsafe { shim::shim_clock(config, local, seconds) };
        if domain.e820_host {
            // SAFETY: as above.
            unsafe { shim::shim_e820_host(config) };
        }
        Ok(())
    }

    fn boot(&self, domain: &DomainConfig) -> Done {
        let (kernel, initrd) =
            (optional_path(domain.kernel.as_deref())?, optional_path(domain.initrd.as_deref())?);
        let cmdline = domain.cmdline.as_deref().map(text).transpose()?;
        // SAFETY: the configuration is ours; each text is null or ends with NUL, and outlives the call.
        unsafe { shim::shim_boot(self.0.as_ptr(), pointer(&kernel), pointer(&initrd), pointer(&cmdline)) };
        Ok(())
    }

    fn emulator(&self, domain: &DomainConfig, emulator: &Emulator) -> Done {
        let (uefi, video) = (optional_path(domain.uefi.as_deref())?, text(&emulator.video)?);
        let sound = emulator.sound.as_deref().map(text).transpose()?;
        let image = emulator.image.as_ref();
        let kernel = optional_path(image.map(|(kernel, _)| kernel.as_path()))?;
        let ramdisk = optional_path(image.map(|(_, ramdisk)| ramdisk.as_path()))?;
        let memory = emulator.memory_kib.unwrap_or_default();
        let config = self.0.as_ptr();
        // SAFETY: the configuration is ours; each text is null or ends with NUL, and outlives the calls.
        let failed = unsafe {
            shim::shim_emulator(config, emulator.linux, memory, pointer(&kernel), pointer(&ramdisk));
            shim::shim_hvm(config, pointer(&uefi), video.as_ptr(), pointer(&sound))
        };
        (failed == 0).then_some(()).ok_or_else(|| refused("video model"))?;
        for argument in &emulator.arguments {
            let argument = text(argument)?;
            // SAFETY: as above.
            unsafe { shim::shim_emulator_argument(config, argument.as_ptr()) };
        }
        Ok(())
    }

    fn disk(&self, disk: &Disk) -> Done {
        let (source, target) = (path(&disk.path)?, text(&disk.target)?);
        let backend = disk.backend.as_ref().map(|backend| text(backend.as_str())).transpose()?;
        let script = optional_path(disk.script.as_deref())?;
        let (config, backend, script) = (self.0.as_ptr(), pointer(&backend), pointer(&script));
        // SAFETY: the configuration is ours; each text is null or ends with NUL, and outlives the call.
        unsafe {
            shim::shim_disk(config, source.as_ptr(), target.as_ptr(), disk.rw, disk.cdrom, backend, script)
        };
        Ok(())
    }

    fn nic(&self, nic: &Nic) -> Done {
        let texts = nic_texts(nic)?;
        let [mac, ip, backend, script] = texts.each_ref().map(|text| text.as_ptr());
        // SAFETY: the configuration is ours; each text ends with NUL and outlives the call.
        let failed = unsafe { shim::shim_nic(self.0.as_ptr(), mac, ip, backend, script) };
        (failed == 0).then_some(()).ok_or_else(|| refused("hardware address"))
    }

    fn pci(&self, pci: &Pci) {
        let (address, segment) = (pci.address, c_int::from(pci.address.segment));
        let (bus, device, function) = (address.bus, address.device, address.function);
        // SAFETY: the configuration is ours, the rest are plain numbers.
        unsafe {
            shim::shim_pci(
                self.0.as_ptr(),
                segment,
                bus,
                device,
                function,
                pci.permissive,
                pci.power_management,
            );
        }
    }
}

/// What of a configuration the library does not take.
fn refused(what: &str) -> Refused {
    Refused(format!("the hypervisor's library does not take this {what}"))
}

/// Address, IP addresses, netvm and script of an interface.
fn nic_texts(nic: &Nic) -> Done<[CString; 4]> {
    let ip = nic.ip.join(" ");
    Ok([text(&nic.mac)?, text(&ip)?, text(nic.backend.as_str())?, text(&nic.script)?])
}

fn text(text: &str) -> Done<CString> {
    CString::new(text).map_err(|_| refused("text"))
}

fn path(path: &Path) -> Done<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| refused("path"))
}

fn optional_path(wanted: Option<&Path>) -> Done<Option<CString>> {
    wanted.map(path).transpose()
}

fn pointer(text: &Option<CString>) -> *const std::ffi::c_char {
    text.as_ref().map_or(ptr::null(), |text| text.as_ptr())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_told_in_the_order_of_the_specification() {
        let info = |paused, shutdown, reason, dying| shim::Info {
            paused,
            shutdown,
            reason,
            dying,
            ..Default::default()
        };
        for (info, expected) in [
            (info(0, 0, u64::MAX, 0), PowerState::Running),
            (info(1, 0, u64::MAX, 0), PowerState::Paused),
            (info(0, 1, 0, 0), PowerState::Halting),
            (info(1, 1, 0, 0), PowerState::Halting),
            (info(0, 1, 1, 0), PowerState::Halting),
            (info(0, 1, 2, 0), PowerState::Suspended),
            (info(0, 1, 3, 0), PowerState::Crashed),
            (info(0, 1, 3, 1), PowerState::Dying),
        ] {
            assert_eq!(state(&info), expected, "{info:?}");
        }
    }
}

/* The part of libxl that domains need, without libxl's structures: their layout is this machine's own and changes with
 * each release, so it comes from the headers here and never crosses into Rust (ADR 8).
 *
 * Texts are copied. What libxl's structures hold is allocated here and freed by libxl. Like libxl itself, all of this
 * ends the process where memory is out. */

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include <libxl.h>
#include <libxl_event.h>
#include <libxl_utils.h>
#include <libxl_uuid.h>
#include <xenstore.h>
#include <xentoollog.h>

struct shim {
    xentoollog_logger logger; /* first, as libxl hands it back alone */
    libxl_ctx *ctx;
    libxl_evgen_domain_death *watch;
    struct xs_handle *store; /* opened when it is needed first */
    char message[512];
};

/* What there is to know of a domain; the Rust side has the same seven words. */
struct shim_info {
    uint64_t paused, dying, shutdown, reason, memory_kib, cpu_time_ns, vcpus;
};

/* What a wait ended with. */
enum { SHIM_FAILED = -1, SHIM_WOKEN = 0, SHIM_DEAD = 1, SHIM_SHUT_DOWN = 2, SHIM_CANNOT_SLEEP = 3 };

/* There is no such domain, as opposed to that nobody can tell. */
enum { SHIM_NONE = 4 };

/* --- the library ------------------------------------------------------------------------------------------------ */

/* Keeps the last error, as the library's return codes are coarse. */
__attribute__((format(printf, 5, 0))) static void keep(xentoollog_logger *logger, xentoollog_level level, int number,
                                                       const char *context, const char *format, va_list values) {
    struct shim *shim = (struct shim *)logger;
    (void)number;
    (void)context;
    if (level >= XTL_ERROR)
        vsnprintf(shim->message, sizeof shim->message, format, values);
}

/* We have no children but the library's, which may not take others'. */
static const libxl_childproc_hooks CHILDREN = {.chldowner = libxl_sigchld_owner_libxl_always_selective_reap};

struct shim *shim_open(void) {
    struct shim *shim = calloc(1, sizeof *shim);
    if (!shim)
        abort();
    shim->logger.vmessage = keep;
    if (libxl_ctx_alloc(&shim->ctx, LIBXL_VERSION, 0, &shim->logger)) {
        free(shim);
        return NULL;
    }
    libxl_childproc_setmode(shim->ctx, &CHILDREN, NULL);
    return shim;
}

const char *shim_message(const struct shim *shim) {
    return shim->message;
}

/* What went wrong before has nothing to do with what is done next. */
void shim_forget(struct shim *shim) {
    *shim->message = 0;
}

/* --- what a domain is made from --------------------------------------------------------------------------------- */

static char *copy(const char *text) {
    char *copied = text ? strdup(text) : NULL;
    if (text && !copied)
        abort();
    return copied;
}

/* Room for one more at the end of an array. */
static void *grown(void *array, int *count, size_t size) {
    char *more = realloc(array, ((size_t)*count + 1) * size);
    if (!more)
        abort();
    memset(more + (size_t)*count * size, 0, size);
    ++*count;
    return more;
}

static void append(libxl_string_list *list, const char *text) {
    int count = 0;
    while (*list && (*list)[count])
        count++;
    char **more = realloc(*list, ((size_t)count + 2) * sizeof *more);
    if (!more)
        abort();
    more[count] = copy(text);
    more[count + 1] = NULL;
    *list = more;
}

libxl_domain_config *shim_config(const char *mode, const char *name, const char *uuid) {
    libxl_domain_config *config = malloc(sizeof *config);
    if (!config)
        abort();
    libxl_domain_config_init(config);
    libxl_domain_type type = LIBXL_DOMAIN_TYPE_INVALID;
    libxl_domain_type_from_string(mode, &type);
    config->c_info.type = type;
    config->c_info.name = copy(name);
    libxl_uuid_from_string(&config->c_info.uuid, uuid);
    libxl_defbool_set(&config->c_info.driver_domain, true); /* any qube may serve disks to others */
    libxl_domain_build_info_init_type(&config->b_info, type);
    config->on_poweroff = config->on_reboot = config->on_crash = LIBXL_ACTION_ON_SHUTDOWN_DESTROY;
    config->on_watchdog = config->on_soft_reset = LIBXL_ACTION_ON_SHUTDOWN_DESTROY;
    if (type == LIBXL_DOMAIN_TYPE_PV)
        return config;
    libxl_defbool_set(&config->b_info.acpi, true);
    libxl_defbool_set(&config->b_info.apic, true);
    libxl_defbool_set(&config->b_info.nested_hvm, false);
    libxl_defbool_set(&config->b_info.disable_migrate, true); /* a clock of constant pace is this machine's own */
    return config;
}

void shim_config_free(libxl_domain_config *config) {
    libxl_domain_config_dispose(config);
    free(config);
}

void shim_memory(libxl_domain_config *config, uint64_t initial_kib, uint64_t max_kib) {
    config->b_info.target_memkb = initial_kib;
    config->b_info.max_memkb = max_kib;
}

int shim_vcpus(struct shim *shim, libxl_domain_config *config, int count) {
    config->b_info.max_vcpus = count;
    int failed = libxl_cpu_bitmap_alloc(shim->ctx, &config->b_info.avail_vcpus, count);
    for (int vcpu = 0; !failed && vcpu < count; vcpu++)
        libxl_bitmap_set(&config->b_info.avail_vcpus, vcpu);
    return failed;
}

int shim_cpuid(libxl_domain_config *config, const char *text) {
    return libxl_cpuid_parse_config(&config->b_info.cpuid, text);
}

void shim_boot(libxl_domain_config *config, const char *kernel, const char *ramdisk, const char *cmdline) {
    config->b_info.kernel = copy(kernel);
    config->b_info.ramdisk = copy(ramdisk);
    config->b_info.cmdline = copy(cmdline);
}

void shim_clock(libxl_domain_config *config, bool local, int32_t seconds) {
    libxl_defbool_set(&config->b_info.localtime, local);
    config->b_info.rtc_timeoffset = (uint32_t)seconds;
    if (config->b_info.type != LIBXL_DOMAIN_TYPE_HVM)
        config->b_info.tsc_mode = LIBXL_TSC_MODE_NATIVE;
}

void shim_e820_host(libxl_domain_config *config) {
    if (config->b_info.type == LIBXL_DOMAIN_TYPE_PV)
        libxl_defbool_set(&config->b_info.u.pv.e820_host, true);
}

/* The machine that a fully virtualised guest sees. */
int shim_hvm(libxl_domain_config *config, const char *uefi, const char *video, const char *sound) {
    libxl_domain_build_info *info = &config->b_info;
    libxl_defbool_set(&info->u.hvm.pae, true);
    libxl_defbool_set(&info->u.hvm.viridian, true);
    info->u.hvm.bios = uefi ? LIBXL_BIOS_TYPE_OVMF : LIBXL_BIOS_TYPE_SEABIOS;
    info->u.hvm.system_firmware = copy(uefi);
    info->u.hvm.boot = copy("dc");
    libxl_defbool_set(&info->u.hvm.usb, true);
    append(&info->u.hvm.usbdevice_list, "tablet");
    info->u.hvm.soundhw = copy(sound);
    libxl_defbool_set(&info->u.hvm.vnc.enable, false);
    libxl_defbool_set(&info->u.hvm.sdl.enable, false);
    return libxl_vga_interface_type_from_string(strcmp(video, "vga") ? video : "std", &info->u.hvm.vga.kind);
}

void shim_emulator(libxl_domain_config *config, bool linux_stubdom, uint64_t memory_kib, const char *kernel,
                   const char *ramdisk) {
    libxl_domain_build_info *info = &config->b_info;
    info->device_model_version =
        linux_stubdom ? LIBXL_DEVICE_MODEL_VERSION_QEMU_XEN : LIBXL_DEVICE_MODEL_VERSION_QEMU_XEN_TRADITIONAL;
    libxl_defbool_set(&info->device_model_stubdomain, true);
    if (memory_kib)
        info->stubdomain_memkb = memory_kib;
    info->stubdomain_kernel = copy(kernel);
    info->stubdomain_ramdisk = copy(ramdisk);
}

void shim_emulator_argument(libxl_domain_config *config, const char *argument) {
    append(&config->b_info.extra, argument);
}

/* Fills in what a disk is. */
static void describe_disk(libxl_device_disk *disk, const char *path, const char *target, bool rw, bool cdrom,
                          const char *backend, const char *script) {
    libxl_device_disk_init(disk);
    disk->pdev_path = copy(path);
    disk->vdev = copy(target);
    disk->backend = LIBXL_DISK_BACKEND_PHY;
    disk->format = LIBXL_DISK_FORMAT_RAW;
    disk->readwrite = rw;
    disk->is_cdrom = disk->removable = cdrom;
    disk->backend_domname = copy(backend);
    disk->script = copy(script);
}

void shim_disk(libxl_domain_config *config, const char *path, const char *target, bool rw, bool cdrom,
               const char *backend, const char *script) {
    config->disks = grown(config->disks, &config->num_disks, sizeof *config->disks);
    describe_disk(&config->disks[config->num_disks - 1], path, target, rw, cdrom, backend, script);
}

/* Fills in what an interface is; tells whether the address is none. */
static int describe(libxl_device_nic *nic, const char *mac, const char *ip, const char *backend, const char *script) {
    libxl_device_nic_init(nic);
    nic->ip = copy(ip);
    nic->backend_domname = copy(backend);
    nic->script = copy(script);
    unsigned char *byte = nic->mac;
    int read = sscanf(mac, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx", byte, byte + 1, byte + 2, byte + 3, byte + 4, byte + 5);
    return read != 6;
}

int shim_nic(libxl_domain_config *config, const char *mac, const char *ip, const char *backend, const char *script) {
    config->nics = grown(config->nics, &config->num_nics, sizeof *config->nics);
    libxl_device_nic *nic = &config->nics[config->num_nics - 1];
    int failed = describe(nic, mac, ip, backend, script);
    nic->nictype =
        config->b_info.type == LIBXL_DOMAIN_TYPE_HVM ? LIBXL_NIC_TYPE_VIF_IOEMU : LIBXL_NIC_TYPE_VIF;
    return failed;
}

/* Fills in what a device of the host is. It is taken from whoever has it in dom0. */
static void describe_pci(libxl_device_pci *pci, int segment, uint8_t bus, uint8_t device, uint8_t function,
                         bool permissive, bool power_management) {
    libxl_device_pci_init(pci);
    pci->domain = segment;
    pci->bus = bus;
    pci->dev = device;
    pci->func = function;
    pci->seize = true;
    pci->permissive = permissive;
    pci->power_mgmt = power_management;
}

void shim_pci(libxl_domain_config *config, int segment, uint8_t bus, uint8_t device, uint8_t function, bool permissive,
              bool power_management) {
    config->pcidevs = grown(config->pcidevs, &config->num_pcidevs, sizeof *config->pcidevs);
    describe_pci(&config->pcidevs[config->num_pcidevs - 1], segment, bus, device, function, permissive,
                 power_management);
}

/* --- its life --------------------------------------------------------------------------------------------------- */

int shim_create(struct shim *shim, libxl_domain_config *config, uint32_t *domid) {
    return libxl_domain_create_new(shim->ctx, config, domid, NULL, NULL);
}

/* Whether the machine keeps devices away from the memory of others. Where it cannot be asked, it is not at fault. */
bool shim_has_iommu(struct shim *shim) {
    libxl_physinfo info;
    libxl_physinfo_init(&info);
    bool has = libxl_get_physinfo(shim->ctx, &info) || info.cap_hvm_directio;
    libxl_physinfo_dispose(&info);
    return has;
}

int shim_unpause(struct shim *shim, uint32_t domid) {
    return libxl_domain_unpause(shim->ctx, domid, NULL);
}

int shim_pause(struct shim *shim, uint32_t domid) {
    return libxl_domain_pause(shim->ctx, domid, NULL);
}

/* A guest that does not listen to the hypervisor may listen to a power button. */
int shim_shutdown(struct shim *shim, uint32_t domid) {
    int failed = libxl_domain_shutdown(shim->ctx, domid, NULL);
    return failed == ERROR_NOPARAVIRT ? libxl_send_trigger(shim->ctx, domid, LIBXL_TRIGGER_POWER, 0, NULL) : failed;
}

/* A guest that has no ear for the hypervisor, or does not answer, cannot sleep; nor can any where the library cannot ask. */
int shim_suspend(struct shim *shim, uint32_t domid) {
    int failed = libxl_domain_suspend_only(shim->ctx, domid, NULL);
    bool cannot = failed == ERROR_NI || failed == ERROR_NOPARAVIRT || failed == ERROR_GUEST_TIMEDOUT;
    return cannot ? SHIM_CANNOT_SLEEP : failed;
}

int shim_resume(struct shim *shim, uint32_t domid) {
    return libxl_domain_resume(shim->ctx, domid, 1, NULL);
}

int shim_destroy(struct shim *shim, uint32_t domid) {
    return libxl_domain_destroy(shim->ctx, domid, NULL);
}

/* Gives a domain that is there one more interface, which no emulator serves. */
int shim_connect(struct shim *shim, uint32_t domid, const char *mac, const char *ip, const char *backend,
                 const char *script) {
    libxl_device_nic nic;
    int failed = describe(&nic, mac, ip, backend, script);
    nic.nictype = LIBXL_NIC_TYPE_VIF;
    if (!failed)
        failed = libxl_device_nic_add(shim->ctx, domid, &nic, NULL);
    libxl_device_nic_dispose(&nic);
    return failed;
}

/* Takes an interface away. A netvm that does not let go of it in time loses it all the same, which the library calls a
 * failure. */
static void take(struct shim *shim, uint32_t domid, libxl_device_nic *nic) {
    if (libxl_device_nic_remove(shim->ctx, domid, nic, NULL))
        libxl_device_nic_destroy(shim->ctx, domid, nic, NULL);
}

/* Takes all interfaces away, also those that are served by nobody any more; tells how many are left. */
int shim_disconnect(struct shim *shim, uint32_t domid) {
    int count = 0;
    libxl_device_nic *nics = libxl_device_nic_list(shim->ctx, domid, &count);
    for (int each = 0; nics && each < count; each++)
        take(shim, domid, &nics[each]);
    if (nics)
        libxl_device_nic_list_free(nics, count);
    nics = libxl_device_nic_list(shim->ctx, domid, &count);
    if (nics)
        libxl_device_nic_list_free(nics, count);
    if (count && !*shim->message)
        snprintf(shim->message, sizeof shim->message, "network interfaces are left: %d", count);
    return count;
}

/* Gives a domain that is there one more disk. */
int shim_attach_disk(struct shim *shim, uint32_t domid, const char *path, const char *target, bool rw, bool cdrom,
                     const char *backend, const char *script) {
    libxl_device_disk disk;
    describe_disk(&disk, path, target, rw, cdrom, backend, script);
    int failed = libxl_device_disk_add(shim->ctx, domid, &disk, NULL);
    libxl_device_disk_dispose(&disk);
    return failed;
}

/* Takes the disk away that the guest calls by that name. */
int shim_detach_disk(struct shim *shim, uint32_t domid, const char *target) {
    libxl_device_disk disk;
    libxl_device_disk_init(&disk);
    int failed = libxl_vdev_to_device_disk(shim->ctx, domid, target, &disk);
    if (!failed)
        failed = libxl_device_disk_remove(shim->ctx, domid, &disk, NULL);
    libxl_device_disk_dispose(&disk);
    return failed;
}

int shim_attach_pci(struct shim *shim, uint32_t domid, int segment, uint8_t bus, uint8_t device, uint8_t function,
                    bool permissive, bool power_management) {
    libxl_device_pci pci;
    describe_pci(&pci, segment, bus, device, function, permissive, power_management);
    int failed = libxl_device_pci_add(shim->ctx, domid, &pci, NULL);
    libxl_device_pci_dispose(&pci);
    return failed;
}

int shim_detach_pci(struct shim *shim, uint32_t domid, int segment, uint8_t bus, uint8_t device, uint8_t function) {
    libxl_device_pci pci;
    describe_pci(&pci, segment, bus, device, function, false, false);
    int failed = libxl_device_pci_remove(shim->ctx, domid, &pci, NULL);
    libxl_device_pci_dispose(&pci);
    return failed;
}

static struct xs_handle *store_of(struct shim *shim) {
    if (!shim->store)
        shim->store = xs_open(0);
    return shim->store;
}

static bool put(struct xs_handle *store, uint32_t domid, const char *key, const char *value) {
    char path[64];
    snprintf(path, sizeof path, "/local/domain/%u/memory/%s", domid, key);
    struct xs_permissions owner = {.id = domid, .perms = XS_PERM_NONE};
    return xs_write(store, XBT_NULL, path, value, (unsigned)strlen(value)) &&
           (*value || xs_set_permissions(store, XBT_NULL, path, &owner, 1));
}

/* Where the guest reports its use of memory, and where its memory ends if more can be plugged in. */
int shim_memory_reports(struct shim *shim, uint32_t domid, uint64_t hotplug_max_kib) {
    char most[24];
    snprintf(most, sizeof most, "%llu", (unsigned long long)hotplug_max_kib);
    struct xs_handle *store = store_of(shim);
    bool done = store && put(store, domid, "meminfo", "") && put(store, domid, "swapinfo", "") &&
                (!hotplug_max_kib || put(store, domid, "hotplug-max", most));
    if (!done)
        snprintf(shim->message, sizeof shim->message, "cannot write to XenStore");
    return !done;
}

/* A number that the guest reports of its memory, as nothing but digits; UINT64_MAX if it reports none. */
uint64_t shim_reported(struct shim *shim, uint32_t domid, const char *key) {
    char path[64];
    snprintf(path, sizeof path, "/local/domain/%u/memory/%s", domid, key);
    unsigned length = 0;
    char *text = store_of(shim) ? xs_read(shim->store, XBT_NULL, path, &length) : NULL;
    bool is_number = text && length && length < 20 && strspn(text, "0123456789") == length;
    uint64_t number = is_number ? strtoull(text, NULL, 10) : UINT64_MAX;
    free(text);
    return number;
}

/* The terminal of a domain's console; the caller frees it. */
char *shim_console(struct shim *shim, uint32_t domid) {
    char *path = NULL;
    return libxl_primary_console_get_tty(shim->ctx, domid, &path) ? NULL : path;
}

static int none_or(int failed) {
    return failed == ERROR_DOMAIN_NOTFOUND ? SHIM_NONE : failed;
}

int shim_info(struct shim *shim, uint32_t domid, struct shim_info *found) {
    libxl_dominfo info;
    libxl_dominfo_init(&info);
    int failed = libxl_domain_info(shim->ctx, &info, domid);
    *found = (struct shim_info){info.paused,        info.dying,    info.shutdown,   (uint64_t)info.shutdown_reason,
                                info.current_memkb, info.cpu_time, info.vcpu_online};
    libxl_dominfo_dispose(&info);
    return none_or(failed);
}

/* The domain that emulates another's devices. */
int shim_stubdom(struct shim *shim, uint32_t domid, uint32_t *stubdom, char uuid[40], struct shim_info *found) {
    libxl_dominfo info;
    *stubdom = (uint32_t)libxl_get_stubdom_id(shim->ctx, (int)domid);
    if (!*stubdom)
        return SHIM_NONE;
    libxl_dominfo_init(&info);
    int failed = libxl_domain_info(shim->ctx, &info, *stubdom);
    snprintf(uuid, 40, LIBXL_UUID_FMT, LIBXL_UUID_BYTES(info.uuid));
    libxl_dominfo_dispose(&info);
    return failed ? none_or(failed) : shim_info(shim, *stubdom, found);
}

/* The domain of a UUID; one that is being torn down counts for nothing any more. */
int shim_find(struct shim *shim, const char *uuid, uint32_t *domid) {
    libxl_uuid wanted;
    int count = 0, answer = SHIM_NONE;
    libxl_dominfo *domains = libxl_uuid_from_string(&wanted, uuid) ? NULL : libxl_list_domain(shim->ctx, &count);
    if (!domains)
        return SHIM_FAILED;
    for (int each = 0; each < count; each++)
        if (!domains[each].dying && !memcmp(&domains[each].uuid, &wanted, sizeof wanted)) {
            *domid = domains[each].domid;
            answer = 0;
        }
    libxl_dominfo_list_free(domains, count);
    return answer;
}

/* From here on waits tell how this domain ends; again after each resume. */
int shim_watch(struct shim *shim, uint32_t domid) {
    if (shim->watch)
        libxl_evdisable_domain_death(shim->ctx, shim->watch);
    shim->watch = NULL;
    return libxl_evenable_domain_death(shim->ctx, domid, 0, &shim->watch);
}

static int ending(const libxl_event *event) {
    switch (event->type) {
    case LIBXL_EVENT_TYPE_DOMAIN_SHUTDOWN:
        return SHIM_SHUT_DOWN;
    case LIBXL_EVENT_TYPE_DOMAIN_DEATH:
        return SHIM_DEAD;
    default:
        return SHIM_WOKEN;
    }
}

/* Sleeps until the watched domain ends or a descriptor is readable. */
int shim_wait(struct shim *shim, int other) {
    struct pollfd polled[64];
    for (;;) {
        libxl_event *event;
        while (!libxl_event_check(shim->ctx, &event, LIBXL_EVENTMASK_ALL, NULL, NULL)) {
            int ended = ending(event);
            libxl_event_free(shim->ctx, event);
            if (ended)
                return ended;
        }
        int count = 63, timeout = -1;
        struct timeval now;
        gettimeofday(&now, NULL);
        if (libxl_osevent_beforepoll(shim->ctx, &count, polled + 1, &timeout, now))
            return SHIM_FAILED;
        polled[0] = (struct pollfd){.fd = other, .events = POLLIN};
        if (poll(polled, (nfds_t)count + 1, timeout) < 0 && errno != EINTR)
            return SHIM_FAILED;
        gettimeofday(&now, NULL);
        libxl_osevent_afterpoll(shim->ctx, count, polled + 1, now);
        if (polled[0].revents)
            return SHIM_WOKEN;
    }
}

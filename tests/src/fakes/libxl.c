/* Stands in front of those functions of libxl that need Xen, by LD_PRELOAD; the rest of the library is the real one.
 *
 * The folder FAKE_LIBXL holds `calls`, a line for each call, and `config.json`, what the domain was made from, in the
 * library's own words. The test writes there what shall happen: `fails` holds the names of functions that fail;
 * `shutdown` the reason of a guest's end; `there` is a domain from before, `gone` none at all; `nics` how many interfaces
 * it has, which it keeps if there is `stays`; `stubdom` the number of the domain that emulates its devices, `cpu` its
 * time, `meminfo` and `swapinfo` what the guest reports. */

#define _GNU_SOURCE
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libxl.h>
#include <libxl_event.h>
#include <libxl_utils.h>
#include <xenstore.h>

enum { DOMID = 5 };
#define OWN_UUID "00000000-0000-4000-8000-000000000002"

static xentoollog_logger *logger;
static int paused, exists, has_told;

static FILE *file(const char *name, const char *mode) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", getenv("FAKE_LIBXL"), name);
    return fopen(path, mode);
}

/* The content of a file of the test; none if there is no such file. */
static const char *told(const char *name) {
    static char text[256];
    FILE *there = file(name, "r");
    if (!there)
        return NULL;
    text[fread(text, 1, sizeof text - 1, there)] = 0;
    fclose(there);
    return text;
}

static void complain(const char *format, ...) {
    va_list values;
    va_start(values, format);
    logger->vmessage(logger, XTL_ERROR, -1, "fake", format, values);
    va_end(values);
}

static int is_word(const char *word, const char *words) {
    size_t length = strlen(word);
    while (words) {
        size_t here = strcspn(words, " ");
        if (here == length && !strncmp(words, word, length))
            return 1;
        words = words[here] ? words + here + 1 : NULL;
    }
    return 0;
}

/* Records a call and tells whether it is one of those that shall fail. */
static int fails(const char *call) {
    FILE *calls = file("calls", "a");
    fprintf(calls, "%s\n", call);
    fclose(calls);
    if (!is_word(call, told("fails")))
        return 0;
    complain("%s went wrong", call);
    return ERROR_FAIL;
}

/* The same for questions, which are recorded only where they fail: how often they are asked is nobody's affair. */
static int is_unanswered(const char *question) {
    return is_word(question, told("fails")) && fails(question);
}

int libxl_ctx_alloc(libxl_ctx **ctx, int version, unsigned flags, xentoollog_logger *given) {
    (void)version;
    (void)flags;
    logger = given;
    if (fails("ctx_alloc"))
        return ERROR_FAIL;
    *ctx = calloc(1, 1 << 16); /* the real functions that we leave in place keep nothing in it */
    return 0;
}

void libxl_childproc_setmode(libxl_ctx *ctx, const libxl_childproc_hooks *hooks, void *user) {
    (void)ctx;
    (void)hooks;
    (void)user;
}

int libxl_domain_create_new(libxl_ctx *ctx, libxl_domain_config *config, uint32_t *domid,
                            const libxl_asyncop_how *how, const libxl_asyncprogress_how *progress) {
    (void)how;
    (void)progress;
    char *json = libxl_domain_config_to_json(ctx, config);
    FILE *recorded = file("config.json", "w");
    fputs(json, recorded);
    fclose(recorded);
    free(json);
    *domid = DOMID;
    paused = exists = 1;
    /* Not in the recorded text, as the library's default is the same. */
    libxl_action_on_shutdown on_end = LIBXL_ACTION_ON_SHUTDOWN_DESTROY;
    int all = config->on_poweroff == on_end && config->on_reboot == on_end && config->on_crash == on_end &&
              config->on_watchdog == on_end && config->on_soft_reset == on_end;
    return fails(all ? "create" : "create what outlives its end");
}

/* A machine without an IOMMU, if there is a file `no-iommu`. */
int libxl_get_physinfo(libxl_ctx *ctx, libxl_physinfo *info) {
    (void)ctx;
    info->cap_hvm_directio = !told("no-iommu");
    return 0;
}

int libxl_domain_unpause(libxl_ctx *ctx, uint32_t domid, const libxl_asyncop_how *how) {
    (void)ctx;
    (void)domid;
    (void)how;
    if (fails("unpause"))
        return ERROR_FAIL;
    return paused = 0;
}

int libxl_domain_pause(libxl_ctx *ctx, uint32_t domid, const libxl_asyncop_how *how) {
    (void)ctx;
    (void)domid;
    (void)how;
    if (fails("pause"))
        return ERROR_FAIL;
    paused = 1;
    return 0;
}

static int nics = -1; /* unless it is known, as many as `nics` says */

int libxl_device_nic_add(libxl_ctx *ctx, uint32_t domid, libxl_device_nic *nic, const libxl_asyncop_how *how) {
    (void)domid;
    (void)how;
    if (fails("nic_add"))
        return ERROR_FAIL;
    char *json = libxl_device_nic_to_json(ctx, nic);
    FILE *recorded = file("nic.json", "w");
    fputs(json, recorded);
    fclose(recorded);
    free(json);
    nics++;
    return 0;
}

static void record(const char *name, char *json) {
    FILE *recorded = file(name, "w");
    fputs(json, recorded);
    fclose(recorded);
    free(json);
}

int libxl_device_disk_add(libxl_ctx *ctx, uint32_t domid, libxl_device_disk *disk, const libxl_asyncop_how *how) {
    (void)domid;
    (void)how;
    if (fails("disk_add"))
        return ERROR_FAIL;
    record("disk.json", libxl_device_disk_to_json(ctx, disk));
    return 0;
}

int libxl_vdev_to_device_disk(libxl_ctx *ctx, uint32_t domid, const char *vdev, libxl_device_disk *disk) {
    (void)ctx;
    (void)domid;
    disk->vdev = strdup(vdev);
    return fails("vdev_to_disk");
}

int libxl_device_disk_remove(libxl_ctx *ctx, uint32_t domid, libxl_device_disk *disk, const libxl_asyncop_how *how) {
    (void)domid;
    (void)how;
    record("removed.json", libxl_device_disk_to_json(ctx, disk));
    return fails("disk_remove");
}

int libxl_device_pci_add(libxl_ctx *ctx, uint32_t domid, libxl_device_pci *pci, const libxl_asyncop_how *how) {
    (void)domid;
    (void)how;
    if (fails("pci_add"))
        return ERROR_FAIL;
    record("pci.json", libxl_device_pci_to_json(ctx, pci));
    return 0;
}

int libxl_device_pci_remove(libxl_ctx *ctx, uint32_t domid, libxl_device_pci *pci, const libxl_asyncop_how *how) {
    (void)domid;
    (void)how;
    record("removed.json", libxl_device_pci_to_json(ctx, pci));
    return fails("pci_remove");
}

libxl_device_nic *libxl_device_nic_list(libxl_ctx *ctx, uint32_t domid, int *count) {
    (void)ctx;
    (void)domid;
    fails("nic_list");
    const char *said = nics < 0 ? told("nics") : NULL;
    if (nics < 0)
        nics = said ? atoi(said) : 0;
    *count = nics;
    return *count ? calloc((size_t)*count, sizeof(libxl_device_nic)) : NULL;
}

void libxl_device_nic_list_free(libxl_device_nic *listed, int count) {
    (void)count;
    free(listed);
}

static int taken(const char *call) {
    int failed = fails(call);
    nics -= !failed && !told("stays");
    return failed;
}

int libxl_device_nic_remove(libxl_ctx *ctx, uint32_t domid, libxl_device_nic *nic, const libxl_asyncop_how *how) {
    (void)ctx;
    (void)domid;
    (void)nic;
    (void)how;
    return taken("nic_remove");
}

int libxl_device_nic_destroy(libxl_ctx *ctx, uint32_t domid, libxl_device_nic *nic, const libxl_asyncop_how *how) {
    (void)ctx;
    (void)domid;
    (void)nic;
    (void)how;
    return taken("nic_destroy");
}

int libxl_domain_shutdown(libxl_ctx *ctx, uint32_t domid, const libxl_asyncop_how *how) {
    (void)ctx;
    (void)domid;
    (void)how;
    return fails("shutdown") ? ERROR_NOPARAVIRT : 0;
}

int libxl_send_trigger(libxl_ctx *ctx, uint32_t domid, libxl_trigger trigger, uint32_t vcpu,
                       const libxl_asyncop_how *how) {
    (void)ctx;
    (void)domid;
    (void)vcpu;
    (void)how;
    return fails(trigger == LIBXL_TRIGGER_POWER ? "trigger power" : "trigger");
}

int libxl_domain_suspend_only(libxl_ctx *ctx, uint32_t domid, const libxl_asyncop_how *how) {
    (void)ctx;
    (void)domid;
    (void)how;
    int failed = fails("suspend");
    const char *cannot_sleep = told("cannot-sleep");
    return cannot_sleep ? atoi(cannot_sleep) : failed;
}

int libxl_domain_resume(libxl_ctx *ctx, uint32_t domid, int cancels, const libxl_asyncop_how *how) {
    (void)ctx;
    (void)domid;
    (void)how;
    return fails(cancels ? "resume" : "resume anew");
}

int libxl_domain_destroy(libxl_ctx *ctx, uint32_t domid, const libxl_asyncop_how *how) {
    (void)ctx;
    (void)domid;
    (void)how;
    if (fails("destroy"))
        return ERROR_FAIL;
    char path[4096];
    snprintf(path, sizeof path, "%s/there", getenv("FAKE_LIBXL"));
    unlink(path);
    return exists = 0;
}

int libxl_primary_console_get_tty(libxl_ctx *ctx, uint32_t domid, char **path) {
    (void)ctx;
    (void)domid;
    if (fails("console"))
        return ERROR_FAIL;
    *path = strdup("/dev/pts/9");
    return 0;
}

static int is_there(void) {
    return (exists || told("there")) && !told("gone");
}

int libxl_domain_info(libxl_ctx *ctx, libxl_dominfo *info, uint32_t domid) {
    (void)ctx;
    if (is_unanswered(domid == DOMID ? "info" : "stubdom_info"))
        return ERROR_FAIL;
    if (!is_there())
        return ERROR_DOMAIN_NOTFOUND;
    const char *reason = told("shutdown");
    info->domid = domid;
    info->paused = paused;
    info->shutdown = reason != NULL;
    info->shutdown_reason = reason ? atoi(reason) : LIBXL_SHUTDOWN_REASON_UNKNOWN;
    info->current_memkb = 409600;
    libxl_uuid_from_string(&info->uuid, domid == DOMID ? OWN_UUID : "00000000-0000-4000-8000-000000000099");
    info->cpu_time = domid != DOMID ? 88 : told("cpu") ? strtoull(told("cpu"), NULL, 10) : 77;
    info->vcpu_online = 2;
    return 0;
}

int libxl_get_stubdom_id(libxl_ctx *ctx, int domid) {
    (void)ctx;
    const char *stubdom = told("stubdom");
    return domid == DOMID && stubdom ? atoi(stubdom) : 0;
}

/* One that is about to go, and the one of the test's UUID. */
libxl_dominfo *libxl_list_domain(libxl_ctx *ctx, int *count) {
    (void)ctx;
    if (is_unanswered("list"))
        return NULL;
    libxl_dominfo *all = calloc(2, sizeof *all);
    for (*count = 0; *count < 2; ++*count) {
        libxl_dominfo_init(&all[*count]);
        libxl_uuid_from_string(&all[*count].uuid, OWN_UUID);
        all[*count].domid = DOMID - 1 + (uint32_t)*count;
        all[*count].dying = *count == 0 || !is_there();
    }
    return all;
}

int libxl_evenable_domain_death(libxl_ctx *ctx, uint32_t domid, libxl_ev_user user, libxl_evgen_domain_death **watch) {
    (void)ctx;
    (void)domid;
    (void)user;
    static int enabled;
    *watch = (libxl_evgen_domain_death *)&enabled;
    has_told = 0;
    return fails("watch");
}

void libxl_evdisable_domain_death(libxl_ctx *ctx, libxl_evgen_domain_death *watch) {
    (void)ctx;
    (void)watch;
}

int libxl_event_check(libxl_ctx *ctx, libxl_event **event, uint64_t mask, libxl_event_predicate *predicate, void *user) {
    (void)ctx;
    (void)mask;
    (void)predicate;
    (void)user;
    const char *reason = told("shutdown");
    if (is_there() && (has_told || !reason))
        return ERROR_NOT_READY;
    *event = calloc(1, sizeof **event);
    (*event)->domid = DOMID;
    (*event)->type = is_there() ? LIBXL_EVENT_TYPE_DOMAIN_SHUTDOWN : LIBXL_EVENT_TYPE_DOMAIN_DEATH;
    has_told = 1;
    return 0;
}

void libxl_event_free(libxl_ctx *ctx, libxl_event *event) {
    (void)ctx;
    free(event);
}

int libxl_osevent_beforepoll(libxl_ctx *ctx, int *count, struct pollfd *polled, int *timeout, struct timeval now) {
    (void)ctx;
    (void)polled;
    (void)now;
    *count = 0;
    *timeout = 5;
    return 0;
}

void libxl_osevent_afterpoll(libxl_ctx *ctx, int count, const struct pollfd *polled, struct timeval now) {
    (void)ctx;
    (void)count;
    (void)polled;
    (void)now;
}

/* XenStore: what is written there and to whom it belongs. */

struct xs_handle *xs_open(unsigned long flags) {
    (void)flags;
    static int store;
    const char *failing = told("fails");
    return failing && !strcmp(failing, "xs_open") ? NULL : (struct xs_handle *)&store;
}

bool xs_write(struct xs_handle *store, xs_transaction_t transaction, const char *path, const void *value,
              unsigned length) {
    (void)store;
    (void)transaction;
    char call[256];
    snprintf(call, sizeof call, "%s=%.*s", path, (int)length, (const char *)value);
    return !fails(call);
}

void *xs_read(struct xs_handle *store, xs_transaction_t transaction, const char *path, unsigned *length) {
    (void)store;
    (void)transaction;
    const char *text = told(strrchr(path, '/') + 1);
    *length = text ? (unsigned)strlen(text) : 0;
    return text ? strdup(text) : NULL;
}

bool xs_set_permissions(struct xs_handle *store, xs_transaction_t transaction, const char *path,
                        struct xs_permissions *permissions, unsigned count) {
    (void)store;
    (void)transaction;
    (void)path;
    char call[64];
    snprintf(call, sizeof call, "owner:%u%s", permissions->id, count == 1 && !permissions->perms ? "" : " and others");
    return !fails(call);
}

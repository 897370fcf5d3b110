/* Counts the processor time that a process spends in libxl. Loaded before that, it takes the place of the functions
 * which the watcher calls, and keeps the sum, in nanoseconds, in /run/libxl-time/PID for others to read. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <libxl.h>
#include <libxl_event.h>

static uint64_t *total;
static int depth; /* the library calls itself */

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static void count(uint64_t since) {
    if (--depth)
        return;
    static uint64_t nowhere;
    if (!total) {
        char path[64];
        snprintf(path, sizeof path, "/run/libxl-time/%d", getpid());
        int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        total = ftruncate(file, sizeof *total)
                    ? &nowhere
                    : mmap(NULL, sizeof *total, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    }
    *total += now() - since;
}

#define TIMED(type, name, parameters, ...)                                                                            \
    type name parameters {                                                                                            \
        type(*real) parameters = (type(*) parameters)dlsym(RTLD_NEXT, #name);                                         \
        uint64_t since = now();                                                                                       \
        depth++;                                                                                                      \
        type result = real(__VA_ARGS__);                                                                              \
        count(since);                                                                                                 \
        return result;                                                                                                \
    }

TIMED(int, libxl_ctx_alloc, (libxl_ctx * *ctx, int version, unsigned flags, xentoollog_logger *logger), ctx, version,
      flags, logger)
TIMED(int, libxl_domain_create_new,
      (libxl_ctx * ctx, libxl_domain_config *config, uint32_t *domid, const libxl_asyncop_how *how,
       const libxl_asyncprogress_how *console),
      ctx, config, domid, how, console)
TIMED(int, libxl_domain_unpause, (libxl_ctx * ctx, uint32_t domid, const libxl_asyncop_how *how), ctx, domid, how)
TIMED(int, libxl_domain_info, (libxl_ctx * ctx, libxl_dominfo *info, uint32_t domid), ctx, info, domid)
TIMED(int, libxl_get_stubdom_id, (libxl_ctx * ctx, int domid), ctx, domid)
TIMED(libxl_dominfo *, libxl_list_domain, (libxl_ctx * ctx, int *found), ctx, found)
TIMED(int, libxl_evenable_domain_death,
      (libxl_ctx * ctx, uint32_t domid, libxl_ev_user user, libxl_evgen_domain_death **event), ctx, domid, user, event)
TIMED(int, libxl_event_check,
      (libxl_ctx * ctx, libxl_event **event, uint64_t types, libxl_event_predicate *wanted, void *user), ctx, event,
      types, wanted, user)

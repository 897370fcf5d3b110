/* A clock that is set back all the time: each look at the time of day tells an hour less than the one before. */

#define _GNU_SOURCE
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
    static atomic_long looks;
    int failed = (int)syscall(SYS_clock_gettime, clock, now);
    if (clock == CLOCK_REALTIME)
        now->tv_sec -= 3600 * (atomic_fetch_add(&looks, 1) + 1);
    return failed;
}

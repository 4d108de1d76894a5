/* A time of day of a process's own. Preloaded, it adds what the file named by PERENNIAL_CLOCK holds (seconds, a native 64-bit
 * integer, looked at every time) to whatever a program reads from the wall clock. How long something takes stays true. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *offset;

__attribute__((constructor)) static void find(void)
{
    const char *path = getenv("PERENNIAL_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *page;

    if (file < 0)
        return;
    page = mmap(NULL, sizeof *offset, PROT_READ, MAP_SHARED, file, 0);
    if (page != MAP_FAILED)
        offset = page;
    close(file);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    /* The system call itself: looking for the library's own function allocates, and that may look at the clock. */
    int failed = (int)syscall(SYS_clock_gettime, clock, now);

    if (!failed && offset && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += *offset;
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec at;

    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &at))
        return -1;
    now->tv_sec = at.tv_sec;
    now->tv_usec = at.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out)
{
    struct timespec at;

    if (clock_gettime(CLOCK_REALTIME, &at))
        return -1;
    if (out)
        *out = at.tv_sec;
    return at.tv_sec;
}

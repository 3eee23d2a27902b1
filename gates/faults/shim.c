/* What a node is told about the time and about its disk, changed from outside while it runs.
 *
 * Preloaded into a node. READINESS_FAULT_CONTROL names a file of one page that both sides map; all of it is zero in peace:
 *     0 offset     nanoseconds added to the wall clock; the monotonic clock stays as it is
 *     8 refuse     errno of every write to a file below the folder, 0 for none
 *    16 unsynced   errno of every sync of a file below the folder, 0 for none
 *    24 slow       microseconds that such a sync takes longer
 *    32 told, 40 refused, 48 failed, 56 slowed     how often each of the four was done
 *    64 folder     a path, ended by zero
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct control {
    int64_t offset, refuse, unsynced, slow, told, refused, failed, slowed;
    char folder[4096 - 64];
};

static struct control peace;
static struct control *volatile control = &peace;

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define COUNT(what) __atomic_add_fetch(&control->what, 1, __ATOMIC_RELAXED)

__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("READINESS_FAULT_CONTROL");
    int file = name ? open(name, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *page = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (page != MAP_FAILED) control = page;
    close(file);
}

static int below(const char *path) {
    size_t length = strlen(control->folder);
    return length && strncmp(path, control->folder, length) == 0 && (path[length] == '/' || !path[length]);
}

static int ours(int file) {
    char link[40], path[4096];
    int before = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = before;
    if (length < 0) return 0;
    path[length] = 0;
    return below(path);
}

/* --- the time ------------------------------------------------------------------------------------------------------- */

static int64_t offset(void) {
    int64_t by = control->offset;
    if (by) COUNT(told);
    return by;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    REAL(clock_gettime);
    int result = real(clock, now);
    int64_t by;
    if (result || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE) || !(by = offset())) return result;
    int64_t sum = (int64_t)now->tv_sec * 1000000000 + now->tv_nsec + by;
    now->tv_sec = sum / 1000000000;
    now->tv_nsec = sum % 1000000000;
    return 0;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *where) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (where) *where = now.tv_sec;
    return now.tv_sec;
}

/* --- the disk ------------------------------------------------------------------------------------------------------- */

static int64_t length(int file) {
    struct stat found;
    return fstat(file, &found) ? 0 : found.st_size;
}

/* Whether to refuse a write of *count* bytes at *at*, or where the file stands when that is negative. A disk without space still
 * takes what lies inside a file as it is. */
static int refuses(int file, int64_t at, int64_t count) {
    int error = (int)control->refuse;
    if (!error || !ours(file)) return 0;
    if (error == ENOSPC) {
        int before = errno;
        if (at < 0) at = fcntl(file, F_GETFL) & O_APPEND ? length(file) : lseek(file, 0, SEEK_CUR);
        errno = before;
        if (at >= 0 && at + count <= length(file)) return 0;
    }
    COUNT(refused);
    errno = error;
    return 1;
}

#define REFUSING(result, name, parameters, arguments, at, count) \
    result name parameters { \
        REAL(name); \
        return refuses(file, at, count) ? -1 : real arguments; \
    }

REFUSING(ssize_t, write, (int file, const void *bytes, size_t count), (file, bytes, count), -1, (int64_t)count)
REFUSING(ssize_t, pwrite, (int file, const void *bytes, size_t count, off_t at), (file, bytes, count, at), at, (int64_t)count)
REFUSING(ssize_t, pwrite64, (int file, const void *bytes, size_t count, off64_t at), (file, bytes, count, at), at, (int64_t)count)
REFUSING(ssize_t, writev, (int file, const struct iovec *parts, int count), (file, parts, count), -1, (int64_t)1 << 40)
REFUSING(int, ftruncate, (int file, off_t size), (file, size), 0, size)
REFUSING(int, ftruncate64, (int file, off64_t size), (file, size), 0, size)

int posix_fallocate(int file, off_t at, off_t size) {
    REAL(posix_fallocate);
    return refuses(file, at, size) ? (int)control->refuse : real(file, at, size);
}

int posix_fallocate64(int file, off64_t at, off64_t size) {
    REAL(posix_fallocate64);
    return refuses(file, at, size) ? (int)control->refuse : real(file, at, size);
}

static int refuses_path(const char *path, int flags) {
    int error = (int)control->refuse;
    if (!error || !below(path)) return 0;
    if (error != EROFS ? !(flags & O_CREAT) || access(path, F_OK) == 0 : (flags & O_ACCMODE) == O_RDONLY && !(flags & O_CREAT))
        return 0;
    COUNT(refused);
    errno = error;
    return 1;
}

#define OPENING(name) \
    int name(const char *path, int flags, ...) { \
        REAL(name); \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        return refuses_path(path, flags) ? -1 : real(path, flags, mode); \
    }

OPENING(open)
OPENING(open64)

#define SYNCING(name) \
    int name(int file) { \
        REAL(name); \
        if ((control->slow || control->unsynced) && ours(file)) { \
            if (control->slow) { \
                COUNT(slowed); \
                usleep((useconds_t)control->slow); \
            } \
            if (control->unsynced) { \
                COUNT(failed); \
                errno = (int)control->unsynced; \
                return -1; \
            } \
        } \
        return real(file); \
    }

SYNCING(fsync)
SYNCING(fdatasync)

// A disk that fails on demand: LD_PRELOAD=faults.so in front of a program makes one of its system calls fail. Counted are
// the calls that write: on paths that begin with FAULT_UNDER, on files that were opened there for writing, on folders
// that were opened there, and on stdout. Locks are left out.
//
//   FAULT_TRACE=file   each counted call adds its number, from 1, its name and its path or descriptor
//   FAULT_AT=n         the n-th one does as FAULT says:
//   FAULT=EIO, ENOSPC  it fails; a write writes half of its bytes first
//   FAULT=EINTR        a signal came
//   FAULT=SHORT        a write writes half of its bytes, and says so
//   FAULT=KILL         SIGKILL; a write writes half of its bytes first
//
// What the C library calls from within (fopen, opendir) does not come by here.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { SHORT = -1, KILL = -2 };
static atomic_int calls;
static bool watched[1024] = {false, true};

static bool is_under(const char* path) {
  const char* under = getenv("FAULT_UNDER");
  const size_t length = strlen(path);
  const bool lock = length >= 5 && strcmp(path + length - 5, "/lock") == 0;
  return under && strncmp(path, under, strlen(under)) == 0 && !lock;
}

static bool is_watched(int file) { return file >= 0 && file < 1024 && watched[file]; }

// What is to happen in this call: 0, nothing; an errno; SHORT or KILL.
static int fault(const char* call, const char* path, int file) {
  const int number = ++calls;
  const char *trace = getenv("FAULT_TRACE"), *at = getenv("FAULT_AT"), *what = getenv("FAULT");
  if (trace) {
    char line[1000];
    const int length = path ? snprintf(line, sizeof line, "%d %s %s\n", number, call, path)
                            : snprintf(line, sizeof line, "%d %s %d\n", number, call, file);
    const int out = syscall(SYS_openat, AT_FDCWD, trace, O_WRONLY | O_APPEND | O_CREAT, 0666);
    syscall(SYS_write, out, line, length);
    syscall(SYS_close, out);
  }
  if (!at || !what || atoi(at) != number) return 0;
  return !strcmp(what, "EIO")      ? EIO
         : !strcmp(what, "ENOSPC") ? ENOSPC
         : !strcmp(what, "EINTR")  ? EINTR
         : !strcmp(what, "SHORT")  ? SHORT
                                   : KILL;
}

// Whether the call fails, with errno set.
static bool fails(int what) {
  if (what == KILL) raise(SIGKILL);
  if (what <= 0) return false;
  errno = what;
  return true;
}

static int open_file(int folder, const char* path, int flags, mode_t mode) {
  const bool counted = is_under(path) && flags & (O_WRONLY | O_RDWR | O_DIRECTORY);
  if (counted && fails(fault("open", path, 0))) return -1;
  const int file = syscall(SYS_openat, folder, path, flags, mode);
  if (file > STDERR_FILENO && file < 1024) watched[file] = counted;
  return file;
}
int open(const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const int file = open_file(AT_FDCWD, path, flags, flags & O_CREAT ? va_arg(rest, mode_t) : 0);
  va_end(rest);
  return file;
}
int openat(int folder, const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const int file = open_file(folder, path, flags, flags & O_CREAT ? va_arg(rest, mode_t) : 0);
  va_end(rest);
  return file;
}
int open64(const char*, int, ...) __attribute__((alias("open")));
int openat64(int, const char*, int, ...) __attribute__((alias("openat")));

ssize_t write(int file, const void* bytes, size_t count) {
  const int what = is_watched(file) ? fault("write", NULL, file) : 0;
  if (what == EINTR) return fails(what), -1;
  if (what == 0) return syscall(SYS_write, file, bytes, count);
  const ssize_t half = syscall(SYS_write, file, bytes, (count + 1) / 2);
  return fails(what) ? -1 : half;
}
ssize_t writev(int file, const struct iovec* pieces, int count) {
  if (is_watched(file) && fails(fault("writev", NULL, file))) return -1;
  return syscall(SYS_writev, file, pieces, count);
}

int fsync(int file) { return is_watched(file) && fails(fault("fsync", NULL, file)) ? -1 : syscall(SYS_fsync, file); }
int fdatasync(int file) {
  return is_watched(file) && fails(fault("fdatasync", NULL, file)) ? -1 : syscall(SYS_fdatasync, file);
}
int ftruncate(int file, off_t size) {
  return is_watched(file) && fails(fault("ftruncate", NULL, file)) ? -1 : syscall(SYS_ftruncate, file, size);
}
// A file is closed though close() fails.
int close(int file) {
  const int what = is_watched(file) ? fault("close", NULL, file) : 0;
  if (what == KILL) raise(SIGKILL);
  if (file >= 0 && file < 1024) watched[file] = false;
  const int result = syscall(SYS_close, file);
  return fails(what) ? -1 : result;
}

int rename(const char* from, const char* to) {
  return is_under(to) && fails(fault("rename", to, 0)) ? -1 : syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}
int mkdir(const char* path, mode_t mode) {
  return is_under(path) && fails(fault("mkdir", path, 0)) ? -1 : syscall(SYS_mkdirat, AT_FDCWD, path, mode);
}
int unlink(const char* path) {
  return is_under(path) && fails(fault("unlink", path, 0)) ? -1 : syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}
int remove(const char* path) {
  if (unlink(path) == 0) return 0;
  return errno == EISDIR ? syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR) : -1;
}

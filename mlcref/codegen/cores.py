"""Threads of a parallel region on cores of their own.

A thread that slept is sometimes woken on the core of the one that woke it; until the system looks again, milliseconds
later, the two take turns. So a thread of a region that finds itself on the core on which the region began leaves that
core for good. Pinning all threads would help too, and hinder whoever else runs.
"""

LEAVE_CORE = """#if defined(_OPENMP) && defined(__linux__) && defined(__GLIBC__)
#include <omp.h>
#include <sched.h>
#include <unistd.h>
static int current_core(void) { return omp_get_proc_bind() == omp_proc_bind_false ? sched_getcpu() : -1; }
static void leave_for_good(int core) {
    cpu_set_t cores;
    if (sched_getaffinity(getpid(), sizeof cores, &cores) || CPU_COUNT(&cores) < 2) return;
    CPU_CLR(core, &cores);
    sched_setaffinity(0, sizeof cores, &cores);
}
static inline void leave_core(int core) {
    if (core >= 0 && omp_get_thread_num() && sched_getcpu() == core) leave_for_good(core);
}
#else
static inline int current_core(void) { return -1; }
static inline void leave_core(int core) { (void)core; }
#endif"""
"""C: ``current_core()`` at the start of a region, ``leave_core(core)`` in each of its threads. Where the user has bound
threads to cores, they stay there. The cores of the process are those of its first thread."""

"""Parallel regions: one ``prange`` for all loops of a module, each thread on a core of its own.

gcc takes a quarter of its time for the regions when each loop has one. A thread gets its iterations at once, so that
the loop over them is compiled together with its body.

A thread that slept is sometimes woken on the core of the one that woke it; until the system looks again, milliseconds
later, the two take turns. So a thread of a region that finds itself on the core on which the region began leaves that
core for good. Pinning all threads would help too, and hinder whoever else runs.
"""

LEAVE_CORE = """typedef void (*iterations)(void** shared, int64_t first, int64_t last, int64_t part);
#if defined(_OPENMP) && defined(__linux__) && defined(__GLIBC__)
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

IMPORT_PRANGE = "from cython.parallel cimport prange"
IN_PARALLEL = """cdef void in_parallel(
    iterations run, void** shared, int64_t first, int64_t last, int threads
) noexcept nogil:
    cdef int64_t each = (last - first) // threads, rest = (last - first) % threads
    cdef int64_t part, start, end
    cdef int core = current_core()
    for part in prange(threads, num_threads=threads, schedule="static"):
        leave_core(core)
        start = first + part * each + (part if part < rest else rest)
        end = start + each + (part < rest)
        run(shared, start, end, part)"""
"""Cython: ``in_parallel(run, shared, first, last, threads)`` calls ``run(shared, start, end, part)`` for as many parts
of the iterations from ``first`` to ``last`` as there are threads, each part in a thread."""

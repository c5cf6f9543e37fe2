"""Parallel regions: one function in C for all loops of a module, each thread on a core of its own.

gcc takes a quarter of its time for the regions when each loop has one. A thread gets its iterations at once, so that
the loop over them is compiled together with its body.

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

IN_PARALLEL = """typedef void (*iterations)(void** shared, int64_t first, int64_t last, int64_t thread);
static __attribute__((noinline))
void in_parallel(iterations run, void** shared, int64_t first, int64_t last, int most) {
    int core = current_core();
    (void)most;
    #ifdef _OPENMP
    #pragma omp parallel num_threads(most)
    #endif
    {
        int64_t thread = 0, threads = 1;
        #ifdef _OPENMP
        thread = omp_get_thread_num();
        threads = omp_get_num_threads();
        #endif
        leave_core(core);
        int64_t each = (last - first) / threads, rest = (last - first) % threads;
        int64_t start = first + thread * each + (thread < rest ? thread : rest);
        int64_t end = start + each + (thread < rest);
        if (start < end) run(shared, start, end, thread);
    }
}"""
"""C: ``in_parallel(run, shared, first, last, most)`` calls ``run(shared, start, end, thread)`` on up to ``most``
threads, each with its part of the iterations from ``first`` to ``last``."""

from cython.parallel cimport prange

cdef extern from *:
    """
    #include <math.h>
    #include <stdint.h>
    #include <stdio.h>
    #include <stdlib.h>
    typedef uint16_t float16_t;
    typedef uint16_t bfloat16_t;
    typedef uint8_t float8_e4m3fn_t;
    typedef uint8_t float8_e5m2_t;
    typedef float* __restrict__ float32_restrict;
    static inline __attribute__((always_inline)) int32_t bits_float32(float x0) { union { float value; int32_t bits; } u; u.value = x0; return u.bits; }
    static inline __attribute__((always_inline)) float greater_float32(float x0, float x1) { return x0 > x1 ? x0 : x1; }
    static inline __attribute__((always_inline)) float smaller_float32(float x0, float x1) { return x0 < x1 ? x0 : x1; }
    static inline __attribute__((always_inline)) float all_float32(float x0) { return x0; }
    static inline __attribute__((always_inline)) float value_float32(int32_t x0) { union { float value; int32_t bits; } u; u.bits = x0; return u.value; }
    static inline __attribute__((always_inline)) float power_float32(int32_t x0) { return value_float32((x0 << 23) + 0x3f800000); }
    static inline __attribute__((always_inline)) float scale_float32(float x0, float x1, int32_t x2) { int32_t k = x2 - 0x4b400000, half = k >> 1; return x0 * power_float32(half) * power_float32(k - half); }
    static inline __attribute__((always_inline)) float exp_float32(float x0) { 
        float least = all_float32((-0x1.a400000000000p+6f)), most = all_float32(0x1.6400000000000p+6f);
        float a = smaller_float32(most, greater_float32(least, x0));
        float t = a * 0x1.71547652b82fep+0f + 0x1.8000000000000p+23f;
        float n = t - 0x1.8000000000000p+23f;
        float r = a - n * 0x1.62e4000000000p-1f - n * 0x1.7f7d1cf79abc9p-20f;
        return scale_float32((r * ((((0x1.6d7547f77be0dp-10f * r + 0x1.120b78b4fe5bfp-7f) * r + 0x1.5554b8d6f7707p-5f) * r + 0x1.5554dce9615d1p-3f) * r + 0x1.0000001724474p-1f) + 1) * r + 1, n, bits_float32(t)); }
    static char* workspace_kept;
    static char* take_workspace(int64_t bytes) {
        char* block = __atomic_exchange_n(&workspace_kept, (char*)0, __ATOMIC_ACQUIRE);
        if (block && *(int64_t*)block < bytes) { free(block); block = 0; }
        if (!block) {
            block = aligned_alloc(64, (size_t)bytes + 64);
            if (!block) { fprintf(stderr, "mlcref kernel: out of memory\\n"); abort(); }
            *(int64_t*)block = bytes;
        }
        return block + 64;
    }
    static void keep_workspace(char* workspace) {
        free(__atomic_exchange_n(&workspace_kept, workspace - 64, __ATOMIC_ACQ_REL));
    }
    typedef void (*iterations)(void** shared, int64_t first, int64_t last, int64_t part);
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
    #endif
    """
    ctypedef signed char int8_t
    ctypedef short int16_t
    ctypedef int int32_t
    ctypedef long long int64_t
    ctypedef unsigned char uint8_t
    ctypedef unsigned short uint16_t
    ctypedef unsigned int uint32_t
    ctypedef unsigned long long uint64_t
    ctypedef unsigned short float16_t
    ctypedef unsigned short bfloat16_t
    ctypedef unsigned char float8_e4m3fn_t
    ctypedef unsigned char float8_e5m2_t
    ctypedef float* float32_restrict
    float exp_float32(float) nogil
    char* take_workspace(int64_t) nogil
    void keep_workspace(char*) nogil
    int current_core() nogil
    void leave_core(int) nogil
    ctypedef void (*iterations)(void**, int64_t, int64_t, int64_t) noexcept nogil

cdef void in_parallel(
    iterations run, void** shared, int64_t first, int64_t last, int threads
) noexcept nogil:
    cdef int64_t each = (last - first) // threads, rest = (last - first) % threads
    cdef int64_t part, start, end
    cdef int core = current_core()
    for part in prange(threads, num_threads=threads, schedule="static"):
        leave_core(core)
        start = first + part * each + (part if part < rest else rest)
        end = start + each + (part < rest)
        run(shared, start, end, part)


cdef void row_normalise_body_i(float32_restrict A, float32_restrict C, int64_t i, float32_restrict E) noexcept nogil:
    cdef float S
    cdef int64_t j
    cdef int64_t j_1
    cdef int64_t j_2
    for j in range(5000):
        E[j] = exp_float32(A[i * 5000 + j])
    for j_1 in range(5000):
        if j_1 == 0:
            S = <float>0.0
        S = S + E[j_1]
    for j_2 in range(5000):
        C[i * 5000 + j_2] = E[j_2] / S

cdef void row_normalise_body_i_loop(void** shared, int64_t first, int64_t last, int64_t thread) noexcept nogil:
    cdef int64_t i
    for i in range(first, last):
        row_normalise_body_i(<float32_restrict>shared[0], <float32_restrict>shared[1], i, <float32_restrict>shared[2] + thread * 5008)

cdef void row_normalise_body(float32_restrict A, float32_restrict C) noexcept nogil:
    cdef char* workspace = take_workspace(40064)
    cdef float* E = <float*>(workspace)
    cdef void* shared[3]
    shared[0] = <void*>A
    shared[1] = <void*>C
    shared[2] = <void*>E
    in_parallel(row_normalise_body_i_loop, shared, 0, 16, 2)
    keep_workspace(workspace)

cdef void row_normalise_kernel(void** args) noexcept nogil:
    row_normalise_body(<float32_restrict>args[0], <float32_restrict>args[1])

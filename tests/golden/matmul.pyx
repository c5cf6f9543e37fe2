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
    typedef float float32x16 __attribute__((vector_size(64), aligned(4), may_alias));
    static inline __attribute__((always_inline)) float32x16 splat_float32x16(float x0) { return (float32x16)(x0 - (float32x16){0}); }
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
    ctypedef float float32x16
    float32x16 splat_float32x16(float) nogil
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


cdef void matmul_body_i_0(float32_restrict C, float32_restrict A, float32_restrict B, int64_t i_0) noexcept nogil:
    cdef int64_t j_0
    cdef int64_t at
    cdef float32x16 C_tile_0
    cdef float32x16 C_tile_16
    cdef float32x16 C_tile_32
    cdef float32x16 C_tile_48
    cdef int64_t k
    cdef int64_t at_1
    cdef int64_t at_2
    cdef float32x16 loaded
    cdef float32x16 loaded_1
    cdef float32x16 loaded_2
    cdef float32x16 loaded_3
    for j_0 in range(2):
        at = (i_0 * 2) * 64 + j_0 * 32
        (<float32x16*>(C + at))[0] = splat_float32x16(<float>0.0)
        (<float32x16*>(C + at + 16))[0] = splat_float32x16(<float>0.0)
        (<float32x16*>(C + at + 64))[0] = splat_float32x16(<float>0.0)
        (<float32x16*>(C + at + 80))[0] = splat_float32x16(<float>0.0)
        C_tile_0 = (<float32x16*>(C + at))[0]
        C_tile_16 = (<float32x16*>(C + at + 16))[0]
        C_tile_32 = (<float32x16*>(C + at + 64))[0]
        C_tile_48 = (<float32x16*>(C + at + 80))[0]
        for k in range(64):
            at_1 = (i_0 * 2) * 64 + k
            at_2 = k * 64 + j_0 * 32
            loaded = splat_float32x16(A[at_1])
            loaded_1 = (<float32x16*>(B + at_2))[0]
            C_tile_0 = C_tile_0 + (loaded * loaded_1)
            loaded_2 = (<float32x16*>(B + at_2 + 16))[0]
            C_tile_16 = C_tile_16 + (loaded * loaded_2)
            loaded_3 = splat_float32x16(A[at_1 + 64])
            C_tile_32 = C_tile_32 + (loaded_3 * loaded_1)
            C_tile_48 = C_tile_48 + (loaded_3 * loaded_2)
        (<float32x16*>(C + at))[0] = C_tile_0
        (<float32x16*>(C + at + 16))[0] = C_tile_16
        (<float32x16*>(C + at + 64))[0] = C_tile_32
        (<float32x16*>(C + at + 80))[0] = C_tile_48

cdef void matmul_body_i_0_loop(void** shared, int64_t first, int64_t last, int64_t thread) noexcept nogil:
    cdef int64_t i
    for i in range(first, last):
        matmul_body_i_0(<float32_restrict>shared[0], <float32_restrict>shared[1], <float32_restrict>shared[2], i)

cdef void matmul_body(float32_restrict A, float32_restrict B, float32_restrict C) noexcept nogil:
    cdef void* shared[3]
    shared[0] = <void*>C
    shared[1] = <void*>A
    shared[2] = <void*>B
    in_parallel(matmul_body_i_0_loop, shared, 0, 32, 2)

cdef void matmul_kernel(void** args) noexcept nogil:
    matmul_body(<float32_restrict>args[0], <float32_restrict>args[1], <float32_restrict>args[2])

from cython.parallel cimport prange, threadid

cdef extern from *:
    """
    #include <math.h>
    #include <stdint.h>
    #include <stdio.h>
    #include <stdlib.h>
    typedef float* __restrict__ float32_restrict;
    static inline __attribute__((always_inline)) float exp_float32(float x0) { return expf(x0); }
    static void* allocate(int64_t bytes) {
        void* memory = aligned_alloc(64, ((size_t)bytes + 127) / 64 * 64);
        if (!memory) { fprintf(stderr, "mlcref kernel: out of memory\\n"); abort(); }
        return memory;
    }
    static void release(void* memory) { free(memory); }
    """
    ctypedef signed char int8_t
    ctypedef short int16_t
    ctypedef int int32_t
    ctypedef long long int64_t
    ctypedef unsigned char uint8_t
    ctypedef unsigned short uint16_t
    ctypedef unsigned int uint32_t
    ctypedef unsigned long long uint64_t
    ctypedef float* float32_restrict
    float exp_float32(float) nogil
    void* allocate(int64_t) nogil
    void release(void*) nogil


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

cdef void row_normalise_body(float32_restrict A, float32_restrict C) noexcept nogil:
    cdef int64_t i
    cdef float* E = <float*>allocate(2 * 5008 * sizeof(float))
    for i in prange(16, num_threads=2, schedule="static"):
        row_normalise_body_i(A, C, i, E + threadid() * 5008)
    release(E)

cdef void row_normalise_kernel(void** args) noexcept nogil:
    row_normalise_body(<float32_restrict>args[0], <float32_restrict>args[1])

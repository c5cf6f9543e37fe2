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


cdef void vector_add_body(float* A, float* B, float* C, int64_t n) noexcept nogil:
    cdef int64_t i
    for i in range(n):
        C[i] = A[i] + B[i]

cdef void vector_add_kernel(void** args) noexcept nogil:
    vector_add_body(<float*>args[0], <float*>args[1], <float*>args[2], (<int64_t*>args[3])[0])

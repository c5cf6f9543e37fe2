# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, binding=False
"""The checked launcher: calls a compiled kernel by its address after checking every argument.

ABI of a kernel: ``void k(void **args)``, no GIL, no failure. ``args[i]`` points to the first element of a buffer, or to an
8-byte slot that starts with the value of a scalar parameter in its own data type (little-endian). After the parameters come
``int64`` slots, one per symbolic dimension that is no scalar parameter, in order of first appearance.

The fast path only detects. What it does not recognise as right goes to ``resolve``, the readable text of the same rules
(``mlcref.runtime.call_check``), which returns what to pass or raises ``CallError``.

A ``KernelSequence`` is a whole program of such kernels behind one check.
"""

from cpython.buffer cimport PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_CheckExact
from cpython.long cimport PyLong_AsLongLongAndOverflow, PyLong_CheckExact
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.ref cimport Py_INCREF, PyObject
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.math cimport isinf
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec
cimport numpy as cnp

from time import perf_counter

import numpy as np

cdef extern from "numpy/arrayobject.h":
    object PyArray_Empty(int rank, cnp.npy_intp* shape, cnp.dtype dtype, int fortran)

cnp.import_array()

cdef enum:
    STACK_SLOTS = 512  # the weights of a model may be arguments; a call with more slots is bound first, which allocates
    UNBOUND = -1       # a symbolic dimension that no argument has fixed yet
    ALIGNMENT = 64     # bytes, of the memory between kernels

cdef enum Kind:
    BUFFER, INTEGER, FLOAT32, FLOAT64, OTHER

ctypedef void (*kernel_t)(void**) noexcept nogil

cdef struct Spec:
    Kind kind
    Py_ssize_t position      # of the parameter
    int rank
    int flags                # numpy flags that must all be set
    PyObject* dtype          # borrowed from Launcher.dtypes
    cnp.npy_intp* shape      # >= 0: the extent; -1 - s: must equal values[s]
    long long low, high      # of an INTEGER

MOST_ARGUMENTS = STACK_SLOTS
"""Of a KernelSequence."""

cdef object resolve = None
cdef bint parallel_ran = False


def set_resolve(resolve_call):
    """Install the slow path: ``resolve_call(name, params, noalias, args)``."""
    global resolve
    resolve = resolve_call


def parallel_has_run():
    """Has this process, or one that it was forked from, called a kernel marked ``parallel``?"""
    return parallel_ran


cdef class ArrayHolder:
    """Owns a numpy array and lends its buffer; the base class of ``mlcref.runtime.NDArray``."""

    cdef readonly object array

    def __init__(self, array):
        if not isinstance(array, cnp.ndarray):
            raise TypeError(f"expected a numpy array, got {type(array).__name__}")
        self.array = array

    def __getbuffer__(self, Py_buffer* view, int flags):
        PyObject_GetBuffer(self.array, view, flags)


cdef class Launcher:
    """A compiled kernel that checks its arguments; ``mlcref.runtime.launch`` states the contract."""

    cdef kernel_t kernel
    cdef Spec* specs             # scalars first: a dimension may carry the name of one
    cdef cnp.npy_intp* extents   # the shapes of all buffers
    cdef int* pairs              # positions a0, b0, a1, b1, ... of buffers that must not overlap
    cdef Py_ssize_t parameters, slots, pair_count
    cdef list dtypes             # of the parameters
    cdef readonly str name
    cdef readonly tuple params
    cdef readonly bint noalias, parallel
    cdef readonly size_t address

    def __cinit__(self, size_t address, params, str name, bint noalias=True, bint parallel=False):
        self.address = address
        self.kernel = <kernel_t>address
        self.params = tuple(params)
        self.name = name
        self.noalias = noalias
        self.parallel = parallel
        self.parameters = len(self.params)
        self.dtypes = [p.numpy_dtype for p in self.params]
        self.read_params()
        self.read_pairs()

    cdef read_params(self):
        cdef Py_ssize_t i, rank_sum = sum([len(p.shape or ()) for p in self.params])
        cdef cnp.npy_intp* shape
        order = sorted(range(self.parameters), key=lambda i: self.params[i].shape is not None)
        self.specs = <Spec*>allocate(self.parameters, sizeof(Spec))
        self.extents = shape = <cnp.npy_intp*>allocate(rank_sum, sizeof(cnp.npy_intp))
        slot_of = {}
        self.slots = self.parameters
        for i, position in enumerate(order):
            param = self.params[position]
            self.specs[i].position = position
            self.specs[i].dtype = <PyObject*>self.dtypes[position]
            if param.shape is None:
                slot_of[param.name] = position
                self.read_scalar(&self.specs[i], param)
            else:
                self.read_buffer(&self.specs[i], param, shape, slot_of)
                shape += len(param.shape)

    cdef read_scalar(self, Spec* spec, param):
        cdef bint is_extent = any([param.name in (p.shape or ()) for p in self.params])
        bits = 8 * param.numpy_dtype.itemsize
        if param.numpy_dtype.kind in "iu":
            signed = param.numpy_dtype.kind == "i"
            spec.kind = INTEGER
            spec.low = -(1 << (bits - 1)) if signed and not is_extent else 0
            spec.high = (1 << min(bits - signed, 63)) - 1
        elif param.dtype == "float32":
            spec.kind = FLOAT32
        elif param.dtype == "float64":
            spec.kind = FLOAT64
        else:
            spec.kind = OTHER

    cdef read_buffer(self, Spec* spec, param, cnp.npy_intp* shape, dict slot_of):
        cdef Py_ssize_t d
        spec.kind = BUFFER
        spec.rank = len(param.shape)
        spec.flags = cnp.NPY_ARRAY_C_CONTIGUOUS | cnp.NPY_ARRAY_ALIGNED
        if param.written:
            spec.flags |= cnp.NPY_ARRAY_WRITEABLE
        spec.shape = shape
        for d, extent in enumerate(param.shape):
            if isinstance(extent, str):
                if extent not in slot_of:
                    slot_of[extent] = self.slots
                    self.slots += 1
                extent = -1 - slot_of[extent]
            shape[d] = extent

    cdef read_pairs(self):
        cdef Py_ssize_t i
        buffers = [(i, p.written) for i, p in enumerate(self.params) if p.shape is not None]
        pairs = [(a, b) for j, (a, w) in enumerate(buffers) for b, v in buffers[j + 1:] if w or v]
        self.pair_count = len(pairs) if self.noalias else 0
        self.pairs = <int*>allocate(2 * len(pairs), sizeof(int))
        for i, pair in enumerate(pairs):
            self.pairs[2 * i], self.pairs[2 * i + 1] = pair

    def __dealloc__(self):
        PyMem_Free(self.specs)
        PyMem_Free(self.extents)
        PyMem_Free(self.pairs)

    def __call__(self, *args):
        global parallel_ran
        cdef void* pointers[STACK_SLOTS]
        cdef long long values[STACK_SLOTS]
        parallel_ran |= self.parallel
        if self.slots <= STACK_SLOTS and self.fill(args, pointers, values):
            with nogil:
                self.kernel(pointers)
        else:
            Bound(self, resolve(self.name, self.params, self.noalias, args))()

    def bind(self, *args):
        """Check the arguments once; the result runs the kernel on them each time it is called."""
        return Bound(self, resolve(self.name, self.params, self.noalias, args))

    cdef bint fill(self, tuple args, void** pointers, long long* values) noexcept:
        """Point every slot to its argument; False when an argument needs a closer look."""
        cdef Py_ssize_t i, at
        cdef Spec* spec
        cdef size_t sizes[STACK_SLOTS]
        if PyTuple_GET_SIZE(args) != self.parameters:
            return False
        for i in range(self.parameters, self.slots):
            values[i] = UNBOUND
            pointers[i] = &values[i]
        for i in range(self.parameters):
            spec = &self.specs[i]
            at = spec.position
            if spec.kind == BUFFER:
                if not fits_buffer(spec, <object>PyTuple_GET_ITEM(args, at), values, &pointers[at], &sizes[at]):
                    return False
            else:
                pointers[at] = &values[at]
                if not fits_scalar(spec, <object>PyTuple_GET_ITEM(args, at), &values[at]):
                    return False
        return not self.overlap(<char**>pointers, sizes)

    cdef bint overlap(self, char** pointers, size_t* sizes) noexcept:
        cdef Py_ssize_t i
        cdef int a, b
        for i in range(self.pair_count):
            a, b = self.pairs[2 * i], self.pairs[2 * i + 1]
            if pointers[a] < pointers[b] + sizes[b] and pointers[b] < pointers[a] + sizes[a]:
                return True
        return False


cdef void* allocate(Py_ssize_t count, size_t size) except NULL:
    cdef void* memory = PyMem_Calloc(count + 1, size)
    if memory == NULL:
        raise MemoryError
    return memory


cdef inline bint fits_buffer(Spec* spec, object argument, long long* values, void** pointer, size_t* size) noexcept:
    cdef cnp.ndarray array
    cdef cnp.npy_intp* shape
    cdef cnp.npy_intp extent
    cdef int d
    if isinstance(argument, ArrayHolder):
        argument = (<ArrayHolder>argument).array
    if not cnp.PyArray_CheckExact(argument):
        return False
    array = <cnp.ndarray>argument
    if <PyObject*>cnp.PyArray_DESCR(array) != spec.dtype or cnp.PyArray_NDIM(array) != spec.rank:
        return False
    if (cnp.PyArray_FLAGS(array) & spec.flags) != spec.flags:
        return False
    shape = cnp.PyArray_DIMS(array)
    for d in range(spec.rank):
        extent = spec.shape[d]
        if extent < 0:
            extent = -1 - extent
            if values[extent] == UNBOUND:
                values[extent] = shape[d]
            extent = values[extent]
        if shape[d] != extent:
            return False
    pointer[0] = cnp.PyArray_DATA(array)
    size[0] = cnp.PyArray_NBYTES(array)
    return True


cdef inline bint fits_scalar(Spec* spec, object argument, long long* value) noexcept:
    cdef int overflow = 0
    cdef double number
    if spec.kind == INTEGER and PyLong_CheckExact(argument):
        value[0] = PyLong_AsLongLongAndOverflow(argument, &overflow)
        return not overflow and spec.low <= value[0] <= spec.high
    if spec.kind == FLOAT64 and PyFloat_CheckExact(argument):
        (<double*>value)[0] = PyFloat_AS_DOUBLE(argument)
        return True
    if spec.kind == FLOAT32 and PyFloat_CheckExact(argument):
        number = PyFloat_AS_DOUBLE(argument)
        (<float*>value)[0] = <float>number
        return not isinf(<float>number) or isinf(number)
    return False


cdef class Bound:
    """A kernel with arguments checked and bound once; keeps them alive. Calling it runs the kernel."""

    cdef Launcher launcher
    cdef void** pointers
    cdef readonly tuple slots

    def __cinit__(self, Launcher launcher not None, tuple slots not None):
        cdef Py_ssize_t i
        self.launcher = launcher
        self.slots = slots
        self.pointers = <void**>allocate(len(slots), sizeof(void*))
        for i, slot in enumerate(slots):
            if isinstance(slot, bytes):
                self.pointers[i] = PyBytes_AS_STRING(slot)
            else:
                self.pointers[i] = cnp.PyArray_DATA(<cnp.ndarray?>slot)

    def __dealloc__(self):
        PyMem_Free(self.pointers)

    def __call__(self):
        global parallel_ran
        parallel_ran |= self.launcher.parallel
        with nogil:
            self.launcher.kernel(self.pointers)


def time_calls(Bound bound not None, Py_ssize_t number):
    """Seconds that ``number`` runs of ``bound`` take together."""
    global parallel_ran
    cdef Py_ssize_t i
    cdef kernel_t kernel = bound.launcher.kernel
    parallel_ran |= bound.launcher.parallel
    start = perf_counter()
    with nogil:
        for i in range(number):
            kernel(bound.pointers)
    return perf_counter() - start


cdef enum Origin:
    ARGUMENT, RESULT, MEMORY

cdef struct Place:
    Py_ssize_t slot          # among the pointers of all kernels
    Origin origin
    Py_ssize_t number        # of the argument or result; bytes from the start of the memory


cdef class KernelSequence:
    """Kernels that run one after the other in one call; ``mlcref.runtime.launch`` states the contract."""

    cdef Launcher signature
    cdef readonly tuple steps
    cdef readonly bint parallel
    cdef readonly size_t memory
    cdef object holder
    cdef list dtypes             # of the results
    cdef bint single
    cdef kernel_t* kernels
    cdef Py_ssize_t* starts      # of each kernel's slots
    cdef void** fixed            # slots of constants and scalars
    cdef Place* places           # of all other slots
    cdef int* ranks              # of the results
    cdef cnp.npy_intp* extents
    cdef Py_ssize_t kernel_count, slot_count, place_count, result_count
    cdef void* kept              # the block of the call that ended last

    def __cinit__(self, params, steps, results, size_t memory, holder, bint single):
        cdef Py_ssize_t i, d, slots = 0
        cdef cnp.npy_intp* shape
        self.signature = Launcher(0, params, "", False)
        if self.signature.slots > STACK_SLOTS:
            raise ValueError(f"a sequence takes {STACK_SLOTS} arguments at most")
        self.steps = tuple(steps)
        self.parallel = any([(<Launcher?>launcher).parallel for launcher, _ in self.steps])
        self.memory, self.holder, self.single = memory, holder, single
        self.kernel_count, self.result_count = len(self.steps), len(results)
        self.slot_count = sum([len(given) for _, given in self.steps])
        self.kernels = <kernel_t*>allocate(self.kernel_count, sizeof(kernel_t))
        self.starts = <Py_ssize_t*>allocate(self.kernel_count, sizeof(Py_ssize_t))
        self.fixed = <void**>allocate(self.slot_count, sizeof(void*))
        self.places = <Place*>allocate(self.slot_count, sizeof(Place))
        for i, (launcher, given) in enumerate(self.steps):
            self.kernels[i] = (<Launcher>launcher).kernel
            self.starts[i] = slots
            for slot in given:
                self.read_slot(slots, slot)
                slots += 1
        self.dtypes = [dtype for dtype, _ in results]
        self.ranks = <int*>allocate(self.result_count, sizeof(int))
        self.extents = shape = <cnp.npy_intp*>allocate(sum([len(s) for _, s in results]), sizeof(cnp.npy_intp))
        for i, (_, extents) in enumerate(results):
            self.ranks[i] = len(extents)
            for d, extent in enumerate(extents):
                shape[d] = extent
            shape += len(extents)

    cdef read_slot(self, Py_ssize_t at, slot):
        cdef Place* place
        if isinstance(slot, bytes):
            self.fixed[at] = PyBytes_AS_STRING(slot)
        elif isinstance(slot, cnp.ndarray):
            self.fixed[at] = cnp.PyArray_DATA(<cnp.ndarray>slot)
        else:
            place = &self.places[self.place_count]
            place.slot, self.place_count = at, self.place_count + 1
            kind, place.number = slot
            place.origin = {"argument": ARGUMENT, "result": RESULT, "memory": MEMORY}[kind]

    def __dealloc__(self):
        PyMem_Free(self.kernels)
        PyMem_Free(self.starts)
        PyMem_Free(self.fixed)
        PyMem_Free(self.places)
        PyMem_Free(self.ranks)
        PyMem_Free(self.extents)
        PyMem_Free(self.kept)

    def release(self):
        """Give the memory back that is kept for the next call."""
        PyMem_Free(self.kept)
        self.kept = NULL

    def run(self, tuple args):
        """The results of a call, or None when an argument needs a closer look: nothing has run then."""
        return self.call(args, NULL)

    def time_kernels(self, tuple args):
        """The seconds that each kernel takes in a call, an array; None as for ``run``."""
        seconds = np.zeros(self.kernel_count)
        found = self.call(args, <double*>cnp.PyArray_DATA(<cnp.ndarray>seconds))
        return None if found is None else seconds

    cdef call(self, tuple args, double* seconds):
        global parallel_ran
        cdef void* pointers[STACK_SLOTS]
        cdef long long values[STACK_SLOTS]
        cdef void* block
        if not self.signature.fill(args, pointers, values):
            return None
        results = self.fresh_results()
        parallel_ran |= self.parallel
        block = self.take_block()
        self.point(<void**>block, pointers, results)
        with nogil:
            if seconds == NULL:
                self.run_kernels(<void**>block)
            else:
                self.run_timed(<void**>block, seconds)
        if self.kept == NULL:
            self.kept = block
        else:
            PyMem_Free(block)
        if self.single:
            return self.holder(results[0])
        return tuple([self.holder(result) for result in results])

    cdef list fresh_results(self):
        cdef Py_ssize_t i
        cdef cnp.npy_intp* shape = self.extents
        cdef list results = []
        for i in range(self.result_count):
            dtype = self.dtypes[i]
            Py_INCREF(dtype)  # the call takes a reference of its own
            results.append(PyArray_Empty(self.ranks[i], shape, <cnp.dtype>dtype, 0))
            shape += self.ranks[i]
        return results

    cdef void* take_block(self) except NULL:
        """The pointers of all kernels with the memory behind them: those of the last call, unless it still runs."""
        cdef void* block = self.kept
        cdef void** slots
        cdef size_t memory
        cdef Py_ssize_t i
        if block != NULL:
            self.kept = NULL
            return block
        block = allocate(self.slot_count * sizeof(void*) + self.memory + ALIGNMENT, 1)
        slots = <void**>block
        memory = (<size_t>(slots + self.slot_count) + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
        for i in range(self.slot_count):
            slots[i] = self.fixed[i]
        for i in range(self.place_count):
            if self.places[i].origin == MEMORY:
                slots[self.places[i].slot] = <void*>(memory + self.places[i].number)
        return block

    cdef point(self, void** slots, void** arguments, list results):
        """Point the slots of arguments and results to those of this call."""
        cdef Py_ssize_t i
        cdef Place* place
        for i in range(self.place_count):
            place = &self.places[i]
            if place.origin == ARGUMENT:
                slots[place.slot] = arguments[place.number]
            elif place.origin == RESULT:
                slots[place.slot] = cnp.PyArray_DATA(<cnp.ndarray>results[place.number])

    cdef void run_kernels(self, void** slots) noexcept nogil:
        cdef Py_ssize_t i
        for i in range(self.kernel_count):
            self.kernels[i](slots + self.starts[i])

    cdef void run_timed(self, void** slots, double* seconds) noexcept nogil:
        """The same calls, with the clock read after each."""
        cdef Py_ssize_t i
        cdef double last = now(), this
        for i in range(self.kernel_count):
            self.kernels[i](slots + self.starts[i])
            this = now()
            seconds[i] = this - last
            last = this


cdef inline double now() noexcept nogil:
    cdef timespec time
    clock_gettime(CLOCK_MONOTONIC, &time)
    return <double>time.tv_sec + 1e-9 * <double>time.tv_nsec

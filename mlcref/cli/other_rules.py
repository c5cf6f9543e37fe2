"""What to do about broken rules, and the rules that stand on no other page: of scripts, invariants and handles.

Each row of a table: what the rule says, an example that breaks it, what to do.
"""

from __future__ import annotations

REMEDIES = {
    "value.division": "guard the division: T.if_then_else(b != 0, a // b, 0)",
    "value.shift": "keep the count between 0 and the width of the type - 1, for example with T.min",
    "value.cast": "clamp the float to the range of the integer type first, and keep NaN away from it",
    "value.index": "compute the index in int64, or reorder it so that no intermediate result is that large",
    "value.undefined": "write the element before the decision: initialise the buffer, or give the block an init",
    "memory.bounds": "compare the loop's extent with the buffer's; guard the access with T.if_then_else, which is lazy",
    "memory.output": "write every element of the output; or do not poison it, when its old contents are meant",
    "memory.alias": "give the matched buffer the shape of its region",
    "block.domain": "make the iterator's domain as large as what is bound to it, or guard the block with T.where",
    "block.init": "let the first instance of each key have all reduce iterators at their minimum",
    "block.repeat": "let each value of the reduce iterator come once; for recomputation, open a new epoch with init",
    "block.epoch": "move the reader behind the loops that feed the reduction",
    "block.spatial": 'declare the iterator as "scan" or "opaque", or write different elements in different instances',
    "block.regions": "correct T.reads and T.writes, or leave them out: the parser infers them",
    "block.coverage": "compare the loop's extent with the output's; pad, or write the rest in another block",
    "loop.race": "make the loop serial, or let its iterations write different elements",
    "loop.step": "let the loop count up: give it a positive step and turn the index round",
    "thread.race": "put the conflicting accesses into different phases, or in different elements",
    "thread.extent": "give all launches of a thread axis one extent, in one kernel",
    "thread.sync": "put the barrier where all threads of the block reach it",
    "stmt.assert": "call the program with inputs that it is made for, or correct the assertion",
    "stmt.assume": "call the program with inputs that it is made for, or correct the assumption",
    "call.count": "pass one argument per parameter; outputs are arguments, too: allocate them first",
    "call.type": 'pass a numpy array: np.array(value, dtype="float32")',
    "call.dtype": 'convert the argument: array.astype("float32")',
    "call.rank": "reshape the argument",
    "call.shape": "pass an array of the declared shape and strides",
    "call.symbol": "pass arrays that agree on the size that they share",
    "call.scalar": "pass a number of the parameter's type, in its range",
    "call.readonly": "pass a writable array: array.copy()",
    "call.alias": 'pass a copy of one of them, or declare the function with "tir.noalias": False',
    "call.function": "give the function memory of the type, shape and layout that its parameters declare",
    "call.host": "register the function with mlcref.register_global_func, and let it accept these arguments",
}
"""By rule of docs/semantics.md."""

_SPATIAL = "pick a loop that is independent of the reduction, or use decompose_reduction or rfactor first"
_SEVERAL = "move or inline the blocks until each depends on itself alone in this loop"
_BODY = "let only loops and blocks stand around it: turn branches into T.where"
PRECONDITION_REMEDIES = {
    "the loop feeds no reduce iterator": _SPATIAL,
    "blocks below have spatial and reduce iterators only": "declare the iterators as spatial where that is true",
    "different iterations are different instances of each block below, or write elements or memory of their own":
        "bind the loop to an iterator of each block below, or allocate what they write in the loop",
    "no block below uses what another block writes in another iteration": _SEVERAL,
    "no iterations whose order changes depend on each other across blocks": _SEVERAL,
    "the loop is not bound to a thread axis": "pick another loop, or bind this one last",
    "the loops are all serial, parallel, vectorized or unrolled, and not annotated":
        "give the loops one kind; bind and annotate after fuse",
    "the loop is serial and not annotated": "fuse or split before parallel, vectorize, bind and annotate",
    "the product of the factors is at least the extent": "give larger factors, or None for one of them",
    "at most one factor is inferred": "give all factors but one a number",
    "given factors are positive": "give factors of 1 or more",
    "each loop is the only statement of the loop before it": "reorder the loops until they are nested tightly",
    "no range depends on another of the loops": "split the outer loop so that the inner range is constant",
    "blocks below that reduce or update are bound by an independent affine map":
        "reorder before fuse, or split so that each iterator has loops of its own",
    "the block is in the body of its scope, where there are only loops and blocks": _BODY,
    "the output is allocated in the scope": "cache_write the output first: parameters stay where they are",
    "no concurrent loop gets conflicting iterations, no thread another's private memory":
        "apply it before parallel, vectorize and bind",
    "the thread axis exists": 'use "blockIdx.x", "threadIdx.x", "vthread.x" or their y and z',
    "the storage scope is known": 'use "global", "shared" or "local"',
    "the key is there": "annotate it first, or check its spelling",
    "the key has no other value yet": "unannotate it first",
}  # fmt: skip
"""By statement of the precondition."""

WELLFORMED = {
    "wellformed.W1": (
        "Each variable, buffer and block token is bound once, and used only where it is bound.",
        "for i in range(4): …  with the same Var object bound by two loops, or used behind its loop",
        "copy subtrees with mlcref.ir.fresh, which renames what they bind",
    ),
    "wellformed.W2": (
        "No statement node occurs twice.", "SeqStmt((store, store)) of one object", "copy it with mlcref.ir.fresh",
    ),
    "wellformed.W3": (
        "Operands have equal types, accesses have the buffer's rank, stores the buffer's type.",
        'A[i] = T.int32(1)  where A is "float32"',
        "convert with T.Cast, and index with one integer per dimension",
    ),
    "wellformed.W4": (
        "Sequences are flat and have two statements or more; kinds of loops and types of iterators are known.",
        'For(..., kind="turbo", ...)', "use mlcref.ir.seq, and the kinds in mlcref.ir.stmt",
    ),
    "wellformed.W5": (
        "A schedulable function is a root block without iterators or flat allocations; a lowered one has no blocks.",
        "a function with T.allocate given to a schedule primitive",
        "schedule before lowering; T.alloc_buffer belongs to blocks",
    ),
}  # fmt: skip

HANDLE = {
    "handle.P1": ("A loop handle is of the function it is used in.", "", "get the loop from this schedule"),
    "handle.P2": ("A block handle is of the function it is used in.", "", "get the block from this schedule"),
    "handle.P3": ("A function to be scheduled has a root block.", "", "parse it without s_tir=False"),
    "handle.P4": (
        "A handle is used only as long as what it stands for is there.",
        "i_0, i_1 = sch.split(i, [None, 4]); sch.parallel(i)  # i was consumed by split",
        "use the handles that the last primitive returned, or get the block or its loops again",
    ),
    "handle.P5": ("A handle or a sampled number comes from this schedule or its copy.", "",
                  "get it from this schedule"),
    "handle.P6": ("A number is a constant, or sampled.", "", "pass an int, or what a sample_* method returned"),
    "handle.P7": ("A primitive works on one function.", "", "pass handles of one function"),
    "handle.P8": ("Loops are given where loops are wanted, blocks where blocks are.", "sch.parallel(block)",
                  "sch.get_loops(block) gives the loops"),
}  # fmt: skip

SCRIPT = {
    "script.syntax": ("The text is Python.", "for i in range(4) A[i] = 0", "correct the text where the caret points"),
    "script.source": (
        "The text defines one function or one class; the text of a decorated function can be found.",
        "two @T.prim_func functions in one file", "put several functions into a class under @I.ir_module",
    ),
    "script.name": ("A name is defined where it is used.", "B[i] = A[j]  # no loop binds j",
                    "correct the spelling, or pass the name in env="),
    "script.unsupported": ("The construct is one that mlcref reads.", "", "write it with loops, blocks and buffers"),
    "script.depth": ("Expressions and statements nest no deeper than Python's stack.", "", "keep parts in variables"),
    "script.size": ("An expression written out stays small.", "x = x + x, repeated 40 times", "bind parts with T.let"),
    "script.arguments": ("A call has the arguments that its function takes.", "T.exp(A[0], A[1])",
                         "look at the signature"),
    "script.assign": ("What stands left of = can be assigned to.", "f(x) = y", "assign to a name or an element"),
    "script.block": ("What declares a block stands in a block.", "vi = T.axis.spatial(4, i)  # outside of T.block",
                     "put it under with T.block(...)"),
    "script.flat": ("A flat function has no blocks and no block allocations.",
                    "with T.block(\"A\"): …  under @T.prim_func(s_tir=False)", "decorate the function with s_tir=True"),
    "script.index": ("An index is an integer.", "A[1.5]", 'convert it: T.Cast("int32", x)'),
    "script.rank": ("An access has one index per dimension.", "A[i]  # A has two dimensions", "add the missing index"),
    "script.let": ("A name keeps the value it was bound to.", "x = 1 … for …: x = x + 1",
                   "use another name, or a buffer of one element"),
    "script.loops": ("There is one loop variable per range.", "for i, j in T.grid(4): …", "name as many as there are"),
    "script.return": ("A graph function ends with one return of what it declares.", "", "return the result at the end"),
    "script.output": ("R.output stands at the end of a dataflow block and lists its names.", "",
                      "end the block with R.output(...)"),
    "script.dataflow": ("Dataflow blocks do not nest.", "", "close one before opening the next"),
    "script.dimension": ("A dimension is an int64 and said by an argument.", "", "n = T.int64(), and a shape with n"),
    "script.parameters": ("Graph functions have plain parameters.", "def main(x, *rest)", "list the parameters"),
    "script.type": ("A value is of the type that is declared for it.", "", "correct the declaration, or leave it out"),
    "script.metadata": ("A text holds its constants.", "metadata[...][0]", "print it with show_meta=True"),
    "script.option": ("Options of the printer are known.", "f.script(colour=True)", "leave the option out"),
    "script.print": ("There is a printer for the class of the function.", "", "register_function_printer adds one"),
}  # fmt: skip

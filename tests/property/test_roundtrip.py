"""The printer's text parses back to a structurally equal program, in both dialects, and prints the same again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlcref import ir
from mlcref.ir import Attrs, Buffer, BufferRegion, Const, Expr, IterVar, PrimFunc, Range, Stmt, Var
from mlcref.ir.typed_number import TypedFloat, TypedInt
from mlcref.script import from_source, print_script
from mlcref.script.forms import load_origin

INTS = ("int32", "int64", "uint8", "int8", "uint64")
FLOATS = ("float32", "float16", "bfloat16", "float64", "float8_e4m3fn", "float8_e5m2")
ARITHMETIC = (ir.Add, ir.Sub, ir.Mul, ir.Min, ir.Max)
WHOLE = (ir.FloorDiv, ir.FloorMod, ir.Div, ir.Mod)
TYPED = {"wide": TypedInt(4, "int64"), "half": [TypedFloat(0.5, "float16"), TypedFloat(float("inf"), "float32")]}
COMPARISONS = (ir.EQ, ir.NE, ir.LT, ir.LE, ir.GT, ir.GE)


@dataclass
class Names:
    """What a generated program can use at some place."""

    draw: Any
    variables: list[Var] = field(default_factory=list)
    buffers: list[Buffer] = field(default_factory=list)
    loops: int = 0
    module: bool = False

    def one(self, *options: Any) -> Any:
        return self.draw(st.sampled_from(options))

    def inside(self, *variables: Var, buffers: tuple[Buffer, ...] = (), loops: int = 0) -> Names:
        known, memory = [*self.variables, *variables], [*self.buffers, *buffers]
        return Names(self.draw, known, memory, self.loops + loops, self.module)


def constant(names: Names, dtype: str) -> Expr:
    if dtype == "bool":
        return Const(names.one(True, False), "bool")
    if dtype in FLOATS:
        return ir.const(names.one(0.0, -0.0, 0.1, 1.5, float("inf"), -float("inf"), float("nan"), 1e-3), dtype)
    low = 0 if dtype.startswith("uint") else -3
    large = {"int64": 1 << 40, "uint64": (1 << 64) - 1, "int32": -(1 << 31)}.get(dtype, 100)
    return Const(names.one(names.draw(st.integers(low, 9)), names.draw(st.integers(low, 9)), large), dtype)


def expression(names: Names, dtype: str, depth: int) -> Expr:
    known = [v for v in names.variables if v.type == dtype]
    if depth == 0 or names.draw(st.integers(0, 5)) == 0:
        return names.one(*known) if known and names.one(True, True, False) else constant(names, dtype)
    return names.one(*_MAKERS["bool" if dtype == "bool" else "float" if dtype in FLOATS else "int"])(
        names, dtype, depth - 1
    )


def arithmetic(names: Names, dtype: str, depth: int) -> Expr:
    kinds = ARITHMETIC + ((ir.Div,) if dtype in FLOATS else WHOLE)
    return names.one(*kinds)(expression(names, dtype, depth), expression(names, dtype, depth))


def comparison(names: Names, dtype: str, depth: int) -> Expr:
    operand = names.one(*INTS, *FLOATS)
    return names.one(*COMPARISONS)(expression(names, operand, depth), expression(names, operand, depth))


def logic(names: Names, dtype: str, depth: int) -> Expr:
    return names.one(ir.And, ir.Or)(expression(names, dtype, depth), expression(names, dtype, depth))


def negation(names: Names, dtype: str, depth: int) -> Expr:
    return ir.Not(expression(names, dtype, depth))


def conversion(names: Names, dtype: str, depth: int) -> Expr:
    return ir.Cast(dtype, expression(names, names.one(*INTS, *FLOATS), depth))


def selection(names: Names, dtype: str, depth: int) -> Expr:
    condition, a, b = (expression(names, t, depth) for t in ("bool", dtype, dtype))
    return ir.Select(condition, a, b) if names.one(True, False) else ir.call("if_then_else", condition, a, b)


def shuffle(names: Names, dtype: str, depth: int) -> Expr:
    """One lane of scalars and vectors."""
    parts: list[Expr] = [expression(names, dtype, depth) for _ in range(names.one(1, 2))]
    parts += [ir.Broadcast(expression(names, dtype, depth), 4)] if names.one(True, False) else []
    lanes = sum(4 if isinstance(part, ir.Broadcast) else 1 for part in parts)
    return ir.Shuffle(tuple(parts), (Const(names.draw(st.integers(0, lanes - 1))),))


def fused(names: Names, dtype: str, depth: int) -> Expr:
    return ir.call("fma", *(expression(names, dtype, depth) for _ in range(3)))


def null_check(names: Names, dtype: str, depth: int) -> Expr:
    pointers = [v for v in names.variables if v.type == "handle"]
    null = ir.call("reinterpret", Const(0, "uint64"), dtype="handle")
    return ir.call("isnullptr", names.one(pointer(names), null, *pointers))


def call_of_function(names: Names, dtype: str, depth: int) -> Expr:
    """A call of ``other`` in the module, where the program is in one."""
    if not names.module or dtype != "int32":
        return constant(names, dtype)
    buffer = names.one(*names.buffers)
    whole = ir.call("buffer_argument", load_origin(buffer))
    given = expression(names, "int32", depth)
    return ir.call("call_function", ir.GlobalVar("other"), names.one(whole, pointer(names)), given, dtype="int32")


def float_call(names: Names, dtype: str, depth: int) -> Expr:
    row = ir.INTRINSICS[
        names.one("exp", "sqrt", "abs", "pow", "sigmoid", "round", "hypot", "ldexp", "nextafter", "atanh")
    ]
    return ir.call(row.name, *(expression(names, dtype, depth) for _ in range(row.arity or 0)))


def int_call(names: Names, dtype: str, depth: int) -> Expr:
    if dtype == "int32" and names.one(True, False):
        return int32_call(names, depth)
    row = ir.INTRINSICS[names.one("bitwise_and", "shift_left", "bitwise_not", "abs", "likely", "popcount")]
    return ir.call(row.name, *(expression(names, dtype, depth) for _ in range(row.arity or 0)))


def int32_call(names: Names, depth: int) -> Expr:
    first, second = expression(names, "int32", depth), expression(names, "int32", depth)
    return names.one(
        ir.call("clz", expression(names, names.one(*INTS), depth)),
        ir.call("q_multiply_shift", first, second, 31, 2),
        ir.call("q_multiply_shift_per_axis", first, second, 1, 2, 31, Const(True, "bool"), Const(False, "bool")),
        ir.call("reinterpret", expression(names, "float32", depth), dtype="int32"),
        ir.call("vscale"),
        ir.call("tvm_struct_get", pointer(names), 0, 1, dtype="int32"),
    )


def unknown(names: Names, dtype: str, depth: int) -> Expr:
    return ir.call("undef", dtype=dtype)


def pointer(names: Names) -> Expr:
    buffer = names.one(*names.buffers)
    data = ir.call("buffer_data", load_origin(buffer))
    annotation = ir.call("type_annotation", dtype=buffer.type)
    start = ir.call("buffer_offset", load_origin(buffer)) if buffer.name == "M" else Const(0)
    shape = ir.call("tvm_stack_make_shape", *buffer.shape)
    return names.one(
        data,
        ir.call("address_of", ir.BufferLoad(buffer, indices(names, buffer, 0))),
        ir.call("tvm_access_ptr", annotation, data, start, 4, names.one(1, 2, 3)),
        ir.call("tvm_stack_make_array", data, shape, 0, len(buffer.shape), Const(0), 0),
    )


def extern(names: Names, dtype: str, depth: int) -> Expr:
    function = names.one("call_extern", "call_pure_extern", "call_packed")
    given = names.one(expression(names, "int32", depth), pointer(names), ir.StringImm("text"))
    return ir.call(function, names.one("f", "int32", 'quo"te'), given, dtype=dtype)


def let(names: Names, dtype: str, depth: int) -> Expr:
    var = Var(names.one("x", "i", "T"), names.one(*INTS))
    return ir.Let(var, expression(names, var.type, depth), expression(names.inside(var), dtype, depth))


def load(names: Names, dtype: str, depth: int) -> Expr:
    known = [b for b in names.buffers if b.type == dtype]
    if not known:
        return constant(names, dtype)
    buffer = names.one(*known)
    return ir.BufferLoad(buffer, indices(names, buffer, depth))


_MAKERS: dict[str, tuple[Any, ...]] = {
    "bool": (comparison, comparison, logic, negation, let, null_check),
    "float": (arithmetic, conversion, selection, float_call, fused, load, load, extern, let, unknown, shuffle),
    "int": (
        arithmetic, arithmetic, conversion, selection, int_call, int_call, load, extern, let, unknown, shuffle,
        call_of_function,
    ),
}


def indices(names: Names, buffer: Buffer, depth: int) -> tuple[Expr, ...]:
    return tuple(expression(names, "int32", depth) for _ in buffer.shape)


def store(names: Names, depth: int) -> Stmt:
    buffer = names.one(*names.buffers)
    place = indices(names, buffer, 1)
    if names.draw(st.integers(0, 7)) or not place:
        return ir.BufferStore(buffer, expression(names, buffer.type, 3), place)
    value = names.one(
        ir.Broadcast(expression(names, buffer.type, 1), 4),
        ir.BufferLoad(buffer, vector(names, indices(names, buffer, 1))),
    )
    return ir.BufferStore(buffer, value, vector(names, place))


def vector(names: Names, place: tuple[Expr, ...]) -> tuple[Expr, ...]:
    return (*place[:-1], ir.Ramp(place[-1], Const(names.one(1, 2, 5)), 4))


def for_loop(names: Names, depth: int) -> Stmt:
    kind = names.one("serial", "serial", "serial", "parallel", "vectorized", "unrolled", "thread_binding")
    var = Var(names.one("i", "j", "i", "range"), names.one("int32", "int32", "int64"))
    low = names.one(Const(0, var.type), Const(0, var.type), expression(names, var.type, 1))
    extent = names.one(Const(4, var.type), Const(8, var.type), expression(names, var.type, 1))
    thread = names.one("blockIdx.x", "vthread") if kind == "thread_binding" else None
    annotations = Attrs(names.one({}, {}, {"pragma": [1, "two", {"three": 3.5}], "flag": True}, TYPED))
    step = None if thread else names.one(None, None, Const(2, var.type), expression(names, var.type, 1))
    step = None if isinstance(step, Const) and step.value < 2 else step
    return ir.For(var, low, extent, kind, statement(names.inside(var, loops=1), depth), thread, annotations, step)


def branch(names: Names, depth: int) -> Stmt:
    other = statement(names, depth) if names.one(True, False) else None
    return ir.IfThenElse(expression(names, "bool", 2), statement(names, depth), other)


def while_loop(names: Names, depth: int) -> Stmt:
    body = ir.seq(statement(names.inside(loops=1), depth), names.one(ir.Break, ir.Continue)())
    return ir.While(expression(names, "bool", 2), body)


def pointer_statement(names: Names, depth: int) -> Stmt:
    """A pointer with a name, and a branch on it."""
    var = Var(names.one("p", "A"), "handle")
    null = ir.call("reinterpret", Const(0, "uint64"), dtype="handle")
    value = names.one(ir.call("address_of", ir.BufferLoad(*_element(names))), null)
    return ir.LetStmt(var, value, branch(names.inside(var), depth))


def _element(names: Names) -> tuple[Buffer, tuple[Expr, ...]]:
    buffer = names.one(*names.buffers)
    return buffer, indices(names, buffer, 0)


def end(names: Names, depth: int) -> Stmt:
    return ir.Return(expression(names, "int32", 2))


def let_statement(names: Names, depth: int) -> Stmt:
    var = Var(names.one("x", "A", "class"), names.one(*INTS, *FLOATS, "bool"))
    return ir.LetStmt(var, expression(names, var.type, 2), statement(names.inside(var), depth))


def evaluation(names: Names, depth: int) -> Stmt:
    return names.one(
        ir.Evaluate(expression(names, names.one("int32", "float32"), 2)),
        ir.AssertStmt(expression(names, "bool", 1), names.one("", 'a "message"')),
        ir.Evaluate(ir.call("assume", expression(names, "bool", 1))),
        ir.Evaluate(ir.call("tvm_storage_sync", names.one("shared", "global"))),
        ir.Evaluate(ir.Call("ptx_legacy.mma", (ir.StringImm("m8n8k4"), pointer(names)), "handle")),
        ir.Evaluate(ir.call("start_profile_intrinsic", 3)),
    )


def launch(names: Names, depth: int) -> Stmt:
    var = Var(names.one("tx", "i"), "int32")
    tag = names.one("threadIdx.x", "blockIdx.x", "vthread.y")
    body = statement(names.inside(var), depth)
    return ir.For(var, Const(0), expression(names, "int32", 1), "thread_binding", body, tag)


def reduction(names: Names, depth: int) -> Stmt:
    """An allreduce of one value or a pair under its reducer."""
    kinds = names.one(("float32",), ("int32", "float32"))
    left, right = (tuple(Var(name, kind) for kind in kinds) for name in names.one(("x", "y"), ("i", "i")))
    inner = names.inside(*left, *right)
    results = tuple(expression(inner, kind, 2) for kind in kinds)
    reducer = ir.CommReducer(left, right, results, tuple(constant(names, kind) for kind in kinds))
    buffer = names.one(*names.buffers)
    places = tuple(ir.BufferLoad(buffer, indices(names, buffer, 0)) for _ in kinds)
    values = tuple(expression(names, kind, 1) for kind in kinds)
    count, holds = Const(len(kinds), "uint32"), expression(names, "bool", 1)
    call = ir.call("tvm_thread_allreduce", count, *values, holds, *places, *names.variables[:1])
    scope = ir.call("reinterpret", Const(0, "uint64"), dtype="handle")
    return ir.AttrStmt("reduce_scope", reducer, scope, ir.seq(ir.Evaluate(call), statement(names, 0)))


def sequence(names: Names, depth: int) -> Stmt:
    return ir.seq(statement(names, depth), statement(names, depth), statement(names, 0))


def attribute(names: Names, depth: int) -> Stmt:
    target = names.one(None, *names.variables)
    return ir.AttrStmt("pragma_x", target, names.one(Const(1), ir.StringImm("on")), statement(names, depth))


def allocation(names: Names, depth: int) -> Stmt:
    buffer = Buffer("A", (Const(4), Const(2)), "float32", names.one("global", "shared"))
    annotations = Attrs(names.one({}, {"once": True}))
    return ir.AllocBuffer(buffer, statement(names.inside(buffers=(buffer,)), depth), annotations)


def declaration(names: Names, depth: int) -> Stmt:
    source = names.one(*names.buffers)
    view = Buffer("view", (Const(2),), source.type, source.scope, names.one((), (Const(3),)), names.one(None, Const(1)))
    return ir.DeclBuffer(view, source, statement(names.inside(buffers=(view,)), depth))


def region(names: Names) -> BufferRegion:
    buffer = names.one(*names.buffers)
    return BufferRegion(buffer, tuple(interval(names) for _ in buffer.shape))


def interval(names: Names) -> Range:
    known = [v for v in names.variables if v.type == "int32"]
    base = names.one(Const(0), Const(2), *known)
    return Range(names.one(base, ir.Add(base, names.one(Const(1), *known))), names.one(Const(1), Const(3), *known))


def block(names: Names, depth: int) -> Stmt:
    loops = [v for v in names.variables if v.type == "int32"]
    iters, values = [], []
    for k in range(names.draw(st.integers(0, 3))):
        kind = names.one("spatial", "spatial", "reduce", "opaque", "scan")
        value = names.one(*loops, expression(names, "int32", 1)) if loops else Const(0)
        low = names.one(Const(0), Const(0), Const(2), expression(names, "int32", 1))
        iters.append(IterVar(Var(f"v{k}", "int32"), Range(low, names.one(Const(4), Const(8))), kind))
        values.append(value)
    private = tuple(
        Buffer("A_local", (Const(4),), "float32", names.one("global", "local")) for _ in range(names.one(0, 1))
    )
    matches = ()
    if names.one(True, False, False):
        source = region(names)
        view = Buffer("M", tuple(dim.extent for dim in source.region), source.buffer.type, offset_factor=4)
        matches = (ir.MatchBufferRegion(view, source),)
    inner = names.inside(*(i.var for i in iters), buffers=private + tuple(m.buffer for m in matches))
    reduces = any(i.iter_type == "reduce" for i in iters)
    init = statement(inner, 0) if reduces and names.one(True, False) else None
    where = tuple(c for c in (comparison(names, "bool", 1) for _ in range(names.one(0, 0, 1, 2))))
    outer = names.inside(*(i.var for i in iters))
    reads, writes = (tuple(region(outer) for _ in range(names.draw(st.integers(0, 2)))) for _ in range(2))
    name = names.one("B", "", "root", "C_update")
    made = ir.Block(ir.Token(name), name, tuple(iters), private, matches, reads, writes, init, statement(inner, depth),
                    Attrs(names.one({}, {"tile": 4})))  # fmt: skip
    return ir.BlockRealize(tuple(values), where, made)


PLAIN = (store, store, store, evaluation, end)
NESTED = (
    for_loop,
    for_loop,
    for_loop,
    branch,
    pointer_statement,
    while_loop,
    let_statement,
    sequence,
    sequence,
    attribute,
    launch,
    reduction,
)
flat_only: tuple[Any, ...] = (allocation, declaration)
blocks_only: tuple[Any, ...] = (block, block, block, declaration)


def statement(names: Names, depth: int) -> Stmt:
    if depth == 0:
        return names.one(*PLAIN)(names, 0)
    return names.one(*PLAIN[:2], end, *NESTED, *names.draw(st.just(_special(names))))(names, depth - 1)


def _special(names: Names) -> tuple[Any, ...]:
    return flat_only if any(b.name == "flat" for b in names.buffers) else blocks_only


@st.composite
def functions(draw: Any, flat: bool, module: bool = False) -> PrimFunc:
    names = Names(draw, module=module)
    n, m = Var("n", "int32"), Var("n", "int64")
    shapes = names.one(((Const(4), Const(8)), (Const(8),)), ((n, Const(2)), (m, n)), ((), (n,)))
    params = [Buffer("flat" if flat else "A", shapes[0], names.one(*INTS, *FLOATS)), Buffer("B", shapes[1], "float32")]
    if names.one(True, False, False):
        factor = names.one(1, 2)
        params.append(Buffer("C", (Const(4),), "int32", "global", (Const(2),), Const(1), None, 32, factor))
    scalar = Var("k", "int32")
    func = PrimFunc(
        (*params, scalar), ir.Evaluate(Const(0)), Attrs(names.one({}, {"global_symbol": "f", "tir.noalias": True}))
    )
    body = statement(names.inside(*func.shape_vars(), scalar, buffers=tuple(params)), 4)
    if flat:
        return ir.replace(func, body=body)
    alloc = tuple(Buffer("Y", (Const(4),), "float32") for _ in range(names.one(0, 1)))
    reads = (region(names.inside(buffers=(params[0],))),) if names.one(True, False, False, False) else ()
    return ir.replace(func, body=ir.BlockRealize((), (), ir.make_block("root", body, alloc_buffers=alloc, reads=reads)))


def check(func: PrimFunc, dialect: str) -> None:
    text = print_script(func, dialect=dialect)
    again = from_source(text)
    difference = ir.first_difference(func, again)
    assert difference is None, f"{difference}\n{text}\n{print_script(again, dialect=dialect)}"
    assert print_script(again, dialect=dialect) == text


@pytest.mark.filterwarnings("ignore::mlcref.errors.ScriptWarning")
@given(functions(flat=False))
def test_schedulable_functions_parse_back(func: PrimFunc) -> None:
    for dialect in ("tir", "tirx"):
        check(func, dialect)


@given(functions(flat=True))
def test_flat_functions_parse_back(func: PrimFunc) -> None:
    for dialect in ("tir", "tirx"):
        check(func, dialect)


@st.composite
def modules(draw: Any) -> ir.IRModule:
    """A function, and another one that it may call."""
    main = draw(functions(flat=draw(st.booleans()), module=True))
    given = Buffer("P", (Var("n", "int32"),), "float32")
    value = ir.Return(expression(Names(draw, list(func_vars := [Var("k", "int32")]), [given]), "int32", 2))
    other = PrimFunc((given, *func_vars), value, Attrs({"global_symbol": "other"}))
    return ir.IRModule({"main": main.with_attr("global_symbol", "main"), "other": other})


@pytest.mark.filterwarnings("ignore::mlcref.errors.ScriptWarning")
@given(modules())
def test_modules_with_calls_parse_back(mod: ir.IRModule) -> None:
    for dialect in ("tir", "tirx"):
        text = print_script(mod, dialect=dialect)
        again = from_source(text)
        difference = ir.first_difference(mod, again)
        assert difference is None, f"{difference}\n{text}\n{print_script(again, dialect=dialect)}"
        assert print_script(again, dialect=dialect) == text


@pytest.mark.filterwarnings("ignore::mlcref.errors.ScriptWarning")
@given(functions(flat=False))
def test_copies_and_substitutions_keep_the_program(func: PrimFunc) -> None:
    assert ir.first_difference(func, ir.fresh(func)) is None
    values = {scalar: Var(scalar.name, scalar.type) for scalar in func.scalars}
    back = {new: old for old, new in values.items()}
    body = ir.substitute(ir.substitute(func.body, values), back)
    assert ir.first_difference(func, ir.replace(func, body=body)) is None

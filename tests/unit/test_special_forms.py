"""What only the oracle knows (loops with a step, return values, pointers, shuffles) is refused by everything else, and
its invariants hold.
"""

# ruff: noqa: E501 -- programs stand on one line here
from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlcref import compile as compile_module
from mlcref import ir
from mlcref.codegen import call_spec
from mlcref.codegen.cython import emit
from mlcref.errors import UnsupportedError, WellformedError
from mlcref.interp import interpret
from mlcref.interp.pygen import source
from mlcref.ir import Target, const, special_node
from mlcref.lower import lower
from mlcref.schedule import Schedule
from mlcref.script import from_source
from mlcref.verify import check_equivalent

PARAMS = 'A: T.Buffer((16,), "float32"), B: T.Buffer((16,), "int32"), n: T.int32'


def func_of(*lines: str, flat: bool = False) -> Any:
    body = "\n".join(f"    {line}" for line in lines)
    return from_source(f"@T.prim_func(s_tir={not flat})\ndef f({PARAMS}):\n{body}\n")


# Everything that does not know these forms refuses them

SPECIAL = {
    "a loop with a step": ["for i in range(0, 16, 2):", "    B[i] = 1"],
    "a return value": ["B[0] = 1", "return 1"],
    "a shuffle": ["B[0] = T.Shuffle([B[0:2]], [1])"],
    "a pointer as a value": ["p: T.handle = T.address_of(A[0])", "B[0] = 1"],
    "a declared view beside blocks": ['V = T.decl_buffer((4,), "int32", data=B.data)', "V[0] = 1"],
}


def scheduled(lines: list[str]) -> Any:
    return func_of("for j in range(4):", '    with T.block("b"):', "        vj = T.axis.spatial(4, j)", "        A[vj] = T.float32(1)",
                   *lines)  # fmt: skip


@pytest.mark.parametrize("what", SPECIAL)
def test_who_refuses_what_only_the_oracle_knows(what: str) -> None:
    func = scheduled(SPECIAL[what])
    found = special_node(func)
    assert found is not None
    assert found[1] == what
    sch = Schedule(func)
    (loop,) = sch.get_loops(sch.get_block("b"))
    with pytest.raises(UnsupportedError, match=f"split does not know {what}"):
        sch.split(loop, [None, 2])
    with pytest.raises(UnsupportedError, match=f"lowering does not know {what}"):
        lower(func, Target("cython"))
    with pytest.raises(UnsupportedError, match=f"the Cython backend does not know {what}"):
        emit({"f": func}, Target("cython"))
    with pytest.raises(UnsupportedError, match=f"generated code does not cover {what}"):
        source_of(func)
    a, b = np.zeros(16, "float32"), np.zeros(16, "int32")
    interpret(func, a, b, 1, engine="auto")
    assert a[3] == 1


def source_of(func: Any) -> None:
    interpret(func, np.zeros(16, "float32"), np.zeros(16, "int32"), 1, engine="pygen")


@pytest.mark.parametrize("what", SPECIAL)
def test_proofs_are_unknown(what: str) -> None:
    pytest.importorskip("islpy", reason="the extra prove is not installed")
    from mlcref.verify.prove import prove, prove_equivalent

    func = scheduled(SPECIAL[what])
    assert {(proof.status, proof.detail) for proof in prove(func).values()} == {("UNKNOWN", what)}
    assert prove_equivalent(func, func).status == "UNKNOWN"


def test_verdicts_of_special_programs() -> None:
    steps = func_of("for i in range(0, 16, 2):", "    B[i] = n")
    halves = func_of("for i in range(8):", "    B[i * 2] = n")
    assert check_equivalent(steps, halves).status == "TESTED"
    assert check_equivalent(steps, func_of("for i in range(0, 16, 4):", "    B[i] = n")).status == "REFUTED"
    returning = func_of("return n")
    verdict = check_equivalent(returning, returning)
    assert (verdict.status, "return values" in str(verdict)) == ("UNSUPPORTED", True)


def test_fused_products_are_products_in_the_field() -> None:
    fused = func_of("A[0] = T.fma(A[1], A[2], A[3])")
    assert check_equivalent(fused, fused).status == "TESTED"
    assert check_equivalent(fused, func_of("A[0] = A[1] * A[2] - A[3]")).status == "REFUTED"


def test_compiled_modules_refuse_return_values() -> None:
    func = func_of("B[0] = 1", "return 1")
    with pytest.raises(UnsupportedError, match="f returns a value"):
        call_spec("f", func)
    with pytest.raises(UnsupportedError, match="does not know a return value"):
        compile_module(func)


def test_source_of_generated_code_names_the_form() -> None:
    with pytest.raises(UnsupportedError, match="a loop with a step"):
        source(from_source('@T.prim_func\ndef f(B: T.Buffer((16,), "int32")):\n    for i in range(0, 16, 2):\n        B[i] = 1\n'))


# Well-formedness


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (const(0), "the step of a loop is positive, not 0"),
        (const(2, "int64"), "the step of a loop over int32 is int64"),
        (ir.Var("s"), "variable s is used where it is not bound"),
        (ir.Var(""), "a variable without a name is used where it is not bound"),
    ],
)
def test_steps_that_are_not_well_formed(step: ir.Expr, message: str) -> None:
    func = func_of("for i in range(8):", "    B[i] = 1", flat=True)
    with pytest.raises(WellformedError, match=message):
        ir.wellformed(ir.replace(func, body=ir.replace(func.body, step=step)), "blockless")


def test_a_thread_axis_has_no_step() -> None:
    func = func_of('for i in T.thread_binding(8, thread="threadIdx.x"):', "    B[i] = 1", flat=True)
    with pytest.raises(WellformedError, match="a thread axis has no step"):
        ir.wellformed(ir.replace(func, body=ir.replace(func.body, step=const(2))), "blockless")


def test_buffers_without_a_name_are_named_so() -> None:
    func = func_of("B[0] = 1", flat=True)
    stray = ir.Buffer("", (const(4),), "int32")
    with pytest.raises(WellformedError, match="a buffer without a name is used where it is not bound"):
        ir.wellformed(ir.replace(func, body=ir.store(stray, 1, (0,))), "blockless")


def test_substitution_and_copies_reach_the_step() -> None:
    func = func_of("for i in range(0, 16, n):", "    B[i] = 1", flat=True)
    (n,) = func.scalars
    assert ir.constant(ir.substitute(func.body, {n: const(4)}).step) == 4
    assert not ir.structural_equal(func, ir.replace(func, body=ir.replace(func.body, step=None)))
    assert ir.structural_equal(func, ir.fresh(func))


def test_fma_is_the_same_in_every_engine() -> None:
    args = ", ".join(f'{name}: T.Buffer((200,), "float32")' for name in "ABCD")
    func = from_source(f"@T.prim_func\ndef f({args}):\n    for i in range(200):\n        D[i] = T.fma(A[i], B[i], C[i])\n")
    draw = np.random.default_rng(0)
    a, b = (draw.standard_normal(200).astype("float32") for _ in range(2))
    machine, generated, compiled = (np.zeros(200, "float32") for _ in range(3))
    interpret(func, a, b, -(a * b), machine, engine="machine")
    interpret(func, a, b, -(a * b), generated, engine="pygen")
    compile_module(func)["f"](a, b, -(a * b), compiled)
    assert machine.any()
    assert machine.tobytes() == generated.tobytes() == compiled.tobytes()

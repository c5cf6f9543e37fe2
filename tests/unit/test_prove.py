"""Static proofs: by rule a program that keeps it and one that breaks it, what is not modelled, and equivalence."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("islpy", reason="static proofs need islpy: pip install mlcref[prove]")

from mlcref.errors import MlcrefError, OracleError, UnsupportedError
from mlcref.interp import findings, interpret
from mlcref.ir import PrimFunc
from mlcref.schedule import Schedule
from mlcref.script import from_source
from mlcref.verify.prove import RULES_OF_PROOFS, Proof, prove, prove_equivalent

SEMANTICS = Path(__file__).parents[2] / "docs" / "semantics.md"


def function(body: str, params: str = "A: T.Buffer((8,), 'float32'), B: T.Buffer((8,), 'float32')") -> PrimFunc:
    """A function of ``params`` with the lines ``body``."""
    lines = "\n".join("    " + line for line in body.strip("\n").splitlines())
    func = from_source(f"@T.prim_func\ndef f({params}):\n{lines}\n")
    assert isinstance(func, PrimFunc)
    return func


def symbolic(body: str, count: int = 2) -> PrimFunc:
    """A function of buffers A, B, … of ``n`` elements."""
    names = "ABCD"[:count]
    head = ["n = T.int64()", *(f'{x} = T.match_buffer({x.lower()}, (n,), "float32")' for x in names)]
    params = ", ".join(f"{x.lower()}: T.handle" for x in names)
    return function("\n".join([*head, *body.strip("\n").splitlines()]), params)


def status(func: PrimFunc, rule: str, **options: Any) -> str:
    return prove(func, [rule], **options)[rule].status


# --- rules, by the examples of the specification ---

EXAMPLES = {
    "memory.bounds": ("for i in range(8):\n    B[i] = A[7 - i]", "for i in range(8):\n    B[i] = A[i + 1]"),
    "block.domain": (
        "for i in range(8):\n    with T.block():\n        vi = T.axis.spatial(8, i)\n        B[vi] = A[vi]",
        "for i in range(8):\n    with T.block():\n        vi = T.axis.spatial(7, i - i // 7 + i // 7)\n"
        "        B[vi] = A[vi]",
    ),
    "value.index": (
        "for i in range(8):\n    B[i * 1000 // 1000] = A[i]",
        "for i in range(8):\n    B[i * 1000000000 // 1000000000] = A[i]",
    ),
    "stmt.assert": (
        "for i in range(8):\n    assert i < 8, 'no'\n    B[i] = A[i]",
        "for i in range(8):\n    assert i < 7, 'no'\n    B[i] = A[i]",
    ),
    "loop.race": (
        "for i in T.parallel(4):\n    for j in range(2):\n        B[i * 2 + j] = A[i]",
        "for i in T.parallel(4):\n    for j in range(2):\n        B[i + j] = A[i]",
    ),
    "value.undefined": (
        "C = T.alloc_buffer((8,), 'int32')\nfor i in range(8):\n    C[i] = 7 - i\n"
        "for i in range(8):\n    B[C[i]] = A[i]",
        "C = T.alloc_buffer((8,), 'int32')\nfor i in range(7):\n    C[i] = 7 - i\n"
        "for i in range(8):\n    B[C[i]] = A[i]",
    ),
    "memory.output": (
        "C = T.alloc_buffer((8,))\nfor i in range(8):\n    C[i] = A[i]\nfor i in range(8):\n    B[i] = C[7 - i]",
        "C = T.alloc_buffer((8,))\nfor i in range(7):\n    C[i] = A[i]\nfor i in range(8):\n    B[i] = C[7 - i]",
    ),
    "block.coverage": ("for i in range(8):\n    B[i] = A[i]", "for i in range(7):\n    B[i] = A[i]"),
    "block.regions": (
        "for i in range(7):\n    with T.block():\n        vi = T.axis.spatial(7, i)\n        T.reads(A[vi:vi + 2])\n"
        "        T.writes(B[vi])\n        B[vi] = A[vi] + A[vi + 1]",
        "for i in range(7):\n    with T.block():\n        vi = T.axis.spatial(7, i)\n        T.reads(A[vi])\n"
        "        T.writes(B[vi])\n        B[vi] = A[vi] + A[vi + 1]",
    ),
    "block.spatial": (
        "for i in range(7):\n    with T.block():\n        vi = T.axis.spatial(7, i)\n        B[vi] = B[vi] + A[vi]",
        "for i in range(7):\n    with T.block():\n        vi = T.axis.spatial(7, i)\n        B[vi + 1] = B[vi] + A[vi]",
    ),
}

REDUCTION = """
for i, k in T.grid({loops}):
    with T.block():
        vi = T.axis.spatial(8, i)
        vk = T.axis.reduce(8, {binding})
        with T.init():
            B[vi] = 0.0
        B[vi] = B[vi] + A[vk]
"""
EXAMPLES["block.init"] = (
    REDUCTION.format(loops="8, 8", binding="k"),
    REDUCTION.format(loops="8, 8", binding="7 - k"),
)
EXAMPLES["block.repeat"] = (
    REDUCTION.format(loops="8, 8", binding="k"),
    REDUCTION.format(loops="8, 16", binding="k // 2"),
)
EXAMPLES["block.epoch"] = (
    REDUCTION.format(loops="8, 8", binding="k"),
    "for i in range(8):\n    for k in range(8):\n        with T.block():\n            vi = T.axis.spatial(8, i)\n"
    "            vk = T.axis.reduce(8, k)\n            with T.init():\n                B[vi] = 0.0\n"
    "            B[vi] = B[vi] + A[vk]\n        with T.block():\n            vi = T.axis.spatial(8, i)\n"
    "            vk = T.axis.opaque(8, k)\n            C[vi] = B[vi]",
)
THREE = "A: T.Buffer((8,), 'float32'), B: T.Buffer((8,), 'float32'), C: T.Buffer((8,), 'float32')"


@pytest.mark.parametrize("rule", sorted(EXAMPLES))
def test_rule_is_proved_and_refuted(rule: str) -> None:
    kept, broken = (function(text, THREE) for text in EXAMPLES[rule])
    assert status(kept, rule) == "PROVED"
    found = prove(broken, [rule])[rule]
    assert found.status == "REFUTED" and found.detail
    arrays = [np.zeros(8, "float32") for _ in range(3)]
    try:
        seen = {report.rule for report in findings(broken, *arrays)}
    except OracleError as error:
        seen = {error.rule}
    assert rule in seen


def test_every_rule_that_can_be_refuted_has_an_example() -> None:
    threads = {"memory.alias", "thread.race", "thread.extent", "thread.sync"}  # test_prove_threads.py
    rest = {"value.division", "value.shift", "value.cast", *threads}
    assert {*EXAMPLES, *rest} == set(RULES_OF_PROOFS)


def test_a_refutation_names_sizes_and_both_instances() -> None:
    func = symbolic("for i in T.parallel(n):\n    B[i // 4] = A[i]")
    found = prove(func, ["loop.race"])["loop.race"]
    size, i, j = found.sizes["n"], found.instance["i"], found.other["i"]
    assert i // 4 == j // 4 and i != j and 0 <= i < size and 0 <= j < size
    with pytest.raises(OracleError, match=re.escape("[loop.race]")):
        interpret(func, *(np.zeros(size, "float32") for _ in range(2)))
    assert str(found).startswith("loop.race: REFUTED; two iterations of parallel i conflict on B; sizes n=")


def test_symbolic_sizes_and_guards() -> None:
    tiled = "for o in T.parallel((n + 3) // 4):\n    for i in range(4):\n        {guard}B[o * 4 + i] = A[o * 4 + i]"
    guarded = symbolic(tiled.format(guard="if o * 4 + i < n:\n            "))
    proofs = prove(guarded, poison=("B",))
    assert {rule for rule, proof in proofs.items() if not proof} == {"value.index"}
    assert proofs["value.index"].sizes["n"] >= 2**63 - 4  # n + 3 overflows
    found = prove(symbolic(tiled.format(guard="")), ["memory.bounds"])["memory.bounds"]
    assert found.sizes["n"] % 4 != 0


def test_poison_asks_for_outputs_in_full() -> None:
    func = symbolic("for i in range(n - 1):\n    B[i] = A[i]")
    assert status(func, "memory.output") == "PROVED"
    found = prove(func, ["memory.output"], poison=("B",))["memory.output"]
    assert found.status == "REFUTED" and found.sizes["n"] == 1


def test_private_and_forgotten_memory() -> None:
    private = "C = T.alloc_buffer((1,))\nfor i in T.parallel(8):\n    C[0] = A[i]\n    B[i] = C[0]"
    assert status(function(private), "loop.race") == status(function(private), "memory.output") == "PROVED"
    forgets = "C = T.alloc_buffer((1,))\nfor i in range(8):\n    if i == 0:\n        C[0] = A[i]\n    B[i] = C[0]"
    assert status(function(forgets), "memory.output") == "REFUTED"


def test_select_evaluates_both_and_needs_one() -> None:
    pad = "for i in range(8):\n    B[i] = T.{form}(i < 7, A[i + 1], T.float32(0))"
    assert status(function(pad.format(form="if_then_else")), "memory.bounds") == "PROVED"
    assert status(function(pad.format(form="Select")), "memory.bounds") == "REFUTED"
    part = "C = T.alloc_buffer((8,))\nfor i in range(7):\n    C[i] = A[i]\n"
    chosen = part + "for i in range(8):\n    B[i] = T.Select(i < 7, C[i], T.float32(0))"
    assert status(function(chosen), "memory.output") == "PROVED"


@pytest.mark.parametrize(
    ("rule", "body", "reason"),
    [
        ("memory.bounds", "C = T.alloc_buffer((8,), 'int32')\nB[C[0]] = A[0]", "not affine"),
        ("block.coverage", "for i in range(8):\n    if A[i] > T.float32(0):\n        B[i] = A[i]", "not modelled"),
        ("loop.race", "i = T.alloc_buffer((1,), 'int32')\ni[0] = 0\nwhile i[0] < 8:\n    i[0] = i[0] + 1", "While"),
        ("value.cast", "for i in range(8):\n    B[i] = T.Cast('float32', T.Cast('int32', A[i]))", "converted"),
        ("memory.bounds", "for i in range(8):\n    B[i * i] = A[i]", "not affine"),
    ],
)  # fmt: skip
def test_what_is_not_modelled_is_unknown(rule: str, body: str, reason: str) -> None:
    found = prove(function(body), [rule])[rule]
    assert found.status == "UNKNOWN" and reason in found.detail


def test_data_dependent_branches_leave_what_holds_in_any_case() -> None:
    func = function("for i in T.parallel(8):\n    if A[i] > T.float32(0):\n        B[i] = A[i]")
    proofs = prove(func, ["memory.bounds", "loop.race", "memory.output"])
    assert all(proofs.values())
    shifted = function("for i in range(8):\n    if A[i] > T.float32(0):\n        B[i + 1] = A[i]")
    assert status(shifted, "memory.bounds") == "UNKNOWN"


def test_a_point_writes_what_another_has_read() -> None:
    """Both points read A[0] before one of them, coming again, writes it: the run has to remember both readers."""
    func = function("""
for r, i in T.grid(2, 2):
    with T.block():
        vi = T.axis.spatial(2, i)
        vr = T.axis.opaque(2, r)
        if vr == 0:
            B[vi] = A[0]
        if vr == 1 and vi == 0:
            A[0] = T.float32(1)
""")
    assert status(func, "block.spatial") == "REFUTED"
    assert "block.spatial" in {report.rule for report in findings(func, *(np.zeros(8, "float32") for _ in range(2)))}


def test_unknown_rules_are_refused() -> None:
    with pytest.raises(MlcrefError, match=re.escape("no proof is about loop.order")):
        prove(function("B[0] = A[0]"), ["loop.order"])


def test_without_islpy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("mlcref.verify.prove")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "islpy", None)
    with pytest.raises(UnsupportedError, match=re.escape("pip install mlcref[prove]")):
        importlib.import_module("mlcref.verify.prove")


# --- equivalence ---

MATMUL = """
for i, j, k in T.grid(16, 16, 16):
    with T.block("C"):
        vi, vj, vk = T.axis.remap("SSR", [i, j, k])
        with T.init():
            C[vi, vj] = 0.0
        C[vi, vj] = C[vi, vj] + A[vi, vk] * B[vk, vj]
"""
SQUARES = ", ".join(f"{x}: T.Buffer((16, 16), 'float32')" for x in "ABC")


def equivalence(f: PrimFunc, g: PrimFunc, **options: Any) -> Proof:
    return prove_equivalent(f, g, **options)


def test_scheduled_matmul_is_equivalent() -> None:
    func = function(MATMUL, SQUARES)
    sch = Schedule(func)
    block = sch.get_block("C")
    i, j, k = sch.get_loops(block)
    i0, i1 = sch.split(i, [None, 3])
    k0, k1 = sch.split(k, [None, 4])
    sch.reorder(i0, j, k0, i1, k1)
    sch.cache_write(block, 0, "global")
    sch.decompose_reduction(block, k0)
    sch.parallel(i0)
    assert equivalence(func, sch.mod[next(iter(sch.mod))], poison=("C",)).status == "PROVED"


def test_factored_reduction_is_equivalent() -> None:
    params = "A: T.Buffer((16,), 'float32'), B: T.Buffer((1,), 'float32')"
    whole = "B[0] = 0.0\nfor k in range(16):\n    B[0] = B[0] + A[k]"
    factored = """
R = T.alloc_buffer((4,))
for o in T.parallel(4):
    R[o] = 0.0
    for k in range(4):
        R[o] = R[o] + A[{index}]
B[0] = 0.0
for o in range({last}):
    B[0] = B[0] + R[o]
"""
    func = function(whole, params)
    for index in ("o * 4 + k", "k * 4 + o"):
        assert equivalence(func, function(factored.format(index=index, last=4), params)).status == "PROVED"
        assert equivalence(func, function(factored.format(index=index, last=3), params)).status == "UNKNOWN"
    assert equivalence(func, function(factored.format(index="o + k", last=4), params)).status == "UNKNOWN"


SUM = "B[0] = 0.0\nfor i in range({extent}):\n    B[0] = B[0] + {value}"


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (SUM.format(extent=8, value="A[i]"), SUM.format(extent=8, value="A[7 - i]"), "PROVED"),
        (SUM.format(extent=8, value="A[i]"), SUM.format(extent=7, value="A[i]"), "UNKNOWN"),
        (SUM.format(extent=8, value="A[i]"), SUM.format(extent=8, value="A[i // 2]"), "UNKNOWN"),
        (SUM.format(extent=2, value="A[i]"), "B[0] = A[1] + A[0]", "PROVED"),
        (SUM.format(extent=2, value="A[0]"), "B[0] = A[0]", "UNKNOWN"),
        (SUM.format(extent=2, value="A[0]"), "B[0] = A[0] + A[0]", "PROVED"),
        ("B[0] = A[0] + A[0]", "B[0] = A[0]", "UNKNOWN"),
        ("B[0] = T.max(A[0], T.max(A[1], A[0]))", "B[0] = T.max(A[1], A[0])", "PROVED"),
        ("B[0] = T.max(A[0], A[1])", "B[0] = T.min(A[1], A[0])", "UNKNOWN"),
        ("B[0] = A[0] - A[1]", "B[0] = A[1] - A[0]", "UNKNOWN"),
        ("B[0] = A[0] * A[1]", "B[0] = A[1] * A[0]", "PROVED"),
        ("B[0] = T.exp(A[0])", "B[0] = T.tanh(A[0])", "UNKNOWN"),
        ("B[0] = A[0]", "B[0] = B[0]", "UNKNOWN"),
        ("B[0] = A[0]", "B[0] = A[0]\nB[1] = B[1]", "PROVED"),
        ("B[0] = A[0]", "B[0] = A[0]\nA[0] = 0.0", "UNKNOWN"),
        ("B[0] = A[0]\nA[0] = 0.0", "A[0] = 0.0\nB[0] = A[0]", "UNKNOWN"),
        ("for i in range(8):\n    B[i] = T.Cast('float32', i)",
         "for i in range(8):\n    B[7 - i] = T.Cast('float32', 7 - i)", "PROVED"),
        ("for i in range(8):\n    B[i] = T.if_then_else(i < 7, A[i], T.float32(0))",
         "for i in range(7):\n    B[i] = A[i]\nB[7] = T.float32(0)", "PROVED"),
        ("for i in range(7):\n    B[i + 1] = B[i] - A[i]",
         "for i in range(7):\n    B[i + 1] = B[i] - A[i]", "PROVED"),
        ("for i in range(7):\n    B[i + 1] = B[i] - A[i]",
         "for i in range(7):\n    B[i + 1] = B[i] - A[6 - i]", "UNKNOWN"),
        ("for i in range(7):\n    B[i + 1] = T.max(B[i] + A[i], 0.0)",
         "for i in range(7):\n    B[i + 1] = T.max(0.0, A[i] + B[i])", "PROVED"),
        ("for i in range(7):\n    B[i + 1] = T.max(B[i] + A[i], 0.0)",
         "for i in range(7):\n    B[i + 1] = T.max(0.0, A[0] + B[i])", "UNKNOWN"),
        ("for i in range(8):\n    B[i] = A[i]",
         "for i in T.parallel(9):\n    if i < 8:\n        B[i] = A[i]", "PROVED"),
        ("for i in range(8):\n    B[i] = A[i]", "for i in range(8):\n    B[i] = A[i]\n    B[7] = A[7]", "PROVED"),
        ("for i in range(8):\n    B[i] = A[i]", "for i in T.parallel(8):\n    B[i] = A[i]\n    B[7] = A[7]", "UNKNOWN"),
    ],
)  # fmt: skip
def test_equivalence(left: str, right: str, expected: str) -> None:
    assert equivalence(function(left), function(right)).status == expected


def test_equivalence_for_all_sizes() -> None:
    plain = symbolic("for i in range(n):\n    C[i] = A[i] * B[i]", 3)
    tiled = "for o in T.parallel((n + 31) // 32):\n    for i in T.vectorized(32):\n        if o * 32 + i < {limit}:\n"
    body = "            C[o * 32 + i] = B[o * 32 + i] * A[o * 32 + i]"
    assert equivalence(plain, symbolic(tiled.format(limit="n") + body, 3)).status == "PROVED"
    assert equivalence(plain, symbolic(tiled.format(limit="n - 1") + body, 3)).status == "UNKNOWN"


def test_signatures_must_agree() -> None:
    one, other = function("B[0] = A[0]"), function("B[0] = A[0]", THREE)
    assert "2 and 3 arguments" in equivalence(one, other).detail
    wide = function("B[0] = A[0]", "A: T.Buffer((8,), 'float32'), B: T.Buffer((9,), 'float32')")
    assert "shapes of B and B" in equivalence(one, wide).detail


def test_the_examples_of_the_specification() -> None:
    text = SEMANTICS.read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python prove\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    filename = "<semantics.md static proofs>"
    importlib.import_module("linecache").cache[filename] = (len(example), None, example.splitlines(True), filename)
    namespace: dict[str, Any] = {"T": importlib.import_module("mlcref.script.tir")}
    exec(compile(example, filename, "exec"), namespace)
    assert namespace["proofs"]["loop.race"].status == "PROVED"

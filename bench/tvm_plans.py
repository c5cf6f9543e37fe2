"""``python -m bench.tvm_plans``, where TVM is installed: the memory that TVM plans for the networks of
docs/memory_plan.md, into bench/tvm_plans.json. Scripts of mlcref are TVM's, so that both plan the same graph.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from mlcref.benchmark.networks import NETWORKS
from mlcref.ir import IRModule

RECORD = Path(__file__).with_suffix(".json")
FORMS = {"one each": (), "fused": ("AnnotateTIROpPattern", "FoldConstant", "FuseOps", "FuseTIR")}
_BEFORE_PLANS = ("ToNonDataflow", "RemovePurityChecking", "CallTIRRewrite", "StaticPlanBlockMemory")


def tvm_bytes(module: IRModule, form: str) -> int:
    """The bytes of all storage that TVM allocates for the values between the calls of "main"."""
    tvm: Any = import_module("tvm")
    passes = [getattr(tvm.relax.transform, name)() for name in ("LegalizeOps", *FORMS[form], *_BEFORE_PLANS)]
    with tvm.target.Target("llvm"):
        planned = tvm.transform.Sequential(passes)(tvm.script.from_source(module.script(show_meta=True)))
    sizes: list[int] = []

    def visit(node: Any) -> None:
        if isinstance(node, tvm.relax.Call) and getattr(node.op, "name", "") == "relax.memory.alloc_storage":
            sizes.append(int(node.args[0].values[0]))

    tvm.relax.analysis.post_order_visit(planned["main"], visit)
    return sum(sizes)


def recorded() -> dict[str, dict[str, int]]:
    """The bytes by network and form."""
    held: dict[str, dict[str, int]] = json.loads(RECORD.read_text(encoding="utf-8"))
    return held


def main() -> int:
    """Write the record."""
    found = {name: {form: tvm_bytes(build(), form) for form in FORMS} for name, build in NETWORKS.items()}
    RECORD.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

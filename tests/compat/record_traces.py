"""Sample schedules of TVM's MetaSchedule and write them to ``data/traces.json``.

Run it with TVM: ``python tests/compat/record_traces.py``. One record per schedule: the operator, the trace as text and
as JSON, and the text of the trace that TVM simplified without its postprocessing. ``functions`` has the functions as
TVM prints them, by operator.
"""

from __future__ import annotations

import json
from pathlib import Path

import topi_agreement as agreement

OPERATORS = ("matmul", "softmax", "conv2d_nchw", "relu", "sum", "max_pool2d", "layer_norm", "dense")
SEEDS = (1, 2)
TRACES = Path(__file__).parent / "data" / "traces.json"


def main() -> None:
    """Sample and write."""
    operators = {operator.name: operator for operator in agreement.OPERATORS}
    functions: dict[str, str] = {}
    records: list[dict[str, object]] = []
    for name in OPERATORS:
        func = agreement.made_by_tvm(operators[name], operators[name].cases[0])
        functions[name] = func.script()
        for seed in SEEDS:
            for schedule in agreement.design_spaces(func, seed):
                trace = schedule.trace
                form = json.loads(json.dumps(trace.as_json(), default=lambda number: number.value))
                simplified = list(trace.simplified(True).as_python())
                records.append(
                    {"operator": name, "text": str(trace), "json": form, "simplified": simplified}
                )
    lines = ",\n".join(json.dumps(record) for record in records)
    TRACES.write_text(f'{{"functions": {json.dumps(functions)},\n"traces": [\n{lines}\n]}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()

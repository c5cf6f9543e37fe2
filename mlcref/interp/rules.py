"""The rules of ``docs/semantics.md`` by name. Reports cite them; a house test keeps this table, the page and the code
together."""

from __future__ import annotations

MEANINGLESS = "meaningless"
SIGNATURE = "signature"
DEFINES = "defines"

RULES: dict[str, str] = {
    "value.rounding": DEFINES,
    "value.wrap": DEFINES,
    "value.division": MEANINGLESS,
    "value.shift": MEANINGLESS,
    "value.cast": MEANINGLESS,
    "value.intrinsic": DEFINES,
    "value.bits": DEFINES,
    "value.shuffle": DEFINES,
    "value.pointer": DEFINES,
    "value.minmax": DEFINES,
    "value.lazy": DEFINES,
    "value.index": MEANINGLESS,
    "value.undefined": MEANINGLESS,
    "memory.bounds": MEANINGLESS,
    "memory.parameters": DEFINES,
    "memory.output": MEANINGLESS,
    "memory.lifetime": DEFINES,
    "memory.alias": MEANINGLESS,
    "block.where": DEFINES,
    "block.domain": MEANINGLESS,
    "block.init": MEANINGLESS,
    "block.repeat": MEANINGLESS,
    "block.epoch": SIGNATURE,
    "block.spatial": SIGNATURE,
    "block.regions": SIGNATURE,
    "block.coverage": SIGNATURE,
    "loop.order": DEFINES,
    "loop.race": MEANINGLESS,
    "loop.vector": DEFINES,
    "loop.step": MEANINGLESS,
    "thread.phase": DEFINES,
    "thread.race": MEANINGLESS,
    "thread.extent": MEANINGLESS,
    "thread.scope": DEFINES,
    "thread.collective": DEFINES,
    "thread.sync": MEANINGLESS,
    "thread.allreduce": DEFINES,
    "stmt.assert": MEANINGLESS,
    "stmt.assume": MEANINGLESS,
    "stmt.return": DEFINES,
    "call.count": MEANINGLESS,
    "call.type": MEANINGLESS,
    "call.dtype": MEANINGLESS,
    "call.rank": MEANINGLESS,
    "call.shape": MEANINGLESS,
    "call.symbol": MEANINGLESS,
    "call.scalar": MEANINGLESS,
    "call.readonly": MEANINGLESS,
    "call.alias": MEANINGLESS,
    "call.host": MEANINGLESS,
    "call.function": MEANINGLESS,
}
"""Severity by rule: ``meaningless`` stops the run, ``signature`` is a finding, ``defines`` says what happens and
refuses nothing."""

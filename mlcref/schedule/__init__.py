"""Schedule primitives: programs to programs of the same meaning, or a refusal that says which precondition fails."""

from mlcref.schedule.handles import BlockRV, ExprRV, LoopRV
from mlcref.schedule.schedule import Schedule
from mlcref.schedule.table import TABLE, Pick, Primitive
from mlcref.schedule.trace import Instruction, Trace

SBlockRV = BlockRV

__all__ = ["TABLE", "BlockRV", "ExprRV", "Instruction", "LoopRV", "Pick", "Primitive", "SBlockRV", "Schedule", "Trace"]

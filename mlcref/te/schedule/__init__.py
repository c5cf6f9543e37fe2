"""Schedules of tensor expressions, as TVM had them up to 0.17: ``s = te.create_schedule(C.op)``, ``s[C].split(…)``.

A schedule only collects wishes. Lowering turns them into primitives of the TensorIR schedule, which check them, on the
function of ``te.create_prim_func``; ``s.tensor_ir(args)`` is that schedule. What is refused here, by rule:

* te.S1 thread axes have the tags of the hardware and count from 0;
* te.S2 a loop is one of the stage's loops now, and is split by a factor or into a number of parts;
* te.S3 loops that are fused are each right inside the one before, and of one kind;
* te.S4 a loop is put in order once;
* te.S5 a loop that is marked or bound is there when the schedule is lowered, has as many iterations as its thread axis
  has threads, and is bound once;
* te.S6 a stage is computed at a loop of another stage that needs it, and is a computation in one block;
* te.S7 the memory of results and inputs is the caller's;
* te.S8 a schedule is made from operations that compute something, and has stages for these;
* te.S9 caches stand before readers that read, and are written before loops are changed;
* te.S10 partial results are kept per iteration of an axis of a reduction in loops as they were, or of half of a split
  axis; of one tensor, by a reducer that takes its operands in any order;
* te.S11 a stage is tensorized once, by a registered intrinsic; ``prefetch``, ``double_buffer``, ``env_threads`` and
  ``set_store_predicate`` are not supported.
"""

from mlcref.te.schedule.auto_inline import AutoInlineInjective
from mlcref.te.schedule.axes import LoopAxis, ThreadAxis, decl_tensor_intrin, thread_axis
from mlcref.te.schedule.schedule import Schedule, create_schedule
from mlcref.te.schedule.stage import Stage

__all__ = [
    "AutoInlineInjective", "LoopAxis", "Schedule", "Stage", "ThreadAxis", "create_schedule", "decl_tensor_intrin",
    "thread_axis",
]  # fmt: skip

"""The state of a schedule: its module, what each handle stands for, and the trace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlcref.errors import ScheduleError
from mlcref.ir import (
    BaseFunc, Binary, Block, Const, Expr, For, IRModule, PrimFunc, Token, Var, as_expr, binary, index, rewrite,
)  # fmt: skip
from mlcref.ir.base import show_script
from mlcref.schedule.choices import RandomPick
from mlcref.schedule.handles import INLINE, ROOT, RV, BlockRV, ExprRV, LoopRV
from mlcref.schedule.stepwise import MODES, StepCheck
from mlcref.schedule.table import Handle
from mlcref.schedule.trace import QUERIES, Instruction, Trace

RENDER_LEVELS = ("detail", "fast", "none")


class ScheduleState:
    """A private copy of a module, what each handle stands for, and the trace.

    ``check`` verifies each primitive as it is applied ("oracle": by running both programs, "prove": statically where
    that decides, else by the oracle). ``enable_check=False`` leaves out the preconditions that a record calls
    forceable: the result may mean something else. ``debug_mask`` is TVM's and changes nothing: every result is checked
    for well-formedness. ``error_render_level`` is how much of a refusal is shown: "detail", "fast" (one line), "none".
    """

    def __init__(
        self,
        mod: IRModule | PrimFunc,
        *,
        seed: int | None = None,
        debug_mask: str | int = "none",
        error_render_level: str = "detail",
        enable_check: bool = True,
        check: str = "off",
    ) -> None:
        if not isinstance(mod, IRModule | PrimFunc):
            raise ScheduleError(
                f"a schedule is made from an IRModule or a PrimFunc, not from {type(mod).__name__}", rule="schedule.P1"
            )
        _check_option("debug_mask", debug_mask, isinstance(debug_mask, int) or debug_mask in ("none", "all"))
        _check_option("error_render_level", error_render_level, error_render_level in RENDER_LEVELS)
        _check_option("check", check, check in MODES)
        self._options = {"debug_mask": debug_mask, "error_render_level": error_render_level,
                         "enable_check": enable_check, "check": check}  # fmt: skip
        self._mod = IRModule({"main": mod}) if isinstance(mod, PrimFunc) else mod.clone()
        self._pick = RandomPick(seed if seed != -1 else None)
        self._handles: dict[RV, tuple[str, Handle]] = {}
        self._numbers: dict[RV, int] = {}
        self._stale: dict[RV, str] = {}
        self._trace = Trace()
        self._working_on: str | None = None
        self._checked = StepCheck(check)

    # -- state

    @property
    def mod(self) -> IRModule:
        """The module as it is now (a copy: changing it does not change the schedule)."""
        return self._mod.clone()

    @property
    def trace(self) -> Trace:
        """What was done so far."""
        return self._trace

    @property
    def func_working_on(self) -> str | None:
        """The function that ``get_block`` searches when it is not told."""
        return self._working_on

    def work_on(self, func_name: str) -> None:
        """Let ``get_block`` search ``func_name`` by default. Raises ``MlcrefError`` when there is no such function."""
        self._mod[func_name]
        self._working_on = func_name

    def seed(self, seed: int) -> None:
        """Restart the random choices from ``seed``."""
        self._pick = RandomPick(seed)

    def fork_seed(self) -> int:
        """A seed for an independent schedule."""
        return self._pick.fork()

    def copy(self) -> Any:
        """An independent schedule with the same state; the handles are valid in both."""
        other = type(self)(self._mod, **self._options)  # type: ignore[arg-type]
        other._handles, other._numbers, other._stale = dict(self._handles), dict(self._numbers), dict(self._stale)
        other._trace = Trace(self._trace.insts)
        other._working_on = self._working_on
        other._pick = RandomPick(self._pick.fork())
        return other

    def show(self, **options: Any) -> None:
        """Show the module and the trace."""
        show_script(self._mod, **options)
        show_script(self._trace, **options)

    # -- handles

    def get(self, rv: Any) -> Block | For | int:
        """What a handle stands for now: a ``Block``, a ``For`` or an int. Raises ``ScheduleError`` for a stale handle,
        and for the root and inline places, which are no loops.
        """
        if isinstance(rv, Expr):
            return self._number(rv)
        name, handle = self._resolve(rv)
        if handle is ROOT or handle is INLINE:
            raise ScheduleError(f"the handle stands for no loop but for {handle.name}", rule="handle.P9")
        where = index(self._func(name))
        return where.blocks[handle].block if isinstance(handle, Token) else where.loops[handle]

    def remove_rv(self, rv: Any) -> None:
        """Forget a handle."""
        self._handles.pop(rv, None)
        self._numbers.pop(rv, None)

    def _func(self, name: str) -> PrimFunc:
        func: BaseFunc = self._mod[name]
        if not isinstance(func, PrimFunc):
            raise ScheduleError(f"{name} is no PrimFunc: only tensor programs are scheduled", rule="schedule.P2")
        return func

    def _resolve(self, rv: Any) -> tuple[str, Handle]:
        if rv in self._stale:
            raise ScheduleError(
                f"stale handle: {self._stale[rv]}", rule="handle.P4", hint="get the block or loop again"
            )
        if rv not in self._handles:
            raise ScheduleError("the handle is not from this schedule", rule="handle.P5")
        name, handle = self._handles[rv]
        if not _is_in(self._func(name), handle):
            raise ScheduleError("stale handle: its function was replaced", rule="handle.P4")
        return name, handle

    def _number(self, value: Any) -> int:
        def known(node: Any) -> Any:
            if isinstance(node, ExprRV):
                if node not in self._numbers:
                    raise ScheduleError("the number was not sampled by this schedule", rule="handle.P5")
                return as_expr(self._numbers[node])
            return None

        folded = rewrite(_fold, rewrite(known, value))
        if not isinstance(folded, Const):
            raise ScheduleError(f"{value!r} is no number", rule="handle.P6")
        return int(folded.value)

    def _new(self, func_name: str, handle: Handle) -> Any:
        rv = BlockRV() if isinstance(handle, Token) else LoopRV()
        self._handles[rv] = (func_name, handle)
        return rv

    def _value(self, value: Any, names: set[str]) -> Any:
        """A method's argument as a record takes it: handles as variables and tokens, sampled numbers as ints."""
        if isinstance(value, BlockRV | LoopRV):
            name, handle = self._resolve(value)
            names.add(name)
            return handle
        if isinstance(value, Const) and isinstance(value.value, float):
            return value
        if isinstance(value, Expr):
            return self._number(value)
        if isinstance(value, list | tuple):
            return [self._value(item, names) for item in value]
        if isinstance(value, Mapping):
            return {key: self._value(item, names) for key, item in value.items()}
        return value

    def _retire(self, name: str, new: PrimFunc, inst: Instruction) -> None:
        text = ""
        for rv, (owner, handle) in list(self._handles.items()):
            if owner == name and not _is_in(new, handle):
                text = text or inst.as_python(self._trace.names())
                hint = handle.hint if isinstance(handle, Token) else handle.name
                kind = "block" if isinstance(handle, Token) else "loop"
                self._stale[rv] = f"{kind} {hint} was consumed by `{text}`"
                del self._handles[rv]

    def _record(self, name: str, arguments: dict[str, Any], outputs: Sequence[Any], decision: Any = None) -> None:
        attributes = QUERIES[name].attributes
        self._trace.append(Instruction(name, arguments, tuple(outputs), decision, attributes))


def _check_option(name: str, value: Any, known: bool) -> None:
    if not known:
        raise ScheduleError(f"{name}={value!r} is not known", rule="schedule.P3")


def _is_in(func: PrimFunc, handle: Handle) -> bool:
    where = index(func)
    return handle in (where.blocks if isinstance(handle, Token) else where.loops) or handle is ROOT or handle is INLINE


def _fold(node: Any) -> Any:
    if isinstance(node, Binary) and isinstance(node.a, Const) and isinstance(node.b, Const):
        return binary(type(node), node.a, node.b)
    return None


def token_of(handle: Handle) -> Token:
    """The handle of a block; raises ``ScheduleError`` for a loop."""
    if not isinstance(handle, Token):
        raise ScheduleError("a loop was given where a block is wanted", rule="handle.P8")
    return handle


def loop_var_of(handle: Handle) -> Var:
    """The handle of a loop; raises ``ScheduleError`` for a block, and for the root and inline places."""
    if not isinstance(handle, Var):
        raise ScheduleError("a block was given where a loop is wanted", rule="handle.P8")
    if handle is ROOT or handle is INLINE:
        raise ScheduleError(f"the handle stands for no loop but for {handle.name}", rule="handle.P9")
    return handle

"""The schedule without its primitives: handles, queries, sampling, the trace, and how a primitive's record is applied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from mlcref.errors import ScheduleError
from mlcref.ir import (
    BaseFunc,
    Binary,
    Block,
    Const,
    Expr,
    For,
    IRModule,
    PrimFunc,
    Token,
    Var,
    as_expr,
    binary,
    index,
    rewrite,
    wellformed,
)
from mlcref.ir.base import show_script
from mlcref.schedule import find
from mlcref.schedule.choices import RandomPick, perfect_tiles
from mlcref.schedule.handles import RV, BlockRV, ExprRV, LoopRV
from mlcref.schedule.table import TABLE, Handle, Primitive
from mlcref.schedule.trace import OPTIONAL, VARIADIC, Instruction, Trace

_QUERY_INPUTS: dict[str, tuple[str, ...]] = {
    "get_block": (),
    "get_loops": ("block",),
    "get_child_blocks": ("block_or_loop",),
    "get_producers": ("block",),
    "get_consumers": ("block",),
    "get_output_blocks": ("scope_block",),
    "enter_postproc": (),
    "sample_perfect_tile": ("loop",),
    "sample_categorical": (),
}
_QUERY_ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "get_block": ("name", "func_name"),
    "sample_perfect_tile": ("n", "max_innermost_factor"),
    "sample_categorical": ("candidates", "probs"),
}


class ScheduleCore:
    """State of a schedule: a private copy of the module, what each handle stands for, and the trace."""

    def __init__(
        self,
        mod: IRModule | PrimFunc,
        *,
        seed: int | None = None,
        debug_mask: Any = "none",
        error_render_level: str = "detail",
        enable_check: bool = True,
    ) -> None:
        if not isinstance(mod, IRModule | PrimFunc):
            raise ScheduleError(
                f"a schedule is made from an IRModule or a PrimFunc, not from {type(mod).__name__}", rule="schedule.P1"
            )
        self._mod = IRModule({"main": mod}) if isinstance(mod, PrimFunc) else mod.clone()
        self._pick = RandomPick(seed if seed != -1 else None)
        self._handles: dict[RV, tuple[str, Handle]] = {}
        self._numbers: dict[RV, int] = {}
        self._stale: dict[RV, str] = {}
        self._trace = Trace()
        self._working_on: str | None = None

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
        other = type(self)(self._mod)
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
        """What a handle stands for now: a ``Block``, a ``For`` or an int. Raises ``ScheduleError`` for a stale handle.
        """
        if isinstance(rv, Expr):
            return self._number(rv)
        name, handle = self._resolve(rv)
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
        where = index(self._func(name))
        if handle not in (where.blocks if isinstance(handle, Token) else where.loops):
            raise ScheduleError("stale handle: its function was replaced", rule="handle.P4")
        return name, handle

    def _number(self, value: Any) -> int:
        def known(node: Any) -> Any:
            if isinstance(node, ExprRV):
                if node not in self._numbers:
                    raise ScheduleError("the number was not sampled by this schedule", rule="handle.P5")
                return as_expr(self._numbers[node])
            return None

        result = rewrite(known, value)
        folded = rewrite(_fold, result)
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
        if isinstance(value, Expr):
            return self._number(value)
        if isinstance(value, list | tuple):
            return [self._value(item, names) for item in value]
        if isinstance(value, Mapping):
            return {key: self._value(item, names) for key, item in value.items()}
        return value

    # -- applying a record

    def _apply(self, primitive: Primitive, arguments: dict[str, Any]) -> Any:
        for key, value in arguments.items():
            if isinstance(value, str) and primitive.signature.parameters[key].annotation in ("Token", "Handle"):
                arguments[key] = self.get_block(value)
        names: set[str] = set()
        resolved = {key: self._value(value, names) for key, value in arguments.items()}
        if len(names) != 1:
            raise ScheduleError(f"{primitive.name}: the handles are of {len(names)} functions", rule="handle.P7")
        (name,) = names
        func = self._func(name)
        facts = primitive.plan(func, **resolved)
        new, handles = primitive.build(func, facts)
        wellformed(new)
        return self._commit(primitive, arguments, name, new, handles)

    def _commit(
        self, primitive: Primitive, arguments: dict[str, Any], name: str, new: PrimFunc, handles: Sequence[Handle]
    ) -> Any:
        outputs = tuple(self._new(name, handle) for handle in handles)
        inst = Instruction(primitive.name, arguments, outputs, attributes=primitive.attributes)
        self._mod.update_func(name, new)
        self._trace.append(inst)
        self._retire(name, new, inst)
        if primitive.returns == "one":
            return outputs[0]
        return list(outputs) if primitive.returns == "list" else None

    def _retire(self, name: str, new: PrimFunc, inst: Instruction) -> None:
        where, text = index(new), ""
        for rv, (owner, handle) in list(self._handles.items()):
            if owner == name and handle not in (where.blocks if isinstance(handle, Token) else where.loops):
                text = text or inst.as_python(self._trace.names())
                hint = handle.hint if isinstance(handle, Token) else handle.name
                kind = "block" if isinstance(handle, Token) else "loop"
                self._stale[rv] = f"{kind} {hint} was consumed by `{text}`"
                del self._handles[rv]

    def _record(self, name: str, arguments: dict[str, Any], outputs: Sequence[Any], decision: Any = None) -> None:
        self._trace.append(Instruction(name, arguments, tuple(outputs), decision, _QUERY_ATTRIBUTES.get(name, ())))

    # -- queries

    def get_block(self, name: str, func_name: str | None = None) -> BlockRV:
        """The block called ``name`` of a function (default: the one worked on, else the only one or "main").

        Raises ``ScheduleError`` when there is none or more than one.
        """
        func_name = func_name or self._default_function()
        func = self._func(func_name)
        found = [token for token, realize in index(func).blocks.items() if realize.block.name == name]
        if len(found) != 1:
            self._no_such_block(func, name, found)
        rv: BlockRV = self._new(func_name, found[0])
        self._record("get_block", {"name": name, "func_name": func_name}, [rv])
        return rv

    def _no_such_block(self, func: PrimFunc, name: str, found: Sequence[Token]) -> NoReturn:
        blocks = index(func).blocks
        marks = [(blocks[token], f"block {name}") for token in found]
        known = ", ".join(realize.block.name for realize in blocks.values() if realize is not func.body)
        what = (
            f"{len(found)} blocks of {func.name} are called {name!r}" if found else f"{func.name} has no block {name!r}"
        )
        raise ScheduleError(what, rule="get_block.P1", root=func, marks=marks, hint=f"its blocks: {known}")

    def _default_function(self) -> str:
        if self._working_on is not None:
            return self._working_on
        names = list(self._mod.prim_funcs())
        if "main" in names:
            return "main"
        if len(names) == 1:
            return names[0]
        raise ScheduleError(
            "the module has several functions", rule="get_block.P2", hint=f"say func_name=, one of {', '.join(names)}"
        )

    get_sblock = get_block

    def _block_arg(self, block: Any) -> Any:
        return self.get_block(block) if isinstance(block, str) else block

    def get_loops(self, block: Any) -> list[LoopRV]:
        """The loops above a block inside its scope, outer to inner."""
        block = self._block_arg(block)
        name, token = self._resolve(block)
        func = self._func(name)
        loops = find.loops_above(func, index(func).blocks[_token(token)])
        outputs = [self._new(name, loop.loop_var) for loop in loops]
        self._record("get_loops", {"block": block}, outputs)
        return outputs

    def _blocks_query(self, query: str, parameter: str, rv: Any, blocks: Sequence[Any], name: str) -> list[BlockRV]:
        outputs = [self._new(name, realize.block.token) for realize in blocks]
        self._record(query, {parameter: rv}, outputs)
        return outputs

    def get_child_blocks(self, block_or_loop: Any) -> list[BlockRV]:
        """The blocks directly below a block or a loop, in order."""
        name, handle = self._resolve(block_or_loop)
        where = index(self._func(name))
        if isinstance(handle, Token):
            below = find.child_blocks(where.blocks[handle])
        else:
            below = find.blocks_below(where.loops[handle])
        return self._blocks_query("get_child_blocks", "block_or_loop", block_or_loop, below, name)

    def get_producers(self, block: Any) -> list[BlockRV]:
        """The other blocks of the same scope that write what the block reads, in order."""
        block = self._block_arg(block)
        name, token = self._resolve(block)
        func = self._func(name)
        return self._blocks_query(
            "get_producers", "block", block, find.producers(func, find.block_of(func, _token(token))), name
        )

    def get_consumers(self, block: Any) -> list[BlockRV]:
        """The other blocks of the same scope that read what the block writes, in order."""
        block = self._block_arg(block)
        name, token = self._resolve(block)
        func = self._func(name)
        return self._blocks_query(
            "get_consumers", "block", block, find.consumers(func, find.block_of(func, _token(token))), name
        )

    def get_output_blocks(self, scope_block: Any) -> list[BlockRV]:
        """The blocks of a scope that write a buffer which is not allocated in the scope."""
        scope_block = self._block_arg(scope_block)
        name, token = self._resolve(scope_block)
        realize = find.block_of(self._func(name), _token(token))
        inner = set(realize.block.alloc_buffers)
        found = [b for b in find.child_blocks(realize) if any(w.buffer not in inner for w in b.block.writes)]
        return self._blocks_query("get_output_blocks", "scope_block", scope_block, found, name)

    def enter_postproc(self) -> None:
        """Mark the place in the trace where post-processing begins."""
        self._record("enter_postproc", {}, [])

    # -- sampling

    def sample_perfect_tile(
        self, loop: Any, n: int, max_innermost_factor: int = 16, decision: Sequence[int] | None = None
    ) -> list[ExprRV]:
        """``n`` factors whose product is the loop's extent, uniformly; the last is at most ``max_innermost_factor``
        (-1: any).

        Raises ``ScheduleError`` for an extent that is not constant, or a ``decision`` whose product is not the extent.
        """
        name, var = self._resolve(loop)
        found = index(self._func(name)).loops[_var(var)]
        extent = find.constant_extent(found)
        if extent is None or n < 1:
            what = (
                f"sample_perfect_tile: loop {found.loop_var.name} has no constant extent"
                if extent is None
                else "n is not positive"
            )
            raise ScheduleError(
                what, rule="sample_perfect_tile.P1", root=self._func(name), marks=[(found, "to be tiled")]
            )
        chosen = self._perfect_decision(found, extent, n, max_innermost_factor, decision)
        outputs = self._sampled(chosen)
        arguments = {"loop": loop, "n": n, "max_innermost_factor": max_innermost_factor}
        self._record("sample_perfect_tile", arguments, outputs, list(chosen))
        return outputs

    def _perfect_decision(
        self, loop: For, extent: int, n: int, limit: int, decision: Sequence[int] | None
    ) -> Sequence[int]:
        if decision is not None:
            chosen = [int(factor) for factor in decision]
            product = 1
            for factor in chosen:
                product *= factor
            if len(chosen) != n or product != extent:
                raise ScheduleError(f"decision {chosen} does not tile {extent} into {n}", rule="sample_perfect_tile.P2")
            return chosen
        options = perfect_tiles(extent, n, limit)
        if not options:
            what = f"no {n} factors of {extent} end in one of at most {limit}"
            raise ScheduleError(what, rule="sample_perfect_tile.P3", hint="raise max_innermost_factor")
        chosen_tile: Sequence[int] = self._pick(options)
        return chosen_tile

    def sample_categorical(
        self, candidates: Sequence[int], probs: Sequence[float], decision: int | None = None
    ) -> ExprRV:
        """One of ``candidates`` by the weights ``probs``; ``decision`` is an index that fixes the choice.

        Raises ``ScheduleError`` unless there are as many weights as candidates, at least one, none negative, not all
        zero.
        """
        if not candidates or len(candidates) != len(probs) or min(probs) < 0 or sum(probs) <= 0:
            raise ScheduleError(
                f"{len(candidates)} candidates with weights {list(probs)}", rule="sample_categorical.P1"
            )
        chosen = int(decision) if decision is not None else self._pick(range(len(candidates)), list(probs))
        if not 0 <= chosen < len(candidates):
            raise ScheduleError(
                f"decision {chosen} is no index of {len(candidates)} candidates", rule="sample_categorical.P2"
            )
        (output,) = self._sampled([int(candidates[chosen])])
        self._record("sample_categorical", {"candidates": list(candidates), "probs": list(probs)}, [output], chosen)
        return output

    def _sampled(self, values: Sequence[int]) -> list[ExprRV]:
        outputs = [ExprRV("v") for _ in values]
        self._numbers.update(zip(outputs, values, strict=True))
        return outputs

    # -- replay

    def replay_instruction(self, name: str, arguments: Mapping[str, Any], decision: Any) -> tuple[RV, ...]:
        """Run one instruction of a trace and return its outputs."""
        if name not in TABLE and name not in _QUERY_INPUTS:
            raise ScheduleError(f"unknown instruction {name}", rule="trace.P1")
        keywords = dict(arguments)
        positional = keywords.pop(VARIADIC[name]) if name in VARIADIC else ()
        if decision is not None:
            keywords["decision"] = decision
        before = len(self._trace)
        getattr(self, name)(*positional, **keywords)
        return self._trace.insts[-1].outputs if len(self._trace) > before else ()

    def arguments_from_json(
        self, kind: str, inputs: Sequence[Any], attributes: Sequence[Any]
    ) -> tuple[str, dict[str, Any]]:
        """Name and arguments of an instruction in TVM's JSON form. Raises ``ScheduleError`` for an unknown one."""
        names = {Instruction(n, {}).kind: n for n in (*TABLE, *_QUERY_INPUTS)} | {"GetSBlock": "get_block"}
        if kind not in names:
            raise ScheduleError(f"unknown instruction kind {kind!r}", rule="trace.P1")
        name = names[kind]
        if name in TABLE:
            primitive = TABLE[name]
            keys = [key for key in primitive.signature.parameters if key not in primitive.attributes]
            arguments = _collect(keys, inputs, primitive)
            arguments.update(zip(primitive.attributes, attributes, strict=False))
            for key, value in arguments.items():  # TVM writes some truth values as 0 and 1
                if primitive.signature.parameters[key].annotation == "bool":
                    arguments[key] = bool(value)
        else:
            arguments = dict(zip(_QUERY_INPUTS[name], inputs, strict=True))
            arguments.update(zip(_QUERY_ATTRIBUTES.get(name, ()), attributes, strict=False))
        return name, arguments


def _collect(keys: Sequence[str], inputs: Sequence[Any], primitive: Primitive) -> dict[str, Any]:
    """Inputs by parameter: a parameter that takes a list gets all the inputs that the others leave."""
    types = {key: str(primitive.signature.parameters[key].annotation) for key in keys}
    listed = [key for key in keys if "list" in types[key] and key not in OPTIONAL]
    if not listed:
        given = dict(zip(keys, inputs, strict=False))
        return {key: value or None if key in OPTIONAL else value for key, value in given.items()}
    at, rest = keys.index(listed[0]), len(inputs) - len(keys) + 1
    values: list[Any] = [*inputs[:at], list(inputs[at : at + rest]), *inputs[at + rest :]]
    return dict(zip(keys, values, strict=True))


def _fold(node: Any) -> Any:
    if isinstance(node, Binary) and isinstance(node.a, Const) and isinstance(node.b, Const):
        return binary(type(node), node.a, node.b)
    return None


def _token(handle: Handle) -> Token:
    if not isinstance(handle, Token):
        raise ScheduleError("a loop was given where a block is wanted", rule="handle.P8")
    return handle


def _var(handle: Handle) -> Var:
    if not isinstance(handle, Var):
        raise ScheduleError("a block was given where a loop is wanted", rule="handle.P8")
    return handle

"""The schedule without its primitives: how a primitive's record is applied, checked, recorded and replayed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from mlcref.errors import ScheduleError
from mlcref.ir import PrimFunc, wellformed
from mlcref.schedule.handles import INLINE, ROOT
from mlcref.schedule.instruction import VARIADIC, Instruction, Output, known
from mlcref.schedule.sampling import Sampling
from mlcref.schedule.table import TABLE, Handle, Primitive, forced, skipped_preconditions

_INLINES = {"compute_at": "compute_inline", "reverse_compute_at": "reverse_compute_inline"}


@dataclass(frozen=True, slots=True)
class Applied:
    """What an instruction made of a function: the new one, the handles it hands out, and the preconditions that were
    left out."""

    func: PrimFunc
    outputs: Sequence[Handle]
    skipped: tuple[str, ...] = ()


class ScheduleCore(Sampling):
    """State, queries, sampling, and the way from a record of the table to an instruction of the trace."""

    def _apply(self, primitive: Primitive, arguments: dict[str, Any]) -> Any:
        with self._rendered():
            return self._applied(primitive, arguments)

    def _applied(self, primitive: Primitive, arguments: dict[str, Any]) -> Any:
        for key, value in arguments.items():
            if isinstance(value, str) and primitive.signature.parameters[key].annotation in ("Token", "Handle"):
                arguments[key] = self.get_block(value)
        names: set[str] = set()
        resolved = {key: self._value(value, names) for key, value in arguments.items()}
        if len(names) != 1:
            raise ScheduleError(f"{primitive.name}: the handles are of {len(names)} functions", rule="handle.P7")
        (name,) = names
        func = self._func(name)
        made = self._made(primitive, func, resolved)
        verdict: Any = self._checked.verdict(primitive.name, func, made.func)
        if verdict is None and not self._options["enable_check"]:
            verdict = ": ".join(["unchecked", *([", ".join(made.skipped)] if made.skipped else [])])
        if primitive.recorded is not None:
            arguments.update(primitive.recorded(func, **resolved))
        return self._commit(primitive, arguments, name, made, verdict)

    def _made(self, primitive: Primitive, func: PrimFunc, arguments: dict[str, Any]) -> Applied:
        """Plan and build; under the root and inline places a move stays where it is, or inlines."""
        if primitive.name in _INLINES and arguments["loop"] is ROOT:
            return Applied(func, ())
        if primitive.name in _INLINES and arguments["loop"] is INLINE:
            primitive, arguments = TABLE[_INLINES[primitive.name]], {"block": arguments["block"]}
        unchecked = not self._options["enable_check"]
        with forced(primitive.forceable) if unchecked else nullcontext():
            facts = primitive.plan(func, **arguments)
            skipped = skipped_preconditions() if unchecked else ()
            new, handles = primitive.build(func, facts)
        wellformed(new)
        return Applied(new, handles, skipped)

    @contextmanager
    def _rendered(self) -> Iterator[None]:
        """Refusals as ``error_render_level`` asks for them; what was looked up for a refused call is forgotten."""
        before = len(self._trace)
        try:
            yield
        except ScheduleError as error:
            del self._trace.insts[before:]
            level = self._options["error_render_level"]
            if level == "detail":
                raise
            what = error.what if level == "fast" else "a schedule primitive refused"
            raise ScheduleError(what, rule=error.rule) from None

    def _commit(
        self, primitive: Primitive, arguments: dict[str, Any], name: str, made: Applied, verdict: Any
    ) -> Any:
        outputs = tuple(self._new(name, handle) for handle in made.outputs)
        inst = Instruction(primitive.name, arguments, outputs, None, primitive.attributes, verdict)
        self._mod.update_func(name, made.func)
        self._trace.append(inst)
        self._retire(name, made.func, inst)
        if primitive.returns == "one":
            return outputs[0]
        return list(outputs) if primitive.returns == "list" else None

    # -- replay

    def replay_instruction(self, name: str, arguments: Mapping[str, Any], decision: Any) -> tuple[Output, ...]:
        """Run one instruction of a trace and return its outputs."""
        keywords = dict(arguments)
        positional = keywords.pop(VARIADIC[name]) if known(name) in VARIADIC else ()
        if decision is not None:
            keywords["decision"] = decision
        before = len(self._trace)
        getattr(self, known(name))(*positional, **keywords)
        return self._trace.insts[-1].outputs if len(self._trace) > before else ()


def method_of(primitive: Primitive) -> Callable[..., Any]:
    """The method that a record makes, with its signature and documentation."""
    variadic = VARIADIC.get(primitive.name)
    parameters = list(primitive.signature.parameters.values())
    if variadic:
        parameters = [
            p.replace(kind=p.VAR_POSITIONAL) if p.name == variadic else p.replace(kind=p.KEYWORD_ONLY)
            for p in parameters
        ]
    signature = inspect.Signature(parameters)

    def method(self: ScheduleCore, *args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return self._apply(primitive, dict(bound.arguments))

    method.__name__ = primitive.name
    method.__qualname__ = f"Schedule.{primitive.name}"
    method.__doc__ = primitive.doc
    receiver = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    method.__signature__ = signature.replace(parameters=[receiver, *parameters])  # type: ignore[attr-defined]
    return method

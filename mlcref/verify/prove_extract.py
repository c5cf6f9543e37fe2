"""From a function to its :class:`~mlcref.verify.prove_model.Model`: one walk over the statements."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from mlcref import dtype as dt
from mlcref.interp.placement import facts_of, is_thread
from mlcref.ir import (
    INTRINSICS,
    AllocBuffer,
    AssertStmt,
    AttrStmt,
    Binary,
    Block,
    BlockRealize,
    Broadcast,
    Buffer,
    BufferLoad,
    BufferStore,
    Call,
    Cast,
    Compare,
    Const,
    Div,
    Evaluate,
    Expr,
    FloorDiv,
    FloorMod,
    For,
    IfThenElse,
    IterVar,
    Let,
    LetStmt,
    Mod,
    PrimFunc,
    Ramp,
    Select,
    SeqStmt,
    Stmt,
    Var,
    children,
    loads,
    special_node,
    walk,
)
from mlcref.verify.prove_affine import NotAffine, condition, interval, type_range
from mlcref.verify.prove_alias import Aliases, text_of
from mlcref.verify.prove_model import Event, Fork, Frame, Model, NotModelled, Place
from mlcref.verify.prove_threads import Threads


def extract(func: PrimFunc) -> Model:
    """The model of ``func``. Raises ``NotModelled`` with the reason."""
    special = special_node(func)
    if special is not None:
        raise NotModelled(special[1])
    try:
        return _Extraction(func).run()
    except RecursionError:
        raise NotModelled("expressions or statements are nested too deeply") from None


def exact_arithmetic(e: Expr, ranges: Any) -> bool:
    """Does integer arithmetic in ``e`` certainly stay in its types, so that wrapping makes no difference?"""
    return all(_fits(node, ranges) for node in walk(e) if isinstance(node, Binary) and not isinstance(node, Compare))


def _fits(node: Binary, ranges: Any) -> bool:
    if not dt.is_integer(node.dtype):
        return True
    (low, high), (least, most) = interval(node, ranges), type_range(node.dtype)
    return least <= low and high <= most


class _Extraction:
    def __init__(self, func: PrimFunc) -> None:
        self.model = Model(func)
        self.facts = facts_of(func)
        self.loops = 0
        self.threads = Threads(self.model, self.facts)
        self.aliases = Aliases(self.model, {s.var for s in walk(func.body) if isinstance(s, LetStmt)})

    def run(self) -> Model:
        func, model = self.model.func, self.model
        env, ranges = self.sizes()
        for buffer in func.buffers:
            self.buffer(buffer, ((), ()), env)
        extents = [text for shape in model.shapes.values() for text in shape if text is not None]
        model.context = (*model.context, *(f"{text} >= 0" for text in extents if not text.lstrip("-").isdigit()))
        self.stmt(func.body, Place((), (), (), (), (), env, ranges))
        return model

    def sizes(self) -> tuple[dict[Var, str], dict[Var, tuple[int, int]]]:
        """Parameters of the proof: variables in shapes, which are not negative, and scalar integers."""
        func, model = self.model.func, self.model
        env: dict[Var, str] = {}
        ranges: dict[Var, tuple[int, int]] = {}
        shaped = func.shape_vars()
        extents = {extent for buffer in func.buffers for extent in buffer.shape if isinstance(extent, Var)}
        for var in (*shaped, *(v for v in func.scalars if dt.is_integer(v.type) and v not in shaped)):
            name = f"p{len(env)}"
            env[var], model.names[name] = name, var.name
            low, high = type_range(var.type)
            ranges[var] = (0, high) if var in extents else (low, high)
        model.params = tuple(env.values())
        return env, ranges

    def buffer(self, buffer: Buffer, home: tuple[tuple[str, ...], tuple[str, ...]], env: Any) -> None:
        """Note a buffer, its extents, the loops that give it new memory, and the threads that have their own."""
        model = self.model
        if loads_in(buffer.shape):
            raise NotModelled(f"the shape of {buffer.name} is loaded")
        model.tuples[buffer] = f"B{len(model.tuples)}"
        model.homes[buffer], model.private[buffer] = home
        model.shapes[buffer] = tuple(text_of(extent, env) for extent in buffer.shape)

    # --- statements ---

    def stmt(self, s: Stmt, at: Place) -> None:
        at = self.threads.enter(s, at)
        for buffer in self.facts.allocations.get(s, ()):
            self.buffer(buffer, self.threads.home(buffer, s, at), at.env)
        match s:
            case BufferStore():
                self.store(s, at)
            case BlockRealize():
                self.block(s, at)
            case For():
                self.loop(s, at)
            case SeqStmt():
                self.sequence(s, at)
            case IfThenElse():
                self.branch(s, at)
            case LetStmt():
                self.reads(s.value, at, s)
                self.stmt(s.body, self.bind(s.var, s.value, _after(at, "1") if loads(s.value) else at, wraps=True))
            case AllocBuffer():
                self.buffer(s.buffer, self.threads.home(s.buffer, s, at), at.env)
                self.stmt(s.body, at)
            case AttrStmt() if s.key.startswith(("pragma_", "mlcref.")):
                self.stmt(s.body, at)
            case AssertStmt():
                self.decide([s.condition], at, s)
                self.model.asserts.append((s.condition, at))
            case Evaluate() if isinstance(s.value, Call) and s.value.op == "tvm_storage_sync":
                self.threads.barrier(at)
            case Evaluate() if isinstance(s.value, Const):
                pass
            case _:
                raise NotModelled(f"a {type(s).__name__} statement")

    def sequence(self, s: SeqStmt, at: Place) -> None:
        """One after the other; in lock step there are barriers between the groups."""
        groups = self.facts.groups(s) if at.mode == "lock" else [[part] for part in s.seq]
        for k, group in enumerate(groups):
            inner = _after(at, str(k))
            if len(group) == 1:
                self.stmt(group[0], inner)
                continue
            inner = self.threads.phase(group[0], inner)
            for j, part in enumerate(group):
                self.stmt(part, _after(inner, str(j)))

    def store(self, s: BufferStore, at: Place) -> None:
        if dt.lanes(s.value.dtype) != 1 or any(dt.lanes(index.dtype) != 1 for index in s.indices):
            raise NotModelled("a vector operation")
        self.reads(s.value, at, s)
        self.decide(s.indices, at, s)
        self.event("write", s.buffer, s.indices, at, s, s)

    def loop(self, s: For, at: Place) -> None:
        self.decide((s.min, s.extent), at, s)
        low, count = text_of(s.min, at.env), text_of(s.extent, at.env)
        (least, most), (_, largest) = interval(s.min, at.ranges), interval(s.extent, at.ranges)
        ranges = {**at.ranges, s.loop_var: (least, max(least, most + largest - 1))}
        if is_thread(s) and s.thread in at.coords:
            value = self.threads.project(s, at, low, count)
            env = {**at.env, s.loop_var: value} if value is not None else at.env
            self.stmt(s.body, dataclasses.replace(at, env=env, ranges=ranges))
            return
        dim = f"i{self.loops}"
        self.loops += 1
        domain = () if low is None or count is None else (f"{low} <= {dim} < {low} + {count}",)
        body = _after(at, "1", dim) if loads(s.min) or loads(s.extent) else _after(at, dim)
        inner = dataclasses.replace(
            body,
            loops=(*at.loops, s),
            dims=(*at.dims, dim),
            domain=(*at.domain, *domain),
            env={**at.env, s.loop_var: dim},
            ranges=ranges,
            exact=at.exact and bool(domain),
        )
        if is_thread(s):
            inner = self.threads.open_axis(s, at, inner, low, count)
        elif s.kind in ("parallel", "vectorized"):
            fork = Fork(s, f"{s.kind} {s.loop_var.name}", at.dims, (dim,), False)
            inner = dataclasses.replace(inner, forks=(*at.forks, fork))
        self.stmt(s.body, inner)

    def branch(self, s: IfThenElse, at: Place) -> None:
        self.decide([s.condition], at, s)
        inner = _after(at, "1") if loads(s.condition) else at
        self.stmt(s.then_case, self.guarded(inner, [s.condition]))
        if s.else_case is not None:
            self.stmt(s.else_case, self.guarded(inner, [s.condition], negated=True))

    def guarded(self, at: Place, conditions: Sequence[Expr], negated: bool = False) -> Place:
        """``at`` where the conditions hold (or not all of them do); not exact where one is not affine."""
        holds, exact = [], at.exact
        for e in conditions:
            try:
                holds.append(condition(e, at.env))
            except NotAffine:
                exact = False
        if negated:
            holds = [f"not ({' and '.join(holds)})"] if len(holds) == len(conditions) else []
        return dataclasses.replace(at, domain=(*at.domain, *holds), exact=exact)

    def block(self, s: BlockRealize, at: Place) -> None:
        block = s.block
        ranges = [part for it in block.iter_vars for part in (it.dom.min, it.dom.extent)]
        before = loads_in(s.predicate) or loads_in(s.iter_values) or loads_in(ranges)
        self.decide(s.predicate, at, s)
        inside = self.guarded(at, s.predicate)
        self.decide((*s.iter_values, *ranges), inside, s)
        body = self.iterators(s, _after(inside, "1") if before else inside)
        frame = self.frame(s, body, len(at.frames[-1].place.dims) if at.frames else 0)
        if block in self.facts.collective:
            body = self.threads.collective(s, body, frame.of_kind("spatial", "opaque", "scan"))
        body = dataclasses.replace(body, frames=(*at.frames, frame))
        for match in block.match_buffers:
            self.decide([part for r in match.source.region for part in (r.min, r.extent)], body, s)
            body = self.aliases.match(match, body)
        if block.init is not None:
            starts = [f"{text_of(it.dom.min, at.env)} = {text}" for it, text in _reduced(block, frame)]
            known = not any("None" in start for start in starts)
            first = _after(body, "0")
            domain = (*first.domain, *(starts if known else ()))
            self.stmt(block.init, dataclasses.replace(first, domain=domain, exact=first.exact and known))
            body = _after(body, "1")
        self.stmt(block.body, body)

    def iterators(self, s: BlockRealize, at: Place) -> Place:
        """``at`` with the iterators of a block bound; bindings see the outer variables alone."""
        env, ranges = dict(at.env), dict(at.ranges)
        for it, value in zip(s.block.iter_vars, s.iter_values, strict=True):
            text = text_of(value, at.env)
            if text is not None:
                env[it.var] = text
            ranges[it.var] = _intersection(interval(value, at.ranges), it, at.ranges)
        return dataclasses.replace(at, env=env, ranges=ranges)

    def frame(self, s: BlockRealize, at: Place, outer: int) -> Frame:
        iters = s.block.iter_vars
        bindings = tuple(at.env.get(it.var) for it in iters)
        domains: list[tuple[str, str] | None] = []
        for it in iters:
            low, count = text_of(it.dom.min, at.env), text_of(it.dom.extent, at.env)
            domains.append(None if low is None or count is None else (low, count))
        found = Frame(s.block.name, s.block.token, iters, bindings, tuple(domains), at, outer, s)
        self.model.frames.append(found)
        return found

    def bind(self, var: Var, value: Expr, at: Place, wraps: bool = False) -> Place:
        """``at`` where ``var`` is ``value``; known only where its arithmetic does not wrap."""
        if not dt.is_integer(value.dtype):
            return at
        text = text_of(value, at.env)
        if text is None or (wraps and not exact_arithmetic(value, at.ranges)):
            return at
        ranges = {**at.ranges, var: interval(value, at.ranges)}
        return dataclasses.replace(at, env={**at.env, var: text}, ranges=ranges)

    # --- expressions ---

    def decide(self, exprs: Iterable[Expr], at: Place, s: Stmt) -> None:
        """Expressions whose arithmetic is exact and whose values must be defined: indices, extents, conditions."""
        for e in exprs:
            self.index_arithmetic(e, at)
            self.reads(e, at, s, decides=True)

    def index_arithmetic(self, e: Expr, at: Place) -> None:
        for node in walk(e):
            if isinstance(node, Binary) and not isinstance(node, Compare) and not _fits(node, at.ranges):
                self.model.computed.append((node, at))

    def reads(self, e: Expr, at: Place, s: Stmt, used: tuple[str, ...] = (), decides: bool = False,
              known: bool = True) -> None:  # fmt: skip
        """Note the loads in ``e``; ``used`` says when their values matter."""
        match e:
            case BufferLoad():
                if dt.lanes(e.dtype) != 1:
                    raise NotModelled("a vector operation")
                self.decide(e.indices, at, s)
                self.event("read", e.buffer, e.indices, at, e, s, used, decides, known)
            case Select():
                self.reads(e.condition, at, s, used, decides, known)
                self.chosen(e.condition, e.true_value, at, s, used, decides, known, negated=False)
                self.chosen(e.condition, e.false_value, at, s, used, decides, known, negated=True)
            case Call() if e.op in INTRINSICS and INTRINSICS[e.op].lazy:
                self.decide([e.args[0]], at, s)
                for negated in (False, True):
                    inner = self.guarded(at, [e.args[0]], negated)
                    self.reads(e.args[2] if negated else e.args[1], inner, s, used, decides, known)
            case Call() if e.op not in INTRINSICS or INTRINSICS[e.op].effect or not INTRINSICS[e.op].meaning:
                raise NotModelled(f"a call of {e.op}")
            case Let():
                self.reads(e.value, at, s, used, decides, known=False)
                self.reads(e.body, self.bind(e.var, e.value, at, wraps=True), s, used, decides, known)
            case Ramp() | Broadcast():
                raise NotModelled("a vector operation")
            case _:
                self.arithmetic(e)
                for part in children(e):
                    if isinstance(part, Expr):
                        self.reads(part, at, s, used, decides, known)

    def chosen(self, test: Expr, e: Expr, at: Place, s: Stmt, used: tuple[str, ...], decides: bool, known: bool, *,
               negated: bool) -> None:  # fmt: skip
        """A value of a select: it is evaluated in any case, but matters only where the condition chooses it."""
        try:
            text = condition(test, at.env)
        except NotAffine:
            text = ""
        known = known and bool(text) and exact_arithmetic(test, at.ranges)
        if known:
            used = (*used, f"not ({text})" if negated else text)
        self.reads(e, at, s, used, decides, known)

    def arithmetic(self, e: Expr) -> None:
        """Note operations that may mean nothing on some values."""
        unclear = self.model.unclear
        match e:
            case FloorDiv() | FloorMod() | Mod():
                if not isinstance(e.b, Const) or e.b.value in (0, -1):
                    unclear["value.division"] = "a divisor is not a constant"
            case Div() if dt.is_integer(e.dtype):
                if not isinstance(e.b, Const) or e.b.value in (0, -1):
                    unclear["value.division"] = "a divisor is not a constant"
            case Cast() if dt.is_float(e.value.dtype) and not dt.is_float(e.type):
                unclear["value.cast"] = "a float is converted to an integer"
            case Call() if "shift" in e.op:
                unclear["value.shift"] = "a shift"

    def event(self, kind: str, buffer: Buffer, indices: Sequence[Expr], at: Place, node: Any, s: Stmt,
              used: tuple[str, ...] = (), decides: bool = False, known: bool = True) -> None:  # fmt: skip
        model, texts = self.model, tuple(text_of(index, at.env) for index in indices)
        memory, place = self.aliases.resolve(buffer, texts)
        if memory not in model.tuples:
            raise NotModelled(f"{buffer.name} is another name of other memory, or has none")
        owner = (at.coords.get(tag, "-1") for tag in model.private[memory])
        cell = (*model.homes[memory], *owner, *place)
        name = f"{'R' if kind == 'read' else 'W'}{len(model.events)}"
        via = None if memory is buffer else (buffer, texts)
        model.events.append(
            Event(name, kind, memory, cell, at, node, s, kind == "write", used, decides, known, via)
        )


def _after(at: Place, *steps: str) -> Place:
    return dataclasses.replace(at, time=(*at.time, *steps))


def _reduced(block: Block, frame: Frame) -> list[tuple[IterVar, str | None]]:
    return [
        (it, text) for it, text in zip(block.iter_vars, frame.bindings, strict=True) if it.iter_type == "reduce"
    ]


def _intersection(found: tuple[int, int], it: IterVar, ranges: Any) -> tuple[int, int]:
    """The interval of an iterator: a value outside of its domain stops the run."""
    (low, _), (_, end) = interval(it.dom.min, ranges), interval(it.dom.min + it.dom.extent, ranges)
    return max(found[0], low), min(found[1], end - 1)


def loads_in(exprs: Sequence[Expr]) -> bool:
    """Is there a load in any of ``exprs``?"""
    return any(loads(e) for e in exprs)


"""Short schedules as people write them, at drawn places: random instructions alone seldom come to vectors with a tail,
to threads that fetch together, or to a reduction that is taken apart and unrolled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from mlcref.errors import ScheduleError
from mlcref.ir import BlockRealize, For, PrimFunc, Token, index, wellformed
from mlcref.schedule import TABLE
from mlcref.schedule.find import constant_extent, is_reduction, loops_above
from mlcref.schedule.table import Handle

Pick = Callable[..., Any]
Done = Callable[[str, dict[str, Any]], None]
"""Called with each instruction that was applied."""


class _Stop(Exception):
    """An instruction was refused: what was done before it stays."""


class Recipe:
    """A program while instructions are applied to it."""

    def __init__(self, func: PrimFunc, pick: Pick, done: Done) -> None:
        self.func, self.pick, self.done = func, pick, done

    def apply(self, name: str, **arguments: Any) -> tuple[Handle, ...]:
        """Apply a primitive; the handles it hands out."""
        primitive = TABLE[name]
        try:
            new, made = primitive.build(self.func, primitive.plan(self.func, **arguments))
        except ScheduleError as error:
            raise _Stop from error
        wellformed(new)
        self.func = new
        self.done(name, arguments)
        return made

    def block(self, wanted: Callable[[BlockRealize], bool] = lambda realize: True) -> Token:
        """A block that ``wanted`` holds for."""
        found = [token for token, realize in index(self.func).blocks.items()
                 if realize is not self.func.body and wanted(realize)]  # fmt: skip
        if not found:
            raise _Stop
        token: Token = self.pick(found)
        return token

    def loops(self, token: Token) -> list[For]:
        """The loops above a block."""
        found = loops_above(self.func, index(self.func).blocks[token])
        if not found:
            raise _Stop
        return found

    def split(self, loop: For, sizes: Sequence[int] = (2, 3, 4, 8)) -> tuple[Handle, ...]:
        """The loop in two, at a drawn size."""
        return self.apply("split", loop=loop.loop_var, factors=[None, self.pick(sizes)])


def lanes(recipe: Recipe) -> None:
    """Split a loop, tail or not; its inner part runs in vectors, unrolled, in parallel, or is put innermost first."""
    token = recipe.block()
    loops = recipe.loops(token)
    loop = recipe.pick([loops[-1], loops[-1], recipe.pick(loops)])
    _, inner = recipe.split(loop, (2, 3, 4, 8, 8, 16))
    if loop is not loops[-1] and recipe.pick([True, False]):
        below = [other.loop_var for other in loops[loops.index(loop) + 1 :]]
        recipe.apply("reorder", loops=[*below, inner])
    recipe.apply(recipe.pick(["vectorize", "vectorize", "unroll", "parallel"]), loop=inner)


def reduction(recipe: Recipe) -> None:
    """Take a reduction apart: split it, unroll or move its inner part, write its init before it."""
    token = recipe.block(is_reduction)
    _, inner = recipe.split(recipe.loops(token)[-1], (2, 3, 4))
    act = recipe.pick(["unroll", "reorder", "rfactor", "decompose"])
    if act == "unroll":
        recipe.apply("unroll", loop=inner)
    elif act == "reorder":
        recipe.apply("reorder", loops=[inner, recipe.loops(token)[0].loop_var])
    elif act == "rfactor":
        recipe.apply("rfactor", loop=inner, factor_axis=0)
        return
    recipe.apply("decompose_reduction", block=token, loop=recipe.pick(recipe.loops(token)).loop_var)
    recipe.apply(recipe.pick(["vectorize", "parallel", "unroll"]), loop=recipe.pick(recipe.loops(token)).loop_var)


def cut(recipe: Recipe) -> None:
    """Cut a loop in pieces: loops that do not begin at 0."""
    loop = recipe.pick(recipe.loops(recipe.block()))
    extent = constant_extent(loop) or 0
    if extent < 2:
        raise _Stop
    parts = recipe.apply("loop_partition", loop=loop.loop_var, factors=[recipe.pick(range(1, extent)), None])
    recipe.apply(recipe.pick(["vectorize", "unroll", "parallel"]), loop=recipe.pick(parts))


def kernel(recipe: Recipe) -> None:
    """Bind a block to a grid of threads and let them fetch an input together into shared memory, or one by one into
    local memory."""
    token = recipe.block(lambda realize: bool(realize.block.reads))
    loops = recipe.loops(token)
    recipe.apply("bind", loop=loops[0].loop_var, thread_axis="blockIdx.x")
    axes = recipe.pick([["threadIdx.x"], ["threadIdx.y", "threadIdx.x"], ["vthread.x", "threadIdx.x"]])
    for loop, axis in zip(loops[1:], axes, strict=False):
        recipe.apply("bind", loop=loop.loop_var, thread_axis=axis)
    scope = recipe.pick(["shared", "local"])
    (copy,) = recipe.apply("cache_read", block=token, read_buffer_index=0, storage_scope=scope)
    recipe.apply("compute_at", block=copy, loop=recipe.pick(recipe.loops(token)).loop_var)
    if scope == "shared" and len(loops) > 1:
        fetch(recipe, token, copy)


def fetch(recipe: Recipe, token: Token, copy: Any) -> None:
    """The loops of a copy under threads as one, split among them."""
    around = {loop.loop_var for loop in recipe.loops(token)}
    own = [loop.loop_var for loop in recipe.loops(copy) if loop.loop_var not in around]
    if not own:
        raise _Stop
    (fused,) = recipe.apply("fuse", loops=own)
    threads = next((loop for loop in recipe.loops(token) if loop.thread == "threadIdx.x"), None)
    if threads is None:
        raise _Stop
    _, inner = recipe.apply("split", loop=fused, factors=[None, constant_extent(threads)])
    recipe.apply("bind", loop=inner, thread_axis="threadIdx.x")


RECIPES: tuple[Callable[[Recipe], None], ...] = (lanes, reduction, cut, kernel)


def cooked(func: PrimFunc, pick: Pick, done: Done) -> PrimFunc:
    """``func`` after a drawn recipe, as far as it could be followed.

    >>> from random import Random
    >>> from mlcref.verify.generate import program
    >>> random, names = Random(3), []
    >>> made = cooked(program(random.choice), random.choice, lambda name, arguments: names.append(name))
    >>> names[0] in TABLE
    True
    """
    recipe = Recipe(func, pick, done)
    with suppress(_Stop):
        pick(RECIPES)(recipe)
    return recipe.func

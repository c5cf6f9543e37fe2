"""Compiled modules as TVM's runtime shows them: functions by name, timing, source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from mlcref import codegen, runtime
from mlcref.errors import MlcrefError, UnsupportedError
from mlcref.runtime.array import Device, cpu

if TYPE_CHECKING:
    from mlcref.runtime.timing import BenchmarkResult


class Module:
    """The functions that a backend made of a module of tensor programs.

    ``module["main"](a, b, c)`` calls one: outputs are arguments too, and are written. Arguments are numpy arrays,
    runtime tensors, or what shares its memory through DLPack; a call that does not fit raises ``CallError`` before
    anything is written.
    """

    def __init__(
        self,
        functions: Mapping[str, Callable[..., None]],
        source: str,
        backend: str,
        workspaces: Mapping[str, str | None] | None = None,
    ) -> None:
        self.functions = dict(functions)
        self.workspaces = dict(workspaces or {})
        """Of each compiled function: the formula of the bytes that a call allocates, None where it has none."""
        self.backend = backend
        self._source = source

    def __getitem__(self, name: str) -> Callable[..., None]:
        """The function called ``name``; raises ``MlcrefError`` when there is none."""
        if name not in self.functions:
            known = ", ".join(self.functions)
            raise MlcrefError(f"the compiled module has no function {name!r}", hint=f"its functions: {known}")
        return self.functions[name]

    def __contains__(self, name: str) -> bool:
        return name in self.functions

    def __call__(self, *args: Any) -> None:
        """Call the first function."""
        self[self.entry_name](*args)

    @property
    def entry_name(self) -> str:
        """The name of the first function."""
        return next(iter(self.functions))

    @property
    def mod(self) -> Module:
        """The module itself: TVM's executables keep theirs here."""
        return self

    @property
    def imported_modules(self) -> list[Module]:
        """Modules with the device code of this one; a CPU module has none."""
        return []

    def get_function(self, name: str) -> Callable[..., None]:
        """TVM's other spelling of ``module[name]``."""
        return self[name]

    def time_evaluator(
        self, func_name: str, dev: Device | None = None, number: int = 10, repeat: int = 1, min_repeat_ms: float = 0,
        ctx: Device | None = None,
    ) -> Callable[..., BenchmarkResult]:  # fmt: skip
        """A function that times ``func_name`` on its arguments, in seconds per call: ``.mean``, ``.median``,
        ``.results``. ``ctx`` is TVM's older name of ``dev``.

        Raises ``UnsupportedError`` for a device other than the host.
        """
        dev = ctx if dev is None else dev
        if dev is not None and dev.type != cpu().type:
            raise UnsupportedError(f"this module does not run on {dev}", rule="module.device", hint="use cpu(0)")
        return runtime.time_evaluator(self[func_name], number, repeat, min_repeat_ms)

    def workspace_bytes(self, func_name: str, **sizes: int) -> int:
        """The bytes that one call of ``func_name`` allocates: packed operands and other private buffers of all its
        threads, beyond a few KiB on the stack. ``sizes`` are the values of symbolic extents; ``workspaces`` has the
        formulas.

        The module keeps the memory for the next call; calls at the same time allocate as much each. Raises
        ``UnsupportedError`` where the size depends on the progress of the function's loops, ``MlcrefError`` when one
        of ``sizes`` is missing.
        """
        self[func_name]
        formula = self.workspaces.get(func_name)
        if formula is None:
            raise UnsupportedError(
                f"no formula says what {func_name} allocates", rule="module.workspace",
                hint="buffers with extents that are constants or parameters have one, in compiled functions",
            )  # fmt: skip
        return codegen.formula_value(formula, sizes)

    def get_source(self, fmt: str = "") -> str:
        """The generated text, whatever ``fmt`` names."""
        return self._source

    def export_library(self, *args: Any, **options: Any) -> NoReturn:
        """Not supported: raises ``UnsupportedError``."""
        raise UnsupportedError(
            "compiled modules cannot be exported to a file", rule="module.export",
            hint="compile again where it is needed: built kernels are cached on disk",
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"<mlcref module of {', '.join(self.functions)}, backend {self.backend}>"

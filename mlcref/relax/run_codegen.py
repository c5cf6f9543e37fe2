"""Libraries for parts of a graph: RunCodegen asks them for functions, the graph calls those, the oracle checks them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

from mlcref.errors import MlcrefError, TypeMismatch, UnsupportedError
from mlcref.interp.graph import HostTensor
from mlcref.ir import graph, structural_equal
from mlcref.ir.expr import Expr
from mlcref.ir.function import GlobalVar, IRModule, PrimFunc
from mlcref.ir.names import unique_name
from mlcref.ir.registry import get_global_func, list_global_func_names, register_global_func
from mlcref.ir.transform import Pass, PassContext, PassInfo
from mlcref.ir.visit import map_children, substitute, walk
from mlcref.relax.fuse_by_pattern import CODEGEN, COMPOSITE
from mlcref.relax.rewriter import Rewriter, alike, graph_functions
from mlcref.relax.wellformed import dimensions_of_call, map_extents

Library = Callable[..., Any]
L = TypeVar("L", bound=Library)
_PREFIX = "relax.ext."
CHECK = "mlcref.check_library_result"
"""The registered function that says whether what a library computed is right: ``mlcref.testing.libraries`` has it."""


def register_library(name: str, override: bool = False) -> Callable[[L], L]:
    """Decorator of a function that makes functions for what patterns called ``name.…`` match: a library.

    It is called with a graph function, for each that was made by such patterns, and with the options that
    ``RunCodegen`` has for it. The graph function's attribute ``Composite`` is the pattern's name; parameters and result
    say their shapes and types; its bindings are what is to be computed. The library returns

    * a Python function of numpy arrays: one per parameter (a tuple of ints for a shape), then one per result, into
      which it writes;
    * the name of a registered function of runtime tensors, called in the same way;
    * a ``PrimFunc`` with these parameters, which is compiled with the module;
    * None: then the module keeps the graph function.

    The graph function stays the meaning of what is returned. The oracle, when it runs the module, has results of Python
    functions and of registered ones checked by it, up to what rounding explains; a ``PrimFunc`` it runs itself.
    Raises ``MlcrefError`` for a name that is taken, unless ``override``, and for one with a point in it. The library is
    registered as ``relax.ext.name``, TVM's name for it.

    >>> import numpy as np
    >>> @register_library("doc", override=True)
    ... def doc(func):
    ...     return lambda x, out: np.negative(x, out=out)
    >>> "relax.ext.doc" in list_global_func_names()
    True
    """
    if not name or "." in name:
        hint = 'a pattern "mylib.matmul_relu" is for the library "mylib"'
        raise MlcrefError(f"{name!r} is no name of a library", rule="relax.library", hint=hint)

    def register(library: L) -> L:
        register_global_func(f"{_PREFIX}{name}", library, override)
        return library

    return register


@dataclass(frozen=True, eq=False)
class LibraryFunction:
    """A function of a library in the place of the graph function ``composite``, registered as ``name``.

    Called by the virtual machine, with inputs and results, it only calls ``function``: with numpy arrays, unless
    ``takes_tensors``. Called by the oracle it also has the results checked: they must be those of ``composite``, up to
    what rounding explains.
    """

    name: str
    composite: graph.Function
    function: Callable[..., Any]
    made_by: tuple[Library, Mapping[str, Any]]
    takes_tensors: bool = False
    outputs: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "outputs", len(graph.destinations(self.composite.ret_struct_info)))

    def __call__(self, *args: Any) -> None:
        if any(isinstance(arg, HostTensor) for arg in args):
            self._checked(args)
        else:
            self._call(args)

    def _call(self, args: tuple[Any, ...]) -> None:
        self.function(*(args if self.takes_tensors else [getattr(arg, "array", arg) for arg in args]))

    def _checked(self, args: tuple[Any, ...]) -> None:
        given, results = args[: -self.outputs], args[-self.outputs :]
        before = [arg.numpy() if isinstance(arg, HostTensor) else arg for arg in given]
        self._call(args)
        get_global_func(CHECK)(self.name, self.composite, before, [result.array for result in results])


class RunCodegen(Pass):
    """Have libraries make functions for the graph functions with the attribute ``Codegen``, and call those instead.

    A function's attribute names its library (``register_library``), which gets each function with the attribute
    ``Composite`` that it calls, or itself where it calls none. ``target_options`` has keyword arguments for libraries
    by their names. Calls become ``call_dps_packed`` of registered functions, or ``call_tir`` of the library's tensor
    programs; equal functions are asked for once, and stay registered until ``remove_global_func``. Functions that are
    not called any more are removed. ``entry_functions`` names the functions whose calls are replaced, all without it.

    Raises ``MlcrefError`` (rule ``relax.library``) for a library that is not registered, ``UnsupportedError`` for a
    function that takes or makes tuples, or has a ``match_cast``, ``TypeMismatch`` for what a library returns. Source:
    ``relax.transform.RunCodegen``.

    >>> list(RunCodegen()(IRModule({})))
    []
    """

    info = PassInfo(0, "RunCodegen")

    def __init__(
        self, target_options: Mapping[str, Mapping[str, Any]] | None = None,
        entry_functions: Iterable[str] | None = None,
    ) -> None:  # fmt: skip
        self.options = {name: dict(options) for name, options in (target_options or {}).items()}
        self.entry_functions = None if entry_functions is None else tuple(entry_functions)

    def transform_module(self, mod: IRModule, ctx: PassContext) -> IRModule:
        """A copy of ``mod`` that calls the libraries."""
        for name in self.options:
            _library(name)
        return _Calling(mod, self).rewritten()


class _Calling(Rewriter):
    """Puts what functions for libraries do in the place of their calls, with calls of what the libraries made."""

    def __init__(self, module: IRModule, codegen: RunCodegen) -> None:
        super().__init__(module)
        self.options = codegen.options
        names = codegen.entry_functions
        self.entries = None if names is None else [module[name] for name in names]
        self.made: dict[graph.Function, str | GlobalVar | None] = {}

    def rewritten(self) -> IRModule:
        before = _called(self.module)
        for name, func in graph_functions(self.module).items():
            if CODEGEN not in func.attrs and (self.entries is None or any(func is entry for entry in self.entries)):
                self.result.update_func(name, self.function(func))
        for kind in (CODEGEN, COMPOSITE):
            after = _called(self.result)
            for name, func in graph_functions(self.result).items():
                if kind in func.attrs and name in before - after:
                    del self.result.functions[name]
        return self.result

    def binding(self, binding: graph.VarBinding) -> Iterable[graph.VarBinding]:
        call = binding.value
        callee = call.op if isinstance(call, graph.Call) else None
        func = self.module.functions.get(callee.name_hint) if isinstance(callee, GlobalVar) else None
        if not isinstance(call, graph.Call) or not isinstance(func, graph.Function) or CODEGEN not in func.attrs:
            return [binding]
        library = str(func.attrs[CODEGEN])
        if not any(self.composite(item.value) for item in func.bindings()):
            return [graph.VarBinding(binding.var, self.replaced(call, func, library))]
        return self.inlined(binding, call, func, library)

    def composite(self, value: graph.GraphExpr) -> graph.Function | None:
        """The composite function that ``value`` calls."""
        callee = value.op if isinstance(value, graph.Call) else None
        func = self.module.functions.get(callee.name_hint) if isinstance(callee, GlobalVar) else None
        return func if isinstance(func, graph.Function) and COMPOSITE in func.attrs else None

    def inlined(
        self, binding: graph.VarBinding, call: graph.Call, func: graph.Function, library: str
    ) -> list[graph.VarBinding]:
        """The bindings of ``func`` with the arguments of ``call``, and what is bound to ``binding.var`` in the end."""
        _require_bindings(func, library)
        dims = dimensions_of_call(func, call)
        own: dict[graph.Var, Any] = dict(zip(func.params, call.args, strict=True))

        def operand(node: Any) -> Any:
            if isinstance(node, graph.Var):
                return own[node]
            return substitute(node, dims) if isinstance(node, Expr) else map_children(operand, node)

        made: list[graph.VarBinding] = []
        for item in func.bindings():
            value, composite = operand(item.value), self.composite(item.value)
            if composite is not None:
                value = self.replaced(value, composite, library)
            last = item.var is func.body.body
            info = map_extents(item.var.struct_info, dims)
            own[item.var] = binding.var if last else alike(binding.var, item.var.name_hint, info)
            made.append(graph.VarBinding(own[item.var], value))
        if not isinstance(func.body.body, graph.Var) or func.body.body in func.params:
            made.append(graph.VarBinding(binding.var, operand(func.body.body)))
        return made

    def replaced(self, call: graph.Call, func: graph.Function, library: str) -> graph.Call:
        """``call`` of ``func`` as a call of what ``library`` makes for it."""
        if func not in self.made:
            self.made[func] = self.make(func, library)
        made = self.made[func]
        if made is None:
            return call
        info = call.struct_info
        result = list(info.fields) if isinstance(info, graph.TupleStructInfo) else info
        inputs = [arg for arg in call.args if isinstance(arg, graph.GraphExpr)]
        if isinstance(made, str):
            return graph.call_dps_packed(made, inputs, result)
        shapes = [value for arg in inputs if isinstance(arg, graph.ShapeExpr) for value in arg.values]
        tensors = [arg for arg in inputs if not isinstance(arg, graph.ShapeExpr)]
        return graph.call_tir(made, tensors, result, graph.ShapeExpr(shapes) if shapes else None)

    def make(self, func: graph.Function, name: str) -> str | GlobalVar | None:
        """What a library makes for ``func``: a registered function, a tensor program of the module, or nothing."""
        library, options = _library(name), self.options.get(name, {})
        _require_tensors(func, name)
        for symbol, known in _made.items():
            same = known.made_by == (library, options) and structural_equal(known.composite, func)
            if same and get_global_func(symbol, allow_missing=True) is known:
                return symbol
        made: Any = library(func, **options)
        if isinstance(made, PrimFunc):
            program: PrimFunc = made.without_attr("global_symbol")
            return GlobalVar(self.add(_symbol_of(self.module, func, name), program))
        if made is None:
            return None
        function = get_global_func(made) if isinstance(made, str) else made
        if not callable(function):
            raise TypeMismatch(f"the library {name} returns {type(made).__name__}, no function")
        symbol = unique_name(_symbol_of(self.module, func, name), list_global_func_names())
        _made[symbol] = LibraryFunction(symbol, func, function, (library, options), isinstance(made, str))
        register_global_func(symbol, _made[symbol])
        return symbol


_made: dict[str, LibraryFunction] = {}
"""The registered functions of libraries, by name."""


def _library(name: str) -> Library:
    found: Library | None = get_global_func(f"{_PREFIX}{name}", allow_missing=True)
    if found is None:
        known = [item.removeprefix(_PREFIX) for item in list_global_func_names() if item.startswith(_PREFIX)]
        hint = f'@relax.register_library("{name}"); registered: {", ".join(known) or "none"}'
        raise MlcrefError(f"no library is registered as {name!r}", rule="relax.library", hint=hint)
    return found


def _require_tensors(func: graph.Function, library: str) -> None:
    """A library takes tensors and shapes, and makes tensors."""
    _require_bindings(func, library)
    for param in func.params:
        if not isinstance(param.struct_info, graph.TensorStructInfo | graph.ShapeStructInfo):
            _refuse(func, f"{param.name_hint}, which the library {library} would be given, is no tensor", param)
    for info in graph.destinations(func.ret_struct_info):
        if not isinstance(info, graph.TensorStructInfo) or info.shape is None:
            _refuse(func, f"the library {library} would have to make something else than a tensor", func.body.body)


def _refuse(func: graph.Function, what: str, node: graph.GraphExpr) -> NoReturn:
    hint = "let the pattern match what makes the tuple and what takes it apart, too"
    raise UnsupportedError(what, rule="relax.library", root=func, marks=[(node, "this")], hint=hint)


def _require_bindings(func: graph.Function, library: str) -> None:
    for binding in func.bindings():
        if isinstance(binding, graph.MatchCast):
            what = f"a match_cast in a function for the library {library}"
            raise UnsupportedError(what, rule="relax.library", root=func, marks=[(binding, "this")])


def _symbol_of(module: IRModule, func: graph.Function, library: str) -> str:
    name = next(name for name, found in module.functions.items() if found is func)
    return name if name.endswith(f"_{library}") else f"{name}_{library}"


def _called(module: IRModule) -> set[str]:
    """The names of functions that graph functions of ``module`` mention."""
    return {
        node.name_hint for func in graph_functions(module).values() for node in walk(func)
        if isinstance(node, GlobalVar)
    }  # fmt: skip


__all__ = ["CHECK", "LibraryFunction", "RunCodegen", "register_library"]

"""``from_fx``: a model of torch, traced by ``torch.fx``, as a module with the graph function "main"."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from mlcref.errors import MlcrefError, UnsupportedError
from mlcref.importers import (  # noqa: F401  (they fill the table)
    torch_arithmetic,
    torch_attention,
    torch_layers,
    torch_moves,
    torch_windows,
)
from mlcref.importers.fx_errors import CUSTOM, UnsupportedNode
from mlcref.importers.fx_table import Converter, functions, method, modules
from mlcref.importers.in_place import InPlace
from mlcref.importers.torch_types import dtype_name
from mlcref.ir import IRModule, constant, graph
from mlcref.relax import BlockBuilder
from mlcref.runtime.array import tensor

InputInfo = Sequence[tuple[Sequence[Any], str]]
Custom = Mapping[Any, Callable[[Any, "FxImporter"], Any]]
_BROKEN = (TypeError, ValueError, LookupError, AttributeError)
"""What a conversion raises for operands that torch would refuse as well, or for symbolic extents: ``TypeMismatch``
among others."""
_OTHER_NAMES = {"axis": "dim", "keepdims": "keepdim", "x1": "input", "x2": "other"}
"""Names of numpy that torch takes, too, for some of its own."""


def from_fx(
    model: Any, input_info: InputInfo, *, keep_params_as_input: bool = False, unwrap_unit_return_tuple: bool = False,
    no_bind_return_tuple: bool = False, custom_convert_map: Custom | None = None,
) -> IRModule:  # fmt: skip
    """A traced model as a module whose graph function "main" computes what ``model(*inputs)`` does.

    ``model`` is a ``torch.fx.GraphModule`` of a model in evaluation mode; ``input_info`` has a shape and a data type
    for each input, extents are numbers or ``tir.Var``. Parameters and buffers become constants, or with
    ``keep_params_as_input`` parameters of "main" behind the inputs, sorted by name: their values are then in the
    attribute "params", see :func:`detach_params`. A tuple of one result is that result with
    ``unwrap_unit_return_tuple``; with ``no_bind_return_tuple`` results are bound one by one, not as a tuple.

    ``custom_convert_map`` maps names of functions and methods, or classes of modules, to functions of the node and the
    importer (:class:`FxImporter`) that emit it and return its value; they come before the importer's own.

    Raises ``UnsupportedNode`` for a node that has no conversion, ``MlcrefError`` (rule ``fx.input``) for inputs that do
    not fit, ``TypeMismatch`` where shapes do not. Source: ``tvm.relax.frontend.torch.from_fx``.

    >>> import torch  # doctest: +SKIP
    >>> layer = torch.fx.symbolic_trace(torch.nn.Linear(784, 10))  # doctest: +SKIP
    >>> from_fx(layer, [((1, 784), "float32")])["main"].ret_struct_info  # doctest: +SKIP
    R.Tensor((1, 10), dtype="float32")
    """
    importer = FxImporter(model, custom_convert_map or {})
    inputs = _input_variables(model, input_info)
    weights = importer.parameters_as_inputs() if keep_params_as_input else {}
    params = [*inputs, *weights.values()]
    attrs = {"num_input": len(inputs), "params": importer.values_of(weights)} if keep_params_as_input else None
    with importer.block_builder.function("main", params, attrs):
        with importer.block_builder.dataflow():
            output = importer.run(inputs)
            result = _bound(importer, output, unwrap_unit_return_tuple, no_bind_return_tuple)
        importer.block_builder.emit_func_output(result)
    return importer.block_builder.get()


def detach_params(mod: IRModule) -> tuple[IRModule, dict[str, list[Any]]]:
    """A copy of ``mod`` without the attributes "params", and what they were, by function.

    Source: ``tvm.relax.frontend.detach_params``.

    >>> detach_params(IRModule({}))[1]
    {}
    """
    detached, found = mod.clone(), {}
    for name, func in mod.functions.items():
        if "params" in func.attrs:
            found[str(name)] = list(func.attrs["params"])
            detached.update_func(name, func.with_attr("params", None))
    return detached, found


def _input_variables(model: Any, input_info: InputInfo) -> list[graph.Var]:
    """A variable for each input, under the name that the model gives it."""
    names = [node.target for node in model.graph.nodes if node.op == "placeholder"]
    if len(names) != len(input_info):
        raise MlcrefError(
            f"the model has {len(names)} inputs ({', '.join(names) or 'none'}), input_info {len(input_info)}",
            rule="fx.input", hint="give each input a shape and a data type; defaults of the model do not count",
        )  # fmt: skip
    shapes = [graph.TensorStructInfo(tuple(shape), dtype) for shape, dtype in input_info]
    return [graph.Var(name.lstrip("*"), info) for name, info in zip(names, shapes, strict=True)]


def _bound(importer: FxImporter, output: Any, unwrap: bool, one_by_one: bool) -> Any:
    """What the function returns of the model's ``output``, bound as an output of the dataflow block."""
    builder = importer.block_builder
    if isinstance(output, dict):
        importer.refuse("fx.output", "a model that returns a dictionary", "return a tuple of its values")
    if isinstance(output, tuple | list):
        if unwrap and len(output) == 1:
            return builder.emit_output(importer.value(output[0]))
        if one_by_one:
            return [builder.emit_output(importer.value(item)) for item in output]
    return builder.emit_output(importer.value(output))


class FxImporter:
    """The graph while it is made of the nodes of a traced model: what a converter works with.

    ``env`` has the value of each node so far: a graph value for a tensor, a number, a tuple and so on for others.
    ``block_builder`` takes calls, ``named_modules`` are the model's modules by name.

    >>> FxImporter.emit.__doc__.splitlines()[0]
    'A variable bound to ``expr``.'
    """

    def __init__(self, model: Any, custom: Custom) -> None:
        self.model = model
        self.custom = custom
        self.block_builder = BlockBuilder()
        self.env: dict[Any, Any] = {}
        self.named_modules: dict[str, Any] = dict(model.named_modules())
        self.node: Any = None
        self._tensors: dict[int, graph.GraphExpr] = {}
        self._in_place = InPlace(self)

    # For converters

    def emit(self, expr: graph.GraphExpr, name_hint: str = "") -> graph.Var:
        """A variable bound to ``expr``."""
        return self.block_builder.emit(expr, name_hint)

    def retrieve_args(self, node: Any) -> tuple[Any, ...]:
        """The arguments of ``node``, values in place of nodes."""
        return tuple([self.translated(arg) for arg in node.args])

    def translated(self, arg: Any) -> Any:
        """``arg`` with values in place of nodes."""
        if isinstance(arg, tuple | list):
            made = [self.translated(item) for item in arg]
            return made if isinstance(arg, list) else tuple(made)
        if isinstance(arg, dict):
            return {key: self.translated(item) for key, item in arg.items()}
        if isinstance(arg, slice):
            return slice(*map(self.translated, (arg.start, arg.stop, arg.step)))
        return self.env[arg] if _is_node(arg) else arg

    def value(self, item: Any) -> Any:
        """``item`` as a graph value: a tensor of torch or a number becomes a constant."""
        if isinstance(item, tuple | list):
            return graph.Tuple([self.value(part) for part in item])
        if isinstance(item, bool | int | float):
            return graph.const(item, dtype_name({bool: "bool", int: "int64", float: "float32"}[type(item)]))
        if not isinstance(item, graph.GraphExpr):
            self.refuse("fx.value", f"a tensor is needed, not {type(item).__name__}")
        return item

    def parameter(self, held: Any) -> graph.GraphExpr:
        """A parameter, buffer or other tensor that a module holds: a constant or an input, one for each tensor."""
        found = self._tensors.get(id(held))
        if found is None:
            found = self._tensors[id(held)] = self.constant(held)
        return found

    def constant(self, held: Any) -> graph.Constant:
        """The content of a tensor of torch as a constant."""
        if str(held.dtype) == "torch.bfloat16":
            return graph.const(held.detach().cpu().float().numpy(), "bfloat16")
        return graph.const(held.detach().cpu().numpy(), dtype_name(held.dtype))

    def is_tensor(self, item: Any) -> bool:
        """Is the value, or that of the node, one of the graph?"""
        return isinstance(self.env[item] if _is_node(item) else item, graph.GraphExpr)

    def info(self, value: Any) -> graph.TensorStructInfo:
        """What is known about a tensor. Raises ``UnsupportedNode`` for what is none."""
        info = value.struct_info if isinstance(value, graph.GraphExpr) else None
        if not isinstance(info, graph.TensorStructInfo) or info.shape is None:
            self.refuse("fx.value", f"a tensor of known shape is needed, not {type(value).__name__}")
        return info

    def shape(self, value: Any) -> tuple[Any, ...]:
        """The extents of a tensor: numbers where they are known, expressions elsewhere."""
        shape = self.info(value).shape
        assert shape is not None
        known = [constant(extent) for extent in shape.values]
        return tuple([extent if number is None else number for number, extent in zip(known, shape.values, strict=True)])

    def only(self, default: Any = None, **given: Any) -> None:
        """Raises ``UnsupportedNode`` for an argument that is not ``default``."""
        for name, value in given.items():
            if value is not default and value != default:
                self.refuse("fx.argument", f"the argument {name}={value!r}", f"only {name}={default!r} is converted")

    def evaluating(self, training: Any) -> None:
        """Raises ``UnsupportedNode`` for a layer that is learning."""
        if training:
            self.refuse("fx.training", "a layer in training mode", "call model.eval() before tracing the model")

    def refuse(self, rule: str, what: str, hint: str = CUSTOM) -> NoReturn:
        """Raise ``UnsupportedNode`` for the node that is being converted."""
        raise UnsupportedNode(f"{self.node.name}: {what} is not supported", self.node, rule=rule, hint=hint)

    # Parameters

    def parameters_as_inputs(self) -> dict[str, graph.Var]:
        """From now on each parameter of the model is a variable; these, by name and in order."""
        found: dict[str, graph.Var] = {}
        for name, held in sorted(self.model.named_parameters()):
            info = graph.TensorStructInfo(tuple(held.shape), dtype_name(held.dtype))
            found[name] = self._tensors[id(held)] = graph.Var(name, info)
        return found

    def values_of(self, names: Mapping[str, graph.Var]) -> list[Any]:
        """The contents of parameters as arrays of the runtime."""
        held = dict(self.model.named_parameters())
        return [tensor(self.constant(held[name]).data) for name in names]

    # Nodes

    def run(self, inputs: Sequence[graph.Var]) -> Any:
        """Convert all nodes; what the model returns."""
        given = iter(inputs)
        for node in self.model.graph.nodes:
            self.node = node
            if node.op == "placeholder":
                self.env[node] = next(given)
            elif node.op == "output":
                return self.translated(node.args[0])
            else:
                self.env[node] = self._converted(node)
        raise MlcrefError("the graph of the model has no output", rule="fx.output")

    def _converted(self, node: Any) -> Any:
        try:
            return self._value_of(node)
        except UnsupportedNode:
            raise
        except UnsupportedError as error:
            what, rule = f"{node.name}: {error.what}", error.rule or "fx.node"
            raise UnsupportedNode(what, node, rule=rule, hint=error.hint) from error
        except _BROKEN as error:
            error.add_note(f"while importing {node.format_node()}")
            raise

    def _value_of(self, node: Any) -> Any:
        if node.op == "get_attr":
            return self._attribute(node.target)
        custom = self.custom.get(self._custom_key(node))
        if custom is not None:
            value = custom(node, self)
            self._in_place.settle(node, None, False, value)
            return value
        converter, first = self._converter(node)
        args, kwargs = self.retrieve_args(node), self.translated(dict(node.kwargs))
        signature = inspect.signature(converter)
        for other, name in _OTHER_NAMES.items():
            if other in kwargs and name in signature.parameters:
                kwargs[name] = kwargs.pop(other)
        try:
            bound = signature.bind(self, *first, *args, **kwargs)
        except TypeError as error:
            self.refuse("fx.argument", f"what it is called with ({error})")
        in_place = self._in_place.check(node, bound.arguments)
        value = converter(*bound.args, **bound.kwargs)
        self._in_place.settle(node, converter, in_place, value)
        return value

    def _attribute(self, path: str) -> Any:
        """A tensor that a module of the model holds."""
        held = self.model
        for name in path.split("."):
            held = getattr(held, name)
        return self.parameter(held) if hasattr(held, "detach") else held

    def _custom_key(self, node: Any) -> Any:
        if node.op == "call_module":
            return type(self.named_modules[node.target])
        return node.target if node.op == "call_method" else getattr(node.target, "__name__", node.target)

    def _converter(self, node: Any) -> tuple[Converter, tuple[Any, ...]]:
        """The conversion of ``node`` from the table, and what it takes before the node's arguments."""
        if node.op == "call_module":
            layer = self.named_modules[node.target]
            found = modules().get(type(layer))
            if found is None:
                self.refuse("fx.module", f"the module {type(layer).__qualname__}")
            return found, (layer,)
        if node.op == "call_method":
            named = method(node.target)
            if named is None:
                self.refuse("fx.method", f"the method {node.target}")
            return named, ()
        _, function = functions().get(id(node.target), ("", None))
        if function is None and self._of_numbers(node):
            return lambda _, *args, **kwargs: node.target(*args, **kwargs), ()
        if function is None:
            self.refuse("fx.function", f"the function {_path(node.target)}")
        return function, ()

    def _of_numbers(self, node: Any) -> bool:
        """Is this a call of Python's own functions on numbers, such as extents? It is computed now."""
        own = getattr(node.target, "__module__", None) in ("_operator", "builtins", "math")
        return own and not any(self.is_tensor(one) for one in node.all_input_nodes)


def _is_node(arg: Any) -> bool:
    return hasattr(arg, "op") and hasattr(arg, "all_input_nodes")


def _path(function: Any) -> str:
    owner = getattr(function, "__module__", None) or "torch"
    return f"{owner}.{getattr(function, '__name__', function)}"

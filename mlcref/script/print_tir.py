"""Statements and tensor programs as TVMScript, in TVM's layout."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from mlcref import ir
from mlcref.ir import BlockRealize, Buffer, For, IterVar, PrimFunc, Stmt, Var, constant, structural_equal
from mlcref.script.dialects import SCOPE
from mlcref.script.forms import stop_of
from mlcref.script.page import Page
from mlcref.script.print_expr import access_text, buffer_text, expr_text, literal, name_of, quote

_LOOPS = {"serial": "serial", "parallel": "parallel", "vectorized": "vectorized", "unrolled": "unroll",
          "thread_binding": "thread_binding"}  # fmt: skip


def print_prim_func(page: Page, func: PrimFunc, name: str) -> None:
    """Write ``func`` as a function called ``name``."""
    schedulable = isinstance(func.body, BlockRealize)
    private = "global_symbol" not in func.attrs
    page.line(page.dialect.decorator(schedulable=schedulable, private=private))
    page.in_function, page.flat = True, not schedulable
    with page.names.frame():
        _signature(page, func, name)
    page.in_function = False


def _signature(page: Page, func: PrimFunc, name: str) -> None:
    matched: list[tuple[Buffer, str]] = []
    texts: list[str] = []
    for param in func.params:
        if isinstance(param, Var):
            texts.append(f"{page.define(param, param.name)}: T.{param.type}")
        elif _needs_match(param):
            handle = page.names.bind(("handle of", param), f"var_{param.name}")
            matched.append((param, handle))
            texts.append(f"{handle}: T.handle")
        else:
            texts.append(f"{page.define(param, param.name)}: {buffer_text(page, 'Buffer', param, always_dtype=True)}")
    returned = next((node for node in ir.walk(func.body) if isinstance(node, ir.Return)), None)
    result = "" if returned is None else f" -> T.{returned.value.dtype}"
    page.line(f"def {name}({', '.join(texts)}){result}:", func)
    with page.indented():
        _declare_variables(page, (buffer for buffer, _ in matched))
        for buffer, handle in matched:
            page.line(f"{page.define(buffer, buffer.name)} = {buffer_text(page, 'match_buffer', buffer, handle)}")
        attrs = {k: v for k, v in func.attrs.items() if k != "global_symbol" or v != name}
        if attrs:
            page.line(f"T.func_attr({_attrs_text(page, {page.dialect.attribute(k): v for k, v in attrs.items()})})")
        _function_body(page, func.body)


def _needs_match(buffer: Buffer) -> bool:
    """Shapes with variables are written in the body, where the variables are."""
    return any(ir.variables(part) for part in ir.children(buffer))


def _declare_variables(page: Page, buffers: Iterable[Buffer]) -> None:
    """``n = T.int64()`` for variables of shapes, strides and offsets that have no name yet."""
    for buffer in buffers:
        for part in ir.children(buffer):
            for var in (node for node in ir.walk(part) if type(node) is Var):
                if var not in page.names.of_object:
                    page.line(f"{page.define(var, var.name)} = T.{var.type}()")


def _function_body(page: Page, body: Stmt) -> None:
    if not isinstance(body, BlockRealize) or not _is_plain_root(body):
        print_stmt(page, body)
        return
    block = body.block
    page.line(f'# with T.{page.dialect.block}("root"):', body, block, block.token)
    _allocations(page, block.alloc_buffers)
    print_stmt(page, block.body)


def _is_plain_root(realize: BlockRealize) -> bool:
    """Does the parser make this root block again when it is not written?"""
    if realize.block.name != "root" or realize.iter_values or _states(realize):
        return False
    return bool(realize.block.alloc_buffers) or not _taken_for_root(realize.block.body)


def _taken_for_root(stmt: Stmt) -> bool:
    """Would this be read as the root, being all of the body? TVM then forgets its name, where it states nothing."""
    if not isinstance(stmt, BlockRealize) or stmt.iter_values:
        return False
    block = stmt.block
    unstated = not _states(stmt) and (block.alloc_buffers or ir.any_node(block.body, BlockRealize))
    return block.name == "root" or bool(unstated)


def _states(realize: BlockRealize) -> bool:
    """Does the block say more than what it is called and what it allocates?"""
    block = realize.block
    stated = realize.predicate or block.reads or block.writes or block.match_buffers or block.init or block.annotations
    return bool(stated)


def _allocations(page: Page, buffers: Iterable[Buffer]) -> None:
    for buffer in buffers:
        text = buffer_text(page, page.dialect.block_alloc, buffer)
        page.line(f"{page.define(buffer, buffer.name)} = {text}")


def _attrs_text(page: Page, attrs: Any) -> str:
    return literal(page, dict(attrs))


# Statements


def print_stmt(page: Page, stmt: Any, last: bool = True) -> None:
    """Write a statement. ``last``: nothing follows it in its list, so that lets need no indentation."""
    _STATEMENTS[type(stmt)](page, stmt, last)


def _body(page: Page, stmt: Stmt) -> None:
    with page.indented():
        print_stmt(page, stmt)


def _seq(page: Page, stmt: ir.SeqStmt, last: bool) -> None:
    for part in stmt.seq[:-1]:
        print_stmt(page, part, False)
    print_stmt(page, stmt.seq[-1], last)


def _store(page: Page, stmt: ir.BufferStore, last: bool) -> None:
    page.line(f"{access_text(page, stmt.buffer, stmt.indices)} = {expr_text(page, stmt.value)}", stmt)


def _evaluate(page: Page, stmt: ir.Evaluate, last: bool) -> None:
    text = expr_text(page, stmt.value)
    page.line(text if isinstance(stmt.value, ir.Call) and text.endswith(")") else f"T.evaluate({text})", stmt)


def _if(page: Page, stmt: ir.IfThenElse, last: bool, word: str = "if") -> None:
    page.line(f"{word} {expr_text(page, stmt.condition)}:", stmt)
    _body(page, stmt.then_case)
    if isinstance(stmt.else_case, ir.IfThenElse) and not _declares(page, stmt.else_case.condition):
        _if(page, stmt.else_case, last, "elif")
    elif stmt.else_case is not None:
        page.line("else:")
        _body(page, stmt.else_case)


def _declares(page: Page, condition: ir.Expr) -> bool:
    """Does the condition need a line of its own before the statement?"""
    return page.dialect.declares_lets and ir.any_node(condition, ir.Let)


def _return(page: Page, stmt: ir.Return, last: bool) -> None:
    page.line(page.dialect.ret.format(expr_text(page, stmt.value)), stmt)


def _while(page: Page, stmt: ir.While, last: bool) -> None:
    page.line(f"while {expr_text(page, stmt.condition)}:", stmt)
    _body(page, stmt.body)


def _break(page: Page, stmt: ir.Break, last: bool) -> None:
    page.line("break", stmt)


def _continue(page: Page, stmt: ir.Continue, last: bool) -> None:
    page.line("continue", stmt)


def _assert(page: Page, stmt: ir.AssertStmt, last: bool) -> None:
    message = f", {quote(stmt.message)}" if stmt.message else ""
    page.line(f"assert {expr_text(page, stmt.condition)}{message}", stmt)


def _attr(page: Page, stmt: ir.AttrStmt, last: bool) -> None:
    value = expr_text(page, stmt.value)
    if stmt.target is None:
        page.line(f"with T.attr({page.dialect.attr.format(key=quote(stmt.key), value=value)}):", stmt)
    else:
        page.line(f"with T.attr({expr_text(page, stmt.target)}, {quote(stmt.key)}, {value}):", stmt)
    _body(page, stmt.body)


def _binding(page: Page, stmt: Any, item: Any, statement: str, value: str, last: bool) -> None:
    """A name for the statements under ``stmt``: an assignment at the end of a list, else a ``with``."""
    with page.names.frame():
        if last:
            page.line(f"{page.define(item, item.name)}{statement}", stmt)
            print_stmt(page, stmt.body)
        elif page.dialect.scoped_names:
            page.line(f"with {value} as {page.define(item, item.name)}:", stmt)
            _body(page, stmt.body)
        else:
            page.line(f"with T.attr({{{quote(SCOPE)}: 1}}):")
            with page.indented():
                _binding(page, stmt, item, statement, value, True)


def _let(page: Page, stmt: ir.LetStmt, last: bool) -> None:
    value = expr_text(page, stmt.value)
    annotation = page.dialect.pointer_let if stmt.var.type == "handle" else page.dialect.let.format(stmt.var.type)
    _binding(page, stmt, stmt.var, f": {annotation} = {value}", f"T.LetStmt({value})", last)


def _alloc(page: Page, stmt: ir.AllocBuffer, last: bool) -> None:
    annotations = f"annotations={_attrs_text(page, stmt.annotations)}" if stmt.annotations else ""
    value = buffer_text(page, "alloc_buffer", stmt.buffer, last=annotations)
    _binding(page, stmt, stmt.buffer, f" = {value}", value, last)


def _decl(page: Page, stmt: ir.DeclBuffer, last: bool) -> None:
    value = buffer_text(page, "decl_buffer", stmt.buffer, last=f"data={name_of(page, stmt.source)}.data")
    _binding(page, stmt, stmt.buffer, f" = {value}", value, last)


# Loops


def _for(page: Page, stmt: For, last: bool) -> None:
    if page.flat and _is_launch(stmt):
        _launch(page, stmt, last)
        return
    chain = _grid(page, stmt)
    if len(chain) > 1:
        head = f"T.grid({', '.join(expr_text(page, loop.extent) for loop in chain)})"
    else:
        head = _loop_text(page, stmt)
    with page.names.frame():
        page.loops.update({loop.loop_var: loop for loop in chain})
        names = ", ".join(page.define(loop.loop_var, loop.loop_var.name) for loop in chain)
        page.line(f"for {names} in {head}:", stmt)
        _body(page, chain[-1].body)


def _is_launch(stmt: For) -> bool:
    """Thread axes of flat functions are launched."""
    return stmt.kind == "thread_binding" and constant(stmt.min) == 0 and not stmt.annotations and (
        stmt.loop_var.type == stmt.extent.dtype == stmt.min.dtype
    )  # fmt: skip


def _launch(page: Page, stmt: For, last: bool) -> None:
    value = f"T.launch_thread({quote(stmt.thread or '')}, {expr_text(page, stmt.extent)})"
    with page.names.frame():
        name = page.define(stmt.loop_var, stmt.loop_var.name)
        if last:
            page.line(f"{name} = {value}", stmt)
            print_stmt(page, stmt.body)
        else:
            page.line(f"with {value} as {name}:", stmt)
            _body(page, stmt.body)


def _grid(page: Page, stmt: For) -> list[For]:
    """The loops that one ``T.grid`` writes: ``stmt`` and plain serial loops directly inside."""
    chain = [stmt]
    bound = {stmt.loop_var}
    while _is_plain(chain[-1]) and chain[-1] not in page.marks:
        inner = chain[-1].body
        if (
            not isinstance(inner, For)
            or not _is_plain(inner)
            or inner in page.marks
            or bound & ir.variables(inner.extent)
        ):
            break
        chain.append(inner)
        bound.add(inner.loop_var)
    return chain


def _is_plain(loop: For) -> bool:
    return loop.kind == "serial" and constant(loop.min) == 0 and not loop.annotations and loop.step is None


def _loop_text(page: Page, loop: For) -> str:
    dim = ir.Range(loop.min, loop.extent)
    start = [] if constant(loop.min) == 0 and loop.step is None else [expr_text(page, loop.min)]
    parts = [*start, expr_text(page, stop_of(dim))]
    if loop.kind == "serial" and not loop.annotations:
        parts += [] if loop.step is None else [expr_text(page, loop.step)]
        return f"range({', '.join(parts)})"
    if loop.thread is not None:
        parts.append(f"thread={quote(loop.thread)}")
    if loop.annotations:
        parts.append(f"annotations={_attrs_text(page, loop.annotations)}")
    if loop.step is not None:
        parts.append(f"step={expr_text(page, loop.step)}")
    return f"T.{_LOOPS[loop.kind]}({', '.join(parts)})"


# Blocks


def _realize(page: Page, stmt: BlockRealize, last: bool) -> None:
    _print_block(page, stmt.block, stmt)


def _block(page: Page, stmt: ir.Block, last: bool) -> None:
    _print_block(page, stmt, None)


def _print_block(page: Page, block: ir.Block, realize: BlockRealize | None) -> None:
    page.line(f"with T.{page.dialect.block}({quote(block.name)}):", *([realize] if realize else []), block, block.token)
    with page.indented():
        _axes(page, block.iter_vars, realize)
        if realize is not None and realize.predicate:
            page.line(f"T.where({expr_text(page, ir.conjunction(realize.predicate))})")
        for word, regions in (("reads", block.reads), ("writes", block.writes)):
            page.line(f"T.{word}({', '.join(expr_text(page, region) for region in regions)})")
        if block.annotations:
            page.line(f"T.{page.dialect.block_attr}({_attrs_text(page, block.annotations)})")
        _allocations(page, block.alloc_buffers)
        for match in block.match_buffers:
            _declare_variables(page, (match.buffer,))
            text = buffer_text(page, "match_buffer", match.buffer, expr_text(page, match.source), always_dtype=True)
            if match.buffer.offset_factor == 0 and _asks_offset(block, match.buffer):
                text = f"{text[:-1]}, offset_factor=1)"  # for TVM the buffer has no offset without it
            page.line(f"{page.define(match.buffer, match.buffer.name)} = {text}", match)
        if block.init is not None:
            page.line("with T.init():", block.init)
            _body(page, block.init)
        print_stmt(page, block.body)


def _asks_offset(block: ir.Block, buffer: Buffer) -> bool:
    calls = (node for node in ir.walk(block.body) if isinstance(node, ir.Call) and node.op == "buffer_offset")
    return any(isinstance(call.args[0], ir.BufferLoad) and call.args[0].buffer is buffer for call in calls)


def _axes(page: Page, iter_vars: tuple[IterVar, ...], realize: BlockRealize | None) -> None:
    """The iterators: runs of plainly bound ones as ``T.axis.remap``."""
    values = realize.iter_values if realize is not None else (None,) * len(iter_vars)
    run: list[tuple[IterVar, Any]] = []
    for iter_var, value in zip(iter_vars, values, strict=True):
        if _is_remapped(page, iter_var, value):
            run.append((iter_var, value))
        else:
            _flush(page, run)
            _axis(page, iter_var, value)
    _flush(page, run)


def _is_remapped(page: Page, iter_var: IterVar, value: Any) -> bool:
    if not isinstance(value, Var) or iter_var.iter_type not in ("spatial", "reduce") or iter_var in page.marks:
        return False
    loop = page.loops.get(value)
    if loop is None or iter_var.var.type != value.type:
        return False
    return structural_equal((loop.min, loop.extent), (iter_var.dom.min, iter_var.dom.extent))


def _flush(page: Page, run: list[tuple[IterVar, Any]]) -> None:
    if len(run) == 1:
        _axis(page, *run[0])
    elif run:
        kinds = "".join(iter_var.iter_type[0].upper() for iter_var, _ in run)
        names = ", ".join(page.define(iter_var.var, iter_var.var.name) for iter_var, _ in run)
        loops = ", ".join(expr_text(page, value) for _, value in run)
        page.line(f'{names} = T.axis.remap("{kinds}", [{loops}])')
    run.clear()


def _axis(page: Page, iter_var: IterVar, value: Any) -> None:
    dom = iter_var.dom
    stop = expr_text(page, stop_of(dom))
    domain = stop if constant(dom.min) == 0 else f"({expr_text(page, dom.min)}, {stop})"
    bound = "" if value is None else f", {expr_text(page, value)}"
    name = page.define(iter_var.var, iter_var.var.name)
    page.line(f"{name} = T.axis.{iter_var.iter_type}({domain}{bound})", iter_var)


_STATEMENTS: dict[type, Callable[[Page, Any, bool], None]] = {
    ir.SeqStmt: _seq, ir.BufferStore: _store, ir.Evaluate: _evaluate, ir.IfThenElse: _if, ir.While: _while, ir.Break:
    _break,
    ir.Continue: _continue, ir.AssertStmt: _assert, ir.AttrStmt: _attr, ir.LetStmt: _let, ir.AllocBuffer: _alloc,
    ir.DeclBuffer: _decl, ir.Return: _return, For: _for, BlockRealize: _realize, ir.Block: _block,
}  # fmt: skip


def is_statement(node: Any) -> bool:
    """Is ``node`` printed as lines by :func:`print_stmt`?"""
    return type(node) in _STATEMENTS

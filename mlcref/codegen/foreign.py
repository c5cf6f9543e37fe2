"""Functions of C that programs bring along: ``T.call_extern("f", …)`` under ``pragma_import_c``.

The text is compiled with the kernels. ``extern "C"`` before a function is accepted and has no effect, since all of it
is C. Calls are checked against the definition here: C itself would take a pointer to floats for one to doubles.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from mlcref.errors import UnsupportedError
from mlcref.ir import AttrStmt, Block, Call, For, PrimFunc, StringImm, walk

IMPORTS = ("pragma_import_c", "pragma_import_llvm")
"""Annotations of loops and blocks, and attributes, whose value is C source."""

_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_LINKAGE = re.compile(r'extern\s+"C"\s*')
_INCLUDE = re.compile(r"^[ \t]*#[ \t]*include\b.*$", re.MULTILINE)
_LLVM = re.compile(r"^\s*(; ModuleID|source_filename\b|target (datalayout|triple)\b|define\b|declare\b)", re.MULTILINE)
_ELEMENTS = {
    "float32": {"float"}, "float64": {"double"}, "int8": {"int8_t", "signed char", "char"},
    "uint8": {"uint8_t", "unsigned char", "char"}, "bool": {"uint8_t", "unsigned char", "char", "bool", "_Bool"},
    "int16": {"int16_t", "short", "short int"}, "uint16": {"uint16_t", "unsigned short"},
    "int32": {"int32_t", "int"}, "uint32": {"uint32_t", "unsigned int", "unsigned"},
    "int64": {"int64_t", "long", "long long"}, "uint64": {"uint64_t", "unsigned long", "unsigned long long"},
}  # fmt: skip
_HINT = 'give C source: sch.annotate(loop, "pragma_import_c", text)'


def imported_texts(func: PrimFunc) -> Iterator[str]:
    """The texts that a program imports, in order."""
    for node in walk(func.body):
        if isinstance(node, AttrStmt) and node.key in IMPORTS and isinstance(node.value, StringImm):
            yield node.value.value
        elif isinstance(node, For | Block):
            yield from (str(node.annotations[key]) for key in IMPORTS if key in node.annotations)


def as_c(text: str) -> str:
    """The text as it goes among the kernels: C, its functions visible there only.

    Raises ``UnsupportedError`` for LLVM's language and for what cannot stand in a generated file.
    """
    code = _COMMENT.sub(" ", text)
    if _LLVM.search(code):
        raise UnsupportedError("the imported code is LLVM's, not C", rule="codegen.import", hint=_HINT)
    if re.search(_LINKAGE.pattern + r"\{", code) or '"""' in text:
        raise UnsupportedError('imported C has an extern "C" block, or three quotation marks', rule="codegen.import",
                               hint='write extern "C" before each function, or leave it out')  # fmt: skip
    plain = _LINKAGE.sub("", text).strip("\n")
    if re.search(r"^[ \t]*#[ \t]*if", plain, re.MULTILINE):
        return plain
    includes = _INCLUDE.findall(plain)
    hidden = ["#pragma GCC visibility push(hidden)", _INCLUDE.sub("", plain), "#pragma GCC visibility pop"]
    return "\n".join([*includes, *hidden])


def check_call(name: str, e: Call, dtypes: Sequence[str | None], texts: Sequence[str]) -> None:
    """Raise ``UnsupportedError`` unless one of ``texts`` defines ``name`` with parameters for these arguments: the type
    of the elements for a pointer, None for a number.
    """
    parameters = next((found for text in texts if (found := _parameters(name, text)) is not None), None)
    if parameters is None:
        raise _unsupported(e, f"{e.op} of {name!r}, which no imported C text defines", _HINT)
    if len(parameters) != len(dtypes):
        raise _unsupported(e, f"{e.op} of {name!r} gives {len(dtypes)} arguments, the C text takes {len(parameters)}")
    for k, (parameter, dtype) in enumerate(zip(parameters, dtypes, strict=True)):
        element = _pointed(parameter)
        if (element is None) != (dtype is None):
            kind = "a number" if dtype is None else "memory"
            raise _unsupported(e, f"argument {k} of {name!r} is {kind}, the C text has {parameter!r}")
        if dtype is not None and element != "void" and element not in _ELEMENTS.get(dtype, ()):
            raise _unsupported(e, f"argument {k} of {name!r} points to {dtype}, the C text has {parameter!r}")


def _unsupported(e: Call, what: str, hint: str | None = None) -> UnsupportedError:
    return UnsupportedError(what, rule="codegen.intrinsic", root=e, marks=[(e, "called here")], hint=hint)


def _parameters(name: str, text: str) -> list[str] | None:
    """The parameters of the definition of ``name``, as they are written; None when there is none."""
    found = re.search(rf"\b{re.escape(name)}\s*\(([^()]*)\)\s*\{{", _COMMENT.sub(" ", text))
    if found is None:
        return None
    listed = [" ".join(part.split()) for part in found.group(1).split(",")]
    return [] if listed in ([""], ["void"]) else listed


def _pointed(parameter: str) -> str | None:
    """The type that a parameter points to; None for one that is no pointer.

    >>> _pointed("const float *__restrict__ a"), _pointed("double x[]"), _pointed("int n")
    ('float', 'double', None)
    """
    if "*" not in parameter and "[" not in parameter:
        return None
    head = parameter.partition("*")[0] if "*" in parameter else parameter.partition("[")[0].rpartition(" ")[0]
    return " ".join(word for word in head.split() if word not in ("const", "volatile", "restrict", "struct"))

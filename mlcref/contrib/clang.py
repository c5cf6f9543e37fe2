"""``tvm.contrib.clang``: C source on its way into a program.

TVM has clang turn C into LLVM's language, which its code generator reads. Here the C itself goes into the program and
is compiled with the kernels, by the compiler that compiles those.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlcref.errors import TypeMismatch


def create_llvm(inputs: Any, output: Any = None, options: Any = None, cc: Any = None) -> str:
    """The C source ``inputs`` (text, or the names of files with ``.c`` or ``.cc``) as a text for the annotations
    ``pragma_import_c`` and ``pragma_import_llvm``. It is written to ``output``, too, where that is given.

    ``options`` and ``cc`` would say how clang is called, which it is not. Raises ``TypeMismatch`` for other inputs.

    >>> create_llvm("int one() { return 1; }")
    'int one() { return 1; }'
    """
    texts = list(inputs) if isinstance(inputs, list | tuple) else [inputs]
    if not texts or any(not isinstance(text, str) for text in texts):
        raise TypeMismatch("create_llvm takes C source, or the names of files with it")
    code = "\n".join(Path(text).read_text(encoding="utf-8") if _is_file(text) else text for text in texts)
    if output is not None:
        Path(output).write_text(code, encoding="utf-8")
    return code


def _is_file(text: str) -> bool:
    return "\n" not in text and text.endswith((".c", ".cc", ".cpp"))

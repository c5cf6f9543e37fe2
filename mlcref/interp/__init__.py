"""The oracle: runs tensor programs as ``docs/semantics.md`` defines them and refuses programs that mean nothing."""

from typing import TYPE_CHECKING

from mlcref.on_use import names_on_use

if TYPE_CHECKING:
    from mlcref.interp.run import Access, execute, findings, interpret, record_accesses
else:
    __getattr__, __dir__ = names_on_use(
        __name__, {"mlcref.interp.run": "Access execute findings interpret record_accesses"}
    )

__all__ = ["Access", "execute", "findings", "interpret", "record_accesses"]

"""The oracle: runs tensor programs as ``docs/semantics.md`` defines them and refuses programs that mean nothing."""

import mlcref.interp.sorting  # registers functions of TVM's runtime
from mlcref.interp.run import Access, execute, findings, interpret, record_accesses

__all__ = ["Access", "execute", "findings", "interpret", "record_accesses"]

"""The command that runs a checkout of a course: what it takes for blocks, and that it sees which of them fail."""

from __future__ import annotations

import contextlib
from pathlib import Path

from tests.course.blocks import CHAPTERS
from tests.course.verbatim import NOT_WHOLE, PAGES, blocks_in, excused, failures

PAGE = """
# A page

```{.python .input}
%matplotlib inline
from mlcref.script import tir as T
n = 4
```

Some words, and `code` in a line.

```
!pip install something
@T.prim_func
def f(A: T.Buffer((n,), "float32")):
    for i in range(n):
        A[i] = T.float32(i)
```

```python
f.script(
```

```python
missing
```

```python
total = n + 1
```
"""


def test_blocks_run_in_order_and_failures_are_seen(tmp_path: Path) -> None:
    blocks = blocks_in(PAGE)
    assert len(blocks) == 5
    assert blocks[0].splitlines() == ["", "from mlcref.script import tir as T", "n = 4"]
    with contextlib.chdir(tmp_path):
        raised = failures("page", blocks)
    assert {number: type(error).__name__ for number, error in raised.items()} == {3: "SyntaxError", 4: "NameError"}


def test_what_may_fail_is_in_the_table() -> None:
    chapters = {one.key: one for one in CHAPTERS}
    assert set(PAGES) <= set(chapters)
    for key, numbers in NOT_WHOLE.items():
        assert max(numbers) <= chapters[key].rows[-1].last
    assert {26, 30, 44} <= excused(chapters["auto_program_optimization"])
    assert 5 not in excused(chapters["auto_program_optimization"])

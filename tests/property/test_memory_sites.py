"""Programs of the sites of passes that place memory: each means something, so that a difference after a pass counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlcref.ir import BlockRealize, For, PrimFunc, any_node, walk, wellformed
from mlcref.testing.sites.memory import SITES
from mlcref.verify import check_equivalent

Site = Callable[[Callable[..., Any]], PrimFunc]
MADE: list[tuple[str, Site]] = [(target, site) for target, sites in SITES.items() for site in sites]


@pytest.mark.parametrize("site", [site for _, site in MADE], ids=[site.__name__ for _, site in MADE])
@given(st.data())
def test_the_programs_of_a_site_have_a_meaning(site: Site, data: st.DataObject) -> None:
    func = site(lambda options: data.draw(st.sampled_from(list(options))))
    wellformed(func, "schedulable" if isinstance(func.body, BlockRealize) else "blockless")
    if not any(isinstance(node, For) and node.kind == "thread_binding" for node in walk(func.body)):
        assert check_equivalent(func, func, minimize=False).status == "TESTED"


def test_passes_after_the_blocks_get_programs_without_blocks() -> None:
    for target, site in MADE:
        simplest = site(lambda options: next(iter(options)))
        assert any_node(simplest.body, BlockRealize) == (target == "pass:lower_blocks")

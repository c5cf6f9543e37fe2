"""Memory plans beside TVM's: no larger, for the same graphs; and TVM's are those of the published table."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.tvm_plans import recorded, tvm_bytes
from mlcref import relax
from mlcref.benchmark.networks import NETWORKS, resnet_block, transformer_block
from mlcref.relax.plan_memory import memory_plan

pytest.importorskip("tvm", reason="TVM is not installed")
STAGES = {"one each": relax.transform.LegalizeOps(), "fused": relax.get_pipeline("zero")}


@pytest.mark.parametrize("form", STAGES)
@pytest.mark.parametrize("build", [resnet_block, transformer_block])
def test_plans_of_blocks_are_no_larger_than_tvms(build, form):
    module = build()
    theirs, plan = tvm_bytes(module, form), memory_plan(STAGES[form](module), in_place=False)
    assert 0 < plan.least <= plan.bytes <= theirs


@pytest.mark.parametrize("form", STAGES)
def test_the_published_bytes_are_tvms(form):
    assert tvm_bytes(NETWORKS["SqueezeNet 1.1"](), form) == recorded()["SqueezeNet 1.1"][form]

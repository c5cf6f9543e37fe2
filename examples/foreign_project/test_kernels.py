"""The kernels of this project against what they should mean, said in TVMScript once. Run: pytest test_kernels.py"""
import kernels
import pytest

from mlcref.script import tir as T
from mlcref.testing import assert_backend_matches


@T.prim_func
def total(x: T.Buffer((10,), "float32"), out: T.Buffer((1,), "float32")):
    for i in range(10):
        with T.block("out"):
            vi = T.axis.reduce(10, i)
            with T.init():
                out[0] = T.float32(0)
            out[0] += x[vi]


@pytest.mark.parametrize("kernel", [kernels.blocked_sum, kernels.fixed_blocked_sum])
def test_sum(kernel):
    assert_backend_matches(total, kernel)

"""Every example in a docstring of the package does what it says."""

import doctest
import importlib
import importlib.util
import pkgutil

import pytest

import mlcref

MODULES = [module.name for module in pkgutil.walk_packages(mlcref.__path__, "mlcref.") if "__main__" not in module.name]
OPTIONAL = ("islpy", "onnx", "torch", "cupy", "sklearn")


@pytest.mark.parametrize("name", ["mlcref", *MODULES])
def test_examples(name):
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name in OPTIONAL:
            pytest.skip(f"{missing.name} is not installed")
        raise
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0

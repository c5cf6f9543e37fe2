"""TVM's names for what :mod:`mlcref.importers` does."""

from mlcref.importers import detach_params
from mlcref.relax.frontend import torch

__all__ = ["detach_params", "torch"]

"""Index arithmetic: simplification, bounds and proofs, iterator maps, regions of buffers."""

from mlcref.arith.extents import product, quotient, same, same_info, same_shape, simplified
from mlcref.arith.index_map import IndexMap
from mlcref.arith.interval import EVERYTHING, Domain, Interval
from mlcref.arith.inverse import Inverse, invert
from mlcref.arith.itermap import Digit, affine, tile
from mlcref.arith.linear import Linear, Opaque, Quotient, Remainder, atom_variables, expr_key, number, term
from mlcref.arith.prove_small import evaluate, points, proved_small
from mlcref.arith.region import Clipped, Span, access_regions, clip, relax, relax_form, union, uses_any
from mlcref.arith.rows import digits, flat_position, ramp_through_rows
from mlcref.arith.simplify import Simplifier, bounds, digit_of, iter_form, linear, proved, simplify

__all__ = [
    "EVERYTHING", "Clipped", "Digit", "Domain", "IndexMap", "Interval", "Inverse", "Linear", "Opaque", "Quotient",
    "Remainder", "Simplifier", "Span", "access_regions", "affine", "atom_variables", "bounds", "clip", "digit_of",
    "digits", "evaluate", "expr_key", "flat_position", "invert", "iter_form", "linear", "number", "points", "product",
    "proved", "proved_small", "quotient", "ramp_through_rows", "relax", "relax_form", "same", "same_info", "same_shape",
    "simplified", "simplify", "term", "tile", "union", "uses_any",
]  # fmt: skip

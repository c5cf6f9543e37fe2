"""A small kernel library, as another project might have it. It knows nothing of mlcref."""


def blocked_sum(x, out):
    """Of blocks of four elements. Wrong: the elements behind the last whole block are forgotten."""
    out[0] = x[: len(x) // 4 * 4].reshape(-1, 4).sum(axis=0).sum()


def fixed_blocked_sum(x, out):
    """Of blocks of four elements, then of the rest."""
    blocked_sum(x, out)
    out[0] += x[len(x) // 4 * 4 :].sum()

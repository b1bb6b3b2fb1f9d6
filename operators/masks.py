"""Which points of k-space are sampled: whole lines, or points of a Poisson disc.

Lines run along the height, as in fastMRI: one phase encoding for each column. `acceleration` is the number of
all points over the number of sampled ones, and `center_fraction` the share of an axis that is always sampled,
around the origin at size // 2. A mask depends on its arguments alone; one seed gives one mask.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from operators.checks import fault, finite_float, image_shape

GAUSSIAN_WIDTH = 1 / 6  # standard deviation of the density of lines, as a share of the width
POISSON_SLOPE = 4.0  # discs at the edge of k-space are 1 + slope times as wide as at its origin


def sampling_mask(
    shape: Sequence[int],
    acceleration: float = 4.0,
    center_fraction: float = 0.08,
    kind: str = "random",
    seed: int = 0,
) -> np.ndarray:
    """A mask for Cartesian k-space.

    Args:
        shape: (H, W).
        acceleration: 1 or more; round(W / acceleration) lines are sampled, or round(H W / acceleration) points
            (to the line or point, but for "equispaced", whose grid may meet the centre in one more or less).
        center_fraction: In [0, 1); round(center_fraction W) lines in the middle are among them, or, for points,
            a block of that share of each axis.
        kind: "random" (lines, all equally likely), "equispaced" (lines, from a random offset), "gaussian"
            (lines, dense in the middle) or "poisson" (points no closer than a distance that grows outwards).
        seed: Of the draw.

    Returns:
        (H, W) bool, True = sampled.

    Raises:
        ValueError: an argument is out of range, or the centre alone has more samples than the acceleration
            allows. The text has the remedy.

    Reference: the names and the position of the centre are those of Zbontar et al., "fastMRI: an open dataset and
        benchmarks for accelerated MRI", 2018, arXiv:1811.08839; there the number of random lines varies.
    """
    shape = image_shape(shape)
    acceleration = finite_float("acceleration", acceleration, low=1.0)
    share = finite_float("center_fraction", center_fraction, low=0.0)
    if share >= 1.0:
        raise fault("center_fraction", center_fraction, "a share in [0, 1)", "divide a percentage by 100")
    if kind not in MASKS:
        raise fault("kind", repr(kind), " or ".join(map(repr, MASKS)), "choose one of these")
    return MASKS[kind](shape, acceleration, share, np.random.default_rng(seed))


def centre(size: int, share: float) -> slice:
    """The round(share size) indices around the origin size // 2."""
    count = round(share * size)
    start = (size - count + 1) // 2
    return slice(start, start + count)


def _lines(choose: Callable) -> Callable:
    """A mask maker from `choose(width, lines outside the centre, indices outside the centre, rng) -> indices`."""

    def mask(shape: tuple[int, int], acceleration: float, share: float, rng: np.random.Generator) -> np.ndarray:
        sampled = np.zeros(shape[1], dtype=bool)
        sampled[centre(shape[1], share)] = True
        outside = np.flatnonzero(~sampled)
        count = _budget(shape[1], acceleration, int(sampled.sum()), share)
        sampled[choose(shape[1], count, outside, rng)] = True
        return np.broadcast_to(sampled, shape).copy()

    return mask


def _budget(size: int, acceleration: float, central: int, share: float) -> int:
    """How many of `size` lines or points are left to draw once the centre is sampled."""
    total = max(1, round(size / acceleration))
    if central > total:
        raise fault("center_fraction", f"{share:g}, {central} samples", f"at most {total} of {size} at "
                    f"acceleration {acceleration:g}", "lower center_fraction or acceleration")
    return total - central


def _random(width: int, count: int, outside: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.permutation(outside)[:count]


def _equispaced(width: int, count: int, outside: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    # One grid across the centre, so spaced that about `count` of its lines lie outside.
    if count == 0:
        return outside[:0]
    spacing = outside.size / count
    return np.floor(np.arange(rng.random() * spacing, width - 1e-9, spacing)).astype(int)


def _gaussian(width: int, count: int, outside: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    # The largest of log(uniform) / weight are a weighted draw without replacement (Efraimidis, Spirakis, 2006).
    weights = np.exp(-0.5 * ((outside - width // 2) / (GAUSSIAN_WIDTH * width)) ** 2)
    keys = np.log(rng.random(outside.size)) / weights
    return outside[np.argsort(keys)[outside.size - count :]]


def _poisson(shape: tuple[int, int], acceleration: float, share: float, rng: np.random.Generator) -> np.ndarray:
    block = np.zeros(shape, dtype=bool)
    block[centre(shape[0], share), centre(shape[1], share)] = True
    count = _budget(block.size, acceleration, int(block.sum()), share)
    order = rng.permutation(np.flatnonzero(~block))
    far = np.hypot(*np.meshgrid(*((np.arange(n) - n // 2) / max(1, n // 2) for n in shape), indexing="ij"))
    widths = 1.0 + POISSON_SLOPE * far / np.sqrt(2.0)
    low, high = 0.0, float(max(shape))
    points = order  # discs of no width: everything
    for _ in range(20):  # the widest discs that still leave room for as many points as are wanted
        scale = (low + high) / 2
        found = _apart(shape, order, scale * widths)
        if found.size < count:
            high = scale
        else:
            low, points = scale, found
        if points.size <= 1.005 * count:
            break
    block.flat[rng.permutation(points)[:count]] = True
    return block


def _apart(shape: tuple[int, int], order: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """The points, taken greedily in the given order, that lie in no disc of a point taken before."""
    height, width = shape
    free = np.ones(shape, dtype=bool)
    taken = []
    reach = int(np.ceil(radius.max()))
    rows, columns = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    squared = rows**2 + columns**2
    for index in order.tolist():
        i, j = divmod(index, width)
        if not free[i, j]:
            continue
        taken.append(index)
        r = int(np.ceil(radius[i, j]))
        top, bottom, left, right = max(0, i - r), min(height, i + r + 1), max(0, j - r), min(width, j + r + 1)
        disc = squared[top - i + reach : bottom - i + reach, left - j + reach : right - j + reach]
        free[top:bottom, left:right] &= disc >= radius[i, j] ** 2
    return np.array(taken, dtype=int)


MASKS = {"random": _lines(_random), "equispaced": _lines(_equispaced), "gaussian": _lines(_gaussian),
         "poisson": _poisson}

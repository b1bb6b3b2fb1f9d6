"""The noise level of images and sinograms, from themselves.

Differences of neighbours, of the order n and scaled to unit gain on white noise, hide what is smooth: rows and columns
of order 3 together, or each of order 3, 2 or 1. Their mean square is found in windows, and its lowest tenth is compared
with that of white noise of level 1 under the same mask and windows:

    sigma^2 = q(windows of the data) / q(windows of white noise),   q the 0.1 quantile.

So a tenth of the image has to be flat at the scale of a few pixels, and it makes no difference which. Detail only
adds, so of the several differences the one that finds least is believed; where they disagree, or the lowest fifth
gives another level than the lowest tenth, there is detail everywhere and the level is doubtful: rather too high than
too low.

Values at the ends of the range that many pixels share have been cut off: windows with any of these are left out.

Reference: local variances in flat parts, Lee and Hoppel, "Noise modeling and estimation of remotely-sensed images",
1989; differences, Immerkaer, "Fast noise variance estimation", 1996. The reference under the same mask is ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb, sqrt

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

BOTH = (((3, 3),), ((0, 3), (3, 0)), ((0, 2), (2, 0)), ((0, 1), (1, 0)))  # orders along rows and columns
ALONG_ROWS = (((0, 4),), ((0, 3),), ((0, 2),))
WINDOW, FEWEST_WINDOWS, LARGEST = 6, 100, 512
FULL = 0.25  # share of the windows that must be usable, so that the lowest tenth is no chance
LOW, CHECK = 0.1, 0.2  # quantiles: of the estimate, and of the one that it is compared with
DOUBT = 1.1  # ratio between estimates from which on they disagree
CUT_SHARE = 0.01  # of the pixels, at one end of the range
MOST = 16  # images that are looked at


@dataclass(frozen=True)
class NoiseLevel:
    """An estimated standard deviation of white noise.

    Args:
        sigma: in units of the data.
        disagreement: largest of the estimates over the least; from 1.1 on the level is doubtful.
    """

    sigma: float
    disagreement: float

    @property
    def doubtful(self) -> bool:
        return self.disagreement > DOUBT


def estimate_noise(y: np.ndarray, measured: np.ndarray | None = None, along_rows: bool = False) -> NoiseLevel:
    """The level of white noise in images, the median over them.

    Args:
        y: (..., H, W), real.
        measured: which pixels were measured, broadcastable to y; default: all.
        along_rows: whether only neighbours in a row are alike, as in sinograms (angle, detector).

    Raises:
        ValueError: too few measured neighbours, or nothing that looks like noise.
    """
    images = np.asarray(y, dtype=np.float64).reshape(-1, *y.shape[-2:])
    seen = np.broadcast_to(True if measured is None else measured, y.shape).reshape(images.shape)
    chosen = np.unique(np.linspace(0, len(images) - 1, min(MOST, len(images))).round().astype(int))
    stencils = ALONG_ROWS if along_rows else BOTH
    found = [level for k in chosen if (level := _of_image(middle(images[k]), middle(seen[k]), stencils)) is not None]
    if not found:
        raise ValueError(
            f"got images of {y.shape[-2]} x {y.shape[-1]} with too few measured neighbours, or without noise; "
            f"expected {FEWEST_WINDOWS} windows of {WINDOW} x {WINDOW} pixels whose neighbours differ; state the level"
        )
    return NoiseLevel(*(float(v) for v in np.median(found, axis=0)))


def middle(image: np.ndarray) -> np.ndarray:
    """The middle of an image, at most `LARGEST` pixels a side."""
    top, left = (max(0, (n - LARGEST) // 2) for n in image.shape)
    return image[top : top + LARGEST, left : left + LARGEST]


def _of_image(y: np.ndarray, seen: np.ndarray, stencils: tuple) -> tuple[float, float] | None:
    """The level and the disagreement between estimates of one image; None where nothing can be said."""
    if not seen.any():
        return None
    ends = [end for end in (y[seen].min(), y[seen].max()) if (y[seen] == end).mean() > CUT_SHARE]
    cut = seen & np.isin(y, ends)
    generator, levels = np.random.default_rng(0), []
    for orders in stencils:
        own = _powers(y, seen, cut, orders)
        if len(own) >= max(FEWEST_WINDOWS, FULL * y.size * len(orders)):
            white = np.concatenate([_powers(generator.standard_normal(y.shape), seen, cut, orders) for _ in range(4)])
            levels.append(np.sqrt(np.quantile(own, (LOW, CHECK)) / np.quantile(white, (LOW, CHECK))))
    if not levels or not min(low for low, _ in levels) > 0:
        return None
    least = min(low for low, _ in levels)
    return least, np.max(levels) / least


def _powers(y: np.ndarray, seen: np.ndarray, cut: np.ndarray, orders: tuple[tuple[int, int], ...]) -> np.ndarray:
    """Mean squares of scaled differences in all windows that have at least `WINDOW` of them and no value cut off."""
    return np.concatenate([np.zeros(0), *(_windows(y, seen, cut, order) for order in orders)])


def _windows(y: np.ndarray, seen: np.ndarray, cut: np.ndarray, order: tuple[int, int]) -> np.ndarray:
    for axis, n in enumerate(order):
        if y.shape[axis] <= n:
            return np.zeros(0)
        y = np.diff(y, n, axis) / sqrt(comb(2 * n, n))
        seen, cut = (sliding_window_view(part, n + 1, axis) for part in (seen, cut))
        seen, cut = seen.all(-1), cut.any(-1)
    size = tuple(min(WINDOW, n) for n in y.shape)
    count, total, lost = (_sums(part, size) for part in (seen, np.where(seen, y * y, 0.0), cut))
    usable = (count >= WINDOW - 0.5) & (lost < 0.5)
    return total[usable] / count[usable]


def _sums(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Sums over all windows of a size."""
    total = np.pad(values.astype(np.float64), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    rows = total[size[0] :] - total[: -size[0]]
    return (rows[:, size[1] :] - rows[:, : -size[1]]).clip(min=0)

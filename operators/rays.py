"""The ray model of tomography, for every beam: line integrals along the ray to the middle of each bin.

An entry is how much of a pixel a ray sees [mm], by its distance u from the pixel's centre: a box of width
spacing max(|cos|, |sin|) of the ray's direction and of area spacing^2, convolved with a weight. The boxes of a row of
pixels lie side by side, so constant images are integrated exactly whatever the weight. With a box of width
spacing min(|cos|, |sin|) it would be the exact length of the ray in a square pixel. That is sharper than bins can tell;
a box as wide as the bin blurs, at oblique rays, what pixels blur already. So the weight has the variance of a box of
squared width b^2, at least bin^2 - 0.61 spacing^2 |cos sin|, bin being the bin's width at the pixel across the ray, and
leans towards the middle of the bin: a box and a tent of equal width, whose square is a third of the way from b^2 to
bin^2. Compared with a plain box of width b that suppresses more of what the grid of pixels adds to a view (images of
edges in any direction, by their spectrum) for the same blur: with bins as wide as pixels, errors against rays and
against means over bins are smaller than those of linear interpolation along rays (Joseph's: two boxes of width
spacing max(|cos|, |sin|)), where pixels are means and where they are points. Both constants were chosen on ellipses.

Reference: Joseph, "An improved algorithm for reprojecting rays through pixel images", 1982; De Man and Basu,
"Distance-driven projection and backprojection in three dimensions", 2004, for boxes of the pixel and of the bin.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import scipy.sparse

from operators.folded import Weights
from operators.geometry import Beam

SHARPER = 0.61  # how much of the pixel's squared width the bin's is lowered by, times |cos sin|
KEPT = 1 / 3  # how much of what its squared width is lowered by the bin keeps, weighing its middle more instead
TOGETHER = 16384  # pixels, whose arrays the caches hold


def ray_rows(geometry: Beam, dtype: type = np.float32) -> Iterator[scipy.sparse.csr_matrix]:
    """View by view, rows (bin), columns (row, column) of the pixels; int32 indices, values of `dtype`."""
    x, y = (part.ravel() for part in np.meshgrid(geometry.x_mm, geometry.y_mm))
    starts = range(0, x.size, TOGETHER)
    for angle in geometry.angles_rad.tolist():
        parts = [_entries(geometry, angle, x[i : i + TOGETHER], y[i : i + TOGETHER]) for i in starts]
        bins = np.concatenate([bins for bins, _, _ in parts])
        pixels = np.concatenate([start + pixels for start, (_, pixels, _) in zip(starts, parts, strict=True)])
        values = np.concatenate([values for _, _, values in parts]).astype(dtype)
        yield scipy.sparse.csr_matrix(
            (values, (bins, pixels.astype(np.int32))), shape=(geometry.detectors, math.prod(geometry.shape))
        )


def _entries(geometry: Beam, angle: float, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bin, pixel and weight of every entry of some pixels in one view, in the order of pixels."""
    spacing = geometry.spacing_mm
    reach = np.maximum((spacing + geometry.widest_bins(x, y, angle)) / 2, math.sqrt(0.5) * spacing)
    first, last = geometry.bins_within(x, y, angle, reach)
    steps = np.arange(max(int((last - first).max()) + 1, 0), dtype=np.int32)
    bins = np.minimum(first[:, None] + steps, geometry.detectors - 1)
    directions, offsets = geometry.rays(angle)
    cosines, sines = np.cos(directions), np.sin(directions)
    u = np.abs(offsets[bins] - x[:, None] * cosines[bins] - y[:, None] * sines[bins])
    one, least = np.maximum(np.abs(cosines), np.abs(sines)), np.minimum(np.abs(cosines), np.abs(sines))
    widths = geometry.bin_widths(x[:, None], y[:, None], angle, bins)
    width, tent = bin_weight(widths, spacing * one[bins], spacing * least[bins])
    side = (0.5 * spacing) * one[bins]
    values = _share_below((u + side) * (2 / width), tent) - _share_below((u - side) * (2 / width), tent)
    values *= (0.5 * spacing**2) / side
    pixels, steps = np.nonzero((values > 1e-12 * spacing) & (first[:, None] + steps <= last[:, None]))
    return bins[pixels, steps], pixels, values[pixels, steps]


def bin_weight(bins: np.ndarray, wide: np.ndarray, narrow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How wide the weight of a bin is, and the tent's share of it; the rest is a box.

    Args:
        bins: Widths of bins across their rays.
        wide, narrow: The pixel's two boxes along the same direction, in the same unit.
    """
    # Above zero, so that rays along an edge see half of both sides.
    least = np.maximum(narrow, 1e-6 * wide)
    box = np.maximum(bins**2 - SHARPER * wide * narrow, least**2)
    width = np.minimum(box + KEPT * np.maximum(bins**2 - box, 0.0), 2.0 * box)
    return np.sqrt(width), 2.0 - 2.0 * box / np.maximum(width, 1e-300)


def _share_below(z: np.ndarray, tent: np.ndarray) -> np.ndarray:
    """The weight's integral from its middle on; z is 1 at its end."""
    z = np.clip(z, -1.0, 1.0)
    return 0.5 * z * (1.0 + tent - tent * np.abs(z))


def _per_pixel(geometry: Beam) -> float:
    """Entries of a pixel in a view, in the mean over the directions: both widths, in bins."""
    directions = (np.arange(64) + 0.5) * (math.pi / 4 / 64)
    wide, narrow = geometry.pixel_bins * np.cos(directions), geometry.pixel_bins * np.sin(directions)
    width, _ = bin_weight(np.ones(64), wide, narrow)
    return float(np.mean(wide + width))


RAYS = Weights(ray_rows, _per_pixel)

"""The ray model of tomography, for every beam: line integrals along the ray to the middle of each bin.

An entry is how much of a pixel a ray sees [mm]: a trapezoid of its distance u from the pixel's centre (two boxes, of
widths a and b, convolved), flat on |u| < |a - b| / 2, zero from (a + b) / 2 on, of area spacing^2. With
a = spacing max(|cos|, |sin|) of the ray's direction and b = spacing min(|cos|, |sin|) it is the exact length of the ray
in a square pixel. That is sharper than bins can tell, so b^2 is at least bin^2 - 0.66 spacing^2 |cos sin|, bin being
the bin's width at the pixel across the ray: the mean over the bin along the axes, and the less of it the more oblique
the ray is, since there the pixels blur as well. The factor was chosen on ellipses, for bins as wide as pixels: errors
against rays and against means over bins are both smaller than those of linear interpolation along rays (Joseph's, which
is a = b) where pixels are means, and the same within 0.3 % where they are points.

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

SHARPER = 0.66  # how much of the pixel's squared width the bin's is lowered by, times |cos sin|
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
    # Above zero, so that rays along an edge see half of both sides.
    other = np.sqrt(np.maximum(widths**2 - (SHARPER * spacing**2 * one * least)[bins], (1e-6 * spacing) ** 2))
    one, other = spacing * one[bins], np.maximum(other, spacing * least[bins])
    rise = np.minimum(one, other)
    values = ((one + other) / 2 - u) / rise
    values = np.clip(values, 0.0, 1.0) * (spacing**2 / (one + other - rise))
    pixels, steps = np.nonzero((values > 1e-12 * spacing) & (first[:, None] + steps <= last[:, None]))
    return bins[pixels, steps], pixels, values[pixels, steps]


def second_box(pixel_bins: float, cosine: np.ndarray, sine: np.ndarray) -> np.ndarray:
    """Width of the second box in bins."""
    one, least = np.maximum(np.abs(cosine), np.abs(sine)), np.minimum(np.abs(cosine), np.abs(sine))
    return np.maximum(pixel_bins * least, np.sqrt(np.maximum(1.0 - SHARPER * pixel_bins**2 * one * least, 0.0)))


def _per_pixel(geometry: Beam) -> float:
    """Entries of a pixel in a view, in the mean over the directions: the two boxes' widths, in bins."""
    directions = (np.arange(64) + 0.5) * (math.pi / 4 / 64)
    other = second_box(geometry.pixel_bins, np.cos(directions), np.sin(directions))
    return float(np.mean(geometry.pixel_bins * np.cos(directions) + other))


RAYS = Weights(ray_rows, _per_pixel)

"""Parallel-beam tomography by strip integrals, as a sparse matrix.

An entry is the mean, over the rays of one detector bin, of their length in one pixel [mm]: the exact model of
square pixels seen by bins of a finite width, whatever the ratio of the two. Seen at an angle, a square casts
a trapezoid, so each entry is a difference of two values of the trapezoid's integral.

Reference: Lo, "Strip and line path integrals with a square pixel matrix", 1988.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import scipy.sparse

from operators.folded import Weights
from operators.geometry import Beam, ParallelBeam


def strip_rows(geometry: ParallelBeam, dtype: type = np.float32) -> Iterator[scipy.sparse.csr_matrix]:
    """View by view, rows (bin), columns (row, column) of the pixels; int32 indices, values of `dtype`."""
    bins, pixels = geometry.detectors, math.prod(geometry.shape)
    for angle in geometry.angles_rad.tolist():
        first, weights = _footprints(geometry, angle)
        rows = first + np.arange(weights.shape[0], dtype=np.int32)[:, None]
        hit = (weights > 1e-12) & (rows >= 0) & (rows < bins)
        columns = np.broadcast_to(np.arange(pixels, dtype=np.int32), rows.shape)
        values = (weights[hit] * (geometry.spacing_mm * geometry.pixel_bins)).astype(dtype)
        yield scipy.sparse.csr_matrix((values, (rows[hit], columns[hit])), shape=(bins, pixels))


def _footprints(geometry: ParallelBeam, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """The first bin each pixel touches, (pixels,), and its shares in that and the next bins, (k, pixels)."""
    side = geometry.pixel_bins
    cosine, sine = math.cos(angle), math.sin(angle)
    across = geometry.x_mm * cosine + geometry.y_mm[:, None] * sine
    # In bins, counted from the left edge of bin 0.
    centres = across.ravel() / geometry.detector_spacing_mm + (geometry.detector_centre + 0.5)
    outer = (abs(cosine) + abs(sine)) * side / 2
    inner = abs(abs(cosine) - abs(sine)) * side / 2
    first = np.floor(centres - outer)
    edges = first + np.arange(math.ceil(2 * outer) + 2)[:, None] - centres
    return first.astype(np.int32), np.diff(_trapezoid_integral(edges, inner, outer), axis=0)


def _trapezoid_integral(u: np.ndarray, inner: float, outer: float) -> np.ndarray:
    """Integral up to u of the trapezoid of area 1 that is flat on |u| < inner and zero on |u| > outer."""
    reach = np.minimum(np.abs(u), outer)
    slope = np.maximum(reach - inner, 0.0)
    slope *= slope
    slope /= 2 * max(outer - inner, 1e-12)
    reach -= slope
    reach /= inner + outer
    return 0.5 + np.copysign(reach, u)


def per_pixel(geometry: Beam) -> float:
    """Entries of a pixel in a view, in the mean over the directions."""
    return 1.0 + 4.0 / math.pi * geometry.pixel_bins


STRIPS = Weights(strip_rows, per_pixel)

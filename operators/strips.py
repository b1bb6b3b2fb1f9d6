"""The system matrix of parallel-beam tomography by strip integrals.

An entry is the mean, over the rays of one detector bin, of their length in one pixel [mm]: the exact model of
square pixels seen by bins of a finite width, whatever the ratio of the two. Seen at an angle, a square casts
a trapezoid, so each entry is a difference of two values of the trapezoid's integral.

Reference: Lo, "Strip and line path integrals with a square pixel matrix", 1988.
"""

from __future__ import annotations

import math

import numpy as np
import scipy.sparse

from operators.checks import fault
from operators.geometry import ParallelBeam


def strip_matrix(geometry: ParallelBeam, dtype: type = np.float32) -> scipy.sparse.csr_matrix:
    """Rows (angle, bin), columns (row, column) of the pixels; int32 indices, values of `dtype`.

    Raises:
        ValueError: more than 2^31 - 1 entries (16 bytes each, with those of the adjoint).
    """
    bins, side = geometry.detectors, geometry.spacing_mm / geometry.detector_spacing_mm
    pixels = math.prod(geometry.shape)
    entries = pixels * geometry.angles_rad.size * (1.0 + 4.0 / math.pi * side)
    if entries > 2**31 - 1:
        raise fault("ct", f"a matrix of about {entries:.1e} entries ({entries * 16 / 2**30:.0f} GiB)",
                    "at most 2.1e9 entries", "take fewer angles, larger pixels or fewer of them")
    views = []
    for angle in geometry.angles_rad:
        first, weights = _footprints(geometry, float(angle))
        rows = first + np.arange(weights.shape[0], dtype=np.int32)[:, None]
        hit = (weights > 1e-12) & (rows >= 0) & (rows < bins)
        columns = np.broadcast_to(np.arange(pixels, dtype=np.int32), rows.shape)
        values = (weights[hit] * (geometry.spacing_mm * side)).astype(dtype)
        views.append(scipy.sparse.csr_matrix((values, (rows[hit], columns[hit])), shape=(bins, pixels)))
    return scipy.sparse.vstack(views, format="csr")


def _footprints(geometry: ParallelBeam, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """The first bin each pixel touches, (pixels,), and its shares in that and the next bins, (k, pixels)."""
    side = geometry.spacing_mm / geometry.detector_spacing_mm
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

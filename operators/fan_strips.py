"""The area model of a fan beam: how much each pixel adds to each bin.

An entry is the mean, over the rays of one bin, of their length in one pixel [mm]. The rays of a bin fill a wedge
whose apex is the source. Its part of a pixel is exact: the square cut off by the one edge ray less that by the
other, each a value of a trapezoid's integral at the ray's own direction. In the mean of the lengths,
area / (distance to the source x angle of the bin), the distance is taken to the pixel's centre, which errs by a
share of (pixel / distance)^2 for whole pixels.

Reference: Lo, "Strip and line path integrals with a square pixel matrix", 1988, for the parallel beam.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import scipy.sparse

from operators.fan_geometry import FanBeam
from operators.folded import Weights
from operators.strips import per_pixel


def fan_strip_rows(geometry: FanBeam, dtype: type = np.float32) -> Iterator[scipy.sparse.csr_matrix]:
    """View by view, rows (bin), columns (row, column) of the pixels; int32 indices, values of `dtype`."""
    for angle in geometry.angles_rad.tolist():
        rows, columns, weights = _view(geometry, angle)
        shape = geometry.detectors, math.prod(geometry.shape)
        yield scipy.sparse.csr_matrix((weights.astype(dtype), (rows, columns)), shape=shape)


def _view(geometry: FanBeam, angle: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bin, pixel and weight of every entry of one view."""
    x, y = (part.ravel() for part in np.meshgrid(geometry.x_mm, geometry.y_mm))
    along, across = geometry.from_source(x, y, angle)
    distance = np.hypot(along, across)
    # Mean lengths per area: 1 / (distance x angle of a bin there), in which flat bins are narrower off the centre.
    density = geometry.detector_mm / geometry.detector_spacing_mm / distance
    if geometry.detector == "flat":
        density *= (distance / along) ** 2
    density *= geometry.spacing_mm**2

    gammas = geometry.fan_angles(np.arange(geometry.detectors + 1) - 0.5)
    edges = _EdgeRays(geometry.source_mm * np.sin(gammas), angle - gammas, geometry.spacing_mm)
    first, last = _shadows(geometry, angle)
    pixel = np.arange(x.size, dtype=np.int32)
    rows, columns, weights = [], [], []
    below = edges.share_below(first, x, y)
    for step in range(int((last - first).max())):
        edge = np.minimum(first + step + 1, geometry.detectors)
        share = edges.share_below(edge, x, y)
        hit = np.flatnonzero(share - below > 1e-12)
        rows.append(edge[hit] - 1)
        columns.append(pixel[hit])
        weights.append((share[hit] - below[hit]) * density[hit])
        below = share
    empty = (np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0))
    return tuple(np.concatenate([none, *parts]) for none, parts in zip(empty, (rows, columns, weights), strict=True))


def _shadows(geometry: FanBeam, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """The last edge of a bin before each pixel's shadow and the first behind it, on the detector, (pixels,)."""
    places = geometry.bins_of(*geometry.corners_mm, angle) + 0.5
    low, high = np.minimum(places[:, :-1], places[:, 1:]), np.maximum(places[:, :-1], places[:, 1:])
    first, last = np.floor(np.minimum(low[:-1], low[1:])), np.ceil(np.maximum(high[:-1], high[1:]))
    return tuple(end.clip(0, geometry.detectors).astype(np.int32).ravel() for end in (first, last))


class _EdgeRays:
    """The rays between bins: lines x cos(phi) + y sin(phi) = t, one for each t and phi."""

    def __init__(self, t: np.ndarray, phi: np.ndarray, side: float) -> None:
        self.t, self.cosine, self.sine = t, np.cos(phi), np.sin(phi)
        wide, narrow = np.abs(self.cosine) * side / 2, np.abs(self.sine) * side / 2
        # A square seen along a ray casts a trapezoid that is flat on |u| < inner and zero on |u| > outer.
        self.outer, self.inner = wide + narrow, np.abs(wide - narrow)
        self.curvature = 0.5 / np.maximum(self.outer - self.inner, 1e-12 * side)
        self.level = 1.0 / (self.outer + self.inner)

    def share_below(self, edge: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The share of the square around (x, y) on the side of smaller t of the ray `edge`."""
        u = self.t[edge] - x * self.cosine[edge] - y * self.sine[edge]
        reach = np.minimum(np.abs(u), self.outer[edge])
        slope = np.maximum(reach - self.inner[edge], 0.0)
        reach -= slope * slope * self.curvature[edge]
        reach *= self.level[edge]
        return 0.5 + np.copysign(reach, u)


FAN_STRIPS = Weights(fan_strip_rows, per_pixel)

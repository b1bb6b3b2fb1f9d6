"""Parallel-beam tomography by strip integrals, as a sparse matrix.

An entry is the mean, over the rays of one detector bin, of their length in one pixel [mm]: the exact model of
square pixels seen by bins of a finite width, whatever the ratio of the two. Seen at an angle, a square casts
a trapezoid, so each entry is a difference of two values of the trapezoid's integral.

Reference: Lo, "Strip and line path integrals with a square pixel matrix", 1988.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import scipy.sparse
import torch
from torch import Tensor
from torch.nn.functional import pad

from operators.checks import fault
from operators.geometry import ParallelBeam
from operators.parallel import ParallelBeamTransform
from operators.sparse import SparseMatrix
from operators.symmetry import Folding, folding, moved, moved_back

COLUMNS = 64  # images moved by symmetries that one product takes: what is more no longer fits the caches


class StripTransform(ParallelBeamTransform):
    """y[a, k] = mean over the rays of bin k at angle a of the line integral of x [value mm].

    A sparse matrix with its transpose, so that the adjoint is exactly matched: 16 bytes for each entry. There are
    about 2.3 H W angles where bins are as wide as pixels, and a quarter of that where the views are spread evenly
    about the middle of a square image, for then its symmetries repeat them (256 x 256 pixels, 180 views: 6.9e6
    entries, 0.11 GB).

    Args:
        geometry: Where the rays run.
        bases: As for `ParallelBeamTransform`; where there are any, the weights are float64, else float32.
        fold: Which views repeat others; by default those that the symmetries of the grid allow.
        weights: The matrix of a folded geometry, in a dtype; by default that of parallel strips.
    """

    def __init__(
        self, geometry: ParallelBeam, bases: list[SparseMatrix], fold: Folding | None = None,
        weights: Callable[..., scipy.sparse.csr_matrix] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(geometry, bases)
        fold, weights = fold or folding(geometry), weights or strip_matrix
        self.margins, self.symmetries, self.grid = fold.margins, fold.symmetries, fold.geometry.shape
        folded = (fold.geometry.angles_rad.size, geometry.detectors)
        self.matrix = SparseMatrix(weights(fold.geometry, np.float64 if bases else np.float32), self.grid, folded)
        self.register_buffer("angle", torch.from_numpy(fold.angle), persistent=False)
        self.register_buffer("symmetry", torch.from_numpy(fold.symmetry), persistent=False)

    def _project(self, x: Tensor) -> Tensor:
        return torch.cat([self._project_some(part) for part in x.split(self._together)])

    def _backproject(self, y: Tensor) -> Tensor:
        return torch.cat([self._backproject_some(part) for part in y.split(self._together)])

    @property
    def _together(self) -> int:
        return max(1, COLUMNS // len(self.symmetries))

    def _project_some(self, x: Tensor) -> Tensor:
        top, left = self.margins
        rest = [n - m - k for n, m, k in zip(self.grid, self.margins, self.in_shape, strict=True)]
        images = pad(x.permute(1, 2, 0).contiguous(), (0, 0, left, rest[1], top, rest[0]))
        columns = torch.stack([moved(images, symmetry) for symmetry in self.symmetries], dim=2)
        folded = self.matrix.times(columns.reshape(math.prod(self.grid), -1))
        views = folded.reshape(*self.matrix.out_shape, len(self.symmetries), len(x))
        return views[self.angle, :, self.symmetry].permute(2, 0, 1)

    def _backproject_some(self, y: Tensor) -> Tensor:
        (top, left), (height, width) = self.margins, self.in_shape
        views = y.new_zeros(*self.matrix.out_shape, len(self.symmetries), len(y))
        views[self.angle, :, self.symmetry] = y.permute(1, 2, 0)
        columns = self.matrix.transposed_times(views.reshape(math.prod(self.matrix.out_shape), -1))
        images = columns.reshape(*self.grid, len(self.symmetries), len(y)).unbind(2)
        total = sum(moved_back(image, s) for image, s in zip(images, self.symmetries, strict=True))
        return total[top : top + height, left : left + width].permute(2, 0, 1).contiguous()


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
    return _stacked(views)


def _stacked(views: list[scipy.sparse.csr_matrix]) -> scipy.sparse.csr_matrix:
    """The views below each other, each let go as soon as it is copied: beside the result, none are in memory."""
    entries, columns, dtype = sum(view.nnz for view in views), views[0].shape[1], views[0].dtype
    starts, indices, values = [np.zeros(1, np.int64)], np.empty(entries, np.int32), np.empty(entries, dtype)
    views.reverse()
    at = 0
    while views:
        view = views.pop()
        indices[at : at + view.nnz], values[at : at + view.nnz] = view.indices, view.data
        starts.append(at + view.indptr[1:].astype(np.int64))
        at += view.nnz
    rows = np.concatenate(starts).astype(np.int32)
    return scipy.sparse.csr_matrix((values, indices, rows), shape=(rows.size - 1, columns), copy=False)


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

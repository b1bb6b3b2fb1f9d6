"""Tomography as a sparse matrix of the views that symmetries of the grid do not lead to each other.

The matrix is held with its transpose, 16 bytes for each entry, where that takes no more than `BUDGET`; above it, it is
packed into 4 bytes an entry and unpacked block by block in each product (`PackedMatrix`), which takes some 3 times as
long. Which of the two follows from the geometry alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import scipy.sparse
import torch
from torch import Tensor
from torch.nn.functional import pad

from operators.checks import fault
from operators.geometry import Beam, ParallelBeam
from operators.packed import PackedMatrix
from operators.parallel import ParallelBeamTransform
from operators.sparse import SparseMatrix, stacked
from operators.symmetry import Folding, folding, moved, moved_back

COLUMNS = 64  # images moved by symmetries that one product takes: what is more no longer fits the caches
BUDGET = 3 * 2**29  # bytes of a matrix with its transpose
MOST = 2**31 - 1  # entries of a packed one: 8 GiB


@dataclass(frozen=True)
class Weights:
    """How much each pixel adds to each bin, as a model of it has it.

    Args:
        rows: The matrix of a geometry in a dtype, view by view; none of its entries is negative.
        per_pixel: About how many entries a pixel has in a view.
    """

    rows: Callable[[Beam, type], Iterator[scipy.sparse.csr_matrix]]
    per_pixel: Callable[[Beam], float]


class FoldedTransform(ParallelBeamTransform):
    """y[a, k] = what bin k sees at angle a of x, as a model has it [value mm].

    The adjoint is exactly matched. There are about 1.8 H W angles entries of rays and 2.3 of strips where bins are as
    wide as pixels, and a quarter of that where the views are spread evenly about the middle of a square image, for then
    its symmetries repeat them (rays, 256 x 256 pixels, 180 views: 5.4e6 entries, 0.09 GB).

    Args:
        geometry: Where the rays run.
        bases: As for `ParallelBeamTransform`; where there are any, the weights are float64, else float32.
        weights: The model.
        fold: Which views repeat others; by default those that the symmetries of the grid allow a parallel beam.
    """

    def __init__(
        self, geometry: ParallelBeam, bases: list[SparseMatrix], weights: Weights, fold: Folding | None = None
    ) -> None:
        super().__init__(geometry, bases)
        fold = fold or folding(geometry)
        self.margins, self.symmetries, self.grid = fold.margins, fold.symmetries, fold.geometry.shape
        self.matrix = _matrix(fold.geometry, weights, np.float64 if bases else np.float32)
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


def held_whole(geometry: Beam, weights: Weights) -> bool:
    """Whether the matrix of a folded geometry and its transpose are held as they are.

    Raises:
        ValueError: more entries than `MOST`.
    """
    entries = math.prod(geometry.shape) * geometry.angles_rad.size * weights.per_pixel(geometry)
    if entries > MOST:
        name = "ct" if isinstance(geometry, ParallelBeam) else "ct_fan"
        raise fault(name, f"a matrix of about {entries:.1e} entries ({entries * 4 / 2**30:.0f} GiB)",
                    f"at most {MOST:.1e} entries", "take fewer angles, larger pixels or fewer of them")
    return entries * 16 <= BUDGET


def _matrix(geometry: Beam, weights: Weights, dtype: type) -> SparseMatrix | PackedMatrix:
    """That of a folded geometry, as large as it is held."""
    shapes = geometry.shape, (geometry.angles_rad.size, geometry.detectors)
    if held_whole(geometry, weights):
        return SparseMatrix(stacked(list(weights.rows(geometry, dtype))), *shapes)
    return PackedMatrix(weights.rows(geometry, dtype), *shapes)

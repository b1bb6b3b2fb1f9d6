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

COLUMNS = 32  # images moved by symmetries that one product takes: what is more no longer fits the caches
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
    wide as pixels; half of that where image and detector are centred, for rays from the other side are the same, and a
    quarter of the rest where the views are spread evenly about the middle of a square image, for then its symmetries
    repeat them (rays, 256 x 256 pixels, 180 views: 2.7e6 entries, 0.04 GiB).

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
        self.matrix = _matrix(fold, weights, np.float64 if bases else np.float32)
        # Of the bins: how many lie below those held, and which of those held is the first that is not in the middle.
        self.below, self.next = geometry.detectors - fold.geometry.detectors, geometry.detectors % 2
        views = [np.flatnonzero(fold.symmetry == i) for i in range(len(fold.symmetries))]
        self.places = [(torch.from_numpy(some), torch.from_numpy(fold.angle[some])) for some in views]

    def _project(self, x: Tensor) -> Tensor:
        return torch.cat([self._project_some(part) for part in x.split(COLUMNS)])

    def _backproject(self, y: Tensor) -> Tensor:
        return torch.cat([self._backproject_some(part) for part in y.split(COLUMNS)])

    def _project_some(self, x: Tensor) -> Tensor:
        top, left = self.margins
        rest = [n - m - k for n, m, k in zip(self.grid, self.margins, self.in_shape, strict=True)]
        images = pad(x.permute(1, 2, 0).contiguous(), (0, 0, left, rest[1], top, rest[0]))
        y = x.new_empty(*self.out_shape, len(x))
        for some in self._groups(len(x)):
            columns = torch.stack([moved(images, self.symmetries[i]) for i in some], dim=2)
            columns = columns.reshape(math.prod(self.grid), -1)
            # Half a turn more reverses the order of the pixels.
            sides = [columns, columns.flip(0)] if self.below else [columns]
            products = _together(self.matrix.times, sides)
            front, *behind = (part.reshape(*self.matrix.out_shape, len(some), len(x)) for part in products)
            for j, (views, angles) in enumerate(self.places[some.start : some.stop]):
                y[views, self.below :] = front[angles, :, j]
                for back in behind:
                    y[views, : self.below] = back[angles, self.next :, j].flip(1)
        return y.permute(2, 0, 1)

    def _backproject_some(self, y: Tensor) -> Tensor:
        (top, left), (height, width) = self.margins, self.in_shape
        y, total = y.permute(1, 2, 0), y.new_zeros(*self.grid, len(y))
        for some in self._groups(y.shape[2]):
            shape = *self.matrix.out_shape, len(some), y.shape[2]
            front, *behind = sides = [y.new_zeros(shape) for _ in range(2 if self.below else 1)]
            for j, (views, angles) in enumerate(self.places[some.start : some.stop]):
                front[angles, :, j] = y[views, self.below :]
                for back in behind:
                    back[angles, self.next :, j] = y[views, : self.below].flip(1)
            flat = [side.reshape(math.prod(self.matrix.out_shape), -1) for side in sides]
            columns, *turned = _together(self.matrix.transposed_times, flat)
            for side in turned:
                columns = columns + side.flip(0)
            images = columns.reshape(*self.grid, len(some), y.shape[2])
            for j, i in enumerate(some):
                total += moved_back(images[:, :, j], self.symmetries[i])
        return total[top : top + height, left : left + width].permute(2, 0, 1).contiguous()

    def _groups(self, samples: int) -> Iterator[range]:
        """The symmetries by which so many images are moved for one product."""
        together = max(1, COLUMNS // max(1, samples))
        for start in range(0, len(self.symmetries), together):
            yield range(start, min(start + together, len(self.symmetries)))


def _together(product: Callable[[Tensor], Tensor], sides: list[Tensor]) -> list[Tensor]:
    """The products of each, in one where they are few columns."""
    count = sides[0].shape[1]
    if len(sides) * count > COLUMNS:
        return [product(side) for side in sides]
    return list(product(torch.cat(sides, dim=1)).split(count, dim=1))


def held_whole(fold: Folding, weights: Weights) -> bool:
    """Whether the matrix of the folded geometry and its transpose are held as they are.

    Raises:
        ValueError: more entries than `MOST`.
    """
    pixels, views = math.prod(fold.geometry.shape), fold.geometry.angles_rad.size
    entries = fold.share * pixels * views * weights.per_pixel(fold.geometry)
    if entries > MOST:
        name = "ct" if isinstance(fold.geometry, ParallelBeam) else "ct_fan"
        raise fault(name, f"a matrix of about {entries:.1e} entries ({entries * 4 / 2**30:.0f} GiB)",
                    f"at most {MOST:.1e} entries", "take fewer angles, larger pixels or fewer of them")
    return entries * 16 <= BUDGET


def _matrix(fold: Folding, weights: Weights, dtype: type) -> SparseMatrix | PackedMatrix:
    """That of the folded geometry, as large as it is held."""
    geometry = fold.geometry
    shapes = geometry.shape, (geometry.angles_rad.size, geometry.detectors)
    if held_whole(fold, weights):
        return SparseMatrix(stacked(list(weights.rows(geometry, dtype))), *shapes)
    return PackedMatrix(weights.rows(geometry, dtype), *shapes)

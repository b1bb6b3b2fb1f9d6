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
from torch.nn.functional import embedding_bag

from operators.checks import fault
from operators.geometry import Beam, ParallelBeam
from operators.packed import PackedMatrix
from operators.parallel import ParallelBeamTransform
from operators.sparse import SparseMatrix, matched, stacked
from operators.splitting import Splitting
from operators.symmetry import Folding, folding, moved

COLUMNS = 32  # copies of images that one product takes: what is more no longer fits the caches
CACHED = 2**18  # values of them, which do fit: small images are taken more at a time
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
        parts: As for `ParallelBeamTransform`; where there are any, the weights are float64, else float32.
        weights: The model.
        fold: Which views repeat others; by default those that the symmetries of the grid allow a parallel beam.
    """

    def __init__(
        self, geometry: ParallelBeam, parts: Splitting | None, weights: Weights, fold: Folding | None = None
    ) -> None:
        super().__init__(geometry, parts)
        fold = fold or folding(geometry)
        self.matrix = _matrix(fold, weights, np.float64 if parts else np.float32)
        copies, taken = _copies(fold, self.in_shape), _taken(fold, self.out_shape)
        self.together = max(1, max(COLUMNS, CACHED // len(copies)) // copies.shape[1])
        self.rows = math.prod(self.matrix.out_shape)
        self.inside = bool((copies < math.prod(self.in_shape)).all())  # no copy reaches beyond the image
        given = _inverse(taken, self.rows * copies.shape[1])
        places = {"copies": copies.flatten(), "taken": taken, "given": given,
                  "returned": _returned(copies, math.prod(self.in_shape))}  # fmt: skip
        for name, index in places.items():
            self.register_buffer(name, torch.from_numpy(index.astype(np.int32)), persistent=False)
        kept = torch.from_numpy(given < taken.size).double()[:, None]
        self.register_buffer("kept", kept, persistent=False)

    def _project(self, x: Tensor) -> Tensor:
        return self._by_parts(lambda some: self._data(self._seen(some)), x, self.out_shape)

    def _backproject(self, y: Tensor) -> Tensor:
        def image(some: Tensor) -> Tensor:
            return self._images(_picked(_with_zero(some), self.constant("given", some)).reshape(self.rows, -1))

        return self._by_parts(image, y, self.in_shape)

    def _project_and_back(self, x: Tensor) -> Tensor:
        """Without the detour through the order of the data."""
        kept = self.constant("kept", x)

        def image(some: Tensor) -> Tensor:
            seen = self._seen(some)
            return self._images(seen.reshape(len(kept), -1).mul_(kept).reshape(seen.shape))

        return self._by_parts(image, x, self.in_shape)

    def _normal(self, x: Tensor) -> Tensor:
        flat = matched(x.reshape(-1, *self.in_shape), self._project_and_back, self._project_and_back)
        return flat.reshape(x.shape)

    def _by_parts(self, apply: Callable[[Tensor], Tensor], x: Tensor, shape: tuple[int, ...]) -> Tensor:
        """apply, from columns (elements, samples) to such, on so many samples at a time as the caches hold."""
        parts = [apply(part.flatten(1).T).T.reshape(-1, *shape) for part in x.split(self.together)]
        return torch.cat(parts) if len(parts) > 1 else parts[0].contiguous()

    def _seen(self, x: Tensor) -> Tensor:
        """M times all copies of images (pixels, samples): (rows of M, copies x samples)."""
        copies = _picked(x.contiguous() if self.inside else _with_zero(x), self.constant("copies", x))
        return self.matrix.times(copies.reshape(math.prod(self.matrix.in_shape), -1))

    def _data(self, seen: Tensor) -> Tensor:
        """Each datum where a copy saw it, (data, samples)."""
        return _picked(seen.reshape(len(self.given), -1), self.constant("taken", seen))

    def _images(self, seen: Tensor) -> Tensor:
        """The adjoint of `_seen`: M^T, and the copies moved back and added, (pixels, samples)."""
        columns = self.matrix.transposed_times(seen).reshape(len(self.copies), -1)
        return embedding_bag(self.constant("returned", columns), columns, mode="sum")


def _with_zero(columns: Tensor) -> Tensor:
    """A copy of columns (elements, samples) with a row of zeros at the end."""
    return torch.cat([columns, columns.new_zeros(1, columns.shape[1])])


def _picked(columns: Tensor, places: Tensor) -> Tensor:
    """Rows of columns (elements, samples); single numbers are picked four times faster than rows of one."""
    if columns.shape[1] == 1:
        return columns[:, 0].index_select(0, places)[:, None]
    return columns.index_select(0, places)


def _copies(fold: Folding, shape: tuple[int, ...]) -> np.ndarray:
    """Which pixel of an image of that shape each pixel of each moved copy is, (pixels of the grid, copies), or their
    number where it is outside. Half a turn more, as from behind, reverses the order of the pixels.
    """
    size, (top, left) = math.prod(shape), fold.margins
    rest = [n - m - k for n, m, k in zip(fold.geometry.shape, fold.margins, shape, strict=True)]
    pixels = np.pad(np.arange(size).reshape(shape), ((top, rest[0]), (left, rest[1])), constant_values=size)
    copies = [moved(torch.from_numpy(pixels), symmetry).flatten().numpy() for symmetry in fold.symmetries]
    return np.stack(copies + [copy[::-1] for copy in copies if fold.half], axis=1)


def _taken(fold: Folding, shape: tuple[int, ...]) -> np.ndarray:
    """Where each datum is among the products of M with all copies: (row of M) x copies + copy."""
    views, bins = fold.geometry.angles_rad.size, fold.geometry.detectors
    below, following = shape[1] - bins, shape[1] % 2  # bins that only the copies from behind see; the middle one is not
    count = len(fold.symmetries) * (2 if fold.half else 1)
    rows = np.arange(views * bins).reshape(views, bins)[fold.angle] * count
    front, behind = rows + fold.symmetry[:, None], rows + len(fold.symmetries) + fold.symmetry[:, None]
    return np.concatenate([behind[:, following:][:, ::-1], front] if below else [front], axis=1).flatten()


def _inverse(taken: np.ndarray, size: int) -> np.ndarray:
    """Which datum each of `size` products is, or the number of data where it is none."""
    given = np.full(size, taken.size)
    given[taken] = np.arange(taken.size)
    return given


def _returned(copies: np.ndarray, size: int) -> np.ndarray:
    """Where each of `size` pixels is among (pixels of the grid) x copies, one place a copy: (size, copies)."""
    places = np.empty((size + 1, copies.shape[1]), dtype=np.int64)
    for j, copy in enumerate(copies.T):
        places[copy, j] = np.arange(copy.size) * copies.shape[1] + j
    return places[:-1]


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

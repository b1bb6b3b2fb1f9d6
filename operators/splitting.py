"""The parts into which the symmetries of a scan split images and data, and singular vectors part by part.

Where A M = P^T A for an orthogonal M of the image and a permutation P of the data, A takes images that are even (odd)
under M to data that are even (odd) under P. Mirror and half turn, which commute, so split A into four blocks. A quarter
turn splits the two of them that are even under the half turn once more, and leads the other two into each other: their
blocks are one. Evenly spread views of a square image have all of these; their singular vectors are numbers of an eighth
of the size squared, and those of the pair of a quarter, once.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse
import torch
from torch import Tensor, nn

from operators.geometry import Beam, ParallelBeam
from operators.linear import LinearOperator
from operators.sparse import SparseMatrix
from operators.symmetry import HALF_TURN, QUARTER_TURN, Symmetry, data_permutation, moved

Group = list[tuple[np.ndarray, float]]  # the permutation and the sign of each element


@dataclass(frozen=True)
class Part:
    """Images and data of one kind: orthonormal rows, of as many copies as A does not tell apart."""

    data: list[scipy.sparse.csr_matrix]
    image: list[scipy.sparse.csr_matrix]


class Splitting(nn.Module):
    """Coordinates of images and data in which A is block diagonal; for each block some copies, which are equal.

    Attributes:
        data, image: Flattened data and images to coordinates: those of one part after those of the other, within it the
            copies of a coordinate side by side. Orthonormal rows.
        sizes: For each part (data of a copy, pixels of a copy, copies).
    """

    def __init__(self, parts: Sequence[Part], data_shape: Sequence[int], image_shape: Sequence[int]) -> None:
        super().__init__()
        self.data = _coordinates([part.data for part in parts], data_shape)
        self.image = _coordinates([part.image for part in parts], image_shape)
        self.sizes = [(part.data[0].shape[0], part.image[0].shape[0], len(part.data)) for part in parts]

    @property
    def cost(self) -> float:
        """That of all eigenvectors of A A^H, in operations."""
        return sum(float(data) ** 3 for data, _, _ in self.sizes)


def _coordinates(parts: list[list[scipy.sparse.csr_matrix]], shape: Sequence[int]) -> SparseMatrix:
    rows = []
    for copies in parts:
        order = np.arange(len(copies) * copies[0].shape[0]).reshape(len(copies), -1).T.ravel()
        rows.append(scipy.sparse.vstack(copies, format="csr")[order])
    matrix = scipy.sparse.vstack(rows, format="csr")
    return SparseMatrix(matrix, shape, (matrix.shape[0],))


def unsplit(geometry: Beam) -> Splitting:
    """Images and data as they are."""
    data, image = (scipy.sparse.identity(size, format="csr") for size in _sizes(geometry))
    return Splitting([Part([data], [image])], (geometry.angles_rad.size, geometry.detectors), geometry.shape)


def splitting(geometry: ParallelBeam, symmetries: Sequence[Symmetry]) -> Splitting:
    """Images and data by how they behave under the symmetries of the scan.

    Args:
        geometry: Of the scan.
        symmetries: Those to look for: mirror, half turn and quarter turn, or fewer; the last counts where all three are
            found.
    """
    single = [s for s in symmetries if s != QUARTER_TURN and data_permutation(geometry, s) is not None]
    turned = QUARTER_TURN in symmetries and len(single) == 2 and _turned(geometry, single)
    moves, parts = [_permutations(geometry, s) for s in single], []
    for odd in itertools.product((0, 1), repeat=len(single)):
        data, image = (_signed([move[i] for move in moves], odd, _sizes(geometry)[i]) for i in (0, 1))
        if not turned:
            parts.append(Part([_rows(data)], [_rows(image)]))
            continue
        turn_data, turn_image = _permutations(geometry, QUARTER_TURN)
        if not odd[single.index(HALF_TURN)]:
            parts += [
                Part([_rows(_extended(data, turn_data, sign))], [_rows(_extended(image, turn_image, sign))])
                for sign in (1.0, -1.0)
            ]
        elif not any(n for s, n in zip(single, odd, strict=True) if s != HALF_TURN):
            # The quarter turn leads to those that are odd under the mirror, of images and of data alike.
            data, image = _rows(data), _rows(image)
            parts.append(Part([data, data @ _matrix(turn_data)], [image, image @ _matrix(turn_image).T]))
    shapes = (geometry.angles_rad.size, geometry.detectors), geometry.shape
    return Splitting([part for part in parts if part.data[0].shape[0]], *shapes)


def _sizes(geometry: Beam) -> tuple[int, int]:
    """How many data and pixels there are."""
    return geometry.angles_rad.size * geometry.detectors, geometry.shape[0] * geometry.shape[1]


def _permutations(geometry: ParallelBeam, symmetry: Symmetry) -> tuple[np.ndarray, np.ndarray]:
    """(p, q) with (A x[q])[p] = A x for flattened images and data."""
    pixels = torch.arange(geometry.shape[0] * geometry.shape[1]).reshape(geometry.shape)
    return data_permutation(geometry, symmetry), moved(pixels, symmetry).flatten().numpy()


def _signed(moves: Sequence[np.ndarray], odd: Sequence[int], size: int) -> Group:
    """Every product of some of the permutations, its sign -1 for an odd number of those that are odd."""
    group: Group = [(np.arange(size), 1.0)]
    for move, negative in zip(moves, odd, strict=True):
        group = _extended(group, move, -1.0 if negative else 1.0)
    return group


def _turned(geometry: ParallelBeam, single: Sequence[Symmetry]) -> bool:
    """Whether the scan has the quarter turn, and its permutation keeps the rules of the square's symmetries.

    Views that are there from one side only may be led to either; then products of permutations need not be those of
    the symmetries.
    """
    turn = data_permutation(geometry, QUARTER_TURN) if geometry.shape[0] == geometry.shape[1] else None
    if turn is None:
        return False
    half = data_permutation(geometry, HALF_TURN)
    mirror = data_permutation(geometry, next(s for s in single if s != HALF_TURN))
    return np.array_equal(turn[turn], half) and np.array_equal(turn[mirror[turn]], mirror)


def _extended(group: Group, turn: np.ndarray, sign: float) -> Group:
    return [*group, *((p[turn], sign * own) for p, own in group)]


def _matrix(permutation: np.ndarray) -> scipy.sparse.csr_matrix:
    """P with P z = z[permutation]."""
    size = permutation.size
    return scipy.sparse.csr_matrix((np.ones(size), permutation, np.arange(size + 1)), shape=(size, size))


def _rows(group: Group) -> scipy.sparse.csr_matrix:
    """Orthonormal rows that each permutation of the group multiplies by its sign."""
    size = group[0][0].size
    first = np.min([p for p, _ in group], axis=0) == np.arange(size)  # one of each orbit
    count = int(first.sum())
    places = np.tile(np.arange(count), len(group)), np.concatenate([p[first] for p, _ in group])
    # What falls on one place is added.
    rows = scipy.sparse.csr_matrix((np.repeat([sign for _, sign in group], count), places), shape=(count, size))
    norms = np.sqrt(rows.multiply(rows).sum(axis=1)).A1
    kept = norms > 0.5
    rows = scipy.sparse.diags(1.0 / norms[kept]) @ rows[kept]
    rows.eliminate_zeros()
    return rows.tocsr()


class Coefficients(LinearOperator):
    """c = V^H Q u with orthonormal rows: u in the coordinates Q of a splitting, then in vectors of each of its blocks.

    Args:
        coordinates: Q, see `Splitting`.
        vectors: For each part (vectors, coordinates of a copy), a row for each vector.
        copies: Of each part; coefficients of the copies of a vector lie side by side.
    """

    def __init__(self, coordinates: SparseMatrix, vectors: Sequence[Tensor], copies: Sequence[int]) -> None:
        shapes = [tuple(V.shape) for V in vectors]
        super().__init__(coordinates.in_shape, (sum(count * n for (count, _), n in zip(shapes, copies, strict=True)),))
        self.coordinates, self.blocks = coordinates, list(zip(shapes, copies, strict=True))
        for i, V in enumerate(vectors):
            self.register_buffer(f"vectors{i}", V, persistent=False)

    def _forward(self, u: Tensor) -> Tensor:
        flat = self.coordinates(u.reshape(-1, *self.in_shape))
        parts = flat.split([width * n for (_, width), n in self.blocks], dim=1)
        found = [
            _beside(_apart(part, n) @ self.constant(f"vectors{i}", u).T, n)
            for i, (part, (_, n)) in enumerate(zip(parts, self.blocks, strict=True))
        ]
        return torch.cat(found, dim=1).reshape(*u.shape[: u.ndim - len(self.in_shape)], *self.out_shape)

    def _adjoint(self, c: Tensor) -> Tensor:
        flat = c.reshape(-1, *self.out_shape)
        parts = flat.split([count * n for (count, _), n in self.blocks], dim=1)
        found = [
            _beside(_apart(part, n) @ self.constant(f"vectors{i}", c), n)
            for i, (part, (_, n)) in enumerate(zip(parts, self.blocks, strict=True))
        ]
        return self.coordinates.adjoint(torch.cat(found, dim=1)).reshape(*c.shape[:-1], *self.in_shape)


def _apart(part: Tensor, copies: int) -> Tensor:
    """(N, size copies) to (copies N, size): copies are further samples of a block."""
    return part if copies == 1 else part.unflatten(1, (part.shape[1] // copies, copies)).movedim(2, 0).flatten(0, 1)


def _beside(found: Tensor, copies: int) -> Tensor:
    """The inverse of `_apart`."""
    return found if copies == 1 else found.unflatten(0, (copies, len(found) // copies)).movedim(0, 2).flatten(1)

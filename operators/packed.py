"""Sparse matrices too large to hold with their transposes: each entry in 4 bytes, unpacked block by block when used.

Weights are 16-bit fixed-point numbers, 65535 being the largest of a block (errors of 1e-5 of it, of either sign);
columns are counted in 16 bits from the beginning of a tile of the image. Both products take the same entries, so that
the adjoint is exactly matched. The forward one is that of `SparseMatrix`; for the other the CPU runs along the columns
of the transpose, which takes twice the time but needs no second copy.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import scipy.sparse
import torch
from torch import Tensor, nn

from operators.linear import LinearOperator
from operators.sparse import product, seen, stacked

TILE = 2**16  # columns
BLOCK = 2**22  # entries at least, unpacked at once: 32 MiB
LEVELS = 2**16 - 1


class PackedMatrix(LinearOperator):
    """y = M x for a sparse matrix M of weights that are not negative, on the flattened last axes.

    Args:
        parts: The rows of M from the first on, (some, in_size) each.
        in_shape: Shape of x, in_size elements in row-major order.
        out_shape: Shape of y, out_size elements in row-major order.
    """

    def __init__(
        self, parts: Iterable[scipy.sparse.csr_matrix], in_shape: Sequence[int], out_shape: Sequence[int]
    ) -> None:
        super().__init__(in_shape, out_shape)
        blocks, row = [], 0
        for block in _grouped(parts):
            for column in range(0, block.shape[1], TILE):
                tile = block[:, column : column + TILE]
                if tile.nnz:
                    blocks.append(_Packed(tile, row, column))
            row += block.shape[0]
        seen(len(blocks), (row, math.prod(self.in_shape)))
        self.blocks = nn.ModuleList(blocks)

    @property
    def entries(self) -> int:
        """How many weights are held."""
        return sum(block.weights.numel() for block in self.blocks)

    def _forward(self, x: Tensor) -> Tensor:
        return self.times(x.reshape(-1, math.prod(self.in_shape)).T).T.reshape(*x.shape[:-2], *self.out_shape)

    def _adjoint(self, y: Tensor) -> Tensor:
        flat = self.transposed_times(y.reshape(-1, math.prod(self.out_shape)).T).T
        return flat.reshape(*y.shape[:-2], *self.in_shape)

    def times(self, x: Tensor) -> Tensor:
        """M x for x (in_size, samples), without autograd."""
        x, y = x.contiguous(), x.new_zeros(math.prod(self.out_shape), x.shape[1])
        for block in self.blocks:
            y[block.rows] += block.times(x[block.columns])
        return y

    def transposed_times(self, y: Tensor) -> Tensor:
        """M^T y for y (out_size, samples), without autograd."""
        y, x = y.contiguous(), y.new_zeros(math.prod(self.in_shape), y.shape[1])
        for block in self.blocks:
            x[block.columns] += block.transposed_times(y[block.rows])
        return x


class _Packed(nn.Module):
    """One block of rows and columns."""

    def __init__(self, tile: scipy.sparse.csr_matrix, row: int, column: int) -> None:
        super().__init__()
        self.rows, self.columns = slice(row, row + tile.shape[0]), slice(column, column + tile.shape[1])
        self.shape, self.step = tile.shape, float(tile.data.max()) / LEVELS
        weights = np.rint(tile.data * (1.0 / self.step)).astype(np.uint16)
        for name, values in (("starts", tile.indptr), ("places", tile.indices), ("weights", weights)):
            kind = np.int32 if name == "starts" else np.uint16
            self.register_buffer(name, torch.from_numpy(values.astype(kind)), persistent=False)

    def times(self, x: Tensor) -> Tensor:
        return product(*self._unpacked(x), self.shape, x)

    def transposed_times(self, y: Tensor) -> Tensor:
        starts, places, weights = self._unpacked(y)
        if y.device.type != "cpu":
            matrix = torch.sparse_csr_tensor(starts, places, weights, size=self.shape, check_invariants=False)
            return matrix.transpose(0, 1) @ y
        columns = weights.numpy(), places.numpy(), starts.numpy()
        return torch.from_numpy(scipy.sparse.csc_matrix(columns, shape=self.shape[::-1], copy=False) @ y.numpy())

    def _unpacked(self, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        starts, places, weights = (part.to(like.device) for part in (self.starts, self.places, self.weights))
        return starts, places.to(torch.int32), weights.to(like.dtype).mul_(self.step)


def _grouped(parts: Iterable[scipy.sparse.csr_matrix]) -> Iterator[scipy.sparse.csr_matrix]:
    """Parts below each other, `BLOCK` entries or more at a time."""
    held: list[scipy.sparse.csr_matrix] = []
    for part in parts:
        held.append(part)
        if sum(one.nnz for one in held) >= BLOCK:
            yield stacked(held)
            held = []
    if held:
        yield stacked(held)

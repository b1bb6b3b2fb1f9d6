"""Sparse matrices as operators: each with its transpose stored beside it, so that the adjoint is exactly matched.

Two int32 compressed-row matrices; a transposed product on one of them would be several times slower.

Products are with matrices (elements, samples): one row for each element, so that what an entry of M meets lies side by
side. From 8 float32 samples on, the CPU's fastest kernel for that is the weighted sum of rows that torch has for
embeddings (2 to 3 times faster than its product of sparse matrices at 32); below, the latter.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import scipy.sparse
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from operators.linear import LinearOperator

ROW_SUMS_FROM = 8  # samples


class SparseMatrix(LinearOperator):
    """y = M x for a sparse real matrix M, on the flattened last axes.

    Args:
        matrix: (out_size, in_size), at most 2^31 - 1 entries; its values keep their dtype.
        in_shape: Shape of x, in_size elements in row-major order.
        out_shape: Shape of y, out_size elements in row-major order.
    """

    def __init__(self, matrix: scipy.sparse.csr_matrix, in_shape: Sequence[int], out_shape: Sequence[int]) -> None:
        super().__init__(in_shape, out_shape)
        seen(matrix.nnz, matrix.shape)
        for name, half in (("forward", matrix.tocsr()), ("adjoint", matrix.T.tocsr())):
            self.register_buffer(f"{name}_rows", torch.from_numpy(half.indptr.astype(np.int32, copy=False)), False)
            columns = half.indices.astype(np.int32, copy=False)
            self.register_buffer(f"{name}_columns", torch.from_numpy(columns), False)
            self.register_buffer(f"{name}_values", torch.from_numpy(half.data), False)

    def _forward(self, x: Tensor) -> Tensor:
        flat = matched(x.reshape(-1, math.prod(self.in_shape)), self._project, self._backproject)
        return flat.reshape(x.shape[: x.ndim - len(self.in_shape)] + self.out_shape)

    def _adjoint(self, y: Tensor) -> Tensor:
        flat = matched(y.reshape(-1, math.prod(self.out_shape)), self._backproject, self._project)
        return flat.reshape(y.shape[: y.ndim - len(self.out_shape)] + self.in_shape)

    def _project(self, x: Tensor) -> Tensor:
        return self.times(x.T).T

    def _backproject(self, y: Tensor) -> Tensor:
        return self.transposed_times(y.T).T

    def times(self, x: Tensor) -> Tensor:
        """M x for x (in_size, samples), without autograd."""
        return self._product("forward", x)

    def transposed_times(self, y: Tensor) -> Tensor:
        """M^T y for y (out_size, samples), without autograd."""
        return self._product("adjoint", y)

    @property
    def entries(self) -> int:
        """How many weights are held, not counting those of the transpose."""
        return self.forward_values.numel()

    def _product(self, name: str, x: Tensor) -> Tensor:
        sizes = (math.prod(self.out_shape), math.prod(self.in_shape))
        parts = (self.constant(f"{name}_{part}", x) for part in ("rows", "columns", "values"))
        return product(*parts, sizes if name == "forward" else sizes[::-1], x)


def product(rows: Tensor, columns: Tensor, values: Tensor, size: tuple[int, int], x: Tensor) -> Tensor:
    """M x of a compressed-row matrix of that size and dense columns (in_size, samples), without autograd."""
    fast = x.device.type == "cpu" and x.dtype == torch.float32
    if fast and x.shape[1] >= ROW_SUMS_FROM:
        return embedding_bag(
            columns, x.contiguous(), rows, mode="sum", per_sample_weights=values, include_last_offset=True
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        matrix = torch.sparse_csr_tensor(rows, columns, values, size=size, check_invariants=False)
    # With a vector it takes half the time, but rounds differently; in float64 samples do not depend on their batch.
    return matrix.mv(x[:, 0])[:, None] if fast and x.shape[1] == 1 else matrix @ x


def seen(entries: int, shape: tuple[int, int]) -> None:
    """Refuses a matrix without entries."""
    if not entries:
        raise ValueError(
            f"got a matrix of {shape[0]} x {shape[1]} zeros; expected data that see the image; "
            "check the geometry: centres, offsets and detectors"
        )


def stacked(parts: list[scipy.sparse.csr_matrix]) -> scipy.sparse.csr_matrix:
    """The parts below each other, each let go of the list as soon as it is copied: beside the result, none are held."""
    entries, columns, dtype = sum(part.nnz for part in parts), parts[0].shape[1], parts[0].dtype
    starts, indices, values = [np.zeros(1, np.int64)], np.empty(entries, np.int32), np.empty(entries, dtype)
    parts.reverse()
    at = 0
    while parts:
        part = parts.pop()
        indices[at : at + part.nnz], values[at : at + part.nnz] = part.indices, part.data
        starts.append(at + part.indptr[1:].astype(np.int64))
        at += part.nnz
    rows = np.concatenate(starts).astype(np.int32)
    return scipy.sparse.csr_matrix((values, indices, rows), shape=(rows.size - 1, columns), copy=False)


def matched(x: Tensor, apply: Callable, adjoint: Callable) -> Tensor:
    """apply(x), whose derivative is the adjoint's; where none is asked for, without autograd's own costs."""
    return Matched.apply(x, apply, adjoint) if torch.is_grad_enabled() else apply(x)


class Matched(torch.autograd.Function):
    """apply(x), whose derivative is the exactly matched adjoint (and the other way round)."""

    @staticmethod
    def forward(x: Tensor, apply: Callable, adjoint: Callable) -> Tensor:
        return apply(x)

    @staticmethod
    def setup_context(ctx, inputs: tuple, output: Tensor) -> None:
        ctx.maps = inputs[1:]

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple:
        apply, adjoint = ctx.maps
        return Matched.apply(gradient, adjoint, apply), None, None

    @staticmethod
    def jvp(ctx, tangent: Tensor, *_: None) -> Tensor:
        return Matched.apply(tangent, *ctx.maps)

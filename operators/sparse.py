"""Sparse matrices as operators: each with its transpose stored beside it, so that the adjoint is exactly matched.

Two int32 compressed-row matrices; a transposed product on one of them would be several times slower.

Products are with matrices (elements, samples): one row for each element, so that what an entry of M meets lies side by
side. From 16 float32 samples on, the CPU's fastest kernel for that is the weighted sum of rows that torch has for
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

ROW_SUMS_FROM = 16  # samples


class SparseMatrix(LinearOperator):
    """y = M x for a sparse real matrix M, on the flattened last axes.

    Args:
        matrix: (out_size, in_size), at most 2^31 - 1 entries; its values keep their dtype.
        in_shape: Shape of x, in_size elements in row-major order.
        out_shape: Shape of y, out_size elements in row-major order.
    """

    def __init__(self, matrix: scipy.sparse.csr_matrix, in_shape: Sequence[int], out_shape: Sequence[int]) -> None:
        super().__init__(in_shape, out_shape)
        if not matrix.nnz:
            raise ValueError(
                f"got a matrix of {matrix.shape[0]} x {matrix.shape[1]} zeros; expected data that see the image; "
                "check the geometry: centres, offsets and detectors"
            )
        for name, half in (("forward", matrix.tocsr()), ("adjoint", matrix.T.tocsr())):
            self.register_buffer(f"{name}_rows", torch.from_numpy(half.indptr.astype(np.int32, copy=False)), False)
            columns = half.indices.astype(np.int32, copy=False)
            self.register_buffer(f"{name}_columns", torch.from_numpy(columns), False)
            self.register_buffer(f"{name}_values", torch.from_numpy(half.data), False)
        self._matrices: dict[tuple, tuple[Tensor, Tensor]] = {}

    def _forward(self, x: Tensor) -> Tensor:
        flat = Matched.apply(x.reshape(-1, math.prod(self.in_shape)), self._project, self._backproject)
        return flat.reshape(x.shape[: x.ndim - len(self.in_shape)] + self.out_shape)

    def _adjoint(self, y: Tensor) -> Tensor:
        flat = Matched.apply(y.reshape(-1, math.prod(self.out_shape)), self._backproject, self._project)
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

    def _product(self, name: str, x: Tensor) -> Tensor:
        parts = [self.constant(f"{name}_{part}", x) for part in ("rows", "columns", "values")]
        if x.device.type == "cpu" and x.dtype == torch.float32 and x.shape[1] >= ROW_SUMS_FROM:
            rows, columns, values = parts
            return embedding_bag(
                columns, x.contiguous(), rows, mode="sum", per_sample_weights=values, include_last_offset=True
            )
        return self._matrix(name, x, parts) @ x

    def _matrix(self, name: str, like: Tensor, parts: list[Tensor]) -> Tensor:
        key = (name, like.dtype, like.device)
        held = self._matrices.get(key)
        if held is None or held[0] is not parts[-1]:
            sizes = (math.prod(self.out_shape), math.prod(self.in_shape))
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
                matrix = torch.sparse_csr_tensor(
                    *parts, size=sizes if name == "forward" else sizes[::-1], check_invariants=False
                )
            held = self._matrices[key] = (parts[-1], matrix)
        return held[1]


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

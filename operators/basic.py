"""The identity, and operators given by a dense matrix."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from operators.checks import fault, image_shape
from operators.linear import FromFunctions, LinearOperator
from operators.solve import damped_inverse


class Identity(LinearOperator):
    """y = x."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__(shape, shape)

    def _forward(self, x: Tensor) -> Tensor:
        return x

    def _adjoint(self, y: Tensor) -> Tensor:
        return y

    def _gram_solve(self, u: Tensor, rho: Tensor) -> Tensor:
        return u / (1.0 + rho)

    @property
    def orthonormal_rows(self) -> bool:
        return True

    def svd(self) -> tuple[LinearOperator, Tensor, LinearOperator]:
        """Ones between the flattened axes."""
        size = math.prod(self.in_shape)
        flatten = FromFunctions(self.in_shape, (size,), lambda x: x.flatten(-len(self.in_shape)),
                                lambda c: c.unflatten(-1, self.in_shape))
        return flatten.H, torch.ones(size, dtype=torch.float64), flatten


class Dense(LinearOperator):
    """y = M x for a matrix M, with everything exact through its singular value decomposition.

    Args:
        matrix: (out_size, in_size), real; kept in its own floating dtype.
        in_shape: Shape of x, in_size elements in row-major order.
        out_shape: Shape of y, out_size elements in row-major order.

    Raises:
        ValueError: the matrix is not 2-D, real and finite, or its sizes do not fit the shapes.
    """

    def __init__(self, matrix: Tensor, in_shape: Sequence[int], out_shape: Sequence[int]) -> None:
        super().__init__(in_shape, out_shape)
        matrix = torch.as_tensor(matrix).detach()
        if matrix.is_complex():
            raise fault("matrix", f"dtype {matrix.dtype}", "a real matrix",
                        "stack its real and imaginary parts")
        matrix = matrix if matrix.is_floating_point() else matrix.to(torch.float32)
        sizes = (math.prod(self.out_shape), math.prod(self.in_shape))
        if tuple(matrix.shape) != sizes:
            raise fault("matrix", f"shape {tuple(matrix.shape)}",
                        f"(out_size, in_size) = {sizes} for {self.in_shape} -> {self.out_shape}",
                        "transpose the matrix or correct the shapes")
        if not bool(matrix.isfinite().all()):
            raise fault("matrix", "entries that are NaN or infinite", "finite numbers", "replace them")
        self.register_buffer("matrix", matrix.clone(), persistent=False)
        self.register_buffer("left", None, persistent=False)
        self.register_buffer("values", None, persistent=False)
        self.register_buffer("right", None, persistent=False)

    def _forward(self, x: Tensor) -> Tensor:
        return (x.flatten(-len(self.in_shape)) @ self.constant("matrix", x).T).unflatten(-1, self.out_shape)

    def _adjoint(self, y: Tensor) -> Tensor:
        return (y.flatten(-len(self.out_shape)) @ self.constant("matrix", y)).unflatten(-1, self.in_shape)

    def _decompose(self) -> None:
        """Cache M = left diag(values) right, cut off at the numerical rank."""
        if self.values is not None:
            return
        with torch.inference_mode(False):
            left, values, right = torch.linalg.svd(self.matrix.double(), full_matrices=False)
            floor = max(self.matrix.shape) * torch.finfo(self.matrix.dtype).eps * values.max()
            rank = max(1, int((values > floor).sum()))
            self.left, self.values, self.right = left[:, :rank], values[:rank], right[:rank]

    @property
    def orthonormal_rows(self) -> bool:
        near, rows = 8 * max(self.matrix.shape) * torch.finfo(self.matrix.dtype).eps, self.matrix.double()
        if not bool(((rows.square().sum(1) - 1).abs() < near).all()):  # most matrices need no product to tell
            return False
        unit = torch.eye(len(rows), dtype=rows.dtype, device=rows.device)
        return bool(((rows @ rows.T - unit).abs() < near).all())

    def _gram_solve(self, u: Tensor, rho: Tensor) -> Tensor:
        self._decompose()
        left, eigenvalues = self.constant("left", u), self.constant("values", u) ** 2
        flat = u.flatten(-len(self.out_shape))
        rho = rho.reshape(rho.shape[:1] + (1,) * (flat.ndim - 1)) if rho.ndim else rho
        inside = flat @ left
        outside = flat - inside @ left.T  # where A A^H is zero and only rho is left
        solved = (inside * damped_inverse(eigenvalues, rho, eigenvalues.amax())) @ left.T
        return (solved + outside * damped_inverse(torch.zeros_like(rho), rho)).unflatten(-1, self.out_shape)

    def svd(self) -> tuple[LinearOperator, Tensor, LinearOperator]:
        """Singular values above rounding, largest first."""
        self._decompose()
        rank = (self.values.shape[0],)
        return Dense(self.left, rank, self.out_shape), self.values, Dense(self.right, self.in_shape, rank)


def identity(shape: Sequence[int]) -> Identity:
    """y = x for images of `shape` (H, W): pure denoising.

    Raises:
        ValueError: shape is not (height, width).
    """
    operator = Identity(image_shape(shape))
    operator.spec = {"name": "identity", "parameters": {"shape": list(operator.in_shape)}}
    return operator

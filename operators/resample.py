"""Down-sampling by a whole factor: block means, and bicubic interpolation with antialiasing.

Both are separable, y = R x C^T with one small matrix for each axis, so their singular vectors are outer
products of those of R and C.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from operators.checks import fault, image_shape, positive_int
from operators.linear import FromFunctions, LinearOperator
from operators.solve import damped_inverse


class BlockMean(LinearOperator):
    """y = mean of each block of factor x factor pixels; A A^H = I / factor^2.

    Args:
        shape: (H, W) of the image, both multiples of the factor.
        factor: Side of a block.
    """

    def __init__(self, shape: tuple[int, int], factor: int) -> None:
        super().__init__(shape, tuple(n // factor for n in shape))
        self.factor = factor

    def _forward(self, x: Tensor) -> Tensor:
        blocks = x.unflatten(-1, (-1, self.factor)).unflatten(-3, (-1, self.factor))
        return blocks.mean(dim=(-3, -1))

    def _adjoint(self, y: Tensor) -> Tensor:
        rows = (y / self.factor**2).repeat_interleave(self.factor, dim=-2)
        return rows.repeat_interleave(self.factor, dim=-1)

    def _gram_solve(self, u: Tensor, rho: Tensor) -> Tensor:
        return u / (1.0 / self.factor**2 + rho)

    def svd(self) -> tuple[LinearOperator, Tensor, LinearOperator]:
        """All singular values are 1 / factor, and the singular vectors are the blocks."""
        size = self.out_shape[0] * self.out_shape[1]
        unflatten = FromFunctions((size,), self.out_shape, lambda c: c.unflatten(-1, self.out_shape),
                                  lambda y: y.flatten(-2))
        s = torch.full((size,), 1.0 / self.factor, dtype=torch.float64)
        return unflatten, s, unflatten.H @ (float(self.factor) * self)


class Separable(LinearOperator):
    """y = R x C^T.

    Args:
        rows: R, (h, H), float64, acts along the height.
        columns: C, (w, W), float64, acts along the width.
    """

    def __init__(self, rows: Tensor, columns: Tensor) -> None:
        super().__init__((rows.shape[1], columns.shape[1]), (rows.shape[0], columns.shape[0]))
        for name, matrix in (("rows", rows), ("columns", columns)):
            left, values, right = torch.linalg.svd(matrix, full_matrices=False)
            self.register_buffer(name, matrix, persistent=False)
            self.register_buffer(f"{name}_left", left, persistent=False)
            self.register_buffer(f"{name}_right", right, persistent=False)
            self.register_buffer(f"{name}_values", values, persistent=False)

    def _between(self, x: Tensor, suffix: str = "") -> Tensor:
        return self.constant(f"rows{suffix}", x) @ x @ self.constant(f"columns{suffix}", x).mT

    def _between_adjoint(self, y: Tensor, suffix: str = "") -> Tensor:
        return self.constant(f"rows{suffix}", y).mT @ y @ self.constant(f"columns{suffix}", y)

    def _forward(self, x: Tensor) -> Tensor:
        return self._between(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._between_adjoint(y)

    def _gram_solve(self, u: Tensor, rho: Tensor) -> Tensor:
        # R and C are wide with full row rank, so their left singular vectors span all of the data space.
        values = torch.outer(self.constant("rows_values", u), self.constant("columns_values", u))
        gains = damped_inverse(values.square(), rho, values.square().amax())
        return self._between(self._between_adjoint(u, "_left") * gains, "_left")

    def svd(self) -> tuple[LinearOperator, Tensor, LinearOperator]:
        """Outer products of the singular vectors of R and C."""
        size = (self.out_shape[0] * self.out_shape[1],)
        U = FromFunctions(size, self.out_shape,
                          lambda c: self._between(c.unflatten(-1, self.out_shape), "_left"),
                          lambda y: self._between_adjoint(y, "_left").flatten(-2))
        Vh = FromFunctions(self.in_shape, size,
                           lambda x: self._between(x, "_right").flatten(-2),
                           lambda c: self._between_adjoint(c.unflatten(-1, self.out_shape), "_right"))
        return U, torch.outer(self.rows_values, self.columns_values).flatten(), Vh


def bicubic_matrix(size: int, factor: int) -> Tensor:
    """The bicubic antialiased reduction of one axis, (size / factor, size): rows sum to 1.

    Keys' cubic kernel with a = -1/2, stretched by the factor, centred on the output pixel, cut at the border
    and normalised there: what PIL and torchvision do, and MATLAB inside the image.

    Reference: Keys, "Cubic convolution interpolation for digital image processing", 1981, eq. 15.
    """
    centres = (torch.arange(size // factor, dtype=torch.float64) + 0.5) * factor - 0.5
    d = (torch.arange(size, dtype=torch.float64) - centres[:, None]).abs() / factor
    near = (1.5 * d - 2.5) * d**2 + 1.0
    far = ((-0.5 * d + 2.5) * d - 4.0) * d + 2.0
    weights = torch.where(d < 1, near, torch.where(d < 2, far, 0.0))
    return weights / weights.sum(dim=1, keepdim=True)


def _bicubic(shape: tuple[int, int], factor: int) -> Separable:
    return Separable(bicubic_matrix(shape[0], factor), bicubic_matrix(shape[1], factor))


KERNELS = {"average": BlockMean, "bicubic": _bicubic}


def downsample(shape: Sequence[int], factor: int = 4, kernel: str = "average") -> LinearOperator:
    """The image reduced by a whole factor along both axes.

    Args:
        shape: (H, W) of the image, both multiples of the factor.
        factor: Whole number, 1 or more.
        kernel: "average" (block means, as a detector with larger pixels would see) or "bicubic" (with
            antialiasing, as image libraries reduce).

    Raises:
        ValueError: the factor does not divide the shape, or the kernel is unknown. The text has the remedy.
    """
    shape = image_shape(shape)
    factor = positive_int("factor", factor)
    if kernel not in KERNELS:
        raise fault("kernel", repr(kernel), " or ".join(map(repr, KERNELS)), "choose one of these")
    if any(n % factor for n in shape):
        cropped = tuple(n - n % factor for n in shape)
        remedy = f"crop the image to {cropped}" if all(cropped) else "take a smaller factor"
        raise fault("factor", f"{factor} for shape {shape}", "a factor that divides height and width", remedy)
    operator = KERNELS[kernel](shape, factor)
    parameters = {"shape": list(shape), "factor": factor, "kernel": kernel}
    operator.spec = {"name": "downsample", "parameters": parameters}
    return operator

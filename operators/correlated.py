"""Gaussian noise whose values depend on each other: between the coils of a scanner, or along a detector."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from operators.checks import complex_array, data_pair, fault, level_at_least, real_array, unit_draws
from operators.inpaint import Inpaint
from operators.linear import LinearOperator


class MixAxes(LinearOperator):
    """y = M x along some axes, taken together, alike for every index of the others.

    Args:
        matrix: M, (m, m), real; m is the product of the sizes of the axes.
        shape: in_shape and out_shape.
        axes: Negative numbers of the axes, in the order in which they are flattened.
    """

    def __init__(self, matrix: Tensor, shape: Sequence[int], axes: Sequence[int]) -> None:
        super().__init__(shape, shape)
        self.axes = tuple(axes)
        self.register_buffer("matrix", matrix.double(), persistent=False)

    def _forward(self, x: Tensor) -> Tensor:
        return along(x, self.axes, self.constant("matrix", x))

    def _adjoint(self, y: Tensor) -> Tensor:
        return along(y, self.axes, self.constant("matrix", y).T)


@dataclass(frozen=True, eq=False)
class CorrelatedGaussian:
    """y = clean + L n, n unit normal: noise of covariance L L^T along some axes of y, independent along the others.

    Args:
        factor: L, (m, m), lower triangular, with a diagonal above zero; m is the product of the sizes of the axes.
        axes: Axes of y whose values depend on each other, as negative numbers, e.g. (-1,) for the detector of a
            sinogram, (-4, -3) for the coils and parts of k-space (C, 2, H, W).

    Raises:
        ValueError: L is no such factor, or the axes are not distinct negative numbers.
    """

    factor: np.ndarray | Tensor
    axes: tuple[int, ...] = (-1,)
    draws: ClassVar[int] = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "axes", tuple(int(axis) for axis in self.axes))  # files hold them as an array
        L = real_array("factor", self.factor)
        if L.ndim != 2 or L.shape[0] != L.shape[1] or np.triu(L, 1).any() or not (np.diag(L) > 0).all():
            raise fault("factor", f"an array of shape {L.shape}", "(m, m), lower triangular, its diagonal above zero",
                        "take np.linalg.cholesky of the covariance, or use CorrelatedGaussian.of_covariance")
        level_at_least("factor", np.diag(L).copy(), "give the data in other units", above=True)
        level_at_least("factor", np.linalg.norm(L), "give the data in other units")
        if not self.axes or len(set(self.axes)) < len(self.axes) or any(axis >= 0 for axis in self.axes):
            raise fault("axes", self.axes, "distinct negative numbers", "count the axes of y from its end")

    @classmethod
    def of_covariance(cls, covariance: np.ndarray | Tensor, axes: tuple[int, ...] = (-1,)) -> CorrelatedGaussian:
        """From the covariance (m, m) itself.

        Raises:
            ValueError: it is not symmetric and positive definite.
        """
        C = real_array("covariance", covariance)
        if C.ndim != 2 or C.shape[0] != C.shape[1] or not np.allclose(C, C.T, rtol=1e-8, atol=1e-12 * np.abs(C).max()):
            raise fault("covariance", f"an array of shape {C.shape}", "(m, m), symmetric", "give E[n n^T]")
        try:
            return cls(np.linalg.cholesky(C), axes)
        except np.linalg.LinAlgError:
            raise fault("covariance", f"a least eigenvalue of {np.linalg.eigvalsh(C)[0]:g}",
                        "a positive definite matrix", "estimate it from more values than it has rows") from None

    @classmethod
    def of_coils(cls, covariance: np.ndarray | Tensor) -> CorrelatedGaussian:
        """For k-space (..., C, 2, H, W), from E[n n^H] (C, C) of the coils' complex noise, circular.

        Noise of standard deviation sigma on each real and imaginary part has E[n n^H] = 2 sigma^2 I.
        """
        half = complex_array("covariance", covariance) / 2.0
        real, imaginary = half.real, half.imag
        parts = np.array([[real, -imaginary], [imaginary, real]])  # (part, part, coil, coil)
        size = 2 * len(half)
        return cls.of_covariance(parts.transpose(2, 0, 3, 1).reshape(size, size), axes=(-4, -3))

    def sample(self, clean: Tensor, *noise: Tensor) -> Tensor:
        """clean + L noise, (B, *out_shape)."""
        unit_draws(clean, noise, self.draws)
        return clean + along(noise[0], self.axes, self._factor(clean))

    def log_likelihood(self, y: Tensor, clean: Tensor) -> Tensor:
        """log N(y; clean, L L^T), summed over all axes but the first: (B,)."""
        data_pair(y, clean)
        L = self._factor(y)
        white = along(y - clean, self.axes, _inverse(L))
        size = y[0].numel()
        constant = -0.5 * size * math.log(2 * math.pi) - L.diagonal().log().sum() * (size / len(L))
        return constant - 0.5 * white.square().flatten(1).sum(dim=1)

    def mean(self, clean: Tensor) -> Tensor:
        """clean."""
        return clean

    def slope(self, y: Tensor, clean: Tensor) -> Tensor:
        """(L L^T)^-1 (y - clean)."""
        inverse = _inverse(self._factor(y))
        return along(y - clean, self.axes, inverse.T @ inverse)

    def deviation(self, y: Tensor, clean: Tensor) -> Tensor:
        """L^-1 (y - clean)."""
        return along(y - clean, self.axes, _inverse(self._factor(y)))

    def divided(self, scale: float) -> CorrelatedGaussian:
        """The noise of y / scale."""
        return CorrelatedGaussian(torch.as_tensor(self.factor) / scale, self.axes)

    def whitened(self, operator: LinearOperator, y: Tensor) -> tuple[LinearOperator, Tensor]:
        """(L^-1 A, L^-1 y): the same measurement with noise Gaussian(1.0). Padding in y stays zero.

        Args:
            operator: A.
            y: (B, ..., *out_shape).

        Raises:
            ValueError: the axes are not among those of out_shape, or data depend on padding.
        """
        shape, axes = operator.out_shape, tuple(len(operator.out_shape) + axis for axis in self.axes)
        if min(axes) < 0:
            raise fault("axes", self.axes, f"axes of out_shape {shape}", "the items of y must be independent")
        white = MixAxes(_inverse(self._factor(y.double())), shape, self.axes)
        whitened = white @ operator
        if operator.measured is not None:
            mask = operator.measured.expand(shape)
            if not bool((mask == mask.amax(dim=axes, keepdim=True)).all()):
                raise fault("measured", "data whose noise depends on that of elements not measured",
                            f"the same mask all along axes {self.axes}", "leave the others out of the covariance")
            whitened = Inpaint(mask) @ whitened
        return whitened, white(y)

    def _factor(self, y: Tensor) -> Tensor:
        L = torch.as_tensor(self.factor).to(y)
        if min(self.axes) < -y.ndim or math.prod(y.shape[axis] for axis in self.axes) != len(L):
            raise fault("factor", f"{len(L)} rows for axes {self.axes} of y {tuple(y.shape)}",
                        "as many rows as these axes have elements", "give the axes that the covariance is about")
        return L


def along(x: Tensor, axes: tuple[int, ...], matrix: Tensor) -> Tensor:
    """matrix times x along the axes, flattened in the order given."""
    ends = tuple(range(-len(axes), 0))
    moved = x.movedim(axes, ends)
    return (moved.flatten(-len(axes)) @ matrix.T).reshape(moved.shape).movedim(ends, axes)


def _inverse(L: Tensor) -> Tensor:
    return torch.linalg.solve_triangular(L, torch.eye(len(L), dtype=L.dtype, device=L.device), upper=False)

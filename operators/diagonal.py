"""Multiplication of each element by its own weight: the whitening of data whose noise differs by element."""

from __future__ import annotations

import torch
from torch import Tensor

from operators.checks import fault
from operators.linear import LinearOperator


class Diagonal(LinearOperator):
    """y = weight x, element by element; in_shape = out_shape = weight.shape. A weight of zero marks padding.

    Args:
        weight: Real floating, finite.

    Raises:
        ValueError: weight is not real floating or not finite.
    """

    def __init__(self, weight: Tensor) -> None:
        if not weight.is_floating_point() or not bool(weight.isfinite().all()):
            raise fault("weight", f"dtype {weight.dtype}", "real floating and finite",
                        "set the weight of data to leave out to zero")
        super().__init__(weight.shape, weight.shape)
        self.register_buffer("weight", weight.double())

    def _forward(self, x: Tensor) -> Tensor:
        return self.constant("weight", x) * x

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.constant("weight", y) * y

    def _gram_solve(self, u: Tensor, rho: Tensor) -> Tensor:
        damped = self.constant("weight", u).square() + rho
        return torch.where(damped > 0, u / torch.where(damped > 0, damped, 1.0), 0.0)

    @property
    def measured(self) -> Tensor | None:
        known = self.weight != 0
        return None if bool(known.all()) else known

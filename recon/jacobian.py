"""The derivative of a measurement at an image, as a linear operator: what makes any likelihood locally Gaussian.

Its constants differ from item to item, so these operators keep the batch axis of the images they were made at.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from operators import Clip, Identity, LinearOperator, Operator, Quantise, operator_norm

NORMS: WeakKeyDictionary[LinearOperator, float] = WeakKeyDictionary()  # of operators, found once


class InUnits(Operator):
    """y = A(scale x + shift): an operator on values, applied to a prior's normalised images."""

    def __init__(self, operator: Operator, scale: float, shift: float) -> None:
        super().__init__(operator.in_shape, operator.out_shape)
        self.operator, self.scale, self.shift = operator, float(scale), float(shift)

    def _forward(self, x: Tensor) -> Tensor:
        return self.operator(self.scale * x + self.shift)

    @property
    def measured(self) -> Tensor | None:
        """That of A."""
        return self.operator.measured


class Jacobian(LinearOperator):
    """v -> dA/dx v at the images x (B, ..., *in_shape), by automatic differentiation.

    The adjoint u -> J^H u is backpropagation; it is linear in u, so its own backpropagation is v -> J v.
    """

    def __init__(self, operator: Operator, x: Tensor) -> None:
        super().__init__(operator.in_shape, operator.out_shape)
        y, self.backward = torch.func.vjp(operator.forward, x)
        self.twice = torch.func.vjp(lambda u: self.backward(u)[0], torch.zeros_like(y))[1]

    def _forward(self, v: Tensor) -> Tensor:
        return self.twice(v)[0]

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.backward(y)[0]


class Weighted(LinearOperator):
    """y = w A x with weights (B, ..., *out_shape) that may differ from item to item."""

    def __init__(self, weights: Tensor, operator: LinearOperator) -> None:
        super().__init__(operator.in_shape, operator.out_shape)
        self.weights, self.operator = weights, operator
        self.lead = tuple(weights.shape[: weights.ndim - len(operator.out_shape)])

    def _forward(self, x: Tensor) -> Tensor:
        return self.weights.to(x) * self.operator(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.operator.adjoint(self.weights.to(y) * y)

    @property
    def measured(self) -> Tensor | None:
        """That of A."""
        return self.operator.measured

    def rows(self, items: list[int]) -> Weighted:
        """For the items given, in that order."""
        return Weighted(self.weights[items], self.operator)


def norms(operator: LinearOperator, like: Tensor) -> Tensor:
    """|A| of each row where they have operators of their own, else one for all, (B or 1, 1, ...) with like's axes."""
    parts = [operator.rows([i]) for i in range(len(like))] if isinstance(operator, Weighted) else [operator]
    return like.new_tensor([_norm(part) for part in parts]).reshape(-1, *(1,) * (like.ndim - 1))


def _norm(operator: LinearOperator) -> float:
    if operator not in NORMS:
        NORMS[operator] = operator_norm(operator)
    return NORMS[operator]


def derivative(operator: Operator, x: Tensor) -> LinearOperator:
    """dA/dx at x: A itself where it is linear."""
    if isinstance(operator, LinearOperator):
        return operator
    if isinstance(operator, InUnits):
        return operator.scale * derivative(operator.operator, operator.scale * x + operator.shift)
    return Jacobian(operator, x)


def secant(operator: Operator, x: Tensor, y: Tensor, std: Tensor) -> LinearOperator:
    """dA/dx at x, but for operators that cut values off the slope that leads to y, data in units of A(x)."""
    if isinstance(operator, InUnits):
        return operator.scale * secant(operator.operator, operator.scale * x + operator.shift, y, std)
    if isinstance(operator, Clip | Quantise):
        return Weighted(operator.secant(x, y, std), Identity(operator.in_shape))
    return derivative(operator, x)

"""How closely an image has to fit its data, for primal-dual solvers: two convex functions of z = A x / |A|.

    Quadratic   f(z) = |(z - b) / sigma|^2 / 2
    Within      f(z) = 0 if |z - b| <= radius, else infinite

All norms are per item. A solver needs f*(q) = max over z of <q, z> - f(z), and its proximal map.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class DataTerm(Protocol):
    """A convex function f of z, per item."""

    b: Tensor

    def value(self, z: Tensor, q: Tensor) -> Tensor:
        """f(z), (B,) float64; q is the multiplier at hand, for terms that are infinite outside a set."""

    def conjugate(self, q: Tensor) -> Tensor:
        """f*(q), (B,) float64."""

    def prox_conjugate(self, v: Tensor, step: Tensor) -> Tensor:
        """argmin over q of f*(q) + |q - v|^2 / (2 step); step broadcasts over v."""

    def items(self, index: Tensor) -> DataTerm:
        """The same for the chosen items of the batch."""


@dataclass(frozen=True, eq=False)
class Quadratic:
    """f(z) = |(z - b) / sigma|^2 / 2, sigma (B, ...) above zero, broadcastable to b."""

    b: Tensor
    sigma: Tensor

    def value(self, z: Tensor, q: Tensor) -> Tensor:
        return total(((z - self.b) / self.sigma) ** 2) / 2

    def conjugate(self, q: Tensor) -> Tensor:
        return total(q * self.b) + total((self.sigma * q) ** 2) / 2

    def prox_conjugate(self, v: Tensor, step: Tensor) -> Tensor:
        return (v - step * self.b) / (1 + step * self.sigma**2)

    def items(self, index: Tensor) -> Quadratic:
        return Quadratic(self.b[index], self.sigma[index])


@dataclass(frozen=True, eq=False)
class Within:
    """f(z) = 0 if |z - b| <= radius, else infinite; radius (B,) zero or more."""

    b: Tensor
    radius: Tensor

    def value(self, z: Tensor, q: Tensor) -> Tensor:
        # |q| times the distance from the ball: the exact penalty, with the same minimiser
        return length(q) * (length(z - self.b) - self.radius).clamp(min=0)

    def conjugate(self, q: Tensor) -> Tensor:
        return total(q * self.b) + self.radius * length(q)

    def prox_conjugate(self, v: Tensor, step: Tensor) -> Tensor:
        moved = v - step * self.b
        size = per_item(length(moved), v).clamp(min=torch.finfo(v.dtype).tiny)
        return moved * (1 - step * per_item(self.radius, v) / size).clamp(min=0)

    def items(self, index: Tensor) -> Within:
        return Within(self.b[index], self.radius[index])


def total(x: Tensor) -> Tensor:
    """Sum over all axes but the first, in float64: (B, ...) -> (B,)."""
    return x.flatten(1).sum(1, dtype=torch.float64)


def length(x: Tensor) -> Tensor:
    """Euclidean norm over all axes but the first, in float64: (B, ...) -> (B,)."""
    return total(x**2).sqrt()


def per_item(values: Tensor, like: Tensor) -> Tensor:
    """(B,) shaped to broadcast over the items of `like`, in its dtype."""
    return values.to(like.dtype).view(-1, *[1] * (like.ndim - 1))

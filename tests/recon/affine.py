"""Random vectors that are affine in a state and in independent noises: updates can be typed as they are printed."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor

_number = count(1)


@dataclass(frozen=True)
class Affine:
    """sum_k parts[k] n_k + offset; part 0 multiplies the state, all others independent unit noises."""

    parts: dict[int, Tensor]
    offset: Tensor

    def __add__(self, other: Affine | Tensor) -> Affine:
        if isinstance(other, Tensor):
            return Affine(self.parts, self.offset + other)
        parts = dict(self.parts)
        for key, part in other.parts.items():
            parts[key] = parts[key] + part if key in parts else part
        return Affine(parts, self.offset + other.offset)

    def __rmul__(self, factor: float) -> Affine:
        return Affine({key: factor * part for key, part in self.parts.items()}, factor * self.offset)

    def __neg__(self) -> Affine:
        return -1.0 * self

    def __sub__(self, other: Affine | Tensor) -> Affine:
        return self + (-other)

    def __truediv__(self, divisor: float) -> Affine:
        return (1 / divisor) * self

    def under(self, matrix: Tensor) -> Affine:
        """matrix times this vector."""
        return Affine({key: matrix @ part for key, part in self.parts.items()}, matrix @ self.offset)

    def law(self, mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and covariance when the state has those given."""
        F = self.parts[0]
        spread = sum((part @ part.T for key, part in self.parts.items() if key), start=F @ covariance @ F.T)
        return F @ mean + self.offset, spread


def state(n: int) -> Affine:
    """The state itself."""
    return Affine({0: torch.eye(n, dtype=torch.float64)}, torch.zeros(n, dtype=torch.float64))


def fresh(n: int) -> Affine:
    """New unit noise."""
    return Affine({next(_number): torch.eye(n, dtype=torch.float64)}, torch.zeros(n, dtype=torch.float64))

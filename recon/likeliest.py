"""Where a datum's likelihood is looked at: at the clean value that is most probable given the datum and an estimate.

A normal approximation of p(y | c) is good near the point it is made at. Samplers know c only within the spread tau of
their estimate, which early on is as wide as the prior: there the estimate says nothing of where c lies, and the datum
does. The mode of p(y | c) N(c; estimate, tau^2), datum by datum, goes from one to the other.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

ITERATIONS = 30
SHARES = 0.01, 1.0  # of the estimate's weight: rays that read-out noise hides where they are dark have two modes
CLOSE = 3e-3  # of a standard deviation of the mode: nearer it makes no difference


class Local(Protocol):
    """What is asked of a noise model."""

    def local(self, y: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
        """See `operators.noise`."""


def most_probable(noise: Local, y: Tensor, estimate: Tensor, spread: Tensor) -> Tensor:
    """argmax over c of log p(y | c) - (c - estimate)^2 / (2 spread^2) for each datum, by Fisher scoring.

    Where there are two modes it is the data's: the way leads from the data, with a hundredth of the estimate's weight.

    Args:
        noise: the noise model.
        y: data (B, ..., *out_shape).
        estimate: of the clean data, shape of y.
        spread: its standard deviation, above zero, broadcastable to y.
    """
    c, certainty = estimate, spread.clamp(min=torch.finfo(y.dtype).tiny ** 0.25).pow(-2)
    for share in SHARES:
        moving = torch.ones_like(c, dtype=torch.bool)
        for _ in range(ITERATIONS):
            root, residual = noise.local(y, c)
            information = root.square() + share * certainty
            step = (root * residual - share * (c - estimate) * certainty) / information
            c = torch.where(moving, c + step, c)
            moving = moving & (step.square() * information > CLOSE**2)
            if not bool(moving.any()):
                break
    return c

"""Noise models: one object both draws the noise and gives the likelihood, so the two cannot disagree.

Each has

    draws                           how many unit normal values it needs for each datum
    sample(clean, *noise)           data from noiseless data A x and `draws` tensors of unit normal values
    log_likelihood(y, clean)        log p(y | A x) for each item, differentiable in clean
    mean(clean)                     E[y], what the data are on average
    slope(y, clean)                 its derivative by clean, for each datum
    deviation(y, clean)             (y - E[y]) / std[y] for each datum: variance 1 where clean is true
    local(y, clean)                 root, r: near clean log p(y | c) is about a constant - (root (c - clean) - r)^2 / 2,
                                    root^2 being the Fisher information of a datum; what Gaussian methods work with
    whitened(operator, y)           for Gaussian noise: the operator and the data that have unit noise
    divided(scale)                  for Gaussian noise: the model of y / scale

Noise is drawn by transforming unit normal values, also where it is not normal, so that whoever holds the random
numbers (one counter for each sample) holds them for every model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from operators.checks import data_pair, fault, level_at_least, level_for, unit_draws
from operators.diagonal import Diagonal
from operators.linear import LinearOperator


@dataclass(frozen=True, eq=False)
class Gaussian:
    """y = clean + sigma n, n unit normal.

    Args:
        sigma: Standard deviation in the units of y; a number, or a tensor broadcastable to y. Exactly zero
            (noiseless data) can be drawn from, but has no likelihood.

    Raises:
        ValueError: sigma is negative, NaN or infinite.
    """

    sigma: float | Tensor
    draws: ClassVar[int] = 1

    def __post_init__(self) -> None:
        level_at_least("sigma", self.sigma, "give the standard deviation in units of y")

    def sample(self, clean: Tensor, *noise: Tensor) -> Tensor:
        """clean + sigma noise.

        Args:
            clean: Noiseless data A x, (B, *out_shape).
            noise: Unit normal draws of the same shape.
        """
        unit_draws(clean, noise, self.draws)
        return clean + level_for("sigma", self.sigma, clean) * noise[0]

    def log_likelihood(self, y: Tensor, clean: Tensor) -> Tensor:
        """log N(y; clean, sigma^2), summed over all axes but the first: (B,).

        Args:
            y: Data, (B, *out_shape).
            clean: Noiseless data A x, of the same shape.

        Raises:
            ValueError: sigma is zero somewhere, or the shapes differ.
        """
        data_pair(y, clean)
        sigma = level_for("sigma", self.sigma, y)
        if not bool((sigma > 0).all()):
            raise fault("sigma", 0.0, "above zero", "noiseless data have no likelihood; give a small sigma")
        terms = -0.5 * ((y - clean) / sigma) ** 2 - sigma.log() - 0.5 * math.log(2 * math.pi)
        return terms.flatten(1).sum(dim=1)

    def mean(self, clean: Tensor) -> Tensor:
        """clean."""
        return clean

    def slope(self, y: Tensor, clean: Tensor) -> Tensor:
        """(y - clean) / sigma^2."""
        return (y - clean) / level_for("sigma", self.sigma, y).square()

    def deviation(self, y: Tensor, clean: Tensor) -> Tensor:
        """(y - clean) / sigma."""
        return (y - clean) / level_for("sigma", self.sigma, y)

    def local(self, y: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
        """1 / sigma and (y - clean) / sigma: exact."""
        root = 1.0 / level_for("sigma", self.sigma, y)
        return root.expand(y.shape), (y - clean) * root

    def divided(self, scale: float) -> Gaussian:
        """The noise of y / scale."""
        return Gaussian(self.sigma / scale)

    def whitened(self, operator: LinearOperator, y: Tensor) -> tuple[LinearOperator, Tensor]:
        """(A / sigma, y / sigma): the same measurement with noise Gaussian(1.0). Padding in y stays zero.

        Args:
            operator: A.
            y: (B, ..., *out_shape).

        Raises:
            ValueError: sigma is zero somewhere, or differs between the items of y.
        """
        level_at_least("sigma", self.sigma, "give exact data a level far below the others", above=True)
        sigma = torch.as_tensor(self.sigma, dtype=torch.float64)
        level_for("sigma", sigma, y)
        if sigma.numel() == 1:
            return (1.0 / float(sigma)) * operator, y / float(sigma)
        axes = len(operator.out_shape)
        if any(n != 1 for n in sigma.shape[: max(0, sigma.ndim - axes)]):
            raise fault("sigma", f"shape {tuple(sigma.shape)}", f"levels that differ over {operator.out_shape} only",
                        "take the items of y one by one")
        weight = (1.0 / sigma).reshape(sigma.shape[max(0, sigma.ndim - axes):]).expand(operator.out_shape)
        if operator.measured is not None:
            weight = weight * operator.measured.to(weight)
        return Diagonal(weight) @ operator, y * weight.to(y)


@dataclass(frozen=True, eq=False)
class Laplace:
    """y = clean + noise with density exp(-|noise| / scale) / (2 scale): tails heavier than normal, as outliers make.

    Args:
        scale: Mean absolute value in the units of y, above zero; its standard deviation is sqrt(2) scale. A number, or
            a tensor broadcastable to y.

    Raises:
        ValueError: scale is not above zero, or not finite.
    """

    scale: float | Tensor
    draws: ClassVar[int] = 1

    def __post_init__(self) -> None:
        level_at_least("scale", self.scale, "give the mean absolute error in units of y", above=True)

    def sample(self, clean: Tensor, *noise: Tensor) -> Tensor:
        """clean + scale l, where l has the quantile of the unit normal `noise`: (B, *out_shape)."""
        unit_draws(clean, noise, self.draws)
        tail = -math.log(2.0) - torch.special.log_ndtr(-noise[0].abs().double())
        return clean + level_for("scale", self.scale, clean) * (tail.to(clean) * noise[0].sign())

    def log_likelihood(self, y: Tensor, clean: Tensor) -> Tensor:
        """-|y - clean| / scale - log(2 scale), summed over all axes but the first: (B,)."""
        data_pair(y, clean)
        scale = level_for("scale", self.scale, y)
        return (-(y - clean).abs() / scale - (2 * scale).log()).flatten(1).sum(dim=1)

    def mean(self, clean: Tensor) -> Tensor:
        """clean."""
        return clean

    def slope(self, y: Tensor, clean: Tensor) -> Tensor:
        """sign(y - clean) / scale."""
        return (y - clean).sign() / level_for("scale", self.scale, y)

    def deviation(self, y: Tensor, clean: Tensor) -> Tensor:
        """(y - clean) / (sqrt(2) scale)."""
        return (y - clean) / (math.sqrt(2.0) * level_for("scale", self.scale, y))

    def local(self, y: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
        """By the parabola that touches |y - c| / scale at clean from above: weights 1 / (scale |y - clean|).

        Within scale of the data, where its curvature would grow without bound, it is held at 1 / scale^2.
        """
        scale = level_for("scale", self.scale, y)
        root = (scale * torch.maximum((y - clean).abs(), scale)).rsqrt()
        return root, root * (y - clean)

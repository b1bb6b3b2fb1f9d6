"""Noise of magnitudes: what is left of complex noise when the phase is thrown away."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from operators.checks import data_pair, fault, level_at_least, level_for, unit_draws

BOUND = 100.0  # of the inverse root information, in units of sigma, where weak signals leave none


@dataclass(frozen=True, eq=False)
class Rician:
    """y = |clean + sigma (n1 + i n2)|, n1 and n2 unit normal: magnitude images of one coil.

    Args:
        sigma: Standard deviation of the real and of the imaginary part each, in the units of y, above zero; a number,
            or a tensor broadcastable to y.

    Raises:
        ValueError: sigma is not above zero, or not finite.

    Reference: Gudbjartsson and Patz, "The Rician distribution of noisy MRI data", 1995.
    """

    sigma: float | Tensor
    draws: ClassVar[int] = 2

    def __post_init__(self) -> None:
        level_at_least("sigma", self.sigma, "give the standard deviation of the real part in units of y", above=True)

    def sample(self, clean: Tensor, *noise: Tensor) -> Tensor:
        """|clean + sigma (n1 + i n2)|, (B, *out_shape), from two tensors of unit normal values."""
        unit_draws(clean, noise, self.draws)
        sigma = level_for("sigma", self.sigma, clean)
        return torch.hypot(clean + sigma * noise[0], sigma * noise[1])

    def log_likelihood(self, y: Tensor, clean: Tensor) -> Tensor:
        """log(y / sigma^2) - (y^2 + clean^2) / (2 sigma^2) + log I0(y clean / sigma^2), summed: (B,).

        It does not depend on the sign of clean. A magnitude of exactly zero, of density zero, counts as the smallest
        number instead: that adds a constant, and no gradient.

        Raises:
            ValueError: y has negative values.
        """
        data_pair(y, clean)
        if bool((y < 0).any()):
            raise fault("y", f"values from {y.min():g}", "magnitudes of zero or more", "use Gaussian for signed data")
        sigma = level_for("sigma", self.sigma, y)
        size = clean.abs()
        bessel = torch.special.i0e(y * size / sigma**2).log()  # log I0(z) - z; the z completes the square
        least = y.clamp(min=torch.finfo(y.dtype).tiny)
        terms = least.log() - 2 * sigma.log() - 0.5 * ((y - size) / sigma) ** 2 + bessel
        return terms.flatten(1).sum(dim=1)

    def mean(self, clean: Tensor) -> Tensor:
        """sigma sqrt(pi / 2) L_1/2(-clean^2 / (2 sigma^2)), L_1/2 the Laguerre function."""
        sigma = level_for("sigma", self.sigma, clean)
        t = (clean / sigma).square() / 4
        laguerre = (1 + 2 * t) * torch.special.i0e(t) + 2 * t * torch.special.i1e(t)
        return sigma * math.sqrt(math.pi / 2) * laguerre

    def slope(self, y: Tensor, clean: Tensor) -> Tensor:
        """(y I1(z) / I0(z) - |clean|) sign(clean) / sigma^2 with z = y |clean| / sigma^2."""
        variance = level_for("sigma", self.sigma, y).square()
        z = y * clean.abs() / variance
        return (y * torch.special.i1e(z) / torch.special.i0e(z) - clean.abs()) * clean.sign() / variance

    def deviation(self, y: Tensor, clean: Tensor) -> Tensor:
        """(y - E[y]) / std[y], by E[y^2] = clean^2 + 2 sigma^2."""
        sigma, c = level_for("sigma", self.sigma, y).double(), clean.double()
        mean = self.mean(c)
        variance = (c.square() + 2 * sigma.square() - mean.square()).clamp(min=0.4 * sigma.square())
        return ((y - mean) * variance.rsqrt()).to(y)

    def local(self, y: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
        """By its slope and the information clean^2 / (sigma^2 (clean^2 + sigma^2)).

        That is the Fisher information in the limits of weak and of strong signals, and within a fifth of it between.
        """
        sigma = level_for("sigma", self.sigma, y)
        size = torch.hypot(clean, sigma)
        ratio = torch.special.i1e(y * clean.abs() / sigma**2) / torch.special.i0e(y * clean.abs() / sigma**2)
        root = clean.abs() / (sigma * size)
        return root, (y * ratio - clean.abs()) * clean.sign() / sigma * (size / clean.abs()).clamp(max=BOUND)

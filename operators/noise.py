"""Noise models: one object both draws the noise and gives the likelihood, so the two cannot disagree."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from operators.checks import fault


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

    def __post_init__(self) -> None:
        sigma = torch.as_tensor(self.sigma, dtype=torch.float64)
        if not bool((sigma.isfinite() & (sigma >= 0)).all()):
            raise fault("sigma", self.sigma, "finite and zero or more",
                        "give the standard deviation in units of y")

    def sample(self, clean: Tensor, noise: Tensor) -> Tensor:
        """clean + sigma noise.

        Args:
            clean: Noiseless data A x, (B, *out_shape).
            noise: Unit normal draws of the same shape.
        """
        if noise.shape != clean.shape:
            raise fault("noise", f"shape {tuple(noise.shape)}", f"that of the data, {tuple(clean.shape)}",
                        "draw it with torch.randn_like(clean)")
        return clean + self._sigma_for(clean) * noise

    def log_likelihood(self, y: Tensor, clean: Tensor) -> Tensor:
        """log N(y; clean, sigma^2), summed over all axes but the first: (B,).

        Args:
            y: Data, (B, *out_shape).
            clean: Noiseless data A x, of the same shape.

        Raises:
            ValueError: sigma is zero somewhere, or the shapes differ.
        """
        if y.shape != clean.shape or y.ndim < 2:
            raise fault("log_likelihood", f"y {tuple(y.shape)} and clean {tuple(clean.shape)}",
                        "two equal shapes (B, ...)", "give both a batch axis and the same shape")
        sigma = self._sigma_for(y)
        if not bool((sigma > 0).all()):
            raise fault("sigma", 0.0, "above zero", "noiseless data have no likelihood; give a small sigma")
        terms = -0.5 * ((y - clean) / sigma) ** 2 - sigma.log() - 0.5 * math.log(2 * math.pi)
        return terms.flatten(1).sum(dim=1)

    def _sigma_for(self, y: Tensor) -> Tensor:
        sigma = torch.as_tensor(self.sigma, dtype=y.dtype, device=y.device)
        pairs = zip(sigma.shape[::-1], y.shape[::-1], strict=False)
        if sigma.ndim > y.ndim or any(a not in (1, b) for a, b in pairs):
            raise fault("sigma", f"shape {tuple(sigma.shape)}", f"broadcastable to y {tuple(y.shape)}",
                        "give a number, or one value for each element of y")
        return sigma

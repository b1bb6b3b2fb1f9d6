"""RED-diff: a point estimate mu by stochastic gradients of a variational bound, over falling noise levels.

The approximate posterior is N(mu, s^2) with s -> 0. Its bound has the gradient A^H (A mu - y) of the data and, at each
level, weight (mu - D(mu + sigma n)) of the prior, D being the denoiser: the paper's (sigma_t / alpha_t) weight
(eps_theta - eps). Each level gives one step of Adam. The end is a mode, different for different noise; the spread of
several is no posterior's.

Reference: Mardani et al., A variational perspective on solving inverse problems with diffusion models, 2023,
proposition 2 and algorithm 1, arXiv:2305.04391. The paper's code takes means over data and over pixels where the
sums of the bound are taken here; for a denoising problem they are the same.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from operators import LinearOperator
from recon.condition import Denoise
from recon.likelihood import Measurement
from recon.noise import Noise


def data_gradient(measurement: Measurement, x: Tensor) -> Tensor:
    """The gradient of |y - A(x)|^2 / 2, shape of x; by automatic differentiation where A is not linear."""
    if isinstance(measurement.operator, LinearOperator):
        return -measurement.operator.adjoint(measurement.residual(x))
    with torch.enable_grad():
        leaf = x.detach().requires_grad_(True)
        return torch.autograd.grad(0.5 * measurement.residual(leaf).square().sum(), leaf)[0]


class AdamDescent:
    """A step with memory: x is mu, and each level moves it by one step of Adam. Make one for each run.

    Args:
        measurement: y and A, which may be nonlinear.
        first: mu to begin with, (B, *event); the state that the loop starts from is not used.
        weight: of the prior against the data, lambda in the paper.
        rate: length of Adam's step, in the prior's normalised units.
        betas: of Adam.

    Reference: Kingma, Ba, Adam, 2015, algorithm 1, arXiv:1412.6980.
    """

    def __init__(
        self,
        measurement: Measurement,
        first: Tensor,
        weight: float,
        rate: float,
        betas: tuple[float, float] = (0.9, 0.99),
    ) -> None:
        self.measurement, self.first, self.weight, self.rate, self.betas = measurement, first, weight, rate, betas
        self.count, self.slope, self.power = 0, torch.zeros(()), torch.zeros(())

    def __call__(self, denoise: Denoise, x: Tensor, sigma: float, sigma_next: float, noise: Noise) -> Tensor:
        mu = self.first if self.count == 0 else x
        prior = mu - denoise(mu + sigma * noise(mu), sigma)
        gradient = data_gradient(self.measurement, mu) + self.weight * prior
        a, b = self.betas
        self.count += 1
        self.slope = a * self.slope + (1 - a) * gradient
        self.power = b * self.power + (1 - b) * gradient.square()
        size = self.rate * math.sqrt(1 - b**self.count) / (1 - a**self.count)
        return mu - size * self.slope / (self.power.sqrt() + 1e-8 * math.sqrt(1 - b**self.count))

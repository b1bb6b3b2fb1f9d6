"""A stochastic step of second order: DDPM's ancestral step with memory."""

from __future__ import annotations

import math

from torch import Tensor

from recon.condition import Denoise
from recon.noise import Noise


def memory(fresh: float, before: float) -> float:
    """e of `Ancestral2M` for a share `fresh` = 1 - k of new noise, and that of the step before."""
    return fresh**2 / (2 * before * (1 + fresh / 4))


class Ancestral2M:
    """x' = x0 + k (x - x0) + c n + e (x0 - x0_before): order 2 in law with one network call a step.

    k = (sigma'/sigma)^2 and c = sigma' (1 - k)^(1/2) are those of the ancestral step, which takes the mean x0 where the
    chain draws from p(x0 | x), of covariance C, and so loses (1 - k)^2 C of the variance at every step: a first-order
    error, a tenth of the variance in fifty steps. The estimate is a martingale of the reverse process. Its change is
    that part of the last fresh noise which it explains, C (1 - k_before) in covariance with x, so that

        e = (1 - k)^2 / (2 (1 - k_before)) / (1 + (1 - k) / 4)

    puts the loss back and leaves the mean alone. The last factor, 1 to first order, is for the part of the change that
    the step before put there itself: with it Gaussian images of any spectrum keep their variance to 0.3 % in 50 steps
    and to 3 % in 20. After a level that a move has changed, and at the first, the step is the ancestral one.

    Reference: Lu et al., DPM-Solver++, 2022, SDE-DPM-Solver++(2M), equation 18, arXiv:2211.01095, whose e is
    (1 - k) / 2 times the ratio of the steps in log sigma: the same for even small steps.
    """

    def __init__(self) -> None:
        self.reached: Tensor | None = None  # the state last returned, and what led there
        self.estimate: Tensor | None = None
        self.fresh = 1.0

    def __call__(self, denoise: Denoise, x: Tensor, sigma: float, sigma_next: float, noise: Noise) -> Tensor:
        if sigma_next > sigma:
            return x + math.sqrt(sigma_next**2 - sigma**2) * noise(x)
        x0 = denoise(x, sigma)
        if sigma_next == 0:
            return x0
        fresh = 1 - (sigma_next / sigma) ** 2
        moved = x - fresh * (x - x0) + sigma_next * math.sqrt(fresh) * noise(x)
        if x is self.reached:
            moved = moved + memory(fresh, self.fresh) * (x0 - self.estimate)
        self.reached, self.estimate, self.fresh = moved, x0, fresh
        return moved

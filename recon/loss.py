"""Loss guidance: the likelihood of draws around the estimate, averaged, in place of the likelihood of the estimate."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from recon.condition import Guidance, Vjp
from recon.likelihood import Measurement
from recon.noise import Noise


def mean_likelihood(
    measurement: Measurement,
    variance: Callable[[float], float],
    extra: Callable[[float], float | Tensor],
    draws: int,
    noise: Noise,
) -> Guidance:
    """sigma^2 grad_x log mean_i N(y; A x_i, sigma_y^2 + extra(sigma)), x_i draws of N(x0, r^2), r^2 = variance(sigma).

    The gradient is J^T A^H of the residuals' mean under the draws' own weights, a softmax of their log-likelihoods, one
    for each row. With extra = 0 it tends to `guidance.white` as the draws grow in number; where the draws' noise is far
    above sigma_y, one draw takes all the weight, and its noise is followed as if it were signal. Draws come in pairs
    x0 + r n and x0 - r n (those of the paper are independent), which takes half the noise and half the products with A.

    Reference: Song et al., Loss-guided diffusion models, 2023, equations 8 and 9.
    """
    operator = measurement.operator

    def shift(x0: Tensor, vjp: Vjp, sigma: float) -> Tensor:
        spread, residual = variance(sigma) ** 0.5, measurement.residual(x0)
        total = torch.as_tensor(measurement.sigma**2 + extra(sigma), dtype=x0.dtype, device=x0.device)
        apart = spread * operator(torch.stack([noise(x0) for _ in range((draws + 1) // 2)]))
        # -|r -+ a|^2 / 2 but for what all draws share
        across, size = (residual * apart).flatten(2).sum(2), 0.5 * apart.square().flatten(2).sum(2)
        share = (torch.cat([across - size, -across - size])[:draws] / total.flatten()).softmax(0)
        mirrored = torch.zeros_like(across)
        mirrored[: draws // 2] = share[len(apart) :]
        pull = (share[: len(apart)] - mirrored).reshape(*across.shape, *(1,) * (residual.ndim - 1))
        return vjp(operator.adjoint(residual - (pull * apart).sum(0)), last=True) * (sigma**2 / total)

    return shift

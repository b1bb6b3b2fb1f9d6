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
    above sigma_y, one draw takes all the weight, and its noise is followed as if it were signal.

    Reference: Song et al., Loss-guided diffusion models, 2023, equations 8 and 9.
    """
    operator = measurement.operator

    def shift(x0: Tensor, vjp: Vjp, sigma: float) -> Tensor:
        spread = variance(sigma) ** 0.5
        total = torch.as_tensor(measurement.sigma**2 + extra(sigma), dtype=x0.dtype, device=x0.device)
        apart = operator(torch.stack([noise(x0) for _ in range(draws)]))
        residuals = measurement.residual(x0) - spread * apart
        logs = -0.5 * residuals.flatten(2).square().sum(2) / total.flatten()
        share = logs.softmax(0).reshape(*logs.shape, *(1,) * (residuals.ndim - 2))
        return vjp(operator.adjoint((share * residuals).sum(0))) * (sigma**2 / total)

    return shift

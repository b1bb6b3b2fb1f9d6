"""The losses of score matching, each an unbiased |D(x, sigma) - x0|^2, and the weights of the noise levels.

With the score (D - x) / sigma^2 of the noisy images, integration by parts turns E |D - x0|^2 into
E [|D - x|^2 + 2 sigma^2 tr dD/dx - sigma^2 n], which needs no clean image; it is Stein's unbiased risk estimate. So
denoising, implicit and sliced score matching have one minimum and one expectation, and differ in variance and price:

    denoising   |D - x0|^2, one backpropagation (Vincent, 2011, doi:10.1162/NECO_a_00142)
    implicit    the exact trace, n more backpropagations (Hyvarinen, 2005)
    sliced      v^T dD/dx v for one random sign vector v, one more (Song et al., 2019, arXiv:1905.07088)

Discrete noise levels of NCSN (Song and Ermon, 2019, arXiv:1907.05600) are a choice of levels, see `recon.levels`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from recon.prior import Prior, ScorePrior, per_item
from recon.sde import SDE

Objective = Callable[[Prior, Tensor, Tensor, Tensor], Tensor]


def denoising(prior: Prior, x0: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
    """|D(x0 + sigma n) - x0|^2 as a mean over the values of each image, (B,)."""
    x = x0 + per_item(sigma, x0) * noise
    return (prior.denoise(x, sigma) - x0).square().flatten(1).mean(1)


def _risk(x: Tensor, estimate: Tensor, trace: Tensor, sigma: Tensor) -> Tensor:
    """(|D - x|^2 + 2 sigma^2 tr dD/dx) / n - sigma^2, (B,)."""
    n = x[0].numel()
    return (estimate - x).square().flatten(1).mean(1) + sigma.square() * (2 * trace / n - 1)


def _along(estimate: Tensor, x: Tensor, v: Tensor) -> Tensor:
    """v^T dD/dx v of each image, (B,), differentiable."""
    return (torch.autograd.grad(estimate, x, v, create_graph=True)[0] * v).flatten(1).sum(1)


def sliced(prior: Prior, x0: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
    """Stein's risk with the trace along one random sign vector, (B,), which torch's own generator draws."""
    x = (x0 + per_item(sigma, x0) * noise).requires_grad_(True)
    estimate = prior.denoise(x, sigma)
    signs = torch.randint(0, 2, x.shape, device=x.device).to(x) * 2 - 1
    return _risk(x, estimate, _along(estimate, x, signs), sigma)


def implicit(prior: Prior, x0: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
    """Stein's risk with the exact trace, (B,); one backpropagation for every value of an image."""
    x = (x0 + per_item(sigma, x0) * noise).requires_grad_(True)
    estimate = prior.denoise(x, sigma)
    units = torch.eye(x[0].numel(), dtype=x.dtype, device=x.device).reshape(-1, *x.shape[1:])
    return _risk(x, estimate, sum(_along(estimate, x, unit.expand_as(x)) for unit in units), sigma)


OBJECTIVES: dict[str, Objective] = {"denoising": denoising, "sliced": sliced, "implicit": implicit}

Weighting = Callable[[Tensor, float, SDE], Tensor]


def _likelihood(sigma: Tensor, data_std: float, sde: SDE) -> Tensor:
    """(d sigma^2 / dt) / sigma^4: g(t)^2 on the score in the SDE's own coordinates, for times that are drawn evenly."""
    t = sde.time(sigma)
    g2 = (sde.diffusion(t) / sde.scale(t)).square()
    return g2.to(sigma) / sigma**4


# lambda(sigma) on |D - x0|^2. "edm" gives the network a target of unit weight (Karras et al., 2022); "eps" is the loss
# of DDPM; "likelihood" bounds -log p (Song et al., 2021, arXiv:2101.09258); "min_snr" caps the signal-to-noise ratio
# at 5 (Hang et al., 2023, arXiv:2303.09556).
WEIGHTINGS: dict[str, Weighting] = {
    "edm": lambda sigma, s, sde: (sigma.square() + s**2) / (sigma * s).square(),
    "eps": lambda sigma, s, sde: sigma**-2,
    "likelihood": _likelihood,
    "min_snr": lambda sigma, s, sde: (sigma**-2).clamp(max=5.0),
}


def score_matching_loss(
    prior: ScorePrior, x0: Tensor, sigma: Tensor, noise: Tensor, objective: str = "denoising", weighting: str = "edm"
) -> Tensor:
    """Weighted error of the estimate for each image, (B,): the mean over its values of lambda(sigma) |D - x0|^2."""
    weight = WEIGHTINGS[weighting](sigma, prior.data_std, prior.sde)
    return weight * OBJECTIVES[objective](prior, x0, sigma, noise)

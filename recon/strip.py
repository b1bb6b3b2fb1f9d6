"""What a prior makes of one image under more and more noise, to be looked at."""

from __future__ import annotations

import torch
from torch import Tensor

from recon.prior import Prior, per_item


def denoising_strip(prior: Prior, image: Tensor, sigmas: Tensor, seed: int = 0) -> tuple[Tensor, Tensor, list[float]]:
    """x0 + sigma n and its estimate E[x0 | x0 + sigma n] for one image and several noise levels.

    Args:
        image: (C, H, W), values in the prior's unit.
        sigmas: (L,), normalised units; the same noise n at all levels.
        seed: of the noise.

    Returns:
        noised images and estimates, (L, C, H, W) each, in the prior's unit, and the estimates' PSNR in dB of the
        normalised range -1 .. 1.
    """
    x0 = prior.from_value(image)[None].to(prior.device)
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(seed)).to(x0)
    levels = sigmas.to(x0)
    x = x0 + per_item(levels, x0.expand(len(levels), *x0.shape[1:])) * noise
    with torch.no_grad():
        estimates = prior.denoise(x, levels)
    quality = 10 * torch.log10(4 / (estimates - x0).square().flatten(1).mean(1))
    return prior.to_value(x).cpu(), prior.to_value(estimates).cpu(), quality.tolist()

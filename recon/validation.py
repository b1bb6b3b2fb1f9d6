"""How well a prior denoises held-out images, when a training asks that, and the best that it has found."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from recon.objectives import score_matching_loss
from recon.prior import ScorePrior, per_item
from recon.train_config import TrainConfig

BANDS = (0.01, 0.05, 0.2, 0.8, 3.0, 10.0)  # edges of the noise levels that validation reports, normalised units
MOST, LEAST = 256, 32  # held-out images that are used: so many of 64 x 64, not fewer than this of large ones
SHARE = 0.05  # of a training's time that its checks take
FEWEST_STEPS = 50  # between two checks


def evenly(images: Tensor, most: int, least: int) -> Tensor:
    """Some of the images (N, C, H, W), evenly spread: `most` of small ones, of larger ones fewer."""
    count = min(len(images), max(least, min(most, most * 2 * 64**2 // math.prod(images.shape[-2:]))))
    return images[torch.linspace(0, len(images) - 1, count).long()]


@torch.no_grad()
def validation_losses(prior: ScorePrior, images: Tensor) -> dict[str, float]:
    """Denoising PSNR in dB (of the image's range of 2) over bands of sigma, and the mean weighted loss; same noise
    each time.
    """
    generator = torch.Generator().manual_seed(1234)
    x0 = prior.from_value(evenly(images, MOST, LEAST).float())
    result, losses = {}, []
    for low, high in zip(BANDS, BANDS[1:], strict=False):
        sigma = torch.exp(math.log(low) + (math.log(high) - math.log(low)) * (torch.arange(len(x0)) + 0.5) / len(x0))
        noise = torch.randn(x0.shape, generator=generator).to(x0)
        sigma = sigma[torch.randperm(len(x0), generator=generator)].to(x0)
        mse = []
        for part in torch.arange(len(x0)).split(64):
            x = x0[part] + per_item(sigma[part], x0[part]) * noise[part]
            mse.append((prior.denoise(x, sigma[part]) - x0[part]).square().flatten(1).mean(1))
            losses.append(score_matching_loss(prior, x0[part], sigma[part], noise[part]))
        result[f"psnr_{low:g}_{high:g}"] = round(float(10 * torch.log10(4 / torch.cat(mse).mean())), 3)
    return {"loss": round(float(torch.cat(losses).mean()), 5), **result}


def steps_between(images: Tensor, batch_size: int) -> int:
    """After how many steps a training checks itself on held-out images (N, C, H, W).

    It is a matter of the settings, not of the clock, so that a run which was stopped checks, and keeps, the same.
    """
    passes = len(evenly(images, MOST, LEAST)) * (len(BANDS) - 1) / 3  # a step costs about three passes an image
    return max(FEWEST_STEPS, math.ceil(passes / SHARE / batch_size))


@dataclass
class Kept:
    """The prior that a training hands over: its last one, or the one of least validation loss, with its step."""

    prior: ScorePrior
    config: TrainConfig
    step: int = 0
    losses: dict[str, float] = field(default_factory=dict)

    def offer(self, prior: ScorePrior, step: int, losses: dict[str, float]) -> None:
        """Take a prior over if the settings or its loss say so."""
        first = not self.losses or not math.isfinite(self.losses["loss"])
        if self.config.keep == "last" or first or losses["loss"] < self.losses["loss"]:
            self.prior.network.load_state_dict(prior.network.state_dict())
            self.step, self.losses = step, losses

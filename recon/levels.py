"""Which noise levels a training batch gets: samplers (config, sde, count, generator) -> sigma (count,).

All are stratified over the batch, one level in each of `count` equal shares of the distribution, which lowers the
variance of the loss.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from recon.sde import SDE

if TYPE_CHECKING:
    from recon.train_config import TrainConfig


def _shares(count: int, generator: torch.Generator) -> Tensor:
    """One number in each of `count` equal parts of [0, 1), shifted together at random."""
    return (torch.rand((), generator=generator) + torch.arange(count) / count) % 1


def lognormal(config: TrainConfig, sde: SDE, count: int, generator: torch.Generator) -> Tensor:
    """log sigma normal, cut off at the ends of the process. Reference: Karras et al., 2022, section 5."""
    u = _shares(count, generator)
    low, high = ((math.log(s) - config.log_sigma_mean) / config.log_sigma_std for s in (sde.sigma_min, sde.sigma_max))
    normal = torch.distributions.Normal(0.0, 1.0)
    low, high = (normal.cdf(torch.tensor(v)) for v in (low, high))
    z = normal.icdf((low + u * (high - low)).clamp(1e-6, 1 - 1e-6))
    return (config.log_sigma_mean + config.log_sigma_std * z).exp()


def uniform_time(config: TrainConfig, sde: SDE, count: int, generator: torch.Generator) -> Tensor:
    """Even times of the process: linear beta for VP and sub-VP, geometric for VE. Reference: Song et al., 2021."""
    t_min = max(1e-3, sde.t_min) if sde.t_min else 0.0
    return sde.sigma(t_min + _shares(count, generator).double() * (sde.t_max - t_min)).float()


def cosine(config: TrainConfig, sde: SDE, count: int, generator: torch.Generator) -> Tensor:
    """sigma = tan(pi u / 2), the cosine schedule at even times u, inside the ends of the process.

    Reference: Nichol and Dhariwal, 2021, arXiv:2102.09672, without the offset.
    """
    low, high = (2 / math.pi * math.atan(s) for s in (sde.sigma_min, sde.sigma_max))
    return torch.tan(0.5 * math.pi * (low + _shares(count, generator) * (high - low)))


def discrete(config: TrainConfig, sde: SDE, count: int, generator: torch.Generator) -> Tensor:
    """One of a number of geometric levels, as in NCSN. Reference: Song and Ermon, 2019, arXiv:1907.05600."""
    ladder = torch.logspace(math.log10(sde.sigma_max), math.log10(sde.sigma_min), config.level_count)
    return ladder[(_shares(count, generator) * config.level_count).long().clamp(max=config.level_count - 1)]


LEVELS = {"lognormal": lognormal, "uniform_time": uniform_time, "cosine": cosine, "discrete": discrete}

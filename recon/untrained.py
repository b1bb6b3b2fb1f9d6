"""The prior that a training starts from: its network, its SDE, and the statistics of the images."""

from __future__ import annotations

import torch
from torch import Tensor

from recon.batches import centred
from recon.checkpoint import load_prior
from recon.networks import NETWORKS
from recon.prior import ScorePrior, Units
from recon.sde import SDE, SDES
from recon.train_config import TrainConfig


def new_prior(
    config: TrainConfig, images: Tensor, units: Units, handed: Units, name: str, provenance: dict
) -> ScorePrior:
    """An untrained prior for images (N, C, H, W) that are `handed` in other multiples of the prior's `units`."""
    arguments = {
        "channels": images.shape[1],
        "widths": list(config.widths),
        "blocks": config.blocks,
        "attention": list(config.attention),
        "unshuffle": config.unshuffle,
        "dropout": config.dropout,
    }
    if config.classes:
        arguments["classes"] = config.classes
    some = images[torch.linspace(0, len(images) - 1, min(512, len(images))).long()]
    some = centred(some, config.crop).float().flatten(1) / handed.scale
    apart = some - some.mean(0)
    spread = torch.linalg.eigvalsh(apart @ apart.T / len(some))[-1].clamp(min=0).sqrt()
    header = {
        "network": {"name": "unet", "arguments": arguments},
        "predicts": config.predicts,
        "provenance": provenance,
        "spread": float(spread),
    }
    torch.manual_seed(config.seed)
    prior = ScorePrior(
        NETWORKS["unet"](**arguments),
        tuple(centred(images[:1], config.crop).shape[1:]),
        process(config, some),
        float(some.std()),
        units,
        name,
        header,
    )
    prior.network.checkpointing = config.checkpointing
    if config.initial:
        start = load_prior(config.initial)
        prior.network.load_state_dict(start.network.state_dict())
        prior.header["started_from"] = {"name": start.name, **start.header.get("provenance", {})}
    return prior.to(memory_format=torch.channels_last)


def process(config: TrainConfig, images: Tensor) -> SDE:
    """The SDE of the config; VE reaches the largest distance between two of the normalised images (N, d).

    Reference: Song and Ermon, Improved techniques, 2020, technique 1, arXiv:2006.09011.
    """
    if config.sde != "ve":
        return SDES[config.sde]()
    return SDES["ve"](sigma_high=round(float(torch.cdist(images, images).max()), 2))

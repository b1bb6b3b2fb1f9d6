"""Random batches of training images, normalised and augmented; all from one generator."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from recon.prior import Units

if TYPE_CHECKING:
    from recon.train_config import TrainConfig


def crop(images: Tensor, index: Tensor, size: int | None, generator: torch.Generator) -> Tensor:
    """The images (N, C, H, W) of `index`, or a random window of size x size of each."""
    if size is None:
        return images[index].float()
    tops, lefts = (
        (torch.rand(len(index), generator=generator) * (length - size + 1)).long() for length in images.shape[-2:]
    )
    windows = [
        images[i, :, top : top + size, left : left + size]
        for i, top, left in zip(index.tolist(), tops.tolist(), lefts.tolist(), strict=True)
    ]
    return torch.stack(windows).float()


def centred(images: Tensor, size: int | None) -> Tensor:
    """The middle size x size of images (N, C, H, W), or the whole of them."""
    if size is None:
        return images
    top, left = ((length - size) // 2 for length in images.shape[-2:])
    return images[..., top : top + size, left : left + size]


def warp(x: Tensor, degrees: float, zoom: float, generator: torch.Generator) -> Tensor:
    """Each image turned by up to `degrees` and scaled by up to a share `zoom`, about its centre, bilinear; the edge
    is repeated outward.
    """
    turn, size = torch.rand(2, len(x), generator=generator) * 2 - 1
    angle, factor = turn * math.radians(degrees), ((1 + zoom) ** size).reciprocal()
    aspect = x.shape[-2] / x.shape[-1]  # grid_sample measures both axes from -1 to 1
    rows = torch.stack(
        [
            torch.stack([angle.cos(), -angle.sin() * aspect, torch.zeros_like(angle)], 1),
            torch.stack([angle.sin() / aspect, angle.cos(), torch.zeros_like(angle)], 1),
        ],
        1,
    )
    grid = F.affine_grid(factor[:, None, None] * rows, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


def draw_batch(
    images: Tensor, units: Units, config: TrainConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """A random batch (B, C, H, W) in normalised units, augmented as the config says, and which images they are."""
    index = torch.randint(len(images), (config.batch_size,), generator=generator)
    x0 = (crop(images, index, config.crop, generator) - units.shift) / units.scale
    if config.flip:
        flipped = torch.rand(config.batch_size, generator=generator) < 0.5
        x0 = torch.where(flipped[:, None, None, None], x0.flip(-1), x0)
    return (warp(x0, config.rotate, config.zoom, generator) if config.rotate or config.zoom else x0), index


def draw_labels(labels: Tensor, config: TrainConfig, generator: torch.Generator) -> Tensor:
    """Labels (B,) of which a share is replaced by the one that means none.

    Reference: Ho and Salimans, Classifier-free diffusion guidance, 2022, algorithm 1, arXiv:2207.12598.
    """
    dropped = torch.rand(len(labels), generator=generator) < config.drop_label
    return labels.masked_fill(dropped, config.classes)

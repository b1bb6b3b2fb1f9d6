"""The score network: a small U-Net with noise-level embedding and attention, built for many images a second.

Images are folded into channels first (pixel unshuffle), so that no convolution runs at full resolution; on a CPU
that is worth a factor of two in training images an hour at equal parameters; weights lie channels last, worth another
tenth in training and a quarter in sampling. The blocks are those of
Ho et al., 2020 (arXiv:2006.11239) with the scale-and-shift conditioning of Dhariwal and Nichol, 2021
(arXiv:2105.05233).
The network is fully convolutional: any height and width that `multiple` divides.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from recon.diffusers_network import DiffusersNetwork


class NoiseEmbedding(nn.Module):
    """c (B,) -> (B, width): Fourier features of the noise coordinate through a two-layer perceptron."""

    def __init__(self, width: int, features: int = 64) -> None:
        super().__init__()
        frequencies = torch.exp(torch.linspace(math.log(0.5), math.log(16.0), features // 2))
        self.register_buffer("frequencies", frequencies)
        self.layers = nn.Sequential(nn.Linear(features, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())

    def forward(self, c: Tensor) -> Tensor:
        phase = c[:, None] * self.frequencies
        return self.layers(torch.cat([phase.sin(), phase.cos()], dim=1))


def _norm(channels: int) -> nn.GroupNorm:
    groups = next(g for g in (16, 12, 8, 6, 4, 3, 2, 1) if channels % g == 0)
    return nn.GroupNorm(groups, channels)


class Block(nn.Module):
    """h (B, in, H, W), embedding (B, E) -> (B, out, H, W): residual, two 3x3 convolutions, scale and shift between."""

    def __init__(self, channels_in: int, channels_out: int, embedding: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = _norm(channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.modulation = nn.Linear(embedding, 2 * channels_out)
        self.norm2 = _norm(channels_out)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        self.skip = nn.Identity() if channels_in == channels_out else nn.Conv2d(channels_in, channels_out, 1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.modulation(embedding)[:, :, None, None].chunk(2, dim=1)
        inner = self.conv1(F.silu(self.norm1(h)))
        inner = torch.addcmul(shift, self.norm2(inner), 1 + scale)
        return self.skip(h) + self.conv2(self.dropout(F.silu(inner)))


class Attention(nn.Module):
    """h (B, C, H, W) -> (B, C, H, W): residual self-attention over all positions."""

    def __init__(self, channels: int, head_width: int = 32) -> None:
        super().__init__()
        self.heads = max(1, channels // head_width)
        self.norm = _norm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, h: Tensor) -> Tensor:
        b, c, height, width = h.shape
        q, k, v = (
            self.qkv(self.norm(h))
            .reshape(b, 3, self.heads, c // self.heads, height * width)
            .transpose(-1, -2)
            .unbind(1)
        )
        mixed = F.scaled_dot_product_attention(q, k, v)
        return h + self.out(mixed.transpose(-1, -2).reshape(b, c, height, width))


class UNet(nn.Module):
    """F(x, c, label): x (B, C, H, W) of unit variance, c (B,) the noise coordinate, label (B,) -> (B, C, H, W).

    Args:
        channels: channels C of the image.
        widths: channels of the levels, finest first; every further level halves the resolution.
        blocks: residual blocks of a level on the way down, and again on the way up.
        attention: the levels (0 is the finest) that get self-attention after their blocks.
        unshuffle: factor by which pixels are folded into channels before the first convolution.
        dropout: probability of dropping a channel value inside a block, in training.
        embedding: width of the noise embedding.
        classes: how many kinds of images there are labels for; 0 for a network without labels.
    """

    def __init__(
        self,
        channels: int,
        widths: tuple[int, ...] = (96, 128, 128),
        blocks: int = 1,
        attention: tuple[int, ...] = (1, 2),
        unshuffle: int = 4,
        dropout: float = 0.0,
        embedding: int = 256,
        classes: int = 0,
    ) -> None:
        super().__init__()
        if any(not 0 <= level < len(widths) for level in attention):
            raise ValueError(
                f"got attention levels {tuple(attention)}; "
                f"expected levels of widths {tuple(widths)}, 0 to {len(widths) - 1}"
            )
        self.checkpointing = False  # in training, compute the inside of each part twice instead of keeping it
        self.unshuffle = unshuffle
        self.multiple = unshuffle * 2 ** (len(widths) - 1)
        self.embedding = NoiseEmbedding(embedding)
        self.classes = classes
        if classes:
            self.label = nn.Embedding(classes + 1, embedding)  # the last one stands for no label
            nn.init.normal_(self.label.weight, std=0.5)  # as long as the noise embedding; from 0 it learns slowly
        self.stem = nn.Conv2d(channels * unshuffle**2, widths[0], 3, padding=1)

        def level_of(channels_in: list[int], width: int, attend: bool) -> nn.ModuleList:
            parts: list[nn.Module] = []
            for c in channels_in:
                parts.append(Block(c, width, embedding, dropout))
                if attend:
                    parts.append(Attention(width))
            return nn.ModuleList(parts)

        self.down, self.up, self.shrink, self.grow = (nn.ModuleList() for _ in range(4))
        for i, width in enumerate(widths):
            self.down.append(level_of([width] * blocks, width, i in attention))
            self.up.append(level_of([width] * blocks, width, i in attention))
            if i + 1 < len(widths):
                self.shrink.append(nn.Conv2d(width, widths[i + 1], 3, stride=2, padding=1))
                self.grow.append(nn.Conv2d(widths[i + 1], 4 * width, 1))
        self.middle = level_of([widths[-1]], widths[-1], bool(attention))
        self.middle.append(Block(widths[-1], widths[-1], embedding, dropout))
        self.norm = _norm(widths[0])
        self.head = nn.Conv2d(widths[0], channels * unshuffle**2, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor, c: Tensor, label: Tensor | None = None) -> Tensor:
        if x.shape[-1] % self.multiple or x.shape[-2] % self.multiple:
            raise ValueError(
                f"got an image of {x.shape[-2]}x{x.shape[-1]}; expected height and width to be multiples of "
                f"{self.multiple}; pad or crop the image"
            )
        embedding = self.embedding(c)
        if self.classes:
            embedding = embedding + self.label(torch.full_like(c, self.classes).long() if label is None else label)

        def run(part: nn.Module, h: Tensor) -> Tensor:
            inputs = (h, embedding) if isinstance(part, Block) else (h,)
            if self.checkpointing and self.training:
                return checkpoint(part, *inputs, use_reentrant=False)
            return part(*inputs)

        h = self.stem(F.pixel_unshuffle(x, self.unshuffle))
        skips = []
        for i, level in enumerate(self.down):
            for part in level:
                h = run(part, h)
                if isinstance(part, Block):
                    skips.append(h)
                else:
                    skips[-1] = h
            if i < len(self.shrink):
                h = self.shrink[i](h)
        for part in self.middle:
            h = run(part, h)
        for i in reversed(range(len(self.up))):
            if i < len(self.grow):
                h = F.pixel_shuffle(self.grow[i](h), 2)
            for part in self.up[i]:
                h = run(part, h + skips.pop() if isinstance(part, Block) else h)
        return F.pixel_shuffle(self.head(F.silu(self.norm(h))), self.unshuffle)


class Encoder(nn.Module):
    """Logits of a label for (x, c): x (B, C, H, W) of unit variance, c (B,) the noise coordinate -> (B, classes).

    The way down of the U-Net, a block a level, then the mean over all positions. Arguments as there.
    """

    def __init__(
        self, channels: int, widths: tuple[int, ...], classes: int, unshuffle: int = 2, embedding: int = 128
    ) -> None:
        super().__init__()
        self.unshuffle, self.embedding = unshuffle, NoiseEmbedding(embedding)
        self.stem = nn.Conv2d(channels * unshuffle**2, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList(Block(width, width, embedding, 0.0) for width in widths)
        self.shrink = nn.ModuleList(
            nn.Conv2d(width, wider, 3, stride=2, padding=1) for width, wider in zip(widths, widths[1:], strict=False)
        )
        self.norm, self.head = _norm(widths[-1]), nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        h, embedding = self.stem(F.pixel_unshuffle(x, self.unshuffle)), self.embedding(c)
        for block, shrink in zip(self.blocks, [*self.shrink, nn.Identity()], strict=True):
            h = shrink(block(h, embedding))
        return self.head(F.silu(self.norm(h)).mean((2, 3)))


NETWORKS: dict[str, type[nn.Module]] = {"diffusers": DiffusersNetwork, "unet": UNet, "encoder": Encoder}

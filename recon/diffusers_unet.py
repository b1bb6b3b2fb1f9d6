"""The `UNet2DModel` of the library diffusers, rebuilt from its configuration: same names of weights, same numbers.

Its blocks are those of Ho et al., Denoising diffusion probabilistic models, 2020, appendix B (arXiv:2006.11239), with
the options of Dhariwal and Nichol, 2021 (arXiv:2105.05233): scale-and-shift conditioning, residual blocks that change
the resolution, several attention heads. What the library knows beyond them is refused by name, see `UNetConfig`.

Reference: von Platen et al., Diffusers, https://github.com/huggingface/diffusers, version 0.35: the meaning of the
configuration and the names of the weights; the code is our own.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from torch import Tensor, nn
from torch.nn import functional as F

Count = Annotated[int, Field(ge=1, le=65536)]
Bare = BeforeValidator(lambda kind: kind.removeprefix("UNetRes") if isinstance(kind, str) else kind)  # an old prefix
DownKind = Annotated[Literal["DownBlock2D", "AttnDownBlock2D", "ResnetDownsampleBlock2D"], Bare]
UpKind = Annotated[Literal["UpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D"], Bare]
ACTIVATIONS = {"silu": nn.SiLU, "swish": nn.SiLU, "mish": nn.Mish, "gelu": nn.GELU, "relu": nn.ReLU}


class UNetConfig(BaseModel):
    """The settings of a `UNet2DModel` that are understood here, with the library's defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sample_size: Count | tuple[Count, Count]
    in_channels: Count = 3
    out_channels: Count = 3
    center_input_sample: bool = False
    time_embedding_type: Literal["positional", "fourier"] = "positional"
    time_embedding_dim: Count | None = None
    freq_shift: int = 0
    flip_sin_to_cos: bool = True
    down_block_types: Annotated[tuple[DownKind, ...], Field(min_length=1, max_length=16)] = (
        "DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D",
    )  # fmt: skip
    mid_block_type: Literal["UNetMidBlock2D"] | None = "UNetMidBlock2D"
    up_block_types: tuple[UpKind, ...] = ("AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D")
    block_out_channels: tuple[Count, ...] = (224, 448, 672, 896)
    layers_per_block: Annotated[int, Field(ge=1, le=64)] = 2
    mid_block_scale_factor: float = 1.0
    downsample_padding: Literal[0, 1] = 1
    downsample_type: Literal["conv", "resnet"] = "conv"
    upsample_type: Literal["conv", "resnet"] = "conv"
    dropout: float = 0.0
    act_fn: Literal[tuple(ACTIVATIONS)] = "silu"
    attention_head_dim: Count | None = 8
    norm_num_groups: Count = 32
    attn_norm_num_groups: Count | None = None
    norm_eps: float = 1e-5
    resnet_time_scale_shift: Literal["default", "scale_shift"] = "default"
    add_attention: bool = True
    class_embed_type: None = None
    num_class_embeds: None = None
    num_train_timesteps: int | None = None


def read_config(settings: dict[str, Any]) -> UNetConfig:
    """The checked configuration of a network, from the library's `config.json`.

    Raises:
        ValueError: a block, an option or a size that is not rebuilt here; the message names it.
    """
    known = UNetConfig.model_fields
    kept = {k: v for k, v in settings.items() if not k.startswith("_") and (k in known or v is not None)}
    try:
        config = UNetConfig(**kept)
    except ValidationError as error:
        problem = error.errors()[0]
        name = ".".join(map(str, problem["loc"]))
        hint = " (class-conditional networks are not)" if "class" in name else ""
        raise ValueError(
            f"got a UNet2DModel with {name}={problem['input']!r}; expected settings that are rebuilt here{hint}: "
            f"{problem['msg']}; use another model"
        ) from None
    levels = len(config.block_out_channels)
    if not levels == len(config.down_block_types) == len(config.up_block_types):
        raise ValueError(
            f"got {levels} block_out_channels, {len(config.down_block_types)} down_block_types and "
            f"{len(config.up_block_types)} up_block_types; expected as many of each; mend config.json"
        )
    if config.in_channels != config.out_channels:
        raise ValueError(
            f"got in_channels={config.in_channels}, out_channels={config.out_channels}; expected as many; networks "
            "that also predict variances, or that are given a second image, are not priors of images"
        )
    bad = [c for c in config.block_out_channels if c % config.norm_num_groups]
    if bad:
        raise ValueError(
            f"got block_out_channels {bad} with norm_num_groups={config.norm_num_groups}; expected multiples of it; "
            "mend config.json"
        )
    return config


class Resample(nn.Module):
    """h (B, C, H, W) at half the resolution (a strided convolution) or twice (nearest pixels, then a convolution)."""

    def __init__(self, channels: int, up: bool, padding: int = 1) -> None:
        super().__init__()
        self.up, self.padding = up, padding
        self.conv = nn.Conv2d(channels, channels, 3, stride=1 if up else 2, padding=padding)

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        if self.up:
            return self.conv(F.interpolate(h, scale_factor=2.0, mode="nearest"))
        return self.conv(h if self.padding else F.pad(h, (0, 1, 0, 1)))


class Residual(nn.Module):
    """h (B, in, H, W), embedding (B, E) -> (B, out, H', W'): two convolutions around the noise level, and a skip.

    Args:
        factor: what the sum is divided by.
        change: None, "down" (means of 2 x 2) or "up" (nearest pixels), before the first convolution.
    """

    def __init__(
        self, config: UNetConfig, channels_in: int, channels_out: int, factor: float = 1.0, change: str | None = None
    ) -> None:
        super().__init__()
        groups, eps = config.norm_num_groups, config.norm_eps
        self.factor, self.change = factor, change
        self.modulates = config.resnet_time_scale_shift == "scale_shift"
        self.norm1 = nn.GroupNorm(groups, channels_in, eps)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.time_emb_proj = nn.Linear(embedding_width(config), channels_out * (2 if self.modulates else 1))
        self.norm2 = nn.GroupNorm(groups, channels_out, eps)
        self.dropout = nn.Dropout(config.dropout)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        self.act = ACTIVATIONS[config.act_fn]()
        self.conv_shortcut = nn.Conv2d(channels_in, channels_out, 1) if channels_in != channels_out else nn.Identity()

    def resampled(self, h: Tensor) -> Tensor:
        if self.change == "up":
            return F.interpolate(h, scale_factor=2.0, mode="nearest")
        return F.avg_pool2d(h, 2) if self.change == "down" else h

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        inner = self.conv1(self.resampled(self.act(self.norm1(h))))
        told = self.time_emb_proj(self.act(embedding))[:, :, None, None]
        if self.modulates:
            scale, shift = told.chunk(2, dim=1)
            inner = self.norm2(inner) * (1 + scale) + shift
        else:
            inner = self.norm2(inner + told)
        inner = self.conv2(self.dropout(self.act(inner)))
        return (self.conv_shortcut(self.resampled(h)) + inner) / self.factor


class SelfAttention(nn.Module):
    """h (B, C, H, W) -> (B, C, H, W): attention over all positions in heads of `head` channels, and a skip."""

    def __init__(self, channels: int, head: int | None, groups: int | None, eps: float, factor: float = 1.0) -> None:
        super().__init__()
        head = head or channels
        self.heads, self.factor = channels // head, factor
        if not self.heads:
            raise ValueError(
                f"got attention_head_dim={head} for {channels} channels; expected at most as many; mend config.json"
            )
        inner = self.heads * head
        self.group_norm = nn.GroupNorm(groups, channels, eps) if groups else nn.Identity()
        self.to_q, self.to_k, self.to_v = (nn.Linear(channels, inner) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(inner, channels)])

    def forward(self, h: Tensor) -> Tensor:
        tokens = self.group_norm(h).flatten(2).transpose(1, 2)
        parts = (to(tokens).unflatten(-1, (self.heads, -1)) for to in (self.to_q, self.to_k, self.to_v))
        mixed = F.scaled_dot_product_attention(*(part.transpose(1, 2) for part in parts)).transpose(1, 2).flatten(2)
        return (self.to_out[0](mixed).transpose(1, 2).reshape(h.shape) + h) / self.factor


class Down(nn.Module):
    """A level on the way down: h -> (h at half the resolution, what the way up will need)."""

    def __init__(self, config: UNetConfig, kind: DownKind, channels_in: int, channels: int, last: bool) -> None:
        super().__init__()
        widths = [channels_in] + [channels] * (config.layers_per_block - 1)
        self.resnets = nn.ModuleList(Residual(config, width, channels) for width in widths)
        self.attentions = _attentions(config, kind, channels, len(widths))
        by_residual = kind.startswith("Resnet") or (kind.startswith("Attn") and config.downsample_type == "resnet")
        self.downsamplers = nn.ModuleList()
        if not last:
            self.downsamplers.append(
                Residual(config, channels, channels, change="down")
                if by_residual
                else Resample(channels, up=False, padding=config.downsample_padding)
            )

    def forward(self, h: Tensor, embedding: Tensor) -> tuple[Tensor, list[Tensor]]:
        skips = []
        for residual, attention in zip(self.resnets, self.attentions, strict=True):
            h = attention(residual(h, embedding))
            skips.append(h)
        for shrink in self.downsamplers:
            h = shrink(h, embedding)
            skips.append(h)
        return h, skips


class Up(nn.Module):
    """A level on the way up, with one block more than on the way down: each takes in what the way down has left."""

    def __init__(
        self, config: UNetConfig, kind: UpKind, below: int, channels: int, above: int, last: bool
    ) -> None:
        super().__init__()
        blocks = config.layers_per_block + 1
        entering = [below] + [channels] * (blocks - 1)
        skipped = [channels] * (blocks - 1) + [above]
        self.resnets = nn.ModuleList(
            Residual(config, a + b, channels) for a, b in zip(entering, skipped, strict=True)
        )
        self.attentions = _attentions(config, kind, channels, blocks)
        by_residual = kind.startswith("Resnet") or (kind.startswith("Attn") and config.upsample_type == "resnet")
        self.upsamplers = nn.ModuleList()
        if not last:
            self.upsamplers.append(
                Residual(config, channels, channels, change="up") if by_residual else Resample(channels, up=True)
            )

    def forward(self, h: Tensor, skips: list[Tensor], embedding: Tensor) -> Tensor:
        for residual, attention in zip(self.resnets, self.attentions, strict=True):
            h = attention(residual(torch.cat([h, skips.pop()], 1), embedding))
        for grow in self.upsamplers:
            h = grow(h, embedding)
        return h


class Middle(nn.Module):
    """Two residual blocks at the lowest resolution, and attention between them."""

    def __init__(self, config: UNetConfig, channels: int) -> None:
        super().__init__()
        factor = config.mid_block_scale_factor
        groups = config.attn_norm_num_groups
        if groups is None and config.resnet_time_scale_shift == "default":
            groups = config.norm_num_groups
        self.resnets = nn.ModuleList(Residual(config, channels, channels, factor) for _ in range(2))
        self.attentions = nn.ModuleList(
            [SelfAttention(channels, config.attention_head_dim, groups, config.norm_eps, factor)]
            if config.add_attention
            else [nn.Identity()]
        )

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        return self.resnets[1](self.attentions[0](self.resnets[0](h, embedding)), embedding)


def _attentions(config: UNetConfig, kind: str, channels: int, count: int) -> nn.ModuleList:
    """Attention after each block of a level whose kind says so."""
    head, groups, eps = config.attention_head_dim, config.norm_num_groups, config.norm_eps
    attends = kind.startswith("Attn")
    return nn.ModuleList(
        SelfAttention(channels, head, groups, eps) if attends else nn.Identity() for _ in range(count)
    )


def embedding_width(config: UNetConfig) -> int:
    """Values that the noise level is told to the blocks in."""
    return config.time_embedding_dim or 4 * config.block_out_channels[0]


class Positional(nn.Module):
    """t (B,) -> sines and cosines of t times falling frequencies, (B, channels), in single precision."""

    def __init__(self, channels: int, cosine_first: bool, shift: int) -> None:
        super().__init__()
        self.channels, self.cosine_first, self.shift = channels, cosine_first, shift

    def forward(self, t: Tensor) -> Tensor:
        half = self.channels // 2
        exponent = -math.log(10000) * torch.arange(half, dtype=torch.float32, device=t.device) / (half - self.shift)
        phase = t.float()[:, None] * exponent.exp()
        waves = [phase.cos(), phase.sin()] if self.cosine_first else [phase.sin(), phase.cos()]
        return F.pad(torch.cat(waves, 1), (0, self.channels % 2))


class Fourier(nn.Module):
    """t (B,) -> sines and cosines of log t times random frequencies, (B, 2 channels)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(16 * torch.randn(channels), requires_grad=False)

    def forward(self, t: Tensor) -> Tensor:
        phase = t.float().log()[:, None] * self.weight * (2 * math.pi)
        return torch.cat([phase.sin(), phase.cos()], 1)


class TimeEmbedding(nn.Module):
    """The waves of t through two layers."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(channels, width), nn.Linear(width, width)

    def forward(self, waves: Tensor) -> Tensor:
        return self.linear_2(F.silu(self.linear_1(waves)))


class UNet2D(nn.Module):
    """The output of a `UNet2DModel`: x (B, C, H, W), t (B,) steps of its scheduler or what stands for them."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.block_out_channels
        self.conv_in = nn.Conv2d(config.in_channels, channels[0], 3, padding=1)
        if config.time_embedding_type == "fourier":
            self.time_proj, waves = Fourier(channels[0]), 2 * channels[0]
        else:
            self.time_proj = Positional(channels[0], config.flip_sin_to_cos, config.freq_shift)
            waves = channels[0]
        self.time_embedding = TimeEmbedding(waves, embedding_width(config))
        last = len(channels) - 1
        self.down_blocks, self.up_blocks = nn.ModuleList(), nn.ModuleList()
        for i, kind in enumerate(config.down_block_types):
            self.down_blocks.append(Down(config, kind, channels[max(i - 1, 0)], channels[i], i == last))
        self.mid_block = Middle(config, channels[-1]) if config.mid_block_type else None
        for i, kind in enumerate(config.up_block_types):
            level = last - i
            below, above = channels[min(level + 1, last)], channels[max(level - 1, 0)]
            self.up_blocks.append(Up(config, kind, below, channels[level], above, level == 0))
        self.conv_norm_out = nn.GroupNorm(config.norm_num_groups, channels[0], config.norm_eps)
        self.conv_out = nn.Conv2d(channels[0], config.out_channels, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        embedding = self.time_embedding(self.time_proj(t).to(x.dtype))
        h = self.conv_in(2 * x - 1 if self.config.center_input_sample else x)
        skips = [h]
        for level in self.down_blocks:
            h, left = level(h, embedding)
            skips += left
        if self.mid_block is not None:
            h = self.mid_block(h, embedding)
        for level in self.up_blocks:
            h = level(h, skips, embedding)
        h = self.conv_out(F.silu(self.conv_norm_out(h)))
        return h / t.to(h.dtype)[:, None, None, None] if self.config.time_embedding_type == "fourier" else h

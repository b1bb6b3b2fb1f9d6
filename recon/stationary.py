"""The stationary operator nearest to another one: its response at each frequency, found by a few products."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

PROBES = 2
ALIKE = 300  # roundings: so far probes of a stationary operator agree
RINGS = 18


def axes(x: Tensor) -> tuple[int, ...]:
    """The axes of an event (B, *event) along which things may be stationary: the last two, or the only one."""
    return tuple(range(max(1, x.ndim - 2) - x.ndim, 0))


def extent(x: Tensor) -> tuple[int, ...]:
    """The sizes of `axes`."""
    return tuple(x.shape[1:][axis] for axis in axes(x))


def transform(x: Tensor) -> Tensor:
    """The orthonormal real FFT of (B, *event) over `axes`."""
    return torch.fft.rfftn(x, dim=axes(x), norm="ortho")


def back(spectrum: Tensor, like: Tensor) -> Tensor:
    """The inverse of `transform`, for an x of the shape of `like`."""
    return torch.fft.irfftn(spectrum, s=extent(like), dim=axes(like), norm="ortho")


@lru_cache(maxsize=32)
def mirrors(sizes: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """What makes waves of a bare FFT of these sizes, and what undoes it for the inverse: how often each frequency of
    the last axis counts, to the power 1/2 (all but the ends twice), and an orthonormal transform's scale. For real and
    imaginary part, (frequencies, 2): the layout in which they multiply fastest.
    """
    twice = torch.full((sizes[-1] // 2 + 1,), 2.0, dtype=dtype, device=device)
    twice[0] = 1.0
    if sizes[-1] % 2 == 0:
        twice[-1] = 1.0
    roots, scale = twice.sqrt()[:, None].repeat(1, 2), math.prod(sizes) ** -0.5
    return scale * roots, scale / roots


def waves(x: Tensor) -> Tensor:
    """`transform` as real numbers (B, *frequencies, 2) with the inner products of the images x (B, *event)."""
    roots, _ = mirrors(extent(x), x.dtype, x.device)
    return torch.view_as_real(torch.fft.rfftn(x, dim=axes(x))).mul_(roots)


def from_waves(z: Tensor, like: Tensor) -> Tensor:
    """The inverse of `waves`, for an x of the shape of `like`."""
    _, inverse = mirrors(extent(like), like.dtype, like.device)
    return torch.fft.irfftn(torch.view_as_complex(z * inverse), s=extent(like), dim=axes(like), norm="forward")


@lru_cache(maxsize=32)
def rings(sizes: tuple[int, ...]) -> Tensor:
    """The ring of |f| that each frequency of `transform` belongs to, flattened; the constant is alone in ring 0."""
    parts = [torch.fft.fftfreq(n, dtype=torch.float64) for n in sizes[:-1]]
    parts.append(torch.fft.rfftfreq(sizes[-1], dtype=torch.float64))
    radius = sum(part.square() for part in torch.meshgrid(*parts, indexing="ij")).sqrt().flatten()
    edges = torch.logspace(math.log10(0.75 / max(sizes)), math.log10(0.72), RINGS - 1, dtype=torch.float64)
    return torch.bucketize(radius, edges)


def ringwise(values: Tensor, like: Tensor) -> Tensor:
    """The mean of values (B, ..., frequencies) over the rings of |f|, in their shape."""
    ring = rings(tuple(like.shape[axis] for axis in axes(like))).to(values.device)
    flat = values.flatten(-len(axes(like)))
    total = flat.new_zeros(*flat.shape[:-1], RINGS).index_add_(-1, ring, flat)
    return (total / ring.bincount(minlength=RINGS).clamp(min=1))[..., ring].reshape(values.shape)


@lru_cache(maxsize=8)
def probes(event: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """Real images (1, *event) whose frequencies are all of size 1, and these frequencies."""
    generator, made = torch.Generator().manual_seed(0), []
    for _ in range(PROBES):
        drawn = torch.randn((1, *event), generator=generator, dtype=torch.float64)
        phases = transform(drawn)
        phases = phases / phases.abs()
        image = back(phases, drawn)
        if made and torch.allclose(image.abs(), made[0][0].abs().to(image)):  # of two numbers there are not many
            image = image.roll(1, -1)
            phases = transform(image)
        made.append((image.to(device, dtype), phases.to(device, dtype.to_complex())))
    return made


def of_points(apply: Callable[[Tensor], Tensor], like: Tensor) -> Tensor:
    """The response of a map known to be stationary, on the frequencies of `transform`: from what points become."""
    points = torch.zeros_like(like)
    points[(..., *(0,) * len(axes(like)))] = 1.0
    return (transform(apply(points)).real * math.prod(like.shape[axis] for axis in axes(like)) ** 0.5).clamp(min=0)


def symbol(apply: Callable[[Tensor], Tensor], like: Tensor) -> tuple[Tensor, bool]:
    """The response of the stationary operator nearest to a symmetric one, on the frequencies of `transform`.

    It is diag(F A F^H), found by probes of flat spectrum: exact where the operator is stationary, else what two probes
    agree on beyond the mean of their ring of |f|. Each row of `like` has an operator of its own and the same probes.

    Args:
        apply: a positive semidefinite map of (B, *event), row by row.
        like: (B, *event), of the shape and type that `apply` takes.

    Returns:
        The response, at least 0, and whether the operator is stationary.

    Reference: T. Chan, An optimal circulant preconditioner for Toeplitz systems, 1988, theorem 1.
    """
    found = []
    for probe, phases in probes(tuple(like.shape[1:]), like.dtype, like.device):
        found.append((transform(apply(probe.expand_as(like))) * phases.conj()).real)
    mean, noise = (found[0] + found[1]) / 2, (found[0] - found[1]).square() / 4
    if bool(noise.max() <= (ALIKE * torch.finfo(mean.dtype).eps) ** 2 * mean.square().max()):
        return mean.clamp(min=0), True
    smooth = ringwise(mean, like)
    own, scatter = ringwise(noise, like), ringwise((mean - smooth).square(), like)
    share = (1 - own / scatter.clamp(min=torch.finfo(own.dtype).tiny)).clamp(min=0)
    return (smooth + share * (mean - smooth)).clamp(min=0), False

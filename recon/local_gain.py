"""Operators that are stationary but for a gain that changes slowly from place to place, and their regularised inverse.

G = A^H N^-1 A of a scan whose rays count differently is about D^(1/2) K D^(1/2), K stationary and D(x) how much the
data weigh at x. Where D is about d, the inverse of C^-1 + G is that of C^-1 + d K, which is stationary where C is; so
it is taken at a few values d_k and mixed by where D lies between them:

    (C^-1 + G)^-1 ~ sum over k of  s_k (C^-1 + d_k K)^-1 s_k,     sum over k of s_k(x)^2 = 1

Reference: Fessler and Booth, Conjugate-gradient preconditioning methods for shift-variant PET image reconstruction,
1999, sections IV and V; there the inverses are interpolated for the strength of the regularisation.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from recon.stationary import axes, back, probes, symbol, transform

VALUES = 3  # of the gain, at which the inverse is taken
LEAST = 0.01  # gain relative to the largest
WIDTH = 1 / 32  # of the window over which the gain is found, as a share of the image


def smoothed(values: Tensor) -> Tensor:
    """(B, *event), each averaged under a Gaussian window that goes round the border."""
    along = axes(values)
    sizes = [values.shape[axis] for axis in along]
    parts = [torch.fft.fftfreq(n, 1 / n, dtype=values.dtype, device=values.device) for n in sizes[:-1]]
    parts.append(torch.fft.rfftfreq(sizes[-1], 1 / sizes[-1], dtype=values.dtype, device=values.device))
    square = sum(part.square() for part in torch.meshgrid(*parts, indexing="ij"))
    return back(transform(values) * (-2 * (math.pi * WIDTH) ** 2 * square).exp(), values)


def gain(apply: Callable[[Tensor], Tensor], response: Tensor, like: Tensor) -> Tensor:
    """D, shape of `like`: the operator's images of probes in units of those of the stationary one, place by place.

    Args:
        apply: symmetric, positive semidefinite, row by row.
        response: of the stationary operator nearest to it, see `recon.stationary.symbol`.
        like: (B, *event), of the shape and type that `apply` takes.
    """
    both = own = torch.zeros_like(like)
    for probe, phases in probes(tuple(like.shape[1:]), like.dtype, like.device):
        image, plain = apply(probe.expand_as(like)), back(phases * response, like)
        both, own = both + image * plain, own + plain.square()
    found = smoothed(both) / smoothed(own).clamp(min=torch.finfo(own.dtype).tiny)
    largest = found.amax(tuple(range(1, like.ndim)), keepdim=True)
    return found.maximum(LEAST * largest).clamp(min=torch.finfo(own.dtype).tiny)


def shares(found: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """The values d_k of a gain, (B, 1, ...) each, evenly spaced in the logarithm, and the s_k(x) that mix them."""
    within = tuple(range(1, found.ndim))
    low, high = (edge.log() for edge in (found.amin(within, keepdim=True), found.amax(within, keepdim=True)))
    step = ((high - low) / (VALUES - 1)).clamp(min=1e-6)
    place = (found.log() - low) / step
    return [(low + k * step).exp() for k in range(VALUES)], [
        (1 - (place - k).abs()).clamp(min=0).sqrt() for k in range(VALUES)
    ]


def regularised_inverse(
    apply: Callable[[Tensor], Tensor], response: Tensor, like: Tensor
) -> Callable[[Tensor], Callable[[Tensor], Tensor]]:
    """power -> (b -> about C^-1 (C^-1 + G)^-1 b), C stationary with that power on the frequencies of `transform`."""
    found = gain(apply, response, like)
    root = found.rsqrt()
    values, parts = shares(found)
    even = symbol(lambda x: root * apply(root * x), like)[0]

    def of(power: Tensor) -> Callable[[Tensor], Tensor]:
        inverses = [1 / (1 / power + value * even) for value in values]

        def inverse(b: Tensor) -> Tensor:
            mixed = sum(transform(part * back(transform(part * b) * one, b))
                        for part, one in zip(parts, inverses, strict=True))  # fmt: skip
            return back(mixed / power, b)

        return inverse

    return of

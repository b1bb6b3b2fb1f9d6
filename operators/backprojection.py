"""The backprojection of filtered data, for every beam: from where each pixel's shadow falls on the detector.

Sum over the views of the mean of q over each pixel's shadow, times a weight. The mean is over a bin at least, which is
linear interpolation. Views are taken in blocks, so that what their places take in memory stays bounded.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from operators.geometry import Beam
from operators.sparse import matched

PIXELS, VIEWS = 2048, 16  # of a block: what is computed of it stays in the caches

# x [mm], y [mm], angles [rad] -> the middle of each shadow in bins, half its width in bins, its weight
Shadows = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]


def backprojected(geometry: Beam, q: Tensor, shadows: Shadows) -> Tensor:
    """Sum over the views of the weighted means of q over the pixels' shadows, (..., H, W).

    Args:
        geometry: But for its detector.
        q: (..., angles, bins), zero outside.
        shadows: Where they fall on the detector of q.
    """
    views, bins = q.shape[-2:]

    def down(q: Tensor) -> Tensor:
        image = q.new_zeros(math.prod(geometry.shape), len(q))
        sums = q.new_zeros(views, bins + 1, len(q))  # up to the edges of bins
        sums[:, 1:] = q.cumsum(-1).permute(1, 2, 0)
        for some, block, columns, weights in _blocks(geometry, bins, shadows):
            columns, weights = torch.from_numpy(columns).to(q.device), torch.from_numpy(weights).to(q)
            image[some] += embedding_bag(
                columns, sums[block].view(-1, len(q)), mode="sum", per_sample_weights=weights
            )
        return image.T.reshape(-1, *geometry.shape)

    def up(image: Tensor) -> Tensor:
        pixels = image.reshape(len(image), -1).T
        sums = image.new_zeros(views, bins + 1, len(image))
        for some, block, columns, weights in _blocks(geometry, bins, shadows):
            columns, weights = torch.from_numpy(columns).to(image.device), torch.from_numpy(weights).to(image)
            spread = (weights[:, :, None] * pixels[some, None]).flatten(0, 1)
            sums[block].view(-1, len(image)).index_add_(0, columns.flatten(), spread)
        return sums.permute(2, 0, 1)[..., 1:].flip(-1).cumsum(-1).flip(-1)

    flat = matched(q.reshape(-1, views, bins), down, up)
    return flat.reshape(*q.shape[:-2], *geometry.shape)


def _blocks(geometry: Beam, bins: int, shadows: Shadows) -> Iterator[tuple[slice, slice, np.ndarray, np.ndarray]]:
    """Pixels, views, and for each pixel places among their running sums with weights: (pixels, 4 x views), twice."""
    x, y = (part.reshape(-1, 1) for part in np.meshgrid(geometry.x_mm, geometry.y_mm))
    for top, first in itertools.product(range(0, x.size, PIXELS), range(0, geometry.angles_rad.size, VIEWS)):
        some, block = slice(top, top + PIXELS), slice(first, first + VIEWS)
        middle, half, weight = shadows(x[some], y[some], geometry.angles_rad[None, block])
        half = np.maximum(half, 0.5)
        weight = np.broadcast_to(weight / (2 * half), middle.shape)
        starts = np.arange(middle.shape[1], dtype=np.int32) * (bins + 1)
        columns = np.empty((*middle.shape, 4), np.int32)
        weights = np.empty(columns.shape)
        for end, place, share in ((0, middle + half, weight), (2, middle - half, -weight)):
            place = (place + 0.5).clip(0, bins)
            before = np.minimum(place.astype(np.int32), bins - 1)
            place -= before
            np.add(before, starts, out=columns[..., end])
            np.multiply(place, share, out=weights[..., end + 1])
            np.subtract(share, weights[..., end + 1], out=weights[..., end])
        np.add(columns[..., ::2], 1, out=columns[..., 1::2])
        yield some, block, columns.reshape(len(columns), -1), weights.reshape(len(weights), -1)

"""Settings of a training that its images suggest, for who gives none: size, network, batch, noise levels.

The network at 48 to 96 pixels is that of the bundled head CT priors; the others keep its idea, a coarsest level of
about 4 x 4 to 8 x 8 with attention on the two coarsest, at other sizes.
"""

from __future__ import annotations

import math
from statistics import median
from typing import Any

SIDES = (*range(8, 41, 4), *range(48, 97, 16), *range(128, 257, 32))  # sizes that the networks below take
SHARE = 0.9  # of the pictures that must reach the suggested size
LARGEST = SIDES[-1]


def side(sizes: list[tuple[int, int]], multiple: int = 0) -> int | None:
    """The size that pictures (height, width) should be brought to; None where they are too small for any.

    The largest that SHARE of the pictures reach with their shorter side, at most their median and LARGEST.

    Args:
        multiple: sizes are to be multiples of this; 0 for those of SIDES.
    """
    shorter = sorted(min(size) for size in sizes)
    reached = min(shorter[int((1 - SHARE) * len(shorter))], median(shorter))
    known = range(multiple, LARGEST + 1, multiple) if multiple else SIDES
    return max((n for n in known if n <= reached), default=None)


def network(size: int) -> dict[str, Any]:
    """Network and batch for pictures of this size (the shorter side)."""
    if size <= 40:
        return {"unshuffle": 2, "widths": [64, 128], "attention": [1], "batch_size": 64}
    if size <= 96:
        return {"unshuffle": 2, "widths": [48, 64, 128, 128], "attention": [2, 3], "batch_size": 32}
    widths = {"unshuffle": 4, "widths": [64, 96, 128, 128], "attention": [2, 3]}
    return {**widths, "batch_size": 16 if size <= 160 else 8}


def levels(size: int, std: float) -> dict[str, Any]:
    """Centre of the noise levels, for pictures whose normalised values have this standard deviation.

    -1 for a deviation of 0.5 at 64 pixels. Noise hides a picture at levels that grow with its contrast, and with its
    side, as neighbours average it away (Hoogeboom et al., Simple diffusion, 2023, section 3, arXiv:2301.11093); of
    the latter half is taken, for fine noise has to be learnt as well.
    """
    centre = -1.0 + math.log(max(std, 1e-3) / 0.5) + 0.5 * math.log(size / 64)
    return {"log_sigma_mean": round(min(0.5, max(-2.5, centre)), 1)}
